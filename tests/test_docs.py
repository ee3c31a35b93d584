"""Documents that tell the truth: links resolve, the README's tree is the tree, presets load.

Left out: whether prose is right. docs/config.md against the options is tested with its generator.
"""

from __future__ import annotations

import re
import runpy
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pawl import metrics
from pawl.config.options import RunConfig

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("bench/*.md")])
PRESETS = sorted((ROOT / "examples").glob("*.yaml"))


def outside_code(text: str) -> str:
    """A document without its code blocks and code spans."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"(?ms)^```.*?^```", "", text))


def slug(heading: str) -> str:
    """The anchor that forges make of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(document: Path) -> set[str]:
    return {slug(h) for h in re.findall(r"(?m)^#+ (.*)$", document.read_text("utf-8"))}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_resolve(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", outside_code(document.read_text("utf-8"))):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{document.name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{document.name}: no heading for {link}"


def tree_of_readme() -> dict[str, str]:
    """path -> comment, from the README's code block that starts with `pawl/`."""
    text = (ROOT / "README.md").read_text("utf-8")
    block = re.search(r"(?ms)^```\n(pawl/\n.*?)^```", text)
    assert block, "README.md has no file tree"
    entries, folders = {}, []
    for line in block[1].splitlines():
        indent = len(line) - len(line.lstrip())
        name, _, comment = line.strip().partition(" ")
        folders = folders[: indent // 2]
        entries["".join([*folders, name])] = comment.strip()
        if name.endswith("/"):
            folders.append(name)
    return entries


def test_every_entry_of_the_readme_tree_exists_and_is_explained() -> None:
    for path, comment in tree_of_readme().items():
        assert (ROOT / path).exists(), path
        assert comment or path == "pawl/", f"{path} has no comment"


def test_readme_tree_names_every_folder_and_no_file() -> None:
    parts = {f"pawl/{f.parent.name}/" for f in (ROOT / "pawl").glob("*/__init__.py")}
    assert {p for p in tree_of_readme() if p.startswith("pawl/")} == parts | {"pawl/"}
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


def test_the_list_of_files_is_current() -> None:
    lines = runpy.run_path(str(ROOT / "scripts" / "file-list"))["lines"]
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    assert page.endswith("\n".join(lines()) + "\n"), "run: python scripts/file-list"


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.name)
def test_presets_are_valid_and_explain_their_choices(preset: Path) -> None:
    text = preset.read_text("utf-8")
    cfg = RunConfig.model_validate(YAML(typ="safe").load(text))
    named = [rule.metric for rule in cfg.rules] + ([cfg.target.metric] if cfg.target else [])
    assert set(named) <= set(metrics.CATALOGUE)
    assert text.startswith("#"), "a preset opens by saying what it is"
    assert text.isascii()


def test_ocaml_preset_keeps_the_numbers_of_its_ancestor() -> None:
    cfg = RunConfig.model_validate(
        YAML(typ="safe").load((ROOT / "examples/ocaml-grpo.yaml").read_text("utf-8"))
    )
    assert cfg.model.path == "Qwen/Qwen2.5-Coder-1.5B-Instruct"
    assert (cfg.model.lora.r, cfg.model.lora.alpha, cfg.model.lora.dropout) == (32, 64, 0)
    assert cfg.problems.train == "kiranpg/ocaml-training-problems"
    assert (cfg.rollout.prompts, cfg.rollout.group_size, cfg.rollout.temperature) == (4, 6, 0.9)
    assert (cfg.prompt.max_tokens, cfg.rollout.max_tokens) == (704, 512)
    assert (cfg.optim.lr, cfg.optim.max_grad_norm, cfg.train.epochs) == (5e-6, 1.0, 1.0)
    stages = cfg.reward.stages
    assert (stages.end_marker, stages.types, stages.compile, stages.tests) == (0.05, 0.2, 0.1, 0.65)
    assert (cfg.reward.runaway_multiplier, cfg.reward.min_lines) == (0.3, 0)
    stops = [r for r in cfg.rules if r.action == "stop"]
    assert {r.when for r in cfg.rules} == {"epoch 0.5", "epoch 1.0"}
    assert {r.when for r in stops} == {"epoch 1.0"}


def test_nobody_is_told_to_install_a_strangers_package() -> None:
    """`pawl` on the package index is another project: neither it nor an extra of it is advised."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    advice = re.compile(r"pawl\[\w|pip3? +install +(-\S+ +)*['\"]?pawl(?![\w/-])")
    wrong = []
    for name in listed.stdout.split():
        if Path(name).suffix in ("", ".md", ".py", ".toml", ".yaml"):
            lines = (ROOT / name).read_text("utf-8").splitlines()
            wrong += [
                f"{name}:{n}: {line}" for n, line in enumerate(lines, 1) if advice.search(line)
            ]
    assert listed.stdout, "git lists no file"
    assert not wrong, "\n".join(wrong)

"""The words of the project: old names are gone, and who still uses one is told the new one.

Left out: whether prose is plain, which no test can say.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pawl import renamed
from pawl.cli.explain import find
from pawl.cli.sample_text import sample_lines
from pawl.config.load import from_mapping, load_run
from pawl.config.options import RuleConfig
from pawl.errors import PawlError
from pawl.logs.read_pawl import read_folder
from pawl.metrics import CATALOGUE
from pawl.train.rules import check_names

ROOT = Path(__file__).resolve().parents[1]
# Nowhere in the project, beside the tables of old names and the history.
GONE = (
    r"cages?|wardens?|witness\w*|take_up|repay|paid_by|zero_signal|refill_max|obey\w*|grave|argues|"
    r"atoms|readings|surprise_minus_entropy|surprise_z|drawn_in|judge_boundary|known_answers|"
    r"groups_tied|expected_ties|reward_falls|surprise_off_entropy"
)
ORDINARY = {"seen", "known", "told", "act", "begin", "drawn", "trial", "credit", "ties", "falls"}
MAY_NAME_THEM = (
    "CHANGELOG.md",
    "pawl/renamed.py",
    "pawl/cli/sample_text.py",  # samples of older runs say paid_by
    "tests/test_names.py",
    "tests/data/",
    "tests/attacks/",
    "bench/results/",
    "starter/",  # a wording of a problem has readings
    "pawl/problems/sets/",
    "docs/ancestors.md",  # quotes analyses of others
)
TEXT = {".py", ".md", ".toml", ".yaml", ".sh", ".ml", ".js", ".html"}


def texts() -> Iterator[tuple[str, str]]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in TEXT and path.is_file() and not name.startswith(MAY_NAME_THEM):
            yield name, path.read_text("utf-8")


def test_old_identifiers_are_gone() -> None:
    word = re.compile(rf"\b({GONE})\b")
    found = [
        f"{name}:{text[: m.start()].count(chr(10)) + 1}: {m[0]}"
        for name, text in texts()
        for m in word.finditer(text)
    ]
    assert not found, found


def public_names(path: Path) -> Iterator[str]:
    """The module, its public functions and classes, and the fields of its classes."""
    yield path.stem
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name.lower()
        if isinstance(node, ast.ClassDef):
            for part in node.body:
                if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                    yield part.target.id


def test_ordinary_words_are_no_names_of_things() -> None:
    files = sorted((ROOT / "pawl").rglob("*.py"))
    found = {(str(f.relative_to(ROOT)), n) for f in files for n in public_names(f) if n in ORDINARY}
    assert not found, found
    assert not ORDINARY & {name.split("/")[-1] for name in CATALOGUE}


@pytest.mark.parametrize("old", renamed.OPTIONS)
def test_a_renamed_option_is_refused_with_its_new_name(old: str, tmp_path: Path) -> None:
    section, _, name = old.partition(".")
    path = tmp_path / "run.yaml"
    path.write_text(f"{section}:\n  {name}: 1\n")
    with pytest.raises(PawlError) as in_file:
        load_run(path)
    with pytest.raises(PawlError) as as_override:
        from_mapping({}, [f"{old}=1"])
    for caught in (in_file, as_override):
        block = caught.value.block()
        assert f"`{old}` has a new name" in block and f"write `{renamed.OPTIONS[old]}`" in block


def test_a_renamed_value_is_refused_with_its_new_one() -> None:
    for option, values in renamed.VALUES.items():
        for old, new in values.items():
            with pytest.raises(PawlError) as caught:
                from_mapping({}, [f"{option}={old}"])
            assert f'did you mean "{new}"?' in caught.value.block()


@pytest.mark.parametrize("old", renamed.METRICS)
def test_a_renamed_metric_is_refused_with_its_new_name(old: str) -> None:
    new = renamed.METRICS[old]
    assert old not in CATALOGUE and new in CATALOGUE
    with pytest.raises(PawlError, match="has a new name") as caught:
        find(old)
    assert new in caught.value.block()
    rule = RuleConfig.model_validate({"when": "step 1", "metric": old, "is": ">", "value": 0})
    with pytest.raises(PawlError, match="has a new name"):
        check_names([rule], None)


def test_a_run_of_an_older_version_is_read_under_the_new_names(tmp_path: Path) -> None:
    config = {"algo": {"zero_signal": "refill", "refill_max": 4}}
    facts = {"format": 1, "name": "old", "seed": 0, "config_hash": "0", "config": config}
    (tmp_path / "run.json").write_text(json.dumps(facts))
    steps = [{"step": i, **dict.fromkeys(renamed.METRICS, i + 0.5)} for i in range(3)]
    (tmp_path / "steps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in steps))
    found = read_folder(tmp_path)
    assert found is not None
    (raw,) = found
    assert raw.config["algo.zero_variance_groups"] == "resample"
    assert raw.config["algo.resample_max"] == 4
    for new in renamed.METRICS.values():
        assert raw.table.column(new)[1].tolist() == [0.5, 1.5, 2.5]


def test_a_sample_of_an_older_version_names_the_stage_that_paid() -> None:
    score = {"status": "scored", "total": 1.0, "verdict": "pass", "branch": "pass"}
    row = {"step": 1, "problem_id": "p", "group": 0, "member": 0, "prompt": "a", "text": "b"}
    for name in ("paid_by", "reward_stage"):
        head, *_ = sample_lines([{**row, "score": {**score, name: "easy"}}], 0)
        assert "(pass, weights of stage easy)" in head

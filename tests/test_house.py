"""The laws that hold the house: floors, budgets, options, and names in one catalogue.

Every source file is read with `ast`, so lazy imports count too. Left out: style (ruff), types
(mypy) and whether documents tell the truth about files and links (test_docs.py).
"""

from __future__ import annotations

import ast
import functools
import re
import statistics
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from pawl import metrics, renamed
from pawl.config.options import RunConfig, SftConfig

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pawl"
FILES = sorted(PACKAGE.rglob("*.py"))
CODE = FILES + sorted(f for d in ("starter", "tests", "bench") for f in (ROOT / d).glob("*.py"))

# A part imports only parts on a lower floor, or itself. The parts of floor 0 stand in this order.
FLOORS = [
    ["types"], ["errors"], ["checks"], ["metrics"], ["renamed"],  # floor 0
    ["config"], ["sandbox"],  # 1
    ["store", "problems", "algo"],  # 2
    ["logs", "rewards", "models"],  # 3
    ["rules", "judge", "reward_model", "rollout"],  # 4
    ["doctor", "train"],  # 5
    ["preflight", "sft", "dash", "autopilot"],  # 6
    ["remote"],  # 7
    ["api"],  # what `import pawl` offers, and what the commands call
    ["cli"],  # 8
]  # fmt: skip
FLOOR = {part: level for level, parts in enumerate(FLOORS) for part in parts}
MAY_USE_TORCH = {"algo", "models", "rollout", "train", "preflight", "sft", "reward_model", "remote"}
TORCH_FAMILY = {"torch", "transformers", "peft", "safetensors", "accelerate"}
# Runs inside the sandbox, where a candidate may raise anything and all of it is a verdict.
CATCHES_ALL = {"pawl/sandbox/driver.py"}
FORBIDDEN_NAMES = {"utils", "util", "helpers", "common", "misc", "registry"}

MAX_FILE = 600
MAX_FUNCTION, P90_FUNCTION = 80, 40
MAX_PACKAGE, MAX_PART, MAX_SILENCED, MAX_LINE = 40_000, 5_000, 10, 100
MAX_OPTIONS, MAX_COMPANION = 150, 20  # of a run; of `pawl sft` beside what it shares with a run
MAX_SECTION = 40  # of a judge, counted apart


def part(path: Path) -> str:
    """The part that a file belongs to: `store` for pawl/store/run.py, `types` for pawl/types.py."""
    first = path.relative_to(PACKAGE).parts[0]
    return "cli" if first == "__main__.py" else first.removesuffix(".py")


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every imported module of a file with its line, wherever the import stands."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            module = node.module or ""
            if module == "pawl":
                yield from ((f"pawl.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield module, node.lineno


def own_imports(path: Path) -> Iterator[tuple[str, int]]:
    """The parts of Pawl that a file imports."""
    for name, line in imports(path):
        words = name.split(".")
        if words[0] == "pawl" and len(words) > 1 and words[1] in FLOOR:
            yield words[1], line


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and length in lines of every function, nested ones too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield f"{path.relative_to(ROOT)}:{node.name}", node.end_lineno - node.lineno + 1


def options(
    model: type[BaseModel], prefix: str = "", owner: str = ""
) -> Iterator[tuple[str, Any, str]]:
    """Every leaf option: dotted name, type, and `Class.field` (one entry of the list)."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        inner = [t for t in (kind, *get_args(kind)) if isinstance(t, type)]
        section = next((t for t in inner if issubclass(t, BaseModel)), None)
        if section:
            yield from options(section, f"{prefix}{name}.")
        else:
            yield f"{prefix}{field.alias or name}", kind, f"{model.__name__}.{name}"


def is_plain(kind: Any) -> bool:
    """Scalars, choices, tuples of these, and `or None`: nothing that swallows unknown names.

    A mapping of scalars takes the arguments of a chat template, which knows their names.
    """
    if kind in (str, int, float, bool, NoneType, Ellipsis) or get_origin(kind) is Literal:
        return True
    if get_origin(kind) in (tuple, Union, UnionType, dict):
        return all(is_plain(k) for k in get_args(kind))
    return False


def test_every_part_has_a_floor() -> None:
    unknown = {part(f) for f in FILES} - set(FLOOR) - {"__init__"}
    assert not unknown, f"parts without a floor: {sorted(unknown)}"


def test_imports_point_down() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {part(path)} imports {target}"
        for path in FILES
        for target, line in own_imports(path)
        if part(path) != "__init__" and part(path) != target and FLOOR[part(path)] <= FLOOR[target]
    ]
    assert not wrong, "\n".join(wrong)


def test_the_package_itself_imports_its_functions_only() -> None:
    """`pawl.api`, and the empty package `pawl.train`, which it makes callable."""
    assert {name for name, _ in own_imports(PACKAGE / "__init__.py")} <= {"api", "train"}
    assert not loaded_after("import pawl") & {*TORCH_FAMILY, "numpy", "pydantic", "click"}


def test_no_cycle_between_files() -> None:
    """Parts cannot form a cycle (floors); this holds the same for the files inside a part."""
    module = {".".join(f.relative_to(ROOT).with_suffix("").parts): f for f in FILES}
    graph = {}
    for name, path in module.items():
        targets = set()
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Import):
                targets |= {a.name for a in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                targets |= {node.module} | {f"{node.module}.{a.name}" for a in node.names}
        graph[name] = targets & set(module)
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for target in sorted(graph[name] - {name}):
                visit(target, (*trail, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_torch_stays_where_it_is_allowed() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in FILES
        if part(path) not in MAY_USE_TORCH
        for name, line in imports(path)
        if name.split(".")[0] in TORCH_FAMILY
    ]
    assert not wrong, "\n".join(wrong)


def loaded_after(code: str) -> set[str]:
    """Top-level modules in a fresh interpreter after running some code."""
    code += "\nimport sys; print('\\n' + ' '.join({m.split('.')[0] for m in sys.modules}))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(result.stdout.splitlines()[-1].split())


def test_importing_torch_free_parts_loads_no_torch() -> None:
    names = [
        ".".join(f.relative_to(ROOT).with_suffix("").parts)
        for f in FILES
        if part(f) not in MAY_USE_TORCH and f.name not in ("__init__.py", "__main__.py")
    ]
    assert not loaded_after("\n".join(f"import {name}" for name in names)) & TORCH_FAMILY


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys; sys.argv = ['pawl', '--help']\n"
        "from pawl.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as e: assert not e.code, e.code\n"
    )
    heavy = TORCH_FAMILY | {"numpy", "pydantic", "scipy", "pyarrow"}
    assert not loaded_after(code) & heavy


def test_a_scorer_process_loads_no_heavy_library() -> None:
    """It starts once for each core, and again when it is lost."""
    heavy = TORCH_FAMILY | {"numpy", "pydantic", "scipy", "rich"}
    assert not loaded_after("import pawl.rewards.worker") & heavy


def test_files_are_short() -> None:
    lines = {f.relative_to(ROOT): len(f.read_text("utf-8").splitlines()) for f in FILES}
    too_long = {str(f): n for f, n in lines.items() if n > MAX_FILE}
    assert not too_long, too_long


def test_package_is_small() -> None:
    """Lines of code: the docstrings, from which pages are made, and comments and blanks aside."""
    parts = dict.fromkeys(map(part, FILES), 0)
    for path in FILES:
        parts[part(path)] += len(code_lines(path))
    for path in [*PACKAGE.rglob("*.ml"), *PACKAGE.rglob("*.sh")]:
        parts[part(path)] += sum(bool(line.strip()) for line in path.read_text().splitlines())
    assert sum(parts.values()) < MAX_PACKAGE, parts
    assert max(parts.values()) < MAX_PART, parts


def code_lines(path: Path) -> set[int]:
    """Numbers of the lines that hold a token other than a comment or a docstring."""
    found: set[int] = set()
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    with tokenize.open(path) as stream:
        for token in tokenize.generate_tokens(stream.readline):
            if token.type not in silent:
                found |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            assert node.end_lineno is not None
            found -= set(range(node.lineno, node.end_lineno + 1))
    return found


def test_functions_are_short() -> None:
    lengths = dict(entry for path in FILES for entry in functions(path))
    too_long = {name: n for name, n in lengths.items() if n > MAX_FUNCTION}
    assert not too_long, too_long
    assert statistics.quantiles(lengths.values(), n=10)[-1] <= P90_FUNCTION


def test_two_levels_of_folders() -> None:
    deep = [str(f) for f in FILES if len(f.relative_to(PACKAGE).parts) > 2]
    assert not deep, deep


def test_every_folder_is_a_package() -> None:
    assert {f.parent for f in FILES} == {f.parent for f in FILES if f.name == "__init__.py"}


def test_no_grab_bag_names() -> None:
    bad = [str(f) for f in FILES if {f.stem, f.parent.name} & FORBIDDEN_NAMES]
    assert not bad, bad


@pytest.mark.parametrize("path", CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_file_manners(path: Path) -> None:
    """ASCII, short lines, and a module docstring that says what the file is."""
    text = path.read_text("utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        assert line.isascii(), f"{path}:{number}: not ASCII: {line!r}"
        assert len(line) <= MAX_LINE, f"{path}:{number}: {len(line)} characters"
    assert ast.get_docstring(tree(path)), f"{path}: no module docstring"


def test_no_blind_except() -> None:
    wrong = []
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "everything"
                reraises = any(isinstance(n, ast.Raise) for n in ast.walk(node))
                blind = caught in ("everything", "Exception", "BaseException") and not reraises
                if blind and str(path.relative_to(ROOT)) not in CATCHES_ALL:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: catches {caught}")
    assert not wrong, "\n".join(wrong)


def test_silenced_checks_are_few_and_have_reasons() -> None:
    silenced = []
    for path in FILES:
        with tokenize.open(path) as stream:
            for token in tokenize.generate_tokens(stream.readline):
                if token.type == tokenize.COMMENT and re.search(
                    r"\b(noqa|type: ignore|mypy:|ruff:)", token.string
                ):
                    where = f"{path.relative_to(ROOT)}:{token.start[0]}"
                    silenced.append(f"{where}: {token.string}")
    assert len(silenced) <= MAX_SILENCED, "\n".join(silenced)
    # Words must follow the code in brackets, or the code of the silenced rule.
    bare = [s for s in silenced if not re.search(r"(\]|[A-Z]+\d+)\W+\w+ \w+", s)]
    assert not bare, "no reason given: " + "\n".join(bare)


def test_options_are_few_flat_and_typed() -> None:
    # Fields of a row count as the list that holds it, and the target is such a row.
    rows = {
        "FieldsConfig",
        "RuleConfig",
        "ComponentConfig",
        "MixConfig",
        "StageConfig",
        "TargetConfig",
    }
    core = {owner for _, _, owner in options(RunConfig) if owner.split(".")[0] not in rows}
    judge = {o for o in core if o.startswith("JudgeConfig")}
    assert len(judge) <= MAX_SECTION, f"{len(judge)} options of a judge"
    core = (core - judge) | rows
    companion = {owner for _, _, owner in options(SftConfig)} - core
    companion = {o for o in companion if o.startswith("SftConfig")}
    assert len(core) <= MAX_OPTIONS, f"{len(core)} options"
    assert len(companion) <= MAX_COMPANION, f"{len(companion)} options"
    found = [*options(RunConfig), *options(SftConfig)]
    deep = [name for name, _, _ in found if name.count(".") > 2]
    assert not deep, f"more than two sections deep: {deep}"
    loose = [name for name, kind, _ in found if not is_plain(kind)]
    assert not loose, f"options that are not plain values: {loose}"


def test_every_option_is_explained() -> None:
    def sections(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
        yield model
        for field in model.model_fields.values():
            for kind in (field.annotation, *get_args(field.annotation)):
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    yield from sections(kind)

    for model in {*sections(RunConfig), *sections(SftConfig)}:
        assert model.model_config.get("extra") == "forbid", model
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name} has no description"


def test_metric_names_in_code_are_catalogued() -> None:
    """Whole names must be catalogued; the fixed start of an f-string must start some name."""
    groups = {name.split("/")[0] for name in metrics.CATALOGUE if "/" in name}
    shape = re.compile(rf"({'|'.join(sorted(groups))})/[a-z0-9_]+")
    unknown = []
    for path in FILES:
        nodes = list(ast.walk(tree(path)))
        parts = {id(v) for n in nodes if isinstance(n, ast.JoinedStr) for v in n.values}
        for node in nodes:
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
                continue
            known = node.value in metrics.CATALOGUE or node.value in renamed.METRICS
            if id(node) in parts:
                known = any(name.startswith(node.value) for name in metrics.CATALOGUE)
            if shape.fullmatch(node.value) and not known:
                unknown.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.value}")
    assert not unknown, "\n".join(unknown)


def test_every_metric_is_computed_somewhere() -> None:
    tables = list((PACKAGE / "logs").glob("names_*.toml"))  # what importers read is computed too
    sources = [f.read_text("utf-8") for f in [*FILES, *tables] if part(f) != "metrics"]
    text = "\n".join(sources)
    words = set(re.findall(r"\w+", text))
    # A record built from parts writes f"reward/{name}": then the bare name must stand in the code,
    # and the part before the star of a family.
    orphans = [
        name
        for name in metrics.CATALOGUE
        if (name[:-1] not in text if name.endswith("*") else name.split("/")[-1] not in words)
    ]
    assert not orphans, orphans

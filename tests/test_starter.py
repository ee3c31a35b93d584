"""The starter sets: counts, shares, splits, twins, references, and that regeneration is exact."""

from __future__ import annotations

import ast
import itertools
import json
import random
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import pawl.problems
from starter import generate, ocaml, python
from starter.cases import behaviour, choose, shared
from starter.families import FAMILIES, Task

SETS = Path(pawl.problems.__file__).parent / "sets"
LANGS = ("ocaml", "python")


def rows(lang: str) -> list[dict[str, Any]]:
    """The shipped set."""
    return [json.loads(line) for line in (SETS / f"{lang}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("lang", LANGS)
def test_counts_and_shares(lang: str) -> None:
    problems = rows(lang)
    assert len(problems) >= 300
    families, results = [r["family"] for r in problems], [r["tags"][1] for r in problems]
    for values, least in ((families, 12), (results, 8)):
        counts = Counter(values)
        assert len(counts) >= least
        assert max(counts.values()) <= 0.15 * len(problems), counts
    splits = Counter(r["split"] for r in problems)
    assert splits["held_out"] >= 200
    assert set(splits) == {"train", "held_out", "held_out_family"}
    assert {"easy", "medium", "hard"} == {r["difficulty"] for r in problems}
    assert len({r["id"] for r in problems}) == len(problems)


@pytest.mark.parametrize("lang", LANGS)
def test_two_whole_families_are_held_out(lang: str) -> None:
    by_split: dict[str, set[str]] = {}
    for row in rows(lang):
        by_split.setdefault(row["split"], set()).add(row["family"])
    assert len(by_split["held_out_family"]) == 2
    assert not by_split["held_out_family"] & (by_split["train"] | by_split["held_out"])


@pytest.mark.parametrize("lang", LANGS)
def test_split_by_specification(lang: str) -> None:
    problems = rows(lang)
    train = {r["spec"] for r in problems if r["split"] == "train"}
    other = {r["spec"] for r in problems if r["split"] != "train"}
    assert not train & other
    assert len(train | other) == len(problems)


def test_corpus_holds_no_held_out_specification_and_is_deterministic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(generate, "problems", rows)  # the same, see below, and there already
    banned = generate.held_out_behaviours()
    tasks = [task for task, _ in generate.corpus_tasks(300, 5)]
    assert not [t.spec for t in tasks if generate.reserved(t) or behaviour(t) in banned]
    held_out = {r["spec"] for lang in LANGS for r in rows(lang) if r["split"] != "train"}
    assert not held_out & {t.spec for t in tasks}
    first = list(generate.corpus(20, 5))
    assert first == list(generate.corpus(20, 5))
    assert first != list(generate.corpus(20, 6))


@pytest.mark.parametrize("lang", LANGS)
def test_no_behavioural_twins_on_50_shared_inputs(lang: str) -> None:
    tasks = [generate.by_spec(r["spec"]) for r in rows(lang)]
    assert all(len(shared(t)) == len({repr(a) for a in shared(t)}) == 50 for t in tasks[::50])
    counts = Counter(behaviour(t) for t in tasks)
    assert max(counts.values()) == 1


@pytest.mark.parametrize("lang", LANGS)
def test_examples_differ_from_hidden_tests(lang: str) -> None:
    for row in rows(lang):
        calls = [c["input"] for c in row["cases"]]
        assert len(calls) == len(set(calls)) >= 6
        assert not any(c["shown"] for c in row["cases"])
        lines = [line for line in row["prompt"].splitlines() if "solve" in line][:-1]
        shown = [line.strip(" #").split(" = ")[0].split(" == ")[0] for line in lines]
        assert len(shown) == 2
        hidden = set(calls) if lang == "ocaml" else {f"solve({c[1:-1]})" for c in calls}
        assert not hidden & set(shown), row["id"]


@pytest.mark.parametrize("lang", LANGS)
def test_no_constant_answer_passes_more_than_half(lang: str) -> None:
    for row in rows(lang):
        counts = Counter(c["expected"] for c in row["cases"])
        assert max(counts.values()) <= len(row["cases"]) // 2, row["id"]


@pytest.mark.parametrize("lang", LANGS)
def test_prompt_ends_with_head_and_solution_continues_it(lang: str) -> None:
    for row in rows(lang):
        assert row["prompt"].endswith(row["head"] + "\n")
        assert row["solution"].startswith(row["head"] + "\n")


def test_the_first_problems_of_every_family_are_generated_as_shipped() -> None:
    for lang, family in itertools.product(generate.LANGS, FAMILIES):
        split = "held_out_family" if family.held_out else "train"
        shipped = [r for r in rows(lang) if (r["family"], r["split"]) == (family.name, split)]
        made = generate._rows(lang, family, split, len(shipped), set())
        assert list(itertools.islice(made, 3)) == shipped[:3], f"run {generate.__name__} again"


@pytest.mark.slow
def test_regeneration_gives_the_shipped_files() -> None:
    for lang in generate.LANGS:
        assert generate.problems(lang) == rows(lang), f"run {generate.__name__} --out again"


def test_python_references_pass() -> None:
    for row in rows("python"):
        space: dict[str, Any] = {}
        exec(row["solution"], space)
        for case in row["cases"]:
            got = space["solve"](*ast.literal_eval(case["input"]))
            assert repr(got) == repr(ast.literal_eval(case["expected"])), row["id"]


def ocaml_failures(folder: Path, checks: list[tuple[str, str, str, list[tuple[str, str]]]]) -> str:
    """Names of the (name, signature, source, cases) that fail, from one program of all."""
    text = []
    for i, (name, signature, source, cases) in enumerate(checks):
        test = " && ".join(f"({call}) = ({expected})" for call, expected in cases)
        text.append(f"module P{i} : sig {signature} end = struct\n{source}\nend")
        text.append(f"let () = let open P{i} in if not ({test}) then print_endline {{|{name}|}}")
    (folder / "all.ml").write_text("\n".join(text) + "\n")
    subprocess.run(["ocamlc", "-w", "-a", "-o", "all", "all.ml"], check=True, cwd=folder)
    return subprocess.run([folder / "all"], check=True, capture_output=True, text=True).stdout


needs_ocaml = pytest.mark.skipif(not shutil.which("ocamlc"), reason="ocamlc is not installed")


@needs_ocaml
def test_ocaml_references_compile_and_pass(tmp_path: Path) -> None:
    checks = []
    for row in rows("ocaml"):
        cases = [(c["input"], c["expected"]) for c in row["cases"]]
        checks.append((row["id"], row["signature"], row["solution"], cases))
    assert ocaml_failures(tmp_path, checks) == ""
    wrong = (checks[0][0], checks[0][1], checks[0][2], [(checks[0][3][0][0], "min_int")])
    assert ocaml_failures(tmp_path, [wrong]).strip() == checks[0][0]


@needs_ocaml
def test_every_style_of_random_tasks_is_right(tmp_path: Path) -> None:
    rng, checks = random.Random(11), []
    for family in FAMILIES:
        for _ in range(6):
            task = generate.draw(family, rng)
            chosen = choose(task, "styles", near=3)
            if chosen is None:
                continue
            checks += [ocaml_check(task, rng, style, chosen[1]) for style in ocaml.BASIC]
            for style in python.STYLES:
                run_python(task, rng, style, chosen[1])
    assert len(checks) > 300
    assert ocaml_failures(tmp_path, checks) == ""


def ocaml_check(
    task: Task, rng: random.Random, style: str, hidden: list[tuple[Any, ...]]
) -> tuple[str, str, str, list[tuple[str, str]]]:
    """One style of a task, to be compiled with its hidden tests."""
    source = f"{ocaml.head(task)}\n{ocaml.body(task, rng, style)}"
    run, result = task.run(), task.family.result
    cases = [(ocaml.call(task, a), ocaml.literal(run(*a), result)) for a in hidden]
    return f"{task.spec} {style}", ocaml.signature(task), source, cases


def run_python(task: Task, rng: random.Random, style: str, hidden: list[tuple[Any, ...]]) -> None:
    """One style of a task passes its hidden tests."""
    space: dict[str, Any] = {}
    exec(f"{python.head(task)}\n{python.body(task, rng, style)}", space)
    for args in hidden:
        assert repr(space["solve"](*args)) == repr(task.run()(*args)), f"{task.spec} {style}"

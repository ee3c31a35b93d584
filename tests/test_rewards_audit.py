"""The executed audit names bad problems; `pawl score` answers line by line in input order."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest
from small_sets import SETS, problems_of, small

from pawl.config.options import RewardConfig, RunConfig, SandboxConfig
from pawl.config.sources import ProblemsConfig
from pawl.errors import Exit, PawlError
from pawl.problems.load import open_problems, prepare
from pawl.rewards import audit, kept_runs
from pawl.rewards.audit import AuditReport, audit_prepared, check_problems
from pawl.rewards.behaviour import more_inputs, shared_inputs
from pawl.rewards.pay import COMPONENTS
from pawl.rewards.score_file import score_file, score_lines

ONE = SandboxConfig(workers=1, cpu_s=1.0)
CFG = RunConfig(sandbox=ONE)

needs_ocaml = pytest.mark.skipif(shutil.which("ocamlc") is None, reason="needs ocamlc")
FIELDS = ["problem_id", "total", "status", "verdict", "branch", "components", "reason", "reading",
          "tier", "time_ms"]  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept audit results of this test alone; OCaml's helpers are built once for all."""
    base = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(base))
    for kept in base.glob("pawl/audit-*.sqlite*"):
        kept.unlink()


def ocaml(name: str, kind: str, cases: list[tuple[str, str]], body: str, head: str = "") -> dict:
    head = head or f"let {name} (x : int) : {kind} ="
    tests = "\n".join(f"let () = assert ({name} {a} = {b})" for a, b in cases)
    return {"id": name, "lang": "ocaml", "prompt": f"(* {name} *)\n{head}\n", "tests": tests,
            "solution": f"{head}\n  {body}"}  # fmt: skip


NEXT = [("1", "2"), ("5", "6"), ("10", "11")]
OCAML_SET = [
    ocaml("sound", "int", NEXT, "x + 1"),
    ocaml("wrong", "int", NEXT, "x + 2"),
    ocaml("uncompiled", "int", NEXT, 'x + "1"'),
    ocaml("raises", "int", NEXT, "raise Not_found"),
    ocaml("flat", "int", [("1", "7"), ("2", "7")], "7"),
    ocaml("misfit", "string", NEXT, "string_of_int x"),
    ocaml("twin", "int", [("3", "4"), ("7", "8"), ("20", "21")], "1 + x"),
    ocaml("other", "int", [("3", "5"), ("7", "9"), ("20", "22")], "2 + x"),
    ocaml("close", "int", [("3", "4"), ("9", "0")], "if x = 9 then 0 else x + 1"),
    ocaml("badtype", "int", NEXT, "1", head="let badtype (x : no_such_type) : int ="),
]


def python(name: str, cases: list[tuple[str, str]], solution: str) -> dict[str, object]:
    head = f"def {name}(x):"
    tests = [{"args": f"[{a}]", "expected": b} for a, b in cases]
    return {"id": name, "lang": "python", "prompt": f"# {name}\n{head}\n", "tests_io": tests,
            "solution": f"{head}\n    {solution}"}  # fmt: skip


PYTHON_SET = [
    python("sound", NEXT, "return x + 1"),
    python("wrong", NEXT, "return x + 2"),
    python("stuck", [("1", "None"), ("2", "None")], "return None"),
    python("twin", [("3", "4"), ("7", "8"), ("20", "21")], "return 1 + x"),
    python("loops", [("1", "0"), ("2", "1")], "while x > 10:\n        pass\n    return x - 1"),
]


def write(tmp_path: Path, rows: list[dict[str, object]]) -> str:
    path = tmp_path / "set.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


def found(report: AuditReport) -> dict[str, tuple[str, str]]:
    return {f.id: (f.check, f.reason) for f in report.bad}


@needs_ocaml
def test_bad_ocaml_problems_are_named_and_left_out(tmp_path: Path) -> None:
    name = write(tmp_path, OCAML_SET)
    report = check_problems(name, "", CFG)
    bad = found(report)
    assert {i: check for i, (check, _) in bad.items()} == {
        "wrong": "reference",
        "uncompiled": "reference",
        "raises": "reference",
        "flat": "constant",
        "misfit": "tests",
        "twin": "behaviour",
        "badtype": "tests",
    }
    assert "(test 1): wrong: returned" in bad["wrong"][1]
    assert "does not compile" in bad["uncompiled"][1] and "Not_found" in bad["raises"][1]
    assert "like sound" in bad["twin"][1]
    assert "does not fit string" in bad["misfit"][1]
    assert [p.id for p in report.kept] == ["sound", "other", "close"]
    assert report.bad[0].where == f"{name}:2"
    assert "10 problems, 7 left out, 3 kept" in report.text()
    assert json.loads(json.dumps(report.json()))["kept"] == 3


def test_bad_python_problems_are_named_and_left_out(tmp_path: Path) -> None:
    report = check_problems(write(tmp_path, PYTHON_SET), "", CFG)
    assert {i: check for i, (check, _) in found(report).items()} == {
        "wrong": "reference",
        "stuck": "constant",
        "twin": "behaviour",
    }
    assert [p.id for p in report.kept] == ["sound", "loops"]


def test_what_agrees_on_a_draw_is_compared_on_all_inputs(tmp_path: Path) -> None:
    many = [(str(i), str(i + 1)) for i in range(120)]
    rows = [python("a", many[:60], "return x + 1"), python("b", many[60:], "return x + 1")]
    problems = open_problems(write(tmp_path, rows))
    assert [len(p.task.cases) for p in shared_inputs(problems)] == [50, 50]
    asked = more_inputs(problems, {"a", "b"})
    assert [{c.input for c in p.task.cases} for p in asked] == [{f"[{i}]" for i in range(120)}] * 2
    assert more_inputs(problems, set()) == []


def test_a_second_audit_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write(tmp_path, PYTHON_SET[:2])
    told: list[str] = []
    monkeypatch.setattr(kept_runs, "CHUNK", 2)
    first = check_problems(name, "", CFG, told.append)
    assert told[0] == "audit: 2 of 6 programs run"

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("nothing is left to run")

    monkeypatch.setattr(kept_runs, "WorkerPool", refuse)
    assert check_problems(name, "", CFG).rows == first.rows


def test_kept_runs_that_cannot_be_read_are_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    name = write(tmp_path, PYTHON_SET[:1])
    first = check_problems(name, "", CFG)
    for path in (tmp_path / "pawl").iterdir():
        path.write_bytes(b"this is no database" * 1000)
    assert check_problems(name, "", CFG).rows == first.rows
    monkeypatch.setattr(kept_runs, "_verify_all", lambda jobs, sandbox: iter(list(jobs) and 1 / 0))
    assert check_problems(name, "", CFG).rows == first.rows


def test_runs_that_cannot_be_kept_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pawl").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    told: list[str] = []
    assert not check_problems(write(tmp_path, PYTHON_SET[:1]), "", CFG, told.append).bad
    assert told and all(line.startswith("the cache of measurements is off: ") for line in told)


def test_one_constant_for_all_hidden_tests_is_noted(tmp_path: Path) -> None:
    row = python("mostly", [("1", "0"), ("2", "0"), ("3", "1")], "return x // 3")
    row["prompt"] = "# mostly(3) is 1\ndef mostly(x):\n"
    report = check_problems(write(tmp_path, [row]), "", CFG)
    assert not report.bad
    assert ("constant", "one constant answers all hidden tests: pass or nothing") in [
        (f.check, f.reason) for f in report.rows
    ]


def test_problems_without_tests_are_noted_and_nothing_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("nothing can be run")

    texts = [{"id": f"t{i}", "question": f"What is {i} + 1?", "answer": i + 1} for i in range(3)]
    rust = {"id": "rust", "prompt": "Write inc.", "lang": "rust", "tests": "assert!(inc(1) == 2)"}
    monkeypatch.setattr(audit, "run_all", refuse)
    report = check_problems(write(tmp_path, [*texts, {**texts[0], "id": "copy"}, rust]), "", CFG)
    assert [(f.id, f.check) for f in report.bad] == [("copy", "duplicate")]
    assert [f.check for f in report.rows if f.severity == "note"] == ["untested"] * 5
    assert "5 problems, 1 left out, 4 kept" in report.text()
    cfg = ProblemsConfig(train=str(tmp_path / "set.jsonl"), held_out_frac=0.0)
    left, _ = audit_prepared(prepare(cfg, 0, tested=False), ONE)
    assert len(left.train) == 4


def test_where_some_problems_have_tests_the_others_are_bad(tmp_path: Path) -> None:
    text = {"id": "text", "question": "What is 1 + 1?", "answer": 2}
    name = write(tmp_path, [PYTHON_SET[0], text])
    report = check_problems(name, "", CFG)
    assert [(f.id, f.check, f.reason) for f in report.bad] == [("text", "reading", "no tests")]
    both = check_problems(name, "", CFG, tested=False)
    assert not both.bad and len(both.kept) == 2


def test_a_run_keeps_only_what_the_audit_leaves(tmp_path: Path) -> None:
    rows = [{**r, "split": "held_out" if r["id"] == "twin" else "train"} for r in PYTHON_SET]
    cfg = ProblemsConfig(train=write(tmp_path, rows))
    left, reports = audit_prepared(prepare(cfg, 0), ONE)
    assert [p.id for p in left.train] == ["sound", "loops"]
    assert [p.id for p in left.held_out] == ["twin"]
    assert [r.total for r in reports] == [4, 1]


def test_the_sets_of_a_mix_are_audited_as_one(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    copy = {**PYTHON_SET[0], "id": "copy"}
    names = [write(tmp_path, PYTHON_SET[:1]), write(tmp_path / "b", [copy, PYTHON_SET[4]])]
    mixed = {"mix": [{"set": n} for n in names], "held_out_frac": 0.0}
    left, reports = audit_prepared(prepare(ProblemsConfig.model_validate(mixed), 0), ONE)
    assert [p.id for p in left.train] == ["sound", "loops"]
    assert [left.train.origin_of(i) for i in range(2)] == [0, 1]
    assert [(f.id, f.check) for f in reports[0].bad] == [("copy", "duplicate")]
    (tmp_path / "c").mkdir()
    mixed["mix"] = [{"set": names[0]}, {"set": write(tmp_path / "c", [copy])}]
    with pytest.raises(PawlError, match="left no training problem") as caught:
        audit_prepared(prepare(ProblemsConfig.model_validate(mixed), 0), ONE)
    assert caught.value.where.startswith(str(tmp_path / "c"))


def test_an_audit_that_leaves_nothing_is_an_error(tmp_path: Path) -> None:
    cfg = ProblemsConfig(train=write(tmp_path, PYTHON_SET[1:2]), held_out_frac=0.0)
    with pytest.raises(PawlError, match="left no training problem"):
        audit_prepared(prepare(cfg, 0), ONE)


@pytest.mark.slow
@pytest.mark.parametrize("lang", ["ocaml", "python"])
def test_the_starter_sets_pass_the_whole_audit(lang: str, tmp_path: Path) -> None:
    """Every tenth problem; `pawl check starter-ocaml` takes minutes for all of them."""
    rows = (SETS / f"{lang}.jsonl").read_text().split("\n")[:-1][::10]
    path = tmp_path / "tenth.jsonl"
    path.write_text("".join(row + "\n" for row in rows))
    assert check_problems(str(path), lang, RunConfig()).bad == []


# ---- pawl score ----------------------------------------------------------------------------------


CODE, LIMITS = RewardConfig(), ONE


def scored(
    lines: list[str],
    tmp_path: Path,
    problems: str = small("python"),
    reward: RewardConfig = CODE,
) -> list[dict]:
    path = tmp_path / "completions.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    out: list[str] = []
    assert score_file(problems, path, out.append, reward, LIMITS) == Exit.OK
    return [json.loads(line) for line in out]


def test_scores_come_in_input_order_with_all_fields(tmp_path: Path) -> None:
    problems = problems_of("python")
    rng = random.Random(0)
    asked = [(problems[i % 5], rng.choice(["good", "bad", "slow"])) for i in range(20)]
    texts = {"bad": "    return object()", "slow": "    return sum(range(10**6)) and None"}
    lines = [
        json.dumps({"problem_id": p.id, "completion": texts.get(kind, p.reference)})
        for p, kind in asked
    ]
    rows = scored(lines, tmp_path)
    assert [r["problem_id"] for r in rows] == [p.id for p, _ in asked]
    assert [r["verdict"] == "pass" for r in rows] == [kind == "good" for _, kind in asked]
    for row in rows:
        assert list(row) == FIELDS
        assert list(row["components"]) == list(COMPONENTS)
        assert all(0 <= v <= 1 for v in row["components"].values())
        assert row["tier"] in ("bubblewrap", "landlock") and row["time_ms"] > 0


def test_a_body_a_definition_and_a_fenced_block_are_one(tmp_path: Path) -> None:
    p = problems_of("python")[0]
    body = p.reference.split(":", 1)[1].lstrip("\n")
    forms = [p.reference, body, f"```python\n{p.reference}\n```", f"Sure:\n```\n{body}\n```\nDone."]
    lines = [json.dumps({"problem_id": p.id, "completion": f}) for f in forms]
    assert [r["verdict"] for r in scored(lines, tmp_path)] == ["pass"] * 4


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "not JSON"),
        ("[]", "a JSON list"),
    ],
)
def test_a_bad_line_is_named_after_the_good_ones_are_answered(
    line: str, what: str, tmp_path: Path
) -> None:
    p = problems_of("python")[0]
    path = tmp_path / "completions.jsonl"
    path.write_text(json.dumps({"problem_id": p.id, "completion": p.reference}) + f"\n{line}\n")
    out: list[str] = []
    with pytest.raises(PawlError, match=what) as caught:
        score_file(small("python"), path, out.append, CODE, LIMITS)
    assert caught.value.where == f"{path}:2" and len(out) == 1


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"problem_id": "nobody", "completion": ""}', "no problem 'nobody'"),
        ('{"problem_id": "x"}', "problem_id and completion"),
        ('{"problem_id": "x", "completion": 3}', "problem_id and completion"),
        ('{"problem_id": "P", "completion": "", "finish": "no"}', "finish must be"),
    ],
)
def test_a_line_that_names_no_problem_does_not_end_the_file(
    line: str, what: str, tmp_path: Path
) -> None:
    p = problems_of("python")[0]
    good = json.dumps({"problem_id": p.id, "completion": p.reference})
    path = tmp_path / "completions.jsonl"
    path.write_text(f"{good}\n{line.replace('P', p.id)}\n{good}\n")
    out: list[str] = []
    with pytest.raises(PawlError, match="1 of 3 completions have no score") as caught:
        score_file(small("python"), path, out.append, CODE, LIMITS)
    assert caught.value.code == Exit.USER
    rows = [json.loads(line) for line in out]
    assert [r["verdict"] for r in rows] == ["pass", None, "pass"]
    assert (rows[1]["status"], rows[1]["total"]) == ("missing", None)
    assert what in rows[1]["reason"] and f"{path}:2" in rows[1]["reason"]


def test_no_compiler_is_trouble_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a missing score nor a bad problem."""
    names = [n for n in os.listdir("/usr/bin") if not n.startswith("ocaml")]
    for name in names:
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path))
    problem = problems_of("ocaml")[0]
    path = tmp_path / "completions.jsonl"
    path.write_text(json.dumps({"problem_id": problem.id, "completion": problem.reference}))
    for run in (
        lambda: score_file(small("ocaml"), path, print, CODE, LIMITS),
        lambda: check_problems(small("ocaml"), "", CFG),
    ):
        with pytest.raises(PawlError, match="no OCaml compiler") as caught:
            run()
        assert caught.value.code == Exit.STOPPED


def test_no_completions_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PawlError, match="no such file"):
        score_file(small("python"), tmp_path / "none.jsonl", print, CODE, LIMITS)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(PawlError, match="no completions"):
        score_file(small("python"), tmp_path / "empty.jsonl", print, CODE, LIMITS)


def a_line(problem_id: str, text: str) -> str:
    return json.dumps({"problem_id": problem_id, "completion": text})


def test_any_reward_of_a_config_scores_lines_of_problems_without_tests(tmp_path: Path) -> None:
    problems = write(tmp_path, [{"id": "a", "prompt": "Say hello."}, {"id": "b", "prompt": "Go."}])
    (tmp_path / "mine.py").write_text(
        "def grade(problem, cs):\n    return [{'size': len(c.text), 'total': -1} for c in cs]\n"
        "grade.scale = (-1, 1)\n"
    )
    use = RewardConfig(use=f"{tmp_path / 'mine.py'}:grade")
    rows = scored([a_line("b", "xx"), a_line("a", "x")], tmp_path, problems, use)
    assert [(r["problem_id"], r["components"]) for r in rows] == [("b", {"size": 2}),
                                                                  ("a", {"size": 1})]  # fmt: skip
    assert [(r["total"], r["verdict"], r["tier"]) for r in rows] == [(-1, None, "")] * 2
    with pytest.raises(PawlError, match="no row is a problem; the first"):
        scored([a_line("a", "x")], tmp_path, problems)


def test_neighbouring_lines_of_a_problem_are_a_group_for_a_reward_that_compares(
    tmp_path: Path,
) -> None:
    problems = write(tmp_path, [{"id": n, "prompt": f"Say {n}."} for n in "ab"])
    (tmp_path / "mine.py").write_text(
        "def grade(problem, cs):\n    return [len(cs) / 10 for c in cs]\ngrade.group = True\n"
    )
    use = RewardConfig(use=f"{tmp_path / 'mine.py'}:grade")
    lines = [a_line(name, str(i)) for i, name in enumerate("aaabbaa")]
    rows = scored(lines, tmp_path, problems, use)
    assert [r["total"] for r in rows] == [0.3, 0.3, 0.3, 0.2, 0.2, 0.2, 0.2]
    path = tmp_path / "completions.jsonl"
    path.write_text("\n".join([*lines, a_line("nobody", "x")]))
    got: list[str] = []
    for name, score in score_lines(problems, path, use, LIMITS):
        got.append(name if score.status == "scored" else score.reason.partition(": ")[2])
    assert got[:-1] == list("aaabbaa") and got[-1].startswith("no problem 'nobody'")


def trivial_of(report: AuditReport) -> list[tuple[str, str]]:
    return [(f.id, f.reason) for f in report.rows if f.check == "trivial"]


def test_problems_that_trivial_programs_answer_are_listed(tmp_path: Path) -> None:
    rows = [
        python("sort", [("[2, 1]", "[1, 2]"), ("[3]", "[3]"), ("[5, 4]", "[4, 5]")],
               "return sorted(x)"),
        python("count", [("'ab'", "2"), ("'c'", "1"), ("''", "0"), ("'xx'", "1")],
               "return len(set(x))"),
        python("sound", NEXT, "return x + 1"),
    ]  # fmt: skip
    told = trivial_of(check_problems(write(tmp_path, rows), "", CFG))
    assert ("sort", "the argument sorted passes 3 of 3 tests, a constant 1") in told
    assert ("count", "the length of the argument passes 3 of 4 tests, a constant 2") not in told
    assert not [reason for name, reason in told if name == "sound"]


@needs_ocaml
def test_trivial_programs_of_ocaml_follow_the_types(tmp_path: Path) -> None:
    rows = [
        {
            "id": "sort",
            "lang": "ocaml",
            "prompt": "let f (k : int) (xs : int list) : int list =\n",
            "tests": "assert (f 1 [2; 1] = [1; 2] && f 2 [3] = [3] && f 0 [5; 4] = [4; 5])",
        },
        {
            "id": "pairs",
            "lang": "ocaml",
            "prompt": "let f (xs : int * int list) : int =\n",
            "tests": "assert (f (1, [2; 1]) = 3)\nassert (f (2, []) = 2)",
        },
    ]
    report = check_problems(write(tmp_path, rows), "", CFG)
    assert not report.bad
    assert trivial_of(report) == [
        ("sort", "argument 2 sorted passes 3 of 3 tests, a constant 1"),
        ("sort", "argument 2 reversed passes 3 of 3 tests, a constant 1"),
    ]

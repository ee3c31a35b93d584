"""Opening, splitting, filtering and limiting problem sets; every bad file is a message."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pawl.config.sources import FilterConfig, ProblemsConfig
from pawl.errors import Exit, PawlError
from pawl.problems import problem_set
from pawl.problems.check import check_leakage, check_static
from pawl.problems.formats import Row, parse_row
from pawl.problems.load import labels, open_problems, prepare

ROWS = [
    {
        "id": f"p{i}",
        "lang": "python",
        "prompt": f"Add {i}.\ndef f(x):\n",
        "tests": f"assert f(1) == {i + 1}\nassert f(2) == {i + 2}",
        "solution": f"def f(x):\n    return x + {i}\n" + "\n" * (i % 3) + "# end\n" * (i % 4),
        "difficulty": ["easy", "hard"][i % 2],
        "tags": ["even"] if i % 2 == 0 else ["odd", "third"],
        "pass_rate": i / 40,
    }
    for i in range(40)
]


def write(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def jsonl(tmp_path: Path) -> str:
    return write(tmp_path / "set.jsonl", ROWS)


def test_a_set_is_a_sequence(jsonl: str) -> None:
    problems = open_problems(jsonl)
    assert len(problems) == 40
    assert problems[3].id == "p3" and problems[-1].id == "p39"
    assert problems[3].where == f"{jsonl}:4"
    assert [p.id for p in problems[10:13]] == ["p10", "p11", "p12"]
    assert [p.id for p in problems] == [f"p{i}" for i in range(40)]
    with pytest.raises(IndexError):
        problems[40]


def test_parquet_equals_jsonl(jsonl: str, tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=7)
    ours, theirs = open_problems(str(path)), open_problems(jsonl)
    assert [p.code for p in ours] == [p.code for p in theirs]
    assert [p.tags for p in ours] == [p.tags for p in theirs]
    assert ours[39].id == "p39" and ours[0].id == "p0" and ours[9].where.endswith(":row 10")


def test_a_folder_of_shards_is_one_set(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", ROWS[:3])
    pq.write_table(pa.Table.from_pylist(ROWS[3:5]), tmp_path / "b.parquet")
    assert [p.id for p in open_problems(str(tmp_path))] == ["p0", "p1", "p2", "p3", "p4"]


def test_a_set_takes_little_more_memory_than_its_file(tmp_path: Path) -> None:
    """Measured: 3.1 kB for a starter problem (1.1 kB in its file), 3.5 kB for one of MBPP's."""
    plain = [
        {**ROWS[i % 40], "id": f"b{i}", "prompt": f"{ROWS[0]['prompt']}# {i}"} for i in range(800)
    ]
    for more, per_problem in (({}, 3000), ({"note": "x" * 20_000}, 23_000)):
        name = write(tmp_path / "big.jsonl", [{**r, **more} for r in plain])
        tracemalloc.start()
        problems = open_problems(name)
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(problems) == 800 and held < 800 * per_problem


def test_every_row_is_parsed_once(jsonl: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening, splitting, filtering, drawing, both parts of the audit and all access share it."""
    parsed: Counter[str] = Counter()

    def counted(row: Mapping[str, object], where: str, *more: Any) -> Row:
        parsed[where] += 1
        return parse_row(row, where, *more)

    monkeypatch.setattr(problem_set, "parse_row", counted)
    cfg = ProblemsConfig(
        train=jsonl, held_out_frac=0.25, limit=20, filter=FilterConfig(max_prompt_chars=99)
    )
    made = prepare(cfg, 0)
    for part in (made.train, made.held_out):
        list(check_static(part.members))
    list(check_leakage(made.train, made.held_out))
    assert [p.id for p in made.train[:5]] == [made.train[i].id for i in range(5)]
    assert made.train.members[3].problem is made.train[3] is made.train.select([3])[0]
    assert parsed == {f"{jsonl}:{i + 1}": 1 for i in range(40)}


BAD_FILES = {
    "": ("the problem set is empty", ""),
    "\n  \n": ("the problem set is empty", ""),
    '{"id": "a"\n': ("not JSON", ":1"),
    json.dumps(ROWS[0]) + "\n[1]\n": ("a JSON list", ":2"),
    json.dumps(ROWS[0]) + "\n\n" + json.dumps(ROWS[0]) + "\n": ("duplicate id 'p0'", ":3"),
    '{"question": "What?"}\n': ("no row is a problem", ":1"),
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_bad_files_are_errors_with_their_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text, encoding="utf-8")
    what, line = BAD_FILES[text]
    with pytest.raises(PawlError) as caught:
        open_problems(str(path))
    assert what in caught.value.what and caught.value.where == f"{path}{line}"
    assert caught.value.code == Exit.USER


def test_not_utf8_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(json.dumps(ROWS[0]).encode() + b'\n{"id": "\xff"}\n')
    with pytest.raises(PawlError, match="not UTF-8") as caught:
        open_problems(str(path))
    assert caught.value.where == f"{path}:2"


@pytest.mark.parametrize("name", ["nowhere.jsonl", "./no/such", "plainword"])
def test_a_missing_file_is_an_error(name: str) -> None:
    with pytest.raises(PawlError, match="no such file"):
        open_problems(name)


def test_unknown_kinds_and_broken_parquet(tmp_path: Path) -> None:
    (tmp_path / "set.xyz").write_text("x")
    with pytest.raises(PawlError, match="unknown kind of file"):
        open_problems(str(tmp_path / "set.xyz"))
    (tmp_path / "set.parquet").write_text("x")
    with pytest.raises(PawlError, match="not a Parquet file"):
        open_problems(str(tmp_path / "set.parquet"))


def test_an_unreachable_hub_is_a_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(PawlError) as caught:
        open_problems("somebody/a-data-set-that-is-not-here")
    assert "data set" in caught.value.what and "JSONL" in caught.value.hint


def test_a_bad_row_is_left_out_and_named(tmp_path: Path) -> None:
    rows = [*ROWS[:2], {"id": "broken", "prompt": "def f(x):\n", "tests": "assert f(g) == 1"}]
    problems = open_problems(write(tmp_path / "set.jsonl", rows))
    assert len(problems) == 2
    assert [(b.id, b.where.rpartition(":")[2]) for b in problems.bad] == [("broken", "3")]
    assert "no test could be read" in problems.bad[0].reason


TEXTS = [
    {"id": "t0", "question": "What is 6 times 7?", "answer": 42, "level": "easy", "topic_id": 3},
    {"id": "t1", "question": "Name a colour.", "difficulty": "hard", "split": "test"},
    {
        "id": "r0",
        "prompt": "Write fn inc(x: i32).",
        "lang": "rust",
        "tests": "assert_eq!(inc(1), 2);",
    },
]


def test_rows_without_tests_are_members_where_none_are_asked_for(tmp_path: Path) -> None:
    name = write(tmp_path / "set.jsonl", [*ROWS[:1], *TEXTS])
    tested = open_problems(name)
    assert [p.id for p in tested] == ["p0"]
    assert [(b.id, b.reason) for b in tested.bad] == [
        ("t0", "no tests"),
        ("t1", "no tests"),
        ("r0", "language 'rust': Pawl verifies ocaml and python"),
    ]
    every = open_problems(name, tested=False)
    assert [p.id for p in every] == ["p0", "t0", "t1", "r0"] and not every.bad
    assert [bool(p.code) for p in every] == [True, False, False, False]
    assert [p.lang for p in every] == ["python", "", "", "rust"]
    assert [p.id for p in every.tested()] == ["p0"] and every.tested().bad == tested.bad
    texts = write(tmp_path / "texts.jsonl", TEXTS)
    with pytest.raises(PawlError, match="no row is a problem; the first: no tests") as caught:
        open_problems(texts)
    assert "reward of your own" in caught.value.hint
    with pytest.raises(PawlError, match="with tests; the first: no tests"):
        open_problems(texts, tested=False).tested()
    made = prepare(ProblemsConfig(train=texts), 0, tested=False)
    assert (ids(made.train), ids(made.held_out)) == ({"t0", "r0"}, {"t1"})
    notes = [(f.id, f.check, f.severity) for f in check_static(made.train.members)]
    assert notes == [("t0", "untested", "note"), ("r0", "untested", "note")]
    rust = prepare(ProblemsConfig(train=texts, filter=FilterConfig(lang="Rust")), 0, tested=False)
    assert ids(rust.train) == {"r0"}


# ---- prepare -------------------------------------------------------------------------------------


def ids(problems: object) -> set[str]:
    return {p.id for p in problems}  # type: ignore[attr-defined]


def test_a_set_without_a_split_is_split_off_once_and_for_all(jsonl: str, tmp_path: Path) -> None:
    first = prepare(ProblemsConfig(train=jsonl, held_out_frac=0.25), seed=0)
    other_order = write(tmp_path / "reversed.jsonl", ROWS[::-1])
    second = prepare(ProblemsConfig(train=other_order, held_out_frac=0.25), seed=7)
    assert len(first.held_out) == 10 and len(first.train) == 30
    assert ids(first.held_out) == ids(second.held_out)
    assert not ids(first.train) & ids(first.held_out)


def test_one_specification_stays_on_one_side(tmp_path: Path) -> None:
    rows = [{**r, "spec": f"s{i // 4}"} for i, r in enumerate(ROWS)]
    made = prepare(ProblemsConfig(train=write(tmp_path / "s.jsonl", rows), held_out_frac=0.3), 0)
    assert not {p.spec for p in made.train} & {p.spec for p in made.held_out}
    assert len({p.spec for p in made.held_out}) == 3


def test_the_sets_own_split_is_kept(tmp_path: Path) -> None:
    names = ["train", "test", "held_out_family", "validation"]
    rows = [{**r, "split": names[i % 4]} for i, r in enumerate(ROWS)]
    made = prepare(ProblemsConfig(train=write(tmp_path / "s.jsonl", rows)), 0)
    assert (len(made.train), len(made.held_out), len(made.held_out_families)) == (10, 20, 10)


def test_a_set_for_evaluation_of_its_own(jsonl: str, tmp_path: Path) -> None:
    rows = [{**r, "id": f"h{i}"} for i, r in enumerate(ROWS[:5])]
    held = write(tmp_path / "held.jsonl", rows)
    made = prepare(ProblemsConfig(train=jsonl, held_out=held), 0)
    assert len(made.train) == 40 and ids(made.held_out) == {f"h{i}" for i in range(5)}


def test_filters_count_what_each_removed(jsonl: str) -> None:
    cfg = ProblemsConfig(
        train=jsonl,
        held_out_frac=0.0,
        filter=FilterConfig(
            lang="python",
            difficulty=("hard",),
            tags=("odd",),
            max_solution_lines=4,
            min_pass_rate=0.1,
            max_pass_rate=0.9,
        ),
        limit=5,
    )
    made = prepare(cfg, seed=1)
    counts = [(r.condition.split()[0], r.removed) for r in made.report.removals]
    assert counts[:3] == [("lang", 0), ("difficulty", 20), ("tags", 0)]
    assert counts[-1][0] == "limit" and len(made.train) == 5
    left = 40
    for removal in made.report.removals:
        left -= removal.removed
        assert removal.left == left
    assert all(p.difficulty == "hard" and 0.1 <= (p.pass_rate or 0) <= 0.9 for p in made.train)
    assert any("difficulty in hard removed 20, 20 left" in line for line in made.report)


def test_the_limit_is_drawn_by_seed(jsonl: str) -> None:
    draws = [ids(prepare(ProblemsConfig(train=jsonl, limit=8), s).train) for s in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert len(draws[0]) == 8


def test_a_filter_that_leaves_nothing_is_an_error(jsonl: str) -> None:
    cfg = ProblemsConfig(train=jsonl, filter=FilterConfig(tags=("none",)))
    with pytest.raises(PawlError, match="no training problem is left.*tags in none removed"):
        prepare(cfg, 0)


@pytest.mark.parametrize("name", ["starter-ocaml", "starter-python"])
def test_starter_sets_open_by_name(name: str) -> None:
    made = prepare(ProblemsConfig(train=name), 0)
    assert len(made.train) + len(made.held_out) + len(made.held_out_families) >= 300
    assert made.held_out and made.held_out_families and not made.report.bad
    assert all(p.reference and p.task.cases for p in made.held_out)


# ---- mixes ---------------------------------------------------------------------------------------


def mix(*names: str, **more: object) -> ProblemsConfig:
    return ProblemsConfig.model_validate({"mix": [{"set": n} for n in names], **more})


def test_a_mix_is_one_set_that_remembers_its_parts(jsonl: str, tmp_path: Path) -> None:
    other = [{**r, "id": f"o{i}", "prompt": f"Less {r['prompt']}"} for i, r in enumerate(ROWS)]
    cfg = mix(jsonl, write(tmp_path / "other.jsonl", other), held_out_frac=0.25, limit=7)
    made = prepare(cfg, 0)
    assert list(made.train.origins) == [jsonl, str(tmp_path / "other.jsonl")]
    assert [made.train.origin_of(i) for i in range(14)] == [0] * 7 + [1] * 7
    assert [p.id[0] for p in made.train] == ["p"] * 7 + ["o"] * 7
    assert len(made.held_out) == 20 and len(ids(made.held_out)) == 20
    assert [r.condition for r in made.report.removals if r.removed] == ["limit = 7 (seed 0)"] * 2
    assert any(line.startswith("train of other: limit") for line in made.report)
    alone = prepare(ProblemsConfig(train=jsonl, held_out_frac=0.25, limit=7), 0)
    assert [p.id for p in alone.train] == [p.id for p in made.train][:7]


def test_ids_that_two_sets_share_get_the_name_of_their_set(jsonl: str, tmp_path: Path) -> None:
    other = [{**r, "prompt": f"Less {r['prompt']}"} for r in ROWS[:6]]
    third = [{**r, "id": f"t{i}", "prompt": f"No {r['prompt']}"} for i, r in enumerate(ROWS[:3])]
    names = [write(tmp_path / f"{n}.jsonl", r) for n, r in (("other", other), ("third", third))]
    made = prepare(mix(jsonl, *names, held_out_frac=0.0), 0)
    own = [p.id for p in made.train]
    assert own == [f"set::p{i}" for i in range(40)] + [f"other::p{i}" for i in range(6)] + [
        f"t{i}" for i in range(3)
    ]
    assert made.train[41].where == f"{tmp_path / 'other.jsonl'}:2"


def test_no_set_trains_on_what_another_holds_out(tmp_path: Path) -> None:
    a = [{**r, "spec": f"s{i}", "split": "test" if i < 10 else "train"} for i, r in enumerate(ROWS)]
    b = [{**r, "id": f"b{i}", "prompt": f"So: {r['prompt']}"} for i, r in enumerate(ROWS[:20])]
    b[3]["prompt"] = "Add  4.\ndef f( x ):"  # one of a's held-out prompts in another layout
    b[5]["spec"] = "s7"
    b[6]["spec"] = "s17"  # a trains on it too
    names = [write(tmp_path / f"{n}.jsonl", r) for n, r in (("a", a), ("b", b))]
    made = prepare(mix(*names, held_out_frac=0.0), 0)
    assert ids(made.train) == {f"p{i}" for i in range(10, 40)} | {
        f"b{i}" for i in range(20) if i not in (3, 5)
    }
    assert "train of b: also held out removed 2, 18 left" in list(made.report)
    apart = prepare(mix(*names, held_out=write(tmp_path / "h.jsonl", [ROWS[12]])), 0)
    assert "p12" not in ids(apart.train) and ids(apart.held_out) == {"p12"}


def test_a_set_of_a_mix_that_gives_nothing_is_named(jsonl: str, tmp_path: Path) -> None:
    easy = write(tmp_path / "easy.jsonl", [{**r, "difficulty": "easy"} for r in ROWS])
    with pytest.raises(PawlError, match="no training problem is left") as caught:
        prepare(mix(jsonl, easy, filter={"difficulty": ["hard"]}), 0)
    assert caught.value.where == easy


def test_labels_are_short_and_distinct() -> None:
    names = [
        "data/Rated-1.jsonl",
        "b/rated 1.parquet",
        "owner/name@v1.0:test",
        "starter-ocaml",
        "/",
    ]
    assert labels(names) == ["rated_1", "rated_1_2", "name_v1_0_test", "starter_ocaml", "set"]

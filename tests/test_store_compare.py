"""Comparing runs and grouping failures: intervals that cover, messages that normalise."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import pytest

from pawl.config.options import RunConfig
from pawl.store.compare import _metric, compare
from pawl.store.read import read_events
from pawl.store.run import RunFolder
from pawl.store.samples import failures, matching, normalised, stage, stage_of
from pawl.store.warned import library_warnings


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_interval_covers_a_difference_of_nothing(correlation: float) -> None:
    """95% intervals of equal runs hold 0 in about 95 of 100 trials, correlated steps included."""
    rng = np.random.default_rng(0)

    def steps() -> list[float]:
        x = [rng.normal()]
        for _ in range(79):
            x.append(correlation * x[-1] + rng.normal() * (1 - correlation**2) ** 0.5)
        return x

    trials = [_metric("reward/mean", steps(), steps()) for _ in range(400)]
    covered = sum(m.low is not None and m.high is not None and m.low <= 0 <= m.high for m in trials)
    assert 0.90 <= covered / 400 <= 0.99


def test_too_few_steps_have_no_interval() -> None:
    m = _metric("reward/mean", [0.1, 0.2], [0.3, 0.4])
    assert (m.low, m.high) == (None, None)
    assert m.difference == pytest.approx(0.2)
    constant = _metric("reward/mean", [0.5] * 5, [0.5] * 5)
    assert (constant.low, constant.high) == (0.0, 0.0)


def test_held_out_is_paired_by_problem(tmp_path: Path) -> None:
    """Problems differ much, each gains the same: the paired interval is narrow."""
    for name, gain in (("a", 0), ("b", 1)):
        cfg = RunConfig.model_validate({"name": name, "runs_dir": str(tmp_path)})
        with RunFolder.create(cfg) as run:
            rows = []
            for problem in range(8):
                for member in range(10):
                    verdict = "pass" if member < problem + gain else "wrong"
                    score = {"status": "scored", "verdict": verdict}
                    rows.append({"problem_id": str(problem), "set": "held_out", "score": score})
            lost = {"status": "missing", "verdict": "infra_error"}
            rows.append({"problem_id": "lost", "set": "held_out", "score": lost})
            run.append_samples(4, rows, kind="eval")
            run.append_step({"step": 4, "eval/pass_at_1": 0.5})
    result = compare(tmp_path / "a", tmp_path / "b").held_out
    assert result is not None
    assert result.n == 8
    assert result.difference == pytest.approx(0.1)
    assert result.low == pytest.approx(0.1)
    assert result.high == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            'File "a.ml", line 3, characters 4-6:\nError: Unbound value foo',
            'File "b.ml", line 9, characters 1-2:\nError: Unbound value bar_2',
        ),
        ("name 'x' is not defined", "name 'total' is not defined"),
        ("IndexError at line 3: 12 > 3", "IndexError at line 77: 4 > -1"),
        ("Error: Unbound module Strng", "Error: Unbound module Lst"),
        (
            "returned [1, 2], expected 'a', for `f(1)`",
            "returned ['x'], expected \"b, for `c`\", for `g([1], (2, 3))`",
        ),
    ],
)
def test_one_mistake_is_one_message(one: str, other: str) -> None:
    assert normalised(one) == normalised(other) != ""


def test_different_mistakes_stay_apart() -> None:
    messages = [
        "type: This expression has type int but an expression was expected of type string",
        "type: This expression has type string but an expression was expected of type int",
        "syntax: Syntax error",
        "Unbound value foo",
        "returned None, expected [1], for `f(1)`",
        "returned 3, expected [1], for `f(1)`",
        "returned True, expected False, for `f(1)`",
        "",
    ]
    assert len({normalised(m) for m in messages}) == len(messages)


def test_stages() -> None:
    assert stage_of("missing", "infra_error", "", "stop") == "missing"
    assert stage_of("scored", "pass", "", "length") == "pass"
    assert stage_of("scored", "compile", "syntax: x", "length") == "truncated"
    assert stage_of("scored", "compile", "syntax: x", "stop") == "syntax"
    assert stage_of("scored", "compile", "type: x", "stop") == "types"
    assert stage_of("scored", "compile", "rejected", "stop") == "compile"
    untested = {"status": "scored", "verdict": None, "reason": ""}
    assert stage({"score": untested, "finish": "length"}) == "truncated"
    assert stage({"score": untested, "finish": "stop"}) == "end"


def test_rows_match_by_problem_and_stage_where_asked() -> None:
    score = {"status": "scored", "verdict": "wrong", "branch": "tests"}
    named, other = {"problem_id": "p", "score": score}, {"score": score | {"verdict": "pass"}}
    rows = [named, other]
    assert matching(rows) == rows and matching(rows, "p") == [named]
    assert matching(rows, None, "pass") == [other] and matching(rows, None, "tests") == rows
    assert matching(rows, "p", "pass") == []


def test_failures_group_and_keep_the_shortest_example() -> None:
    def row(text: str, reason: str, verdict: str = "compile") -> dict[str, object]:
        score = {"status": "scored", "verdict": verdict, "reason": reason, "total": 0.0}
        return {"text": text, "finish": "stop", "score": score}

    rows = [row("long one", "type: x 1"), row("short", "type: x 2"), row("z", "", "pass")]
    rows.append(row("w", "expected 3", "wrong"))
    groups = failures(rows)
    assert [(g.stage, g.message, g.difficulty, g.count) for g in groups] == [
        ("types", "type: x N", "unknown", 2),
        ("wrong", "expected N", "unknown", 1),
    ]
    assert groups[0].example["text"] == "short"
    assert sum(g.share for g in groups) == pytest.approx(1)
    assert stage(rows[2]) == "pass"


def test_library_warnings_are_events_once_each_with_a_count(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cfg = RunConfig.model_validate({"name": "a", "runs_dir": str(tmp_path)})
    root, library = logging.getLogger(), logging.getLogger("transformers")
    before = (root.handlers, library.handlers, library.propagate)
    with RunFolder.create(cfg) as run:
        with pytest.raises(ZeroDivisionError), library_warnings(run):
            for _ in range(3):
                warnings.warn("old name", DeprecationWarning, stacklevel=1)
                library.warning("no pad token in %s", "x")
            logging.getLogger("some.other").error("late")
            logging.getLogger("some.other").info("chatter")
            raise ZeroDivisionError
        found = [e for e in read_events(run.path) if e["kind"] == "warning"]
    assert sorted((str(e["text"]), e["count"]) for e in found) == [
        ("late", 1),
        ("no pad token in x", 3),
        ("old name", 3),
    ]
    assert (root.handlers, library.handlers, library.propagate) == before
    assert capfd.readouterr().err == ""

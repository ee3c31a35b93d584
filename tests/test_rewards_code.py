"""The staged reward as arithmetic: what pays, what is capped, what penalties may do."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from attack_runner import OCAML, PYTHON, weights
from hypothesis import given
from hypothesis import strategies as st

from pawl.errors import PawlError
from pawl.rewards.code import best_constant, staged, stub_cap, verify
from pawl.sandbox.verdict import Verification
from pawl.types import Case, Completion, Problem

MARK = "(* END *)"
CFG = weights(end_marker=MARK)
DONE = Completion("p", f"let solve xs = 0\n{MARK}\n")


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    cases = draw(
        st.lists(
            st.builds(
                Case,
                st.just("f 1"),
                st.sampled_from(["0", "1", "2", "true"]),
                st.booleans(),
            ),
            min_size=1,
            max_size=12,
        )
    )
    return replace(OCAML, cases=tuple(cases))


@st.composite
def judged(draw: st.DrawFn) -> tuple[Problem, Verification]:
    """A problem and any verification that a verifier could give for it."""
    problem = draw(problems())
    n = len(problem.cases)
    if draw(st.booleans()):
        flags = tuple(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
        verdict = "pass" if all(flags) else "wrong"
        return problem, Verification(verdict, flags, types=1.0, compiled=True)
    errors = draw(st.integers(0, 12))
    syntax = draw(st.booleans())
    types = 0.0 if syntax else 1 / (1 + errors)
    return problem, Verification("compile", (False,) * n, types=types, syntax_error=syntax)


completions = st.builds(
    Completion,
    st.just("p"),
    st.text("ab \n", max_size=30).map(lambda t: t) | st.just(DONE.text),
    st.integers(0, 600),
    st.sampled_from(["stop", "length"]),
)


@given(judged(), completions)
def test_totals_stay_in_range_and_components_too(
    found: tuple[Problem, Verification], completion: Completion
) -> None:
    problem, verification = found
    score = staged(verification, problem, completion, CFG)
    assert score.total is not None
    assert 0.0 <= score.total <= 1.0
    assert set(score.components) == {"end_marker", "types", "compile", "tests", "penalty"}
    assert all(0.0 <= value <= 1.0 for value in score.components.values())
    assert score.branch


@given(judged(), completions, st.floats(0, 1), st.floats(0, 1), st.integers(0, 20))
def test_penalties_only_lower(
    found: tuple[Problem, Verification],
    completion: Completion,
    runaway: float,
    short: float,
    lines: int,
) -> None:
    problem, verification = found
    free = weights(end_marker=MARK, runaway_multiplier=1.0, short_multiplier=1.0)
    strict = weights(
        end_marker=MARK, runaway_multiplier=runaway, short_multiplier=short, min_lines=lines
    )
    before = staged(verification, problem, completion, free)
    after = staged(verification, problem, completion, strict)
    assert before.total is not None and after.total is not None
    assert after.total <= before.total
    assert (after.total > 0) <= (before.total > 0)
    assert after.verdict == before.verdict


@given(judged(), completions)
def test_without_behaviour_nothing_reaches_one_tests_worth(
    found: tuple[Problem, Verification], completion: Completion
) -> None:
    problem, verification = found
    score = staged(verification, problem, completion, CFG)
    hidden = sum(not case.shown for case in problem.cases)
    worth = 0.65 / max(1, hidden - best_constant(problem))
    assert stub_cap(problem, CFG) < worth
    if score.components["tests"] == 0:
        assert score.total is not None
        assert score.total <= stub_cap(problem, CFG) + 1e-12


@given(problems())
def test_the_best_constant_earns_no_tests_and_a_pass_earns_all(problem: Problem) -> None:
    answers = {case.expected for case in problem.cases}
    for answer in answers:
        flags = tuple(case.expected == answer for case in problem.cases)
        verdict = "pass" if all(flags) else "wrong"
        score = staged(Verification(verdict, flags, types=1.0, compiled=True), problem, DONE, CFG)
        assert score.components["tests"] == (1.0 if all(flags) else 0.0)
    flags = (True,) * len(problem.cases)
    assert staged(Verification("pass", flags, (), 1.0, True), problem, DONE, CFG).total == 1.0


@given(problems(), st.data())
def test_one_more_hidden_test_never_pays_less(problem: Problem, data: st.DataObject) -> None:
    n = len(problem.cases)
    flags = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    at = data.draw(st.integers(0, n - 1))
    low = [*flags[:at], False, *flags[at + 1 :]]
    high = [*flags[:at], True, *flags[at + 1 :]]

    def total(passed: list[bool]) -> float:
        verdict = "pass" if all(passed) else "wrong"
        found = Verification(verdict, tuple(passed), types=1.0, compiled=True)
        paid = staged(found, problem, DONE, CFG).total
        assert paid is not None
        return paid

    assert total(low) <= total(high)


def squares(passed: int) -> Verification:
    verdict = "pass" if passed == 8 else "wrong"
    flags = (True,) * passed + (False,) * (8 - passed)
    return Verification(verdict, flags, types=1.0, compiled=True)


def test_the_numbers_of_the_scheme() -> None:
    """8 tests, one answer twice: b = 2, a test is worth .65 / 6."""
    assert best_constant(OCAML) == best_constant(PYTHON) == 2
    assert staged(squares(8), OCAML, DONE, CFG).total == 1.0
    assert staged(squares(8), OCAML, DONE, CFG).branch == "pass"
    bare = Completion("p", "let solve xs = 0")
    assert staged(squares(8), OCAML, bare, CFG).total == pytest.approx(0.95)
    assert staged(squares(5), OCAML, DONE, CFG).total == pytest.approx(0.35 + 0.65 * 3 / 6)
    assert staged(squares(5), OCAML, DONE, CFG).branch == "tests"
    stub = staged(squares(1), OCAML, DONE, CFG)
    assert (stub.total, stub.branch) == (pytest.approx(0.5 * 0.65 / 6), "capped")
    runaway = staged(squares(8), OCAML, replace(bare, finish="length"), CFG)
    assert (runaway.total, runaway.branch) == (pytest.approx(0.95 * 0.3), "penalty:runaway")
    syntax = Verification("compile", (False,) * 8, syntax_error=True)
    assert staged(syntax, OCAML, bare, CFG).total == 0.0


def test_type_errors_are_graded_and_syntax_errors_are_not() -> None:
    totals = [
        staged(
            Verification("compile", (False,) * 8, types=1 / (1 + n), type_errors=n),
            OCAML,
            DONE,
            CFG,
        ).total
        for n in range(1, 6)
    ]
    assert totals == sorted(totals, reverse=True) and len(set(totals)) == 5


def test_without_an_end_marker_the_other_weights_share_its_part() -> None:
    assert staged(squares(8), OCAML, Completion("p", "x"), weights()).total == 1.0


def test_shown_tests_count_for_the_verdict_only() -> None:
    cases = tuple(replace(case, shown=i < 2) for i, case in enumerate(OCAML.cases))
    problem = replace(OCAML, cases=cases)
    only_shown = Verification("wrong", (True, True) + (False,) * 6, types=1.0, compiled=True)
    assert staged(only_shown, problem, DONE, CFG).components["tests"] == 0.0
    all_hidden = Verification("wrong", (False, True) + (True,) * 6, types=1.0, compiled=True)
    assert 0 < staged(all_hidden, problem, DONE, CFG).components["tests"] < 1.0


def test_a_fault_of_the_machine_is_missing() -> None:
    score = staged(Verification("infra_error", message="no bwrap"), OCAML, DONE, CFG)
    assert (score.status, score.total, score.reason) == ("missing", None, "no bwrap")


def test_a_problem_without_tests_is_an_error() -> None:
    with pytest.raises(PawlError, match="no tests"):
        verify(SimpleNamespace(), replace(OCAML, cases=()), "x")  # type: ignore[arg-type] # unused

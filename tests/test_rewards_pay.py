"""`pay`: the staged code reward, mixes, gates, caps, relative components, what is missing.

All of it is arithmetic on measurements: nothing runs here. Left out: measuring (test_sandbox_*,
test_rewards_pool.py) and users' functions (test_rewards_functions.py).
"""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
from attack_runner import OCAML, OCAML_TASK, PYTHON_TASK, weights
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.config.options import ComponentConfig, RewardConfig
from pawl.errors import PawlErrors
from pawl.rewards.grader import check_mix
from pawl.rewards.pay import TOTAL, Row, full_marks, pay, stub_cap, worth_of_a_test
from pawl.sandbox.verdict import Verification
from pawl.sandbox.verify import best_constant, measured
from pawl.types import Case, CodeTask, Completion, Measurement, Problem, Score, missing

MARK = "(* END *)"
CFG = weights(end_marker=MARK)
DONE = Completion("p", f"let solve xs = 0\n{MARK}\n")


def paid(
    problem: Problem, completion: Completion, found: Verification, cfg: SimpleNamespace = CFG
) -> Score:
    """What one verification is paid."""
    return pay(problem, [completion], [{TOTAL: measured(found, problem.task)}], cfg)[0]


def with_cases(*cases: Case) -> Problem:
    return replace(OCAML, code=replace(OCAML_TASK, cases=cases))


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    one = st.builds(Case, st.just("f 1"), st.sampled_from(["0", "1", "2", "true"]), st.booleans())
    return with_cases(*draw(st.lists(one, min_size=1, max_size=12)))


@st.composite
def judged(draw: st.DrawFn) -> tuple[Problem, Verification]:
    """A problem and any verification that a verifier could give for it."""
    problem = draw(problems())
    n = len(problem.task.cases)
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
    st.text("ab \n", max_size=30) | st.just(DONE.text),
    st.integers(0, 600),
    st.sampled_from(["stop", "length"]),
)


# ---- the code reward -----------------------------------------------------------------------------


@settings(deadline=None)
@given(judged(), completions)
def test_totals_stay_in_range_and_components_too(
    found: tuple[Problem, Verification], completion: Completion
) -> None:
    problem, verification = found
    score = paid(problem, completion, verification)
    assert score.total is not None
    assert 0.0 <= score.total <= 1.0
    assert set(score.components) == {"end_marker", "types", "compile", "tests", "penalty"}
    assert all(0.0 <= value <= 1.0 for value in score.components.values())
    assert score.branch


@settings(deadline=None)
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
    before = paid(problem, completion, verification, free)
    after = paid(problem, completion, verification, strict)
    assert before.total is not None and after.total is not None
    assert after.total <= before.total
    assert (after.total > 0) <= (before.total > 0)
    assert after.verdict == before.verdict


@settings(deadline=None)
@given(judged(), completions)
def test_without_behaviour_nothing_reaches_one_tests_worth(
    found: tuple[Problem, Verification], completion: Completion
) -> None:
    problem, verification = found
    score = paid(problem, completion, verification)
    hidden = sum(not case.shown for case in problem.task.cases)
    worth = 0.65 / max(1, hidden - best_constant(problem.task))
    assert stub_cap(problem, CFG) < worth
    assert stub_cap(problem, CFG) <= 0.1
    if score.components["tests"] == 0:
        assert score.total is not None
        assert score.total <= stub_cap(problem, CFG) + 1e-12


@settings(deadline=None)
@given(problems())
def test_the_best_constant_earns_no_tests_and_a_pass_earns_all(problem: Problem) -> None:
    cases = problem.task.cases
    for answer in {case.expected for case in cases}:
        flags = tuple(case.expected == answer for case in cases)
        verdict = "pass" if all(flags) else "wrong"
        score = paid(problem, DONE, Verification(verdict, flags, types=1.0, compiled=True))
        assert score.components["tests"] == (1.0 if all(flags) else 0.0)
    flags = (True,) * len(cases)
    assert paid(problem, DONE, Verification("pass", flags, (), 1.0, True)).total == 1.0


@settings(deadline=None)
@given(problems(), st.data())
def test_one_more_hidden_test_never_pays_less(problem: Problem, data: st.DataObject) -> None:
    n = len(problem.task.cases)
    flags = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    at = data.draw(st.integers(0, n - 1))
    low = [*flags[:at], False, *flags[at + 1 :]]
    high = [*flags[:at], True, *flags[at + 1 :]]

    def total(passed: list[bool]) -> float:
        verdict = "pass" if all(passed) else "wrong"
        found = Verification(verdict, tuple(passed), types=1.0, compiled=True)
        earned = paid(problem, DONE, found).total
        assert earned is not None
        return earned

    assert total(low) <= total(high)


def squares(passed: int) -> Verification:
    verdict = "pass" if passed == 8 else "wrong"
    flags = (True,) * passed + (False,) * (8 - passed)
    return Verification(verdict, flags, types=1.0, compiled=True)


def test_the_numbers_of_the_scheme() -> None:
    """8 tests, one answer twice: b = 2, a test is worth .65 / 6."""
    assert best_constant(OCAML_TASK) == best_constant(PYTHON_TASK) == 2
    assert paid(OCAML, DONE, squares(8)).total == 1.0
    assert paid(OCAML, DONE, squares(8)).branch == "pass"
    bare = Completion("p", "let solve xs = 0")
    assert paid(OCAML, bare, squares(8)).total == pytest.approx(0.95)
    cap = 0.5 * 0.65 / 6
    half = cap + (0.35 - cap) / 2  # 3 of the 6 tests that count
    assert paid(OCAML, DONE, squares(5)).total == pytest.approx(half + 0.65 / 2)
    assert paid(OCAML, DONE, squares(5)).branch == "tests"
    stub = paid(OCAML, DONE, squares(1))
    assert (stub.total, stub.branch) == (pytest.approx(cap), "capped")
    runaway = paid(OCAML, replace(bare, finish="length"), squares(8))
    assert (runaway.total, runaway.branch) == (pytest.approx(0.95 * 0.3), "penalty:runaway")
    syntax = Verification("compile", (False,) * 8, syntax_error=True)
    assert (paid(OCAML, bare, syntax).total, paid(OCAML, bare, syntax).branch) == (0.0, "none")


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_form_is_paid_by_the_share_of_tests(n: int) -> None:
    """Not at once with the first test that happens to pass; where tests are few it stays small."""
    problem = with_cases(*(Case(f"solve [{i}]", str(i)) for i in range(n)))
    totals = []
    for passed in range(n + 1):
        flags = (True,) * passed + (False,) * (n - passed)
        verdict = "pass" if passed == n else "wrong"
        totals.append(paid(problem, DONE, Verification(verdict, flags, (), 1.0, True)).total)
    assert totals[0] <= 0.1
    assert totals[-1] == 1.0
    steps = [b - a for a, b in zip(totals[min(1, n - 1) :], totals[min(2, n) :], strict=False)]
    assert all(step == pytest.approx(steps[0]) for step in steps)  # each test is worth as much


def test_without_an_entry_point_nothing_is_paid_for_form() -> None:
    """Also not for the end marker: there is nothing that it could be the end of."""
    for found in (
        Verification("exception", (False,) * 8, message="no solve after loading"),
        Verification("compile", (False,) * 8, syntax_error=True),
    ):
        assert paid(OCAML, DONE, found).total == 0.0


def test_an_end_marker_before_the_end_does_not_end_a_runaway_text() -> None:
    rambling = Completion("p", f"let solve xs = 0\n{MARK}\nand then and then", 600, "length")
    score = paid(OCAML, rambling, squares(8))
    assert (score.branch, score.total) == ("penalty:runaway", pytest.approx(0.95 * 0.3))
    ended = replace(rambling, text=f"let solve xs = 0\n{MARK}")
    assert paid(OCAML, ended, squares(8)).total == 1.0


def test_what_is_rejected_earns_nothing_for_its_form() -> None:
    score = paid(OCAML, DONE, Verification("rejected", (False,) * 8, message="too long"))
    assert (score.total, score.branch, score.reason) == (0.0, "none", "too long")
    assert not any(score.components.values())


def test_type_errors_are_graded_and_syntax_errors_are_not() -> None:
    totals = [
        paid(
            OCAML, DONE, Verification("compile", (False,) * 8, types=1 / (1 + n), type_errors=n)
        ).total
        for n in range(1, 6)
    ]
    assert totals == sorted(totals, reverse=True) and len(set(totals)) == 5


def test_a_compilers_message_names_its_stage() -> None:
    kinds = {"syntax_error": "syntax", "type_errors": "type", "": "compile"}
    for field, word in kinds.items():
        flags = {field: True} if field else {}
        found = Verification("compile", (False,) * 8, message="no", **flags)
        assert paid(OCAML, DONE, found).reason == f"{word}: no"


def test_without_an_end_marker_the_other_weights_share_its_part() -> None:
    assert paid(OCAML, Completion("p", "x"), squares(8), weights()).total == 1.0


def test_shown_tests_count_for_the_verdict_only() -> None:
    cases = tuple(replace(case, shown=i < 2) for i, case in enumerate(OCAML_TASK.cases))
    problem = with_cases(*cases)
    only_shown = Verification("wrong", (True, True) + (False,) * 6, types=1.0, compiled=True)
    assert paid(problem, DONE, only_shown).components["tests"] == 0.0
    all_hidden = Verification("wrong", (False, True) + (True,) * 6, types=1.0, compiled=True)
    assert 0 < paid(problem, DONE, all_hidden).components["tests"] < 1.0


def test_a_fault_of_the_machine_is_missing() -> None:
    score = paid(OCAML, DONE, Verification("infra_error", message="no bwrap", tier="landlock"))
    assert (score.status, score.total, score.reason) == ("missing", None, "no bwrap")
    assert (score.verdict, score.branch, score.tier) == ("infra_error", "missing", "landlock")
    assert score.components == {}


def test_other_weights_pay_the_same_measurement_and_are_named() -> None:
    """A stage of a curriculum: the measurement stays, what it earns does not."""
    row = {TOTAL: measured(squares(5), OCAML_TASK)}
    plain = pay(OCAML, [DONE], [row], CFG)[0]
    other = weights(end_marker=MARK)
    other.stages = SimpleNamespace(end_marker=0.5, types=0.3, compile=0.1, tests=0.1)
    first = pay(OCAML, [DONE], [row], other, "form first")[0]
    assert (plain.reward_stage, first.reward_stage) == ("", "form first")
    cap = 0.5 * 0.1 / 6
    assert first.total == pytest.approx(cap + (0.9 - cap) / 2 + 0.1 / 2) != plain.total
    assert (first.verdict, first.components) == (plain.verdict, plain.components)
    lost = pay(OCAML, [DONE], [{TOTAL: missing("away")}], other, "form first")[0]
    assert (lost.status, lost.reward_stage) == ("missing", "")


# ---- mixes ---------------------------------------------------------------------------------------

PROBLEM = Problem(
    "p", "Add.", CodeTask("python", "f", tuple(Case(f"[{i}]", str(i)) for i in range(5)))
)
ONE = Completion("p", "text")
PASS = Measurement(
    "measured", {"types": 1, "compile": 1, "tests": 1}, "pass", passed_cases=5, n_cases=5
)
WRONG = Measurement(
    "measured", {"types": 1, "compile": 1, "tests": 0.25}, "wrong", passed_cases=2, n_cases=5
)
CAP = 0.5 * 0.65 / 4
FORM = 0.3 * (CAP / 0.35 + (1 - CAP / 0.35) * 0.25)  # one of the 4 tests that count, no end marker
EARNED = {"pass": 0.95, "wrong": round(FORM + 0.65 * 0.25, 12)}


def number(value: float, **named: float) -> Measurement:
    """What a user's function found."""
    return Measurement("measured", {**named, TOTAL: value})


def part(name: str, use: str, **fields: object) -> ComponentConfig:
    return ComponentConfig.model_validate({"name": name, "use": use, **fields})


def mixed(parts: list[ComponentConfig], *found: Measurement) -> Score:
    row = {c.name: m for c, m in zip(parts, found, strict=True)}
    return pay(PROBLEM, [ONE], [row], RewardConfig(components=tuple(parts)))[0]


def test_a_mix_is_the_weighted_sum() -> None:
    parts = [part("code", "code", weight=0.5), part("style", "a.py:f", weight=0.4)]
    score = mixed(parts, WRONG, number(0.5))
    assert score.total == pytest.approx(0.5 * EARNED["wrong"] + 0.4 * 0.5)
    assert (score.verdict, score.passed_cases, score.n_cases) == ("wrong", 2, 5)
    stages = {"end_marker": 0, "types": 1, "compile": 1, "tests": 0.25, "penalty": 0}
    assert score.components == {**stages, "code": EARNED["wrong"], "style": 0.5}
    assert score.branch == "tests+style"


def test_a_cap_holds() -> None:
    parts = [part("code", "code"), part("style", "a.py:f", weight=2, cap=0.25)]
    assert mixed(parts, WRONG, number(0.5)).total == pytest.approx(EARNED["wrong"] + 0.25)


def test_a_gated_bonus_pays_only_a_pass_and_less_than_one_test() -> None:
    parts = [part("code", "code"), part("style", "a.py:f", weight=1, gate="pass")]
    wrong = mixed(parts, WRONG, number(0.5))
    assert (wrong.total, wrong.branch) == (pytest.approx(EARNED["wrong"]), "tests")
    total = mixed(parts, PASS, number(0.5)).total
    one_test = 0.65 / (5 - 1)
    assert total is not None and EARNED["pass"] < total < EARNED["pass"] + one_test


def test_code_with_weight_0_gates_and_bounds_a_bonus() -> None:
    """It pays nothing itself; what it gates is cut below one test's worth all the same."""
    parts = [part("code", "code", weight=0), part("style", "a.py:f", gate="pass")]
    assert mixed(parts, WRONG, number(0.9)).total == 0.0
    score = mixed(parts, PASS, number(0.9))
    assert score.branch == "pass+style"
    assert score.total == pytest.approx(0.99 * 0.65 / (5 - 1))
    assert mixed(parts, PASS, number(0.1)).total == pytest.approx(0.1)


def test_missing_in_one_component_is_missing_in_the_total() -> None:
    parts = [part("code", "code"), part("style", "a.py:f")]
    found = replace(PASS, tier="landlock")
    score = mixed(parts, found, missing("judge is away"))
    assert (score.status, score.total, score.reason) == ("missing", None, "judge is away")
    assert score.tier == "landlock"


@st.composite
def gaps(draw: st.DrawFn) -> tuple[list[Completion], list[dict[str, Measurement]], RewardConfig]:
    """A group under a mix of tests and three others, with anything missing anywhere."""
    names = draw(st.sampled_from(["abc", "ab", "a"]))
    kinds = st.sampled_from(["none", "mean", "rank"])
    parts = [part(n, "judge", relative=draw(kinds), cap=9.0) for n in names]
    if tests := draw(st.booleans()):
        parts.append(part("tests", "code", weight=draw(st.sampled_from([0.0, 1.0]))))
        parts[0] = parts[0].model_copy(update={"gate": draw(st.sampled_from(["none", "pass"]))})
    some = st.floats(0, 1).map(number)
    rows: list[dict[str, Measurement]] = []
    for _ in range(draw(st.integers(1, 5))):
        row = {n: draw(some) if draw(st.integers(0, 3)) else missing(f"no {n}") for n in names}
        passed = draw(st.sampled_from([PASS, WRONG]))
        row |= {"tests": passed if draw(st.integers(0, 5)) else missing("killed")} if tests else {}
        rows.append(row)
    completions = [Completion("p", f"let f x = {i}") for i in range(len(rows))]
    return completions, rows, RewardConfig(components=tuple(parts), missing="common")


@given(gaps())
def test_what_is_missing_for_one_leaves_the_sum_of_its_group(
    group: tuple[list[Completion], list[dict[str, Measurement]], RewardConfig],
) -> None:
    completions, rows, cfg = group
    scores = pay(PROBLEM, completions, rows, cfg)
    there = [
        not all(m.status == "missing" for m in row.values())
        and ("tests" not in row or row["tests"].status != "missing")
        for row in rows
    ]
    members = [row for row, is_there in zip(rows, there, strict=True) if is_there]
    common = [c for c in cfg.components if all(row[c.name].status != "missing" for row in members)]
    if not any(c.weight for c in common):
        assert all(s.total is None and s.reason for s in scores)
        return
    # As if the others were no part of the reward; never a sum over what happened to arrive.
    fewer = cfg.model_copy(update={"components": tuple(common), "missing": "sample"})
    alike = pay(PROBLEM, completions, rows, fewer)
    assert [s.total for s in scores] == [s.total for s in alike]
    assert [s.total is not None for s in scores] == there
    own = {c.name for c in common}
    for score, row in zip(scores, rows, strict=True):
        if score.total is not None:
            assert {n for n in "abc" if n in score.components} == own - {"tests"}
            assert bool(score.lost) == any(m.status == "missing" for m in row.values())
            assert all(f"-{n}" in score.branch for n in row if n not in own)


def test_a_whole_group_without_gaps_is_paid_alike_whatever_the_policy() -> None:
    parts = (part("a", "judge"), part("b", "judge", weight=0.5))
    rows = [{"a": number(x), "b": number(1 - x)} for x in (0.1, 0.7)]
    totals = [
        [s.total for s in pay(PROBLEM, [Completion("p", "")] * 2, rows, cfg)]
        for cfg in (
            RewardConfig(components=parts, missing=m) for m in ("sample", "group", "common")
        )
    ]
    assert totals[0] == totals[1] == totals[2] == [pytest.approx(0.55), pytest.approx(0.85)]


def test_bad_mixes_are_errors_all_at_once() -> None:
    cfg = RewardConfig(
        components=(
            part("a", "a.py:f", gate="pass", weight=0),
            part("a", "b.py:f", weight=0),
        )
    )
    with pytest.raises(PawlErrors) as caught:
        check_mix(cfg)
    told = caught.value.block()
    assert "two components are called 'a'" in told
    assert "no component runs the tests" in told
    assert "can pay anything" in told


def test_full_marks_follow_the_code_share() -> None:
    cfg = RewardConfig(components=(part("code", "code", weight=0.8), part("s", "a.py:f")))
    assert full_marks(cfg) == pytest.approx(0.8)
    assert worth_of_a_test(PROBLEM, cfg) == pytest.approx(0.65 / (5 - 1))
    assert full_marks(RewardConfig()) == 1.0
    alone = RewardConfig(components=(part("a", "a.py:f", cap=9), part("b", "b.py:f", weight=0.5)))
    assert full_marks(alone, {"a": 3.0, "b": 1.0}) == 3.5


# ---- a user's values -----------------------------------------------------------------------------


def test_a_users_number_has_no_verdict() -> None:
    score = pay(PROBLEM, [ONE], [{TOTAL: number(1.0)}], RewardConfig(use="a.py:grade"))[0]
    assert (score.total, score.verdict, score.passed) == (1.0, None, False)
    assert (score.branch, score.components) == ("user", {"grade": 1.0})
    assert (score.passed_cases, score.n_cases) == (0, 0)


def test_named_values_are_components_alone_and_in_a_mix() -> None:
    found = number(0.75, clarity=0.5, brevity=1.0)
    alone = pay(PROBLEM, [ONE], [{TOTAL: found}], RewardConfig(use="a.py:grade"))[0]
    assert (alone.total, alone.components) == (0.75, {"clarity": 0.5, "brevity": 1.0})
    named = {"style_clarity": 0.5, "style_brevity": 1.0, "style": 0.75}
    first = mixed([part("style", "a.py:f"), part("b", "b.py:f")], found, number(0.25))
    assert first.components == {**named, "b": 0.25}
    last = mixed([part("code", "code"), part("style", "a.py:f")], PASS, found)
    assert {n: last.components[n] for n in named} == named
    only_one = mixed([part("code", "code"), part("style", "a.py:f")], PASS, number(0.5, seen=0.25))
    assert (only_one.components["style_seen"], only_one.components["style"]) == (0.25, 0.5)


def test_a_measurement_keeps_its_verdict_and_counts() -> None:
    found = replace(number(0.5), verdict="compile", reason="r", passed_cases=1, n_cases=3)
    score = pay(PROBLEM, [ONE], [{TOTAL: found}], RewardConfig(use="a.py:f"))[0]
    assert (score.verdict, score.reason) == ("compile", "r")
    assert (score.passed_cases, score.n_cases) == (1, 3)


# ---- whole groups --------------------------------------------------------------------------------

values = st.floats(-3, 3, allow_subnormal=False) | st.sampled_from([0.0, 0.5, 1.0])
columns = st.lists(st.none() | values, min_size=1, max_size=9)


def relative(kind: str, column: list[float | None], **fields: object) -> list[float | None]:
    """Totals of a group under one relative component, None for a member that is missing."""
    cfg = RewardConfig(components=(part("style", "a.py:f", cap=100, relative=kind, **fields),))
    found = [missing("away") if x is None else number(x) for x in column]
    scores = pay(PROBLEM, [ONE] * len(found), [{"style": m} for m in found], cfg)
    assert [s.components.get("style") for s in scores] == column  # as measured, not as paid
    return [s.total for s in scores]


@settings(deadline=None)
@given(columns, st.randoms())
def test_ranks_share_ties_and_follow_a_permutation(
    column: list[float | None], random: st.randoms
) -> None:
    totals = relative("rank", column)
    pairs = [(x, t) for x, t in zip(column, totals, strict=True) if x is not None and t is not None]
    assert len(pairs) == sum(x is not None for x in column)
    for x, t in pairs:
        assert 0.0 <= t <= 1.0
        for y, u in pairs:
            assert (x < y) <= (t < u) and (x == y) <= (t == u)
    if pairs:
        assert sum(t for _, t in pairs) == pytest.approx(len(pairs) / 2)
    order = list(range(len(column)))
    random.shuffle(order)
    assert relative("rank", [column[i] for i in order]) == [totals[i] for i in order]


def test_ranks_of_a_small_group() -> None:
    assert relative("rank", [3.0, -1.0, 0.5]) == [1.0, 0.0, 0.5]
    assert relative("rank", [1.0, 2.0, 2.0, None]) == [0.0, 0.75, 0.75, None]
    assert relative("rank", [2.0]) == [0.5]
    assert relative("rank", [0.0, 1.0], weight=0.5) == [0.0, 0.5]


@settings(deadline=None)
@given(columns, st.randoms())
def test_distances_from_the_mean_sum_to_0_and_follow_a_permutation(
    column: list[float | None], random: st.randoms
) -> None:
    totals = relative("mean", column)
    assert [t is None for t in totals] == [x is None for x in column]
    assert sum(t for t in totals if t is not None) == pytest.approx(0, abs=1e-12)
    order = list(range(len(column)))
    random.shuffle(order)
    moved = relative("mean", [column[i] for i in order])
    assert moved == [totals[i] if totals[i] is None else pytest.approx(totals[i], abs=1e-12)
                     for i in order]  # fmt: skip


def test_a_relative_component_beside_the_tests() -> None:
    cfg = RewardConfig(
        components=(part("code", "code"), part("style", "a.py:f", weight=0.1, relative="mean"))
    )
    rows = [{"code": PASS, "style": number(x)} for x in (0.2, 0.8)]
    low, high = pay(PROBLEM, [ONE] * 2, rows, cfg)
    assert (low.total, low.branch) == (pytest.approx(EARNED["pass"] - 0.03), "pass")
    assert (high.total, high.branch) == (pytest.approx(EARNED["pass"] + 0.03), "pass+style")


def beside(kind: str, pairs: list[tuple[float, float | None]], **fields: object) -> list[Score]:
    """Scores of members with (the judge's grade, its grade of the reference)."""
    cfg = RewardConfig(components=(part("judge", "judge", relative=kind, cap=100, **fields),))
    found = [replace(number(v), baseline=missing("refused")) for v, _ in pairs]
    for i, (_, grade) in enumerate(pairs):
        if grade is not None:
            found[i] = replace(found[i], baseline=number(grade, quality=0.3))
    return pay(PROBLEM, [ONE] * len(found), [{"judge": m} for m in found], cfg)


def test_a_grade_beside_the_references() -> None:
    pairs = [(0.9, 0.6), (0.3, 0.6), (0.5, 0.0), (0.4, None)]
    difference, ratio, alone = (beside(k, pairs) for k in ("difference", "ratio", "none"))
    assert [s.total for s in difference[:3]] == pytest.approx([0.3, -0.3, 0.5])
    assert [s.total for s in ratio[:3]] == pytest.approx([1.5, 0.5, 5.0])  # by the floor of 0.1
    assert beside("ratio", pairs, floor=0.5)[2].total == pytest.approx(1.0)
    for scores in (difference, ratio):
        assert scores[3].total is None
        assert scores[3].reason == "the judge's grade of the reference is missing: refused"
    assert [s.total for s in alone] == [v for v, _ in pairs]  # only a metric here
    assert [s.teacher for s in alone] == [(0.9, 0.6), (0.3, 0.6), (0.5, 0.0), None]
    assert all(set(s.components) == {"judge"} for s in alone)  # nothing of the reference's


def test_only_a_judge_grades_references_and_a_ratio_needs_a_cap() -> None:
    parts = (part("a", "a.py:f", relative="difference"), part("b", "judge", relative="ratio"))
    with pytest.raises(PawlErrors) as caught:
        check_mix(RewardConfig(components=parts))
    told = caught.value.block()
    assert "component 'a' has relative: difference, and no judge grades it" in told
    assert "component 'b' is a ratio, and its cap is 1" in told and "at most 10 counts" in told
    check_mix(RewardConfig(components=(part("b", "judge", relative="ratio", cap=2),)))


def test_a_missing_member_takes_its_sample_or_its_whole_group() -> None:
    rows = [{TOTAL: number(1.0)}, {TOTAL: missing("judge is away")}, {TOTAL: number(0.5)}]
    one = pay(PROBLEM, [ONE] * 3, rows, RewardConfig(use="a.py:f"))
    assert [s.total for s in one] == [1.0, None, 0.5]
    cfg = RewardConfig(use="a.py:f", missing="group")
    whole = pay(PROBLEM, [ONE] * 3, rows, cfg, "stage")
    assert [(s.status, s.total, s.reward_stage) for s in whole] == [("missing", None, "")] * 3
    assert whole[1].reason == "judge is away"
    assert whole[0].reason == "another member of its group is missing: judge is away"
    assert whole[0].components == {"f": 1.0}  # what was measured stays on record
    sound = pay(PROBLEM, [ONE] * 2, rows[::2], cfg)
    assert [s.total for s in sound] == [1.0, 0.5]


@st.composite
def payable(draw: st.DrawFn) -> tuple[RewardConfig, list[Completion], list[Row]]:
    """A mix of the tests with some users' components, and a group measured by all of them."""
    names = ["a", "b", "c"][: draw(st.integers(1, 3))]
    users = [
        part(
            name,
            f"{name}.py:f",
            weight=draw(st.sampled_from([0.0, 0.1, 1.0, 2.0])),
            cap=draw(st.sampled_from([0.3, 1.0, 6.0])),
            gate=draw(st.sampled_from(["none", "pass"])),
            relative=draw(st.sampled_from(["none", "mean", "rank"])),
        )
        for name in names
    ]
    parts = draw(st.permutations([part("code", "code", weight=0.7), *users]))
    policy = draw(st.sampled_from(["sample", "group"]))
    cfg = RewardConfig(components=tuple(parts), missing=policy, min_lines=2)
    a_number = st.builds(number, values, seen=values) | st.just(missing("away"))
    row = st.fixed_dictionaries(
        {"code": st.sampled_from([PASS, WRONG]), **dict.fromkeys(names, a_number)}
    )
    rows = draw(st.lists(row, min_size=1, max_size=5))
    return cfg, [draw(completions) for _ in rows], list(rows)


@settings(max_examples=60, deadline=None)
@given(payable())
def test_pay_is_pure(case: tuple[RewardConfig, list[Completion], list[Row]]) -> None:
    cfg, members, rows = case
    before = copy.deepcopy((cfg, members, rows))
    first = pay(PROBLEM, members, rows, cfg)
    for score in first:
        score.components["scribble"] = 9.0  # a score is the caller's own
    again = pay(PROBLEM, members, rows, cfg)
    assert (cfg, members, rows) == before
    assert [replace(s, components={}) for s in first] == [replace(s, components={}) for s in again]
    assert not any("scribble" in s.components for s in again)


@settings(max_examples=60, deadline=None)
@given(payable(), st.data())
def test_pay_knows_no_order_of_members(
    case: tuple[RewardConfig, list[Completion], list[Row]], data: st.DataObject
) -> None:
    """Whatever the config, equal up to rounding; to the bit where nothing is relative."""
    cfg, members, rows = case
    order = data.draw(st.permutations(range(len(rows))))
    scores = pay(PROBLEM, members, rows, cfg)
    moved = pay(PROBLEM, [members[i] for i in order], [rows[i] for i in order], cfg)
    back = [score for _, score in sorted(zip(order, moved, strict=True), key=lambda pair: pair[0])]
    if cfg.missing == "group":  # the reason may name another of the lost members
        scores, back = ([replace(s, reason="") for s in x] for x in (scores, back))
    if all(c.relative == "none" for c in cfg.components):
        assert back == scores
    assert [s.components for s in back] == [s.components for s in scores]
    for one, other in zip(back, scores, strict=True):
        assert one.total == pytest.approx(other.total, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(payable(), st.data())
def test_pay_knows_no_order_of_components(
    case: tuple[RewardConfig, list[Completion], list[Row]], data: st.DataObject
) -> None:
    cfg, members, rows = case
    parts = data.draw(st.permutations(cfg.components))
    other = cfg.model_copy(update={"components": tuple(parts)})
    both = zip(pay(PROBLEM, members, rows, cfg), pay(PROBLEM, members, rows, other), strict=True)
    for a, b in both:
        assert b.total == pytest.approx(a.total, abs=1e-9)
        assert (a.status, a.verdict, a.components) == (b.status, b.verdict, b.components)
        assert set(a.branch.split("+")) == set(b.branch.split("+"))


def test_without_tests_no_order_either() -> None:
    parts = [part("a", "a.py:f"), part("b", "b.py:f", weight=0.5)]
    found = {"a": number(0.25, x=1.0), "b": number(1.0, y=2.0)}
    one = mixed(parts, *found.values())
    other = mixed(parts[::-1], *[found[c.name] for c in parts[::-1]])
    assert (one.total, one.components) == (other.total, other.components)
    assert one.components == {"a_x": 1.0, "a": 0.25, "b_y": 2.0, "b": 1.0}

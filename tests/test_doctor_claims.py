"""The claim check: figures against the log, courses against noise, silence about the rest.

Left out: how often it is right about analyses that people wrote (bench/claims.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.doctor.claims import Answer, check, lines
from pawl.doctor.claims_text import figures, place, statements
from pawl.doctor.diagnose import Diagnosis, diagnose
from pawl.logs.log import Raw, canonical
from pawl.logs.table import Table


def diagnosis(
    columns: dict[str, list[float]], config: dict[str, object] | None = None
) -> Diagnosis:
    table = Table()
    for values in zip(*columns.values(), strict=True):
        table.add(dict(zip(columns, values, strict=True)))
    return diagnose(canonical(Raw(Path("x.json"), "JSON", "any", table, config=config or {})))


@pytest.fixture(scope="module")
def epochs() -> Diagnosis:
    return diagnosis(
        {
            "epoch": [1, 2, 3, 4],
            "reward": [0.41, 0.43, 0.44, 0.40],
            "loss": [0.10, 0.30, 0.25, 0.35],
            "kl": [0.0, 0.01, 0.02, 0.01],
        }
    )


@pytest.fixture(scope="module")
def rising() -> Diagnosis:
    rng = np.random.default_rng(2)
    return diagnosis(
        {
            "step": list(range(1, 201)),
            "reward": list(0.2 + np.linspace(0, 0.5, 200) + 0.05 * rng.normal(size=200)),
            "entropy": list(0.5 + 0.05 * rng.normal(size=200)),
            "grad_norm": [40.0 if i == 150 else 1 + 0.1 * rng.normal() for i in range(200)],
            "lr": list(np.linspace(1e-5, 1e-6, 200)),
        }
    )


def verdicts(text: str, d: Diagnosis, metric: str = "") -> list[str]:
    return [a.verdict for a in check(text, d) if not metric or a.metric == metric]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Average reward was 0.43 in epoch 2.", ["supported"]),
        ("Average reward was 0.44 in epoch 2.", ["wrong"]),
        ("Reward: 0.41", ["supported"]),
        ("Reward was 0.41 in epoch 2.", ["wrong"]),
        ("Reward was 0.41 in epoch 1 and 0.40 in epoch 4.", ["supported", "supported"]),
        ("Loss lies between 0.10 and 0.35.", ["supported"]),
        ("The loss ranges from 0.10 to 0.30.", []),
        ("The loss is between 0.15 and 0.30.", ["wrong"]),
        ("The loss is between 0.05 and 0.50.", ["unsupported"]),
        ("The reward stays below 0.5.", ["supported"]),
        ("The reward never exceeds 0.44.", ["supported"]),
        ("It earns only 40-44% of the reward.", ["supported"]),
        ("The loss never exceeds 0.05.", ["wrong"]),
        ("The reward stays below 0.42.", ["unsupported"]),
        ("The reward stays below 0.42 throughout.", ["wrong"]),
        ("The entropy was 0.3.", []),
        ("| Metric | Epoch 1 | Epoch 4 |\n|---|---|---|\n| Reward | 0.41 | 0.50 |",
         ["supported", "wrong"]),
        ("| Epoch | Reward |\n|---|---|\n| 3 | 0.44 |", ["supported"]),
        ("The weather was 0.43 in epoch 2.", []),
        ("We used 200 samples and 4 seeds.", []),
    ],
)  # fmt: skip
def test_figures_are_those_of_the_log(epochs: Diagnosis, text: str, expected: list[str]) -> None:
    assert verdicts(text, epochs) == expected


@pytest.mark.parametrize(
    ("text", "metric", "expected"),
    [
        ("Reward is rising.", "reward/mean", ["supported"]),
        ("Reward went down.", "reward/mean", ["wrong"]),
        ("Reward has reached a plateau.", "reward/mean", ["wrong"]),
        ("Entropy is falling.", "policy/entropy", ["unsupported"]),
        ("Entropy has plateaued.", "policy/entropy", ["supported"]),
        ("The entropy did not increase.", "policy/entropy", ["supported"]),
        ("The reward climbed through the second phase.", "", []),
        ("The reward fell to 0.95 at step 3.", "reward/mean", []),
        ("## Steps 60-130\n\nThe reward fell.", "", []),
        ("Increasing the batch size helps, not only the reward.", "", []),
        ("Training is stable, the model improves.", "", []),
    ],
)
def test_courses(rising: Diagnosis, text: str, metric: str, expected: list[str]) -> None:
    assert verdicts(text, rising, metric) == expected


def test_few_points_bear_no_course_out(epochs: Diagnosis) -> None:
    for word in ("rising", "falling", "stuck"):
        assert verdicts(f"The reward is {word}.", epochs, "reward/mean") == ["unsupported"], word


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Reward peaked at 0.44.", ["supported"]),
        ("Reward peaked at 0.43.", ["wrong"]),
        ("Reward hit 0.43 at epoch 2, its highest point in the run.", ["wrong"]),
        ("Reward hit 0.44 - the highest value it ever reached.", ["supported"]),
        ("Reward hit 0.40, its lowest value.", ["supported"]),
        ("Reward hit 0.41, its lowest value.", ["wrong"]),
        ("Reward hit 0.43, the highest of the first phase.", ["supported"]),
        ("The maximum reward is 1.0.", []),
        ("Reward peaked at 0.43 at epoch 3.", ["wrong"]),
        ("| Metric | Min | Max |\n|---|---|---|\n| reward | 0.40 | 0.43 |", ["supported", "wrong"]),
    ],
)
def test_a_peak_is_the_greatest_value_and_not_any(
    epochs: Diagnosis, text: str, expected: list[str]
) -> None:
    assert verdicts(text, epochs) == expected


def test_a_mean_is_looked_at_before_single_values() -> None:
    d = diagnosis({"reward": [0.1, 0.2, 0.3]})
    assert check("The mean reward is 0.2.", d)[0].reason == "the mean of reward over 3 points"
    assert check("The reward is 0.2.", d)[0].reason == "logged as reward at step 2"


def test_units_powers_and_columns_by_their_own_or_core_names() -> None:
    d = diagnosis(
        {
            "time/sample_s": [63.3, 80.0],
            "loss:sum": [-2.0, 6.083e11],
            "rewards/pnl_reward_fn/mean": [0.5, 1.186],
        }
    )
    for text in (
        "| Part | Min |\n|---|---|\n| time/sample_s | 63.3s |",
        "`loss:sum` = 6.08\u00d710\u00b9\u00b9 at step 2.",
        "The loss was -2.0.",
        "`pnl_mean` peaked at 1.186.",
    ):
        assert verdicts(text, d) == ["supported"], text
    assert verdicts("`loss:sum` = 6.10\u00d710\u00b9\u00b9 at step 2.", d) == ["wrong"]


@pytest.mark.parametrize(
    "text",
    [
        "The reward is 0.39.",  # of another run, or a setting: wrong only at a named place
        "| Part | % of step |\n|---|---|\n| reward | 80.3% |",
        "| Part | Total |\n|---|---|\n| reward | 6,992 |",
        "| Epoch | Reward | Target |\n|---|---|---|\n| 3 | | 0.5 |",
        "Rewards lie in {0, 1}, the interval is [0.1, 0.3], groups have 8-16 members.",
        "At epoch 2 the reward was sampled with temperature=0.7.",
        "The loss should fall below 0.2 by epoch 2.",
        "The reward went from 0.3 to 0.5, 37% more.",
        "The loss was exactly 0.1 for 3 of 4 epochs.",
        "The learning rate is too high, so the model is overfitting.",
        "```\nreward=0.9 at epoch 2\n```",
        "# The reward fell to 0.9 in epoch 2",
    ],
)
def test_what_the_log_cannot_answer_gets_no_answer(epochs: Diagnosis, text: str) -> None:
    assert check(text, epochs) == []


def test_statements_keep_their_lines_and_places() -> None:
    text = "# Run\n\nA first line that goes\non. Then another.\n\n- one\n  - two\n"
    got = [(s.line, s.text) for s in statements(text)]
    assert got == [
        (3, "A first line that goes on."),
        (4, "Then another."),
        (6, "one"),
        (7, "two"),
    ]
    assert place("from epoch 3 to 4") == ("epoch", 3.0, 4.0)
    assert place("[Epoch 0.28] x") == ("epoch", 0.28, None)


def test_figures_are_told_apart() -> None:
    def kinds(text: str) -> list[tuple[str, float]]:
        return [(f.kind, f.a) for f in figures(text)]

    assert kinds("loss 0.198 -> 0.4473 (+94.6%)") == []
    assert kinds("424 tokens -> 512 tokens") == [("value", 424.0), ("value", 512.0)]
    assert kinds("0.102\u00b10.077") == [("value", 0.102)]
    assert kinds("-0.19 to +0.12") == [("range", -0.19)]
    assert kinds("3.55e-6 - 3.58e-6") == [("range", 3.55e-6)]
    assert kinds("grad 54,648,652") == [("value", 54648652.0)]
    assert kinds("pass@1 of 0.3, below 0.5") == [("value", 0.3), ("limit", 0.5)]
    assert kinds("the last-step 0.76 took 63.3s") == [("value", 0.76), ("value", 63.3)]
    assert kinds("dropped 9%, from ~317s to ~150s") == []
    assert kinds("at epoch 3, after 200 steps on 2025-12-10, rated 9/10") == []


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_no_text_breaks_the_check(text: str) -> None:
    d = diagnosis({"epoch": [1, 2], "reward": [0.1, float("nan")]})
    list(lines(check(text, d)))


WORDS = (
    "reward", "loss", "0.3", "1e999", "->", "|", "\n", "epoch", "2", "%", "-", "```", "rising", "#",
    "peak", "never", "below", "between", "and", "=", "mean", "\u00d710\u207b",
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=60))
def test_no_mixture_of_words_breaks_the_check(words: list[str]) -> None:
    d = diagnosis({"epoch": [1, 2, 3], "reward": [0.1, 0.2, 0.3], "loss": [0.0, float("inf"), 1]})
    for one in check(" ".join(words), d):
        assert isinstance(one, Answer) and one.reason and one.line >= 1


@pytest.mark.parametrize("piece", ["reward 0.1 -> 0.2 ", "[", "|a", "1 ", "  - x\n", "mean "])
def test_long_lines_and_documents_are_read_as_far_as_it_makes_sense(
    epochs: Diagnosis, piece: str
) -> None:
    for one in check(piece * 5_000, epochs):
        assert one.reason


def test_lines_say_line_verdict_and_reason(epochs: Diagnosis) -> None:
    got = list(lines(check("Average reward was 0.44 in epoch 2.", epochs)))
    assert got[0] == "1: wrong [reward/mean]: Average reward was 0.44 in epoch 2."
    assert got[1] == "    the log has reward 0.43 at epoch 2, not 0.44"
    assert got[-1] == "claims: 0 supported, 0 unsupported, 1 wrong"

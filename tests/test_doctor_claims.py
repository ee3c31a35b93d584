"""The claim check: figures against the log, courses against noise, misreadings by pattern.

The five public documents and their logs are tested where they are there (see bench/claims.py).
Left out: whether the answers read well.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import claims as bench
from pawl.doctor.causes import Cause
from pawl.doctor.claims import Answer, check
from pawl.doctor.claims_figures import figures, place
from pawl.doctor.claims_parse import statements
from pawl.doctor.claims_text import lines
from pawl.doctor.diagnose import Diagnosis, diagnose
from pawl.logs.log import Raw, canonical
from pawl.logs.table import Table

SHARED = Path(__file__).resolve().parents[2] / "shared"


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
        ("Reward: 0.39", ["wrong"]),
        ("Reward was 0.41 in epoch 1 and 0.40 in epoch 4.", ["supported", "supported"]),
        ("The loss went from 0.10 to 0.30.", ["supported"]),
        ("Loss lies between 0.10 and 0.35.", ["supported"]),
        ("The reward stays below 0.5.", ["supported"]),
        ("The reward never exceeds 0.44.", ["supported"]),
        ("It earns only 40-44% of the reward.", ["supported"]),
        ("The loss never exceeds 0.05.", ["wrong"]),
        ("The reward stays below 0.42.", ["unsupported"]),
        ("The entropy was 0.3.", ["unsupported"]),
        ("| Metric | Epoch 1 | Epoch 4 |\n|---|---|---|\n| Reward | 0.41 | 0.50 |",
         ["supported", "wrong"]),
        ("| Epoch | Reward |\n|---|---|\n| 3 | 0.44 |", ["supported"]),
        ("```\n[Epoch 2] loss=0.30 reward=0.43\n```", ["supported", "supported"]),
        ("The weather was 0.43 in epoch 2.", []),
        ("We used 200 samples and 4 seeds.", []),
    ],
)  # fmt: skip
def test_figures_are_those_of_the_log(epochs: Diagnosis, text: str, expected: list[str]) -> None:
    assert verdicts(text, epochs) == expected


def test_a_change_in_percent_is_recomputed_and_weighed(epochs: Diagnosis) -> None:
    answers = check("Reward regressed by 9.1% in the last epoch.", epochs)
    assert [a.verdict for a in answers] == ["supported", "unsupported"]
    assert "noise" in answers[1].reason
    assert verdicts("Reward rose 9.1% from epoch 3 to 4.", epochs) == ["unsupported"]
    assert "supported" in verdicts("From E1 to E2 loss jumped by +200%.", epochs)


@pytest.mark.parametrize(
    ("text", "metric", "expected"),
    [
        ("Reward is improving.", "reward/mean", "supported"),
        ("Reward went down.", "reward/mean", "wrong"),
        ("Reward is monotonically increasing.", "reward/mean", "wrong"),
        ("Reward rises steadily.", "reward/mean", "supported"),
        ("Reward has reached a plateau.", "reward/mean", "wrong"),
        ("Entropy is stable.", "policy/entropy", "supported"),
        ("Entropy is falling.", "policy/entropy", "unsupported"),
        ("Entropy has plateaued.", "policy/entropy", "supported"),
        ("The gradient norm is unstable.", "optim/grad_norm", "supported"),
        ("The gradient norm shows no instability.", "optim/grad_norm", "wrong"),
        ("The learning rate is low because of warm-up.", "optim/lr", "wrong"),
        ("The KL is exploding.", "policy/kl_ref", "unsupported"),
        ("## Reward Regression", "reward/mean", "wrong"),
    ],
)
def test_courses(rising: Diagnosis, text: str, metric: str, expected: str) -> None:
    assert verdicts(text, rising, metric) == [expected]


def test_few_points_bear_no_course_out(epochs: Diagnosis) -> None:
    for word in ("improving", "regressing", "unstable", "diverging", "stable", "on a plateau"):
        assert verdicts(f"The reward is {word}.", epochs, "reward/mean") == ["unsupported"], word


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PPO loss should be positive.", "wrong"),
        ("KL should stay between 0.1 and 1.0.", "wrong"),
        ("Entropy of 0.217 means random guessing.", "wrong"),
        ("Half of it: 25-50% of the samples are identical.", "wrong"),
        ("A CV above 0.3 is unhealthy.", "wrong"),
        ("Best-of-4 is up, which shows that the model can solve these tasks.", "unsupported"),
        ("The learning rate is too high.", "unsupported"),
        ("The LR needs to be increased.", "unsupported"),
        ("The model is overfitting.", "unsupported"),
        ("LoRA adapters need a lower learning rate.", "wrong"),
        ("Negative rewards must be calibrated.", "wrong"),
        ("Large batches make training unstable, a large batch is noisy.", "wrong"),
        ("If loss > 0.7, stop.", "wrong"),
        ("Reward improved because of the new schedule.", "unsupported"),
    ],
)
def test_misreadings_are_known_by_what_they_say(
    epochs: Diagnosis, text: str, expected: str
) -> None:
    answers = check(text, epochs)
    assert expected in {a.verdict for a in answers}, answers
    assert "supported" not in {a.verdict for a in answers}


def test_a_cause_that_the_diagnosis_holds_bears_a_claim_out(rising: Diagnosis) -> None:
    cause = Cause("lr-too-high", 0.9, "the update destroyed the policy", ("D601 x",))
    text = "The learning rate is too high."
    assert verdicts(text, replace(rising, verdict="FAULT", causes=[cause])) == ["supported"]
    for verdict in ("CANNOT TELL", "INVALID RUN"):
        assert verdicts(text, replace(rising, verdict=verdict, causes=[cause])) == ["unsupported"]
    faint = replace(cause, weight=0.2)
    assert verdicts(text, replace(rising, verdict="FAULT", causes=[faint])) == ["unsupported"]


def test_an_accuracy_is_compared_with_one_half_by_its_pairs() -> None:
    d = diagnosis({"preference_accuracy": [0.3], "n_pairs": [20]})
    answers = check("Preference accuracy is 30%, slightly better than random 50%.", d)
    assert [a.verdict for a in answers] == ["wrong"]
    assert "20 pairs: 0.15 to 0.52" in answers[0].reason


def test_statements_keep_their_lines_and_places() -> None:
    text = "# Run\n\nA first line that goes\non. Then another.\n\n- one\n  - two\n"
    got = [(s.line, s.text) for s in statements(text)]
    assert got == [
        (1, "Run"),
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

    assert kinds("loss 0.198 -> 0.4473 (+94.6%)") == [("change", 0.198), ("relative", 94.6)]
    assert kinds("0.102\u00b10.077") == [("value", 0.102), ("deviation", 0.077)]
    assert kinds("-0.19 to +0.12") == [("range", -0.19)]
    assert kinds("3.55e-6 - 3.58e-6") == [("range", 3.55e-6)]
    assert kinds("grad 54,648,652") == [("value", 54648652.0)]
    assert kinds("dropped 9%") == [("relative", -9.0)]
    assert kinds("at epoch 3, after 200 steps on 2025-12-10, rated 9/10") == []


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_no_text_breaks_the_check(text: str) -> None:
    d = diagnosis({"epoch": [1, 2], "reward": [0.1, float("nan")]})
    list(lines(check(text, d)))


WORDS = ("reward", "loss", "0.3", "->", "|", "\n", "epoch", "2", "%", "-", "```", "improving", "#")


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


def test_the_public_documents_get_their_answers() -> None:
    if not (SHARED / "ancestors").is_dir():
        pytest.skip("shared/ancestors is not there")
    answers = bench.read(SHARED)
    false = [good for good, _ in bench.false_claims(answers)]
    assert len(false) >= 40 and sum(false) >= 0.8 * len(false)
    true = [good for good, _ in bench.true_claims(answers)]
    assert len(true) >= 30 and sum(true) >= 0.9 * len(true)
    other = [good for good, _ in bench.sentences(SHARED)]
    assert sum(other) >= 0.8 * len(other)

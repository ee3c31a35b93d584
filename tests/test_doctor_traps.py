"""Thirty traps: what looks broken and is normal, and what looks fine and is broken.

One generated log for each. The first fifteen may not be called a fault or an invalid run; each of
the others must raise the finding that sees through it. Left out: real runs (test_doctor_rules).
"""

from __future__ import annotations

import numpy as np
import pytest
from doctor_logs import Floats, line, log, noise, sample

from pawl.doctor.diagnose import Diagnosis, diagnose
from pawl.logs.log import Event, Log
from pawl.rules.catalogue import RULES
from pawl.rules.statistics import trend

UP = line(100, 0.3, 0.7)
FLAT = noise(100, 0.3, 0.03, 1)
KL = np.linspace(0.0, 0.03, 100)


def run(**other: Floats) -> dict[str, Floats]:
    """A rising reward, and other columns by name with `__` for the slash."""
    return {"reward/mean": UP} | {name.replace("__", "/"): x for name, x in other.items()}


def codes(d: Diagnosis) -> set[str]:
    return {f.code for f in d.findings}


def with_spikes(x_N: Floats, height: float) -> Floats:
    y_N = x_N.copy()
    y_N[[30, 55, 80]] = height
    return y_N


LOOKS_BROKEN: dict[str, Log] = {
    "01 the loss is 0 at first, then coefficient times KL": log(
        run(policy__kl_ref=KL, loss__total=0.04 * KL)
    ),
    "02 the loss is negative or swings": log(run(loss__total=noise(100, -0.02, 0.05, 2))),
    "03 the clip fraction is 0 with one update a batch": log(
        run(policy__clip_frac=np.zeros(100)), config={"algo.epochs": 1}
    ),
    "04 the KL is 0 without a KL term": log(
        run(policy__kl_ref=np.zeros(100), policy__kl_coef=np.zeros(100)),
        config={"algo.kl_coef": 0.0},
    ),
    "05 a KL of 1 to 4 with a rising reward": log(
        run(policy__kl_ref=np.linspace(0.003, 4.0, 100) + noise(100, 0.0, 0.2) ** 2)
    ),
    "06 spikes of KL and gradient that recover": log(
        run(
            policy__kl_ref=with_spikes(KL + noise(100, 0.02, 0.002), 17.8),
            optim__grad_norm=with_spikes(noise(100, 0.4, 0.05), 154.6),
        )
    ),
    "07 most groups tie because they are all right": log(
        run(
            group__zero_std_frac=line(100, 0.41, 0.6),
            group__tied_right_frac=line(100, 0.4, 0.58),
            group__tied_wrong_frac=noise(100, 0.02, 0.002),
        )
    ),
    "07b the same without the split": log(run(group__zero_std_frac=line(100, 0.41, 0.65))),
    "08 the entropy falls by 40% while the reward rises": log(
        run(policy__entropy=line(100, 0.5, 0.3), length__truncated_frac=line(100, 0.4, 0.2))
    ),
    "09 an entropy of 0.02 to 0.06 nat": log(run(policy__entropy=noise(100, 0.04, 0.006))),
    "10 every completion is cut, and the reward rises": log(
        run(length__truncated_frac=np.ones(100), length__mean=np.full(100, 16.0))
    ),
    "11 the learning rate is below its target": log(run(optim__lr=np.linspace(1e-7, 5e-6, 100))),
    "11b the learning rate decays": log(run(optim__lr=np.linspace(5e-6, 1e-8, 100))),
    "12 scores of a reward model are negative": log(run(reward__mean=line(100, -2.3, -1.5))),
    "13 an entropy of -105, by padding": log(run(policy__entropy=noise(100, -105.0, 4.0))),
    "14 the reward falls where a stage begins": log(
        {"reward/mean": np.concatenate([line(60, 0.3, 0.9), line(60, 0.3, 0.45)])},
        events=[Event(60.0, "curriculum", "warm-up to hard")],
    ),
    "14b the same, as a column": log(
        {
            "reward/mean": np.concatenate([line(50, 0.6, 0.9), line(70, 0.3, 0.45)]),
            "curriculum/stage": np.repeat([0.0, 1.0], [50, 70]),
        }
    ),
    "15 a flat training reward and a held-out score that rises": log(
        {
            "reward/mean": FLAT,
            "eval/pass_at_1": np.where(
                np.arange(100) % 10 == 0, 0.3 + 0.001 * np.arange(100), np.nan
            ),
            "optim/lr": np.full(100, 2e-7),
        }
    ),
}

DEAD = np.zeros(100)
JITTER = np.abs(noise(100, 0.004, 0.002)) + 1e-4
WARM = np.linspace(5e-6, 5e-8, 100)

LOOKS_FINE: dict[str, tuple[str, Log]] = {
    "16 the reward rises, three task components are constant": (
        "D202",
        log(
            run(
                component__check_answer=DEAD - 2.0,
                component__check_number=DEAD,
                component__match=DEAD - 0.5,
                component__language_format=UP,
            )
        ),
    ),
    "17 few groups tie on a deterministic policy": (
        "D408",
        log(
            {
                "reward/mean": FLAT,
                "reward/within_std": JITTER,
                "group/zero_std_frac": noise(100, 0.1, 0.03),
                "policy/entropy": 0.4 * np.exp(-np.arange(100) / 12.0) + 1e-3,
            }
        ),
    ),
    "17b and its differences are jitter": (
        "D304",
        log(
            {
                "reward/mean": FLAT,
                "reward/within_std": JITTER,
                "group/zero_std_frac": noise(100, 0.1, 0.03),
            }
        ),
    ),
    "18 ties are counted over the whole batch": (
        "D307",
        log(run(group__zero_std_frac=DEAD), library="trl", other_config={"scale_rewards": "batch"}),
    ),
    "19 every figure in range, and the distance does not follow the rate": (
        "D412",
        log(
            {
                "reward/mean": FLAT,
                "policy/kl_old": noise(100, 0.04, 0.01),
                "policy/clip_frac": noise(100, 0.05, 0.01),
                "optim/lr": WARM,
            }
        ),
    ),
    "19b and the KL is there before the first update": (
        "D401",
        log({"reward/mean": FLAT, "policy/kl_ref_sequence": noise(100, 2.2, 0.3)}),
    ),
    "20 a preference loss that falls from 5.9": (
        "D801",
        log(
            {"loss/total": line(40, 5.9, 4.5), "preference/accuracy": noise(40, 0.5, 0.02)},
            kind="preference",
        ),
    ),
    "21 a preference loss that falls, at an accuracy of 0.09": (
        "D802",
        log(
            {"loss/total": line(40, 4.6, 1.5), "preference/accuracy": noise(40, 0.09, 0.03)},
            kind="preference",
        ),
    ),
    "22 a perfect reward": ("D214", log({"reward/mean": np.ones(100)})),
    "23 a KL that rests at 1": (
        "D401",
        log({"reward/mean": FLAT, "policy/kl_ref": noise(100, 1.1, 0.05)}),
    ),
    "24 a frozen reference that is the policy": (
        "D406",
        log(
            {"reward/mean": FLAT, "policy/kl_ref": DEAD, "optim/lr": DEAD + 1e-5},
            config={"algo.kl_coef": 0.05},
        ),
    ),
    "25 NaN replaced by 0: a gradient of 0 beside differing rewards": (
        "D111",
        log({"reward/mean": FLAT, "reward/within_std": FLAT, "optim/grad_norm": DEAD}),
    ),
    "26 samples masked by a cap on their weights": (
        "D110",
        log(run(policy__mismatch_ess=noise(100, 0.25, 0.02))),
    ),
    "27 a missing component counts as 0": (
        "D113",
        log(run(verifier__missing_frac=noise(100, 0.12, 0.01))),
    ),
    "27b or an error is paid": (
        "D207",
        log(
            {"reward/mean": FLAT},
            samples=[sample(0.5, "error", "infra_error")] * 12 + [sample(0.1)] * 30,
        ),
    ),
}


@pytest.mark.parametrize("trap", LOOKS_BROKEN)
def test_looks_broken_and_is_normal(trap: str) -> None:
    d = diagnose(LOOKS_BROKEN[trap])
    assert d.verdict not in ("FAULT", "INVALID RUN"), d.reason


@pytest.mark.parametrize("trap", LOOKS_FINE)
def test_looks_fine_and_is_broken(trap: str) -> None:
    code, made = LOOKS_FINE[trap]
    d = diagnose(made)
    assert code in codes(d), (d.verdict, sorted(codes(d)))


def test_28_perfect_accuracy_on_training_pairs_is_questioned() -> None:
    """In-sample accuracy says nothing of other pairs; judged with the preference rules."""
    if not any(rule.code > "D803" and rule.code < "D900" for rule in RULES):
        pytest.skip("needs the rule that asks for held-out pairs")
    d = diagnose(
        log(
            {
                "loss/total": line(100, 0.69, 0.05, 0.01),
                "preference/accuracy": np.minimum(line(100, 0.6, 1.05, 0.01), 1.0),
                "preference/margin": line(100, 0.0, 3.0),
            },
            kind="preference",
        )
    )
    assert d.verdict != "FAULT"
    assert any(code.startswith("D8") for code in codes(d))


def test_29_cached_scores_make_no_convergence_of_noise() -> None:
    """A spread that is small from the first step on has not converged: it never was larger."""
    d = diagnose(log({"reward/mean": FLAT, "reward/within_std": noise(100, 0.05, 0.005)}))
    assert d.verdict == "CANNOT TELL"


def test_30_trends_are_never_tested_on_smoothed_curves() -> None:
    """Smoothed white noise shows trends in plain tests; the doctor finds few in it."""
    seen = 0
    for seed in range(200):
        x_N = noise(200, 0.0, 1.0, seed)
        for i in range(1, 200):
            x_N[i] = 0.3 * x_N[i] + 0.7 * x_N[i - 1]
        seen += trend(x_N).significant
    assert seen <= 20


def test_a_fall_in_a_short_log_is_neither_health_nor_a_fault() -> None:
    d = diagnose(log({"reward/mean": line(17, 0.7, 0.2, 0.03)}))
    assert d.verdict == "CANNOT TELL"
    assert "the wrong way" in d.reason

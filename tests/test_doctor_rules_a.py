"""Every rule of codes D1 to D4 on a sick log that it must find and a healthy one that it must not.

The logs are generated (`doctor_logs`); rules proved by real runs have those beside them, read from
the shared folder where it is there. Left out: rules D5 to D9 and the traps (test_doctor_traps.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from doctor_logs import Floats, line, log, noise, sample
from numpy.typing import ArrayLike

from pawl.checks import CAUSES
from pawl.doctor.causes import EXPERIMENTS, PROBES, Cause, experiment
from pawl.doctor.diagnose import Diagnosis, diagnose
from pawl.logs.log import Event, Log
from pawl.logs.recognise import read_logs
from pawl.rules.catalogue import RULES
from pawl.rules.rule import SECTIONS
from pawl.rules.signals import Signals

SHARED = Path(__file__).resolve().parents[2] / "shared"
BY_CODE = {rule.code: rule for rule in RULES}
MINE = [rule.code for rule in RULES if rule.code[:2] in ("D1", "D2", "D3", "D4")]

Columns = Mapping[str, ArrayLike]
UP = line(100, 0.3, 0.7)
FLAT = noise(100, 0.3, 0.03, 1)


def good(n: int = 100, **other: ArrayLike) -> dict[str, ArrayLike]:
    """Columns of a run in good health; other columns go by name with `__` for the slash."""
    columns: dict[str, ArrayLike] = {
        "reward/mean": line(n, 0.3, 0.7),
        "reward/within_std": noise(n, 0.3, 0.03, 2),
        "policy/kl_ref": np.abs(np.linspace(0.0, 0.03, n) + noise(n, 0.0, 0.002, 3)),
        "policy/entropy": line(n, 0.5, 0.4, 0.02, 4),
        "optim/grad_norm": noise(n, 0.4, 0.05, 5),
        "optim/lr": np.full(n, 1e-5),
        "loss/total": noise(n, 0.0, 0.02, 6),
    }
    return columns | {name.replace("__", "/"): x for name, x in other.items()}


def bad(n: int = 100, **other: ArrayLike) -> dict[str, ArrayLike]:
    """The same without any gain of the reward."""
    return good(n, reward__mean=noise(n, 0.3, 0.03, 1), **other)


def step(n: int, at: int, before: float, after: float, sd: float = 0.02) -> Floats:
    return np.asarray(np.where(np.arange(n) < at, before, after) + noise(n, 0.0, sd, 8))


def spiky(n: int = 100, places: tuple[int, ...] = (60,), height: float = 3.0) -> Floats:
    x_N = noise(n, 0.02, 0.002, 9)
    x_N[list(places)] = height
    return x_N


CHECK = {"name": "loss-mask", "expected": "0", "observed": "12", "cause": "loss-covers-prompt"}
FEW_TOTALS = [sample(0.21)] * 40 + [sample(1.0, "pass", "pass", 3)] * 10 + [sample(0.0)] * 10
MIXED = [sample(v / 10) for v in range(10)] * 4
PAID = [sample(0.5, "error", "infra_error")] * 10 + [sample(0.1)] * 30
FAIR = [sample(None, "error", "infra_error")] * 10 + [sample(0.1)] * 30
LOW = [sample(0.05, "end_marker", "compile")] * 40 + [sample(1.0, "pass", "pass", 3)] * 5
OTHER = [sample(0.1, problem_id="a"), sample(0.2, problem_id="b")]
SAME = [sample(0.1, problem_id="a"), sample(0.2, problem_id="a")]
WARM = np.concatenate([np.linspace(0, 1e-5, 20), np.linspace(1e-5, 1e-7, 80)])
RESUMED = [Event(50.0, "resume")]
TINY = np.where(np.arange(100) % 2, 0.003, 0.3)
HALF = {"rollout.group_size": 8}
K3 = {"algo.kl_coef": 0.05}
EVALS = np.where(np.arange(100) % 10 == 0, 1.0, np.nan)


def evals(*values: float) -> Floats:
    x_N = np.full(100, np.nan)
    x_N[:: 100 // len(values)][: len(values)] = values
    return x_N


def rows(
    advantage: float = 1.0, other: float = 0.0, fixed: bool = False
) -> list[dict[str, object]]:
    """Two steps of six groups of six samples; every second one repeats the text before it.

    advantage: its sign; other: what a repeated answer is paid more; fixed: failures earn one
    amount.
    """
    made: list[dict[str, object]] = []
    for i in range(72):
        member = i % 6
        share = (member // 2) / 2.0
        total = 0.1 if fixed and share < 1.0 else share
        score = {
            "total": total + other * (i % 2),
            "status": "scored",
            "verdict": "pass" if share == 1.0 else "wrong",
            "components": {"tests": share + 0.1 * (i % 5)},
        }
        made.append(
            {"step": i // 36, "group": i // 6, "member": member, "problem_id": f"p{i // 6}"}
            | {"text": f"answer {i // 2}", "score": score, "advantage": advantage * (share - 0.5)}
        )
    return made


SICK: dict[str, Log] = {
    "D101": log(good(loss__total=np.append(noise(99, 0.0, 0.02), np.inf))),
    "D102": log(bad(loss__total=np.zeros(100), policy__kl_ref=np.zeros(100))),
    "D103": log(good(policy__entropy=np.full(100, 0.31415926))),
    "D104": log(
        {"preference/chosen_logp": UP, "preference/rejected_logp": UP, "preference/accuracy": FLAT},
        kind="preference",
    ),
    "D105": log(good(), notes=["steps go back 3 times and were put in order"]),
    "D106": log({"reward/mean": noise(8)}),
    "D107": log(good(), checks=[CHECK | {"passed": False, "refuses": True, "overridden": True}]),
    "D108": log(good(policy__ratio_max_first_pass=noise(100, 5.0, 0.5)), config={}),
    "D109": log(good(policy__nll_minus_entropy_z=noise(100, -5.0, 1.0))),
    "D110": log(good(policy__sampler_diff_mean=noise(100, 0.3, 0.02))),
    "D111": log(bad(optim__grad_norm=np.zeros(100), policy__kl_ref=np.zeros(100))),
    "D112": log(bad(optim__update_ratio=np.zeros(100))),
    "D113": log(good(verifier__missing_frac=noise(100, 0.4, 0.02))),
    "D117": log(good(), samples=rows(advantage=-1.0)),
    "D118": log(good(), samples=rows(other=0.2)),
    "D119": log(good(), samples=rows(fixed=True)),
    "D201": log({"reward/mean": np.full(60, 0.0) + noise(60, 0.1, 1e-5)}),
    "D202": log(good(component__answer=np.zeros(100), component__format_tag=UP)),
    "D203": log(
        good(
            150,
            component__answer=noise(150, 0.0, 1e-3) + spiky(150, (5,), 1.0),
            component__format=line(150, 0.3, 0.7),
        )
    ),
    "D204": log(
        good(
            reward__mean=step(100, 30, 0.6, 0.3),
            reward__within_std=step(100, 30, 0.5, 0.01, 0.003),
        )
    ),
    "D205": log(good(reward__mean=line(100, 0.7, 0.3))),
    "D206": log(bad(), samples=FEW_TOTALS),
    "D207": log(bad(), samples=PAID),
    "D208": log(
        good(
            component_std__format=noise(100, 1.0),
            component_std__answer=noise(100, 0.1, 0.01),
            component_std__style=noise(100, 0.1, 0.01),
        )
    ),
    "D209": log(good(component__short=line(100, 0.8, 0.2), component__answer=UP)),
    "D210": log(bad(), samples=LOW),
    "D211": log(good(reward__std=noise(100, 0.49, 0.01))),
    "D212": log({"reward/mean": line(400, 0.4, 0.46, 0.07)}),
    "D213": log(good(reward__mean=np.concatenate([line(50, 0.2, 0.5), noise(100, 0.5, 0.03)]))),
    "D214": log({"reward/mean": np.ones(60)}),
    "D215": log(good(eval__pass_at_1=evals(0.3, 0.5, 0.7, 0.5, 0.4), eval__problems=EVALS * 200)),
    "D216": log({"reward/mean": FLAT, "reward/best_of_n": FLAT + 0.3}),
    "D217": log(good(reward__mean=step(100, 50, 0.6, 0.3)), events=RESUMED),
    "D218": log(good(), events=[Event(40.0, "curriculum", "stage two")]),
    "D219": log({"reward/mean": np.concatenate([line(50, 0.2, 0.8), line(70, 0.8, 0.3)])}),
    "D220": log(good(reward__mean=line(100, 20.0, 60.0), reward__tests=UP)),
    "D301": log(bad(group__tied_wrong_frac=noise(100, 0.95, 0.02))),
    "D302": log(good(group__tied_right_frac=line(100, 0.2, 0.8))),
    "D303": log(bad(group__zero_std_frac=np.ones(100))),
    "D304": log(bad(reward__within_std=TINY)),
    "D305": log(bad(group__distinct_frac=line(100, 0.9, 0.1))),
    "D306": log(good(), config={"rollout.group_size": 2}),
    "D307": log(good(group__zero_std_frac=np.zeros(100)), other_config={"scale_rewards": "batch"}),
    "D308": log(bad(filter__emptied=np.ones(100))),
    "D309": log(good(), samples=OTHER),
    "D310": log(bad(group__tied_partial_frac=noise(100, 0.6, 0.05))),
    "D401": log(good(policy__kl_ref=noise(100, 0.6, 0.05))),
    "D402": log(bad(policy__kl_ref=np.linspace(0.0, 0.5, 100))),
    "D403": log(
        good(policy__kl_ref=step(100, 5, 0.1, 40.0), reward__mean=step(100, 5, 0.3, 0.0, 0.001))
    ),
    "D404": log(bad(policy__kl_ref=np.exp(np.linspace(-6, 2, 100)))),
    "D405": log(good(policy__kl_ref=spiky())),
    "D406": log(good(policy__kl_ref=np.zeros(100)), config=K3),
    "D407": log(
        bad(length__mean=noise(100, 400, 20), policy__kl_ref=noise(100, 0.02, 0.002)),
        config={"algo.kl_coef": 0.1},
    ),
    "D408": log(bad(policy__entropy=line(100, 0.5, 0.03, 0.01))),
    "D409": log(good(reward__mean=line(100, 0.6, 0.2), policy__entropy=line(100, 0.4, 3.0))),
    "D410": log(good(policy__entropy=noise(100, 0.1, 0.04))),
    "D411": log(good(policy__entropy=noise(100, -105.0, 3.0))),
    "D412": log(bad(policy__kl_old=noise(100, 0.15, 0.02), optim__lr=WARM)),
    "D413": log(good(policy__clip_frac=noise(100, 0.55, 0.02))),
    "D414": log(good(policy__clip_frac=np.zeros(100))),
    "D415": log(good(policy__staleness=np.arange(100.0))),
    "D416": log(good(policy__kl_ref_sequence=noise(100, -2.3, 0.3))),
}

FINE: dict[str, Log] = {
    "D117": log(good(), samples=rows()),
    "D118": log(good(), samples=rows()),
    "D119": log(good(), samples=rows()),
    "D103": log(good(optim__grad_norm=np.full(100, 1.0))),
    "D104": log(
        {"preference/chosen_logp": UP, "preference/rejected_logp": UP - 1, "loss/total": FLAT},
        kind="preference",
    ),
    "D107": log(good(), checks=[CHECK | {"passed": False}, CHECK | {"passed": True}]),
    "D108": log(good(policy__ratio_max_first_pass=np.ones(100)), config={"model.dtype": "fp32"}),
    "D109": log(good(policy__nll_minus_entropy_z=noise(100, -0.4, 1.0))),
    "D110": log(good(policy__sampler_diff_mean=noise(100, 0.01, 0.002))),
    "D111": log(bad(optim__grad_norm=np.zeros(100), reward__within_std=np.zeros(100))),
    "D112": log(good(optim__update_ratio=noise(100, 1e-3, 1e-4))),
    "D113": log(good(verifier__missing_frac=spiky(100, (50,), 0.5) * 0.5)),
    "D202": log(good(component__answer=UP, component__format_tag=UP * 0.5)),
    "D203": log(good(component__answer=UP, component__format=UP * 0.3)),
    "D206": log(good(), samples=MIXED),
    "D207": log(bad(), samples=FAIR),
    "D208": log(good(component_std__a=FLAT, component_std__b=FLAT, component_std__c=FLAT)),
    "D209": log(good(component__a=UP, component__b=FLAT)),
    "D210": log(good(), samples=LOW),
    "D211": log(good(reward__std=noise(100, 0.1, 0.01), reward__mean=line(100, 0.9, 0.97, 0.01))),
    "D214": log({"reward/mean": np.minimum(line(60, 0.5, 1.0), 1.0)}),
    "D215": log(good(eval__pass_at_1=evals(0.3, 0.5, 0.6, 0.58, 0.61), eval__problems=EVALS * 200)),
    "D216": log({"reward/mean": UP, "reward/best_of_n": UP + 0.2}),
    "D217": log(good(), events=RESUMED),
    "D219": log({"reward/mean": np.concatenate([line(50, 0.2, 0.8), noise(70, 0.78, 0.03)])}),
    "D220": log(good(reward__tests=UP)),
    "D301": log(good(group__tied_wrong_frac=noise(100, 0.3, 0.05))),
    "D302": log(good(group__tied_right_frac=line(100, 0.0, 0.3))),
    "D303": log(good(group__zero_std_frac=noise(100, 0.3, 0.05))),
    "D305": log(good(group__distinct_frac=line(100, 0.9, 0.7))),
    "D306": log(good(), config=HALF),
    "D307": log(good(group__zero_std_frac=noise(100, 0.3, 0.05))),
    "D308": log(good(filter__emptied=(np.arange(100) % 20 == 0).astype(float))),
    "D309": log(good(), samples=SAME),
    "D310": log(good(group__tied_partial_frac=noise(100, 0.1, 0.03))),
    "D401": log(good()),
    "D404": log(good(policy__kl_ref=spiky(100, (98,), 30.0))),
    "D405": log(good(policy__kl_ref=np.linspace(0.0, 0.05, 100))),
    "D406": log(good(), config=K3),
    "D407": log(good(length__mean=noise(100, 400, 20)), config={"algo.kl_coef": 0.001}),
    "D408": log(good()),
    "D409": log(good(policy__entropy=line(100, 0.4, 0.6))),
    "D411": log(good()),
    "D412": log(good(policy__kl_old=np.maximum(WARM * 1e5, 1e-4) ** 2, optim__lr=WARM)),
    "D413": log(good(policy__clip_frac=noise(100, 0.1, 0.02))),
    "D414": log(good(policy__clip_frac=noise(100, 0.1, 0.02))),
    "D415": log(good(policy__staleness=(np.arange(100) % 3).astype(float))),
    "D416": log(good(policy__kl_ref_sequence=noise(100, 0.02, 0.3))),
}


def codes(d: Diagnosis) -> set[str]:
    return {f.code for f in d.findings}


def test_every_rule_has_a_sick_log() -> None:
    assert sorted(SICK) == MINE


@pytest.mark.parametrize("code", MINE)
def test_the_sick_log_is_found(code: str) -> None:
    assert code in codes(diagnose(SICK[code]))


@pytest.mark.parametrize("code", MINE)
def test_the_healthy_log_is_not_accused(code: str) -> None:
    made = FINE.get(code, log(good()))
    rule = BY_CODE[code]
    assert not (found := [] if rule.lacks(Signals(made)) else rule.run(Signals(made))), found


@pytest.mark.parametrize("code", MINE)
def test_docstrings_explain(code: str) -> None:
    sections = BY_CODE[code].sections()
    assert list(sections) == ["Summary", *SECTIONS]
    assert all(len(text) > 3 for text in sections.values())


@pytest.mark.parametrize("code", MINE)
def test_findings_name_known_causes_and_change_one_way(code: str) -> None:
    d = diagnose(SICK[code])
    for f in d.findings:
        assert all(cause in CAUSES and 0 < weight <= 1 for cause, weight, _ in f.causes)
        assert f.summary and f.place
        p = f.prescription
        if p is not None and p.before:
            assert float(p.before) != float(p.after)


INVALID = "D102 D103 D104 D107 D108 D109 D110 D111 D112 D309 D401 D406 D412 D413 D415 D416".split()
FAULT = "D101 D113 D201 D202 D204 D205 D206 D207 D214 D215 D219 D301 D303 D305 D308 D403".split()
FAULT += "D404 D408 D409".split()


@pytest.mark.parametrize("code", INVALID)
def test_broken_invariants_make_a_run_invalid(code: str) -> None:
    d = diagnose(SICK[code])
    assert d.verdict == "INVALID RUN", d.reason
    assert all(f.prescription is None for f in d.findings if f.supports != "invalid")


@pytest.mark.parametrize("code", FAULT)
def test_strong_evidence_makes_a_fault(code: str) -> None:
    d = diagnose(SICK[code])
    assert d.verdict == "FAULT", d.reason


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("D103", "algebraic-identity"),
        ("D104", "degenerate-pairs"),
        ("D107", "loss-covers-prompt"),
        ("D108", "sampler-mismatch"),
        ("D109", "sampler-mismatch"),
        ("D111", "optimiser-detached"),
        ("D112", "optimiser-detached"),
        ("D113", "judge-outage"),
        ("D202", "dead-component"),
        ("D206", "reward-bug"),
        ("D207", "error-as-reward"),
        ("D215", "regression-after-peak"),
        ("D219", "regression-after-peak"),
        ("D301", "zero-signal-groups"),
        ("D305", "policy-collapsed"),
        ("D308", "zero-signal-groups"),
        ("D309", "group-integrity"),
        ("D404", "lr-too-high"),
        ("D406", "reference-mismatch"),
        ("D408", "policy-collapsed"),
        ("D412", "sampler-mismatch"),
        ("D415", "stale-weights"),
    ],
)
def test_the_first_cause(code: str, cause: str) -> None:
    assert diagnose(SICK[code]).causes[0].id == cause


def test_a_run_in_good_health_is_healthy() -> None:
    assert diagnose(log(good())).verdict == "HEALTHY"


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_is_never_a_fault(seed: int) -> None:
    """Flat and rising rewards with correlated noise, and everything else at rest."""
    rng = np.random.default_rng(seed)
    wander = np.zeros(200)
    for i in range(1, 200):
        wander[i] = 0.4 * wander[i - 1] + 0.03 * rng.standard_normal()
    rise = np.linspace(0.0, 0.2 if seed % 2 else 0.0, 200)
    columns = good(200, reward__mean=0.5 + rise + wander)
    columns["policy/kl_ref"] = np.abs(columns["policy/kl_ref"]) * np.exp(rng.standard_normal(200))
    assert diagnose(log(columns)).verdict in ("HEALTHY", "HEALTHY BUT UNUSUAL", "CANNOT TELL")


REAL = {
    "D102": "ancestor_rlhf.json",
    "D106": "ancestor_rlaif.json",
    "D201": "arith__kartik_v1_grpo_seed2025.json",
    "D202": "unsloth__DeepSeek_R1_0528_Qwen3__8B__GRPO.json",
    "D203": "unsloth__Mistral_v0.3__7B_-GRPO.json",
    "D204": "unsloth__Gemma4__E2B__Reinforcement_Learning_Sudoku_Game.json",
    "D205": "unsloth__Gemma4__E2B__Reinforcement_Learning_Sudoku_Game.json",
    "D206": "ancestor_ocaml.json",
    "D208": "unsloth__DeepSeek_R1_0528_Qwen3__8B__GRPO.json",
    "D211": "ancestor_ocaml.json",
    "D212": "unsloth__Gemma4__E2B__Reinforcement_Learning_2048_Game.json",
    "D213": "cmexam__terrense_grpo_healthy_60pct_zero_std.json",
    "D216": "ancestor_rlaif.json",
    "D303": "unsloth__Qwen3_VL__8B_-Vision-GRPO.json",
    "D304": "unsloth__gpt-oss-_20B_-GRPO.json",
    "D307": "arith__kartik_v1_grpo_seed2025.json",
    "D401": "unsloth__Llama_FP8_GRPO_1.json",
    "D402": "unsloth__gpt_oss__20B__Reinforcement_Learning_2048_Game.json",
    "D405": "unsloth__Advanced_Llama3_1__3B__GRPO_LoRA.json",
    "D410": "ancestor_ocaml.json",
    "D412": "arith__kartik_v1_ppo_seed2025.json",
    "D414": "cmexam__terrense_grpo_healthy_60pct_zero_std.json",
}


@pytest.mark.parametrize("code", REAL)
def test_real_runs_show_it(code: str) -> None:
    if not (SHARED / "runs").is_dir():
        pytest.skip("needs the labelled runs in ../shared")
    (read,) = read_logs(SHARED / "runs" / REAL[code])
    assert code in codes(diagnose(read))


def test_labelled_runs_keep_their_verdicts() -> None:
    if not (SHARED / "runs").is_dir():
        pytest.skip("needs the labelled runs in ../shared")
    rows = json.loads((SHARED / "runs" / "labels.json").read_text("utf-8"))["runs"]
    wrong = []
    for row in rows:
        (read,) = read_logs(SHARED / "runs" / row["file"])
        d = diagnose(read)
        if d.verdict not in row["verdicts"]:
            wrong.append(f"{row['file']}: {d.verdict}, {d.reason}")
            assert d.verdict not in ("FAULT", "INVALID RUN") or set(row["verdicts"]) & {
                "FAULT",
                "INVALID RUN",
            }, wrong[-1]
    assert len(wrong) <= 2, wrong


def test_evidence_against_a_cause_is_told() -> None:
    made = log(
        bad(
            policy__clip_frac=noise(100, 0.55, 0.02),
            policy__sampler_diff_mean=noise(100, 1e-4, 1e-5),
        )
    )
    cause = next(c for c in diagnose(made).causes if c.id == "sampler-mismatch")
    assert any("differ by only" in text for text in cause.against)
    assert all(len(c.against) == 0 for c in diagnose(log(good())).causes)


def test_the_experiment_tells_the_first_two_causes_apart() -> None:
    d = diagnose(SICK["D206"])
    assert d.experiment
    pair = [Cause(c, 0.5, "", ()) for c in ("reference-mismatch", "sampler-mismatch")]
    assert "trainer, sampler and reference" in experiment(pair)
    assert {c for key in EXPERIMENTS for c in key} | set(PROBES) <= set(CAUSES)


def test_a_policy_that_froze_behind_an_early_rise_is_destroyed() -> None:
    """Entropy gone after a third of the run, the reward above its start and far from its best."""
    reward = np.concatenate([noise(60, -1.55, 0.3), noise(240, -1.18, 0.01, 3)])
    entropy = np.concatenate([line(90, 1.0, 0.02, 0.01), noise(210, 0.001, 1e-4, 4)])
    d = diagnose(log(good(300, reward__mean=reward, policy__entropy=entropy)))
    assert d.verdict == "FAULT"
    assert d.causes[0].id == "lr-too-high"


def test_no_signal_explains_zeros_better_than_algebra() -> None:
    zeros = {"loss__total": np.zeros(60), "policy__kl_ref": np.zeros(60)}
    d = diagnose(log(good(60, reward__mean=np.zeros(60), reward__within_std=np.zeros(60), **zeros)))
    assert d.verdict == "FAULT"
    assert "D102" not in codes(d)
    assert d.causes[0].id in ("reward-floor", "zero-signal-groups")


@pytest.mark.parametrize(
    ("name", "level", "cause"),
    [
        ("policy__kl_ref", 1.1, "reference-mismatch"),
        ("policy__kl_ref", 0.4, "sampler-mismatch"),
        ("policy__kl_ref_sequence", 8.0, "sampler-mismatch"),
        ("policy__kl_ref_sequence", 0.5, "sampler-mismatch"),
    ],
)
def test_size_and_kind_of_an_offset_tell_its_cause(name: str, level: float, cause: str) -> None:
    columns = good(**{name: noise(100, level, 0.05 * level)})
    if name.endswith("sequence"):
        del columns["policy/kl_ref"]
    assert diagnose(log(columns)).causes[0].id == cause


def test_an_offset_that_quantised_weights_explain_is_a_fault_not_an_invalid_run() -> None:
    assert diagnose(log(good(policy__kl_ref=noise(100, 0.14, 0.01)))).verdict == "FAULT"
    assert diagnose(log(good(policy__kl_ref=noise(100, 0.6, 0.01)))).verdict == "INVALID RUN"


def test_a_limit_is_read_off_mean_lengths_that_end_at_it() -> None:
    lengths = np.minimum(noise(100, 240.0, 20.0), 256.0)
    assert Signals(log({"length/mean": lengths})).cap() == 256.0
    assert Signals(log({"length/mean": noise(100, 240.0, 20.0)})).cap() is None


def test_what_was_lost_by_longer_completions_says_so() -> None:
    reward = np.concatenate([line(60, 0.3, 0.8), line(100, 0.8, 0.35)])
    lengths = np.minimum(np.round(330.0 - 170.0 * reward) + noise(160, 0.0, 8.0, 5), 256.0)
    d = diagnose(log({"reward/mean": reward, "length/mean": lengths}))
    found = next(f for f in d.findings if f.code == "D219")
    assert any("limit again" in text for text in found.evidence)


def test_one_update_a_batch_leaves_the_old_policy_where_it_was() -> None:
    """A loss of 0 and a KL of 0 to the old policy are what such a step has, written to 4 digits."""
    quiet = {"loss__total": np.zeros(100), "policy__kl_old": np.zeros(100)}
    assert "D102" not in codes(diagnose(log(good(**quiet))))
    assert "D102" in codes(diagnose(log(good(**quiet), config={"algo.epochs": 4})))
    assert diagnose(
        log({"reward/mean": [0.5], "loss/total": [0.0], "policy/kl_old": [0.0]})
    ).verdict == ("CANNOT TELL")


def test_tests_that_pay_nothing_though_samples_pass_them() -> None:
    columns = {"reward/tests": np.zeros(100), "reward/compile": UP, "reward/types": UP}
    d = diagnose(log(good(**{n.replace("/", "__"): v for n, v in columns.items()})))
    assert "D202" not in [f.code for f in d.findings if f.severity == "critical"]
    passing = good(**{n.replace("/", "__"): v for n, v in columns.items()}, verifier__pass_frac=UP)
    d = diagnose(log(passing))
    assert d.verdict == "FAULT" and d.causes[0].id == "reward-bug"


def test_ties_that_came_on_the_way_are_a_consequence() -> None:
    late = bad(group__tied_wrong_frac=np.repeat([0.1, 0.95], 50))
    hits = [f for f in diagnose(log(late)).findings if f.code == "D301"]
    assert hits[0].prescription is None
    assert {c: w for c, w, _ in hits[0].causes} == {"zero-signal-groups": 0.3}


def test_scores_that_begin_to_go_missing() -> None:
    share = np.clip(line(100, -0.03, 0.04, 0.01), 0.0, 1.0)
    hits = diagnose(log(good(verifier__missing_frac=share))).findings
    (hit,) = [f for f in hits if f.code == "D113"]
    assert hit.severity == "warning" and "more do" in hit.summary


def test_without_one_finite_gradient_nothing_else_is_blamed() -> None:
    nothing = {"loss__total": np.zeros(40), "policy__kl_ref": np.zeros(40)}
    d = diagnose(log(good(40, **nothing, optim__grad_norm=np.full(40, np.inf))))
    assert d.verdict == "INVALID RUN" and d.causes[0].id == "non-finite"
    assert not {"D102", "D406"} & set(codes(d))


def test_every_group_ties_at_a_reward_of_its_own() -> None:
    kinds = {"group/tied_wrong_frac": 0.4, "group/tied_partial_frac": 0.3}
    ties = {name: np.full(100, share) for name, share in kinds.items()}
    ties |= {"group/tied_right_frac": np.full(100, 0.3), "group/zero_std_frac": np.ones(100)}
    d = diagnose(log(bad() | ties))
    assert d.verdict == "FAULT" and d.causes[0].id == "zero-signal-groups"
    assert diagnose(log(good() | ties)).verdict != "FAULT"


def test_groups_chosen_for_mixed_results_hold_rarer_tokens() -> None:
    surprised = good(policy__nll_minus_entropy_z=noise(100, 3.0, 0.3))
    assert "D109" in codes(diagnose(log(surprised)))
    chosen = {"algo.zero_variance_groups": "resample"}
    assert "D109" not in codes(diagnose(log(surprised, config=chosen)))
    sharper = good(policy__nll_minus_entropy_z=noise(100, -3.0, 0.3))
    assert "D109" in codes(diagnose(log(sharper, config=chosen)))

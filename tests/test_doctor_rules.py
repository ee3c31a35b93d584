"""Every rule finds its fault in a sick log and keeps quiet on a healthy one.

The logs are generated and stand beside (`doctor_cases`); rules proved by public runs have those
too, read from ../shared/runs where it is there. Left out: the traps (test_doctor_traps.py).
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from doctor_cases import (
    CODE,
    FIRST,
    HEALTHY,
    PROSE,
    REAL,
    SICK,
    UP,
    R,
    bad,
    capped,
    good,
    sorted_epochs,
    spiky,
)
from doctor_logs import drift, flat, line, log, noise, rising
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.checks import CAUSES
from pawl.doctor.causes import EXPERIMENTS, PROBES, Cause, experiment
from pawl.doctor.diagnose import Diagnosis, diagnose
from pawl.logs.log import Log, Series
from pawl.logs.read_pawl import trained_frac
from pawl.logs.recognise import read_logs
from pawl.rules import prescribe
from pawl.rules.catalogue import RULES
from pawl.rules.completions import circles, gibberish
from pawl.rules.rule import SECTIONS
from pawl.rules.signals import Signals

RUNS = Path(__file__).resolve().parents[2] / "shared" / "runs"
BY_CODE = {rule.code: rule for rule in RULES}
LATER = [rule for rule in RULES if rule.code[1] in "56789"]
SEVERITIES = ["info", "warning", "critical"]
needs_runs = pytest.mark.skipif(not RUNS.is_dir(), reason="needs the public runs in ../shared")


def found(code: str, subject: Log) -> list:
    """What one rule says of a log, as `diagnose` would ask it."""
    rule, s = BY_CODE[code], Signals(subject)
    if (rule.kinds and subject.kind not in rule.kinds) or rule.lacks(s):
        return []
    return rule.run(s)


def codes(d: Diagnosis) -> set[str]:
    return {f.code for f in d.findings}


@cache
def of_sick(code: str) -> Diagnosis:
    """The diagnosis of a rule's sick log."""
    return diagnose(SICK[code][0]())


@cache
def of_run(name: str) -> tuple[Log, Diagnosis]:
    """A public run and its diagnosis."""
    read = read_logs(RUNS / name)[0]
    return read, diagnose(read)


def test_every_rule_has_a_sick_and_a_healthy_log() -> None:
    assert set(BY_CODE) == set(SICK) == set(HEALTHY)
    assert len(BY_CODE) == len(RULES), "two rules share a code"


def test_each_sick_log_is_found() -> None:
    wrong = []
    for code, (make, severity, cause) in SICK.items():
        hits = found(code, make())
        causes = {name for hit in hits for name, _, _ in hit.causes}
        if not hits or SEVERITIES.index(hits[0].severity) < SEVERITIES.index(severity):
            wrong.append((code, "not found", hits))
        if not all(hit.code == code and hit.summary and hit.place for hit in hits):
            wrong.append((code, "not told", hits))
        if not causes <= set(CAUSES) or (cause and cause not in causes):
            wrong.append((code, "causes", causes))
        if code in FIRST and code not in codes(of_sick(code)):
            wrong.append((code, "not in the diagnosis", codes(of_sick(code))))
    assert not wrong, wrong


def test_no_healthy_log_is_accused() -> None:
    wrong = []
    for code, logs in HEALTHY.items():
        for number, make in enumerate(logs):
            subject = make()
            if code not in FIRST and BY_CODE[code].lacks(Signals(subject)):
                wrong.append((code, number, "the log lacks what the rule needs"))
            if hits := found(code, subject):
                wrong.append((code, number, hits))
    assert not wrong, wrong


def test_docstrings_explain() -> None:
    for rule in RULES:
        sections = rule.sections()
        assert list(sections) == ["Summary", *SECTIONS], rule.code
        assert all(len(text) > 3 for text in sections.values()), rule.code


def test_findings_name_known_causes_and_change_one_way() -> None:
    wrong = []
    for code in SICK:
        for f in of_sick(code).findings:
            named = all(c in CAUSES and 0 < weight <= 1 for c, weight, _ in f.causes)
            p = f.prescription
            moves = p is None or not p.before or float(p.before) != float(p.after)
            if not (named and moves and f.summary and f.place):
                wrong.append((code, f))
    assert not wrong, wrong


INVALID = "D102 D103 D104 D107 D108 D109 D110 D111 D112 D309 D401 D406 D412 D413 D415 D416".split()
FAULT = "D101 D113 D201 D202 D204 D205 D206 D207 D214 D215 D219 D301 D303 D305 D308 D403".split()
FAULT += "D404 D408 D409".split()


def test_broken_invariants_make_a_run_invalid() -> None:
    wrong = []
    for code in INVALID:
        d = of_sick(code)
        told = [f.prescription for f in d.findings if f.supports != "invalid" and f.prescription]
        if d.verdict != "INVALID RUN" or told:
            wrong.append((code, d.verdict, d.reason, told))
    assert not wrong, wrong


def test_strong_evidence_makes_a_fault() -> None:
    verdicts = {code: (of_sick(code).verdict, of_sick(code).reason) for code in FAULT}
    assert not {code: told for code, told in verdicts.items() if told[0] != "FAULT"}


FIRST_CAUSE = {
    "D103": "algebraic-identity",
    "D104": "degenerate-pairs",
    "D107": "loss-covers-prompt",
    "D108": "sampler-mismatch",
    "D109": "sampler-mismatch",
    "D111": "optimiser-detached",
    "D112": "optimiser-detached",
    "D113": "judge-outage",
    "D202": "dead-component",
    "D206": "reward-bug",
    "D207": "error-as-reward",
    "D215": "regression-after-peak",
    "D219": "regression-after-peak",
    "D301": "zero-signal-groups",
    "D305": "policy-collapsed",
    "D308": "zero-signal-groups",
    "D309": "group-integrity",
    "D404": "lr-too-high",
    "D406": "reference-mismatch",
    "D408": "policy-collapsed",
    "D412": "sampler-mismatch",
    "D415": "stale-weights",
}


def test_the_first_cause() -> None:
    assert {code: of_sick(code).causes[0].id for code in FIRST_CAUSE} == FIRST_CAUSE


def test_a_run_in_good_health_is_healthy() -> None:
    assert diagnose(log(good())).verdict == "HEALTHY"


def test_noise_alone_is_never_a_fault() -> None:
    """Flat and rising rewards with correlated noise, and everything else at rest."""
    verdicts = {}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        drift = np.zeros(200)
        for i in range(1, 200):
            drift[i] = 0.4 * drift[i - 1] + 0.03 * rng.standard_normal()
        rise = np.linspace(0.0, 0.2 if seed % 2 else 0.0, 200)
        columns = good(200, reward__mean=0.5 + rise + drift)
        kl_N = np.abs(columns["policy/kl_ref"])
        columns["policy/kl_ref"] = kl_N * np.exp(rng.standard_normal(200))
        verdicts[seed] = diagnose(log(columns)).verdict
    assert set(verdicts.values()) <= {"HEALTHY", "HEALTHY BUT UNUSUAL", "CANNOT TELL"}, verdicts


@needs_runs
def test_public_runs_show_it() -> None:
    wrong = []
    for code, name in REAL.items():
        read, d = of_run(name)
        if code == "D804" and not read.series:
            continue  # the importer does not read nested names
        if not (found(code, read) and (code not in FIRST or code in codes(d))):
            wrong.append((code, name))
    assert not wrong, wrong


@needs_runs
def test_labelled_runs_keep_their_verdicts() -> None:
    """Two may be off, none across the line of a fault; later rules alone make none sick."""
    off, wrong = [], []
    for row in json.loads((RUNS / "labels.json").read_text("utf-8"))["runs"]:
        _, d = of_run(row["file"])
        told = f"{row['file']}: {d.verdict}, {d.reason}"
        sick = bool(set(row["verdicts"]) & {"FAULT", "INVALID RUN"})
        if d.verdict not in row["verdicts"]:
            off.append(told)
            if d.verdict in ("FAULT", "INVALID RUN") and not sick:
                wrong.append(told)
        later = [f for f in d.findings if f.code[1] in "56789" and f.severity == "critical"]
        if not sick and (later or d.verdict not in row["verdicts"]):
            wrong.append((told, later))
    assert len(off) <= 2 and not wrong, (off, wrong)


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
    d = diagnose(FIRST["D206"])
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


def test_a_mix_that_is_paid_without_its_judge_is_told_with_the_reasons() -> None:
    """reward.missing = common: no score is missing, and the reward follows what the judge lacks."""
    share = np.clip(0.15 + noise(100, 0.0, 0.06), 0.0, 1.0)
    lost = {"judge/missing_frac": share, "judge/refusal_frac": share}
    there = {"verifier/missing_frac": np.zeros(100), "reward/mean": 0.3 + share}
    hits = {f.code: f for f in diagnose(log(good() | there | lost)).findings}
    assert any("% refusal" in line for line in hits["D113"].evidence)
    assert "follows the share of missing scores" in hits["D207"].summary
    steady = log(good() | lost | {"reward/mean": 0.3 + noise(100, 0.0, 0.06)[::-1]})
    assert "D207" not in codes(diagnose(steady))


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


def nowhere(seed, r, n):
    """A run that goes nowhere, with every metric at a healthy level."""
    k = [drift(seed + i, n, 0.0, 1.0, r) for i in range(20)]
    columns = {
        R: 0.4 + 0.05 * k[0],
        "verifier/pass_frac": 0.3 + 0.05 * k[1],
        "length/mean": 120 + 10 * k[2],
        "length/truncated_frac": np.clip(0.05 + 0.02 * k[3], 0, 1),
        "length/eos_frac": np.clip(0.95 + 0.02 * k[3], 0, 1),
        "length/repetition_frac": np.clip(0.02 + 0.01 * k[4], 0, 1),
        "optim/lr": np.full(n, 1e-5),
        "optim/grad_norm": np.exp(0.4 * k[5]),
        "optim/update_ratio": 1e-3 * np.exp(0.2 * k[6]),
        "optim/unchanged_frac": np.full(n, 1e-4),
        "policy/kl_ref": 0.02 + 0.004 * np.abs(k[7]),
        "policy/kl_old": 0.001 + 0.0002 * k[8],
        "policy/clip_frac": 0.05 + 0.01 * k[9],
        "policy/staleness": np.full(n, 1.0),
        "loss/total": 0.05 * k[10],
        "value/loss": 0.1 * np.exp(0.2 * k[11]),
        "value/explained_variance": 0.1 + 0.1 * k[12],
        "verifier/missing_frac": np.zeros(n),
        "time/step_s": 5 * np.exp(0.1 * k[13]),
        "memory/resident_mb": 1500 + 10 * k[14],
        "epoch": np.arange(1, n + 1) * 3 / n,
        "eval/pass_at_1": (0.3 + 0.03 * k[15])[: n // 10],
        "eval/pass_at_1_se": np.full(n // 10, 0.03),
    }
    every = {name: 10 for name in columns if name.startswith("eval/")}
    return Signals(log(columns, every=every, events=[(n // 2, "resume")]))


def test_noise_is_hardly_ever_a_fault():
    """Trend tests reject at 1%, both of them: of 200 runs that go nowhere at most one is called."""
    rng, called = np.random.default_rng(0), []
    for seed in range(200):
        s = nowhere(100 * seed, rng.uniform(0.0, 0.4), int(rng.integers(30, 300)))
        hits = [hit for rule in LATER if not rule.lacks(s) for hit in rule.run(s)]
        called += [h.code for h in hits if h.severity == "critical" or h.supports == "invalid"]
    assert len(called) <= 1, called


def test_a_lone_spike_is_named_and_no_fault():
    hits = found("D606", log({R: rising(), "optim/grad_norm": spiky([90])}))
    assert [(hit.severity, hit.supports) for hit in hits] == [("info", "unusual")]


def test_ties_explain_a_gradient_of_zero():
    subject = log(
        {
            R: flat(),
            "optim/grad_norm": np.r_[np.zeros(20), drift(1, 30, 1, 0.1)],
            "group/zero_std_frac": np.r_[np.ones(20), np.full(30, 0.2)],
        }
    )
    hits = found("D608", subject)
    assert [(hit.severity, hit.supports) for hit in hits] == [("info", "unusual")]


def test_twenty_pairs_cannot_be_told_from_chance():
    hits = found(
        "D804", log({"preference/accuracy": [0.3], "preference/pairs": [20]}, "reward-model")
    )
    assert [hit.severity for hit in hits] == ["info"]
    assert "0.15" in hits[0].evidence[0] and "0.52" in hits[0].evidence[0]


def test_a_prescription_only_moves_one_way():
    for code in SICK:
        for hit in of_sick(code).findings:
            p = hit.prescription
            if p is not None and p.option and p.before:
                assert p.before != p.after
                raises = "raise" in p.why or float(p.after) > float(p.before)
                assert raises == (float(p.after) > float(p.before))


def test_a_change_is_live_where_a_running_trainer_takes_it():
    s, words = Signals(log(good())), {"why": "-", "expected": "-", "risk": "-"}
    named = ("optim.lr", "algo.kl_coef", "optim.max_grad_norm")
    changes = [prescribe.scaled(s, option, 0.5, **words) for option in named]
    assert [c.live for c in changes if c] == [True, False, True]


@pytest.mark.parametrize("text", [PROSE, CODE, "", "42", "x = 1\n" * 3])
def test_writing_is_neither_circles_nor_gibberish(text):
    assert not circles(text)
    assert not gibberish(text)


@given(st.text(max_size=400))
@settings(max_examples=60, deadline=None)
def test_any_text_is_judged(text):
    assert isinstance(circles(text), bool)
    assert isinstance(gibberish(text), bool)


METRICS = sorted({one for rule in RULES for need in rule.needs for one in need.split("|")})
NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, 1.0, -1.0, 1e300])


@pytest.mark.filterwarnings("error::RuntimeWarning")
@settings(max_examples=150, deadline=None)
@given(
    columns=st.dictionaries(
        st.sampled_from([n.replace("*", "x") for n in METRICS if "/" in n or n == "epoch"]),
        st.lists(NUMBERS, min_size=1, max_size=60),
        min_size=1,
        max_size=8,
    ),
    kind=st.sampled_from(["policy", "preference", "reward-model", ""]),
    repeat=st.sampled_from([1, 1, 7]),
)
def test_any_numbers_are_judged(columns, kind, repeat):
    with np.errstate(all="ignore"):
        columns = {name: values * repeat for name, values in columns.items()}
        d = diagnose(log(columns, kind, events=[(3, "resume")], keep_nan=True))
    assert d.verdict


def test_problems_that_are_trained_and_evaluated_are_counted(tmp_path):
    folder = tmp_path / "samples"
    folder.mkdir()
    assert trained_frac(tmp_path) is None  # nothing is known
    (folder / "step-000001.jsonl").write_text('{"problem_id": "a"}\n{"problem_id": "b"}\n')
    (folder / "eval-000001.jsonl").write_text('{"problem_id": "b"}\n{"problem_id": "c"}\n')
    assert trained_frac(tmp_path) == 0.5


def test_a_part_that_never_moves_is_no_rounding():
    share = np.full(40, 0.5)
    (hit,) = found("D605", log({R: rising(n=40), "optim/unchanged_frac": share}))
    assert hit.severity == "critical"
    assert hit.causes[0][0] == "optimiser-detached"


def test_ppo_beside_a_critic_is_asked_for_movement():
    still = {"policy/ratio_mean": np.ones(50), "policy/kl_old": np.zeros(50)}
    critic = {R: flat(n=50), "value/loss": np.full(50, 0.2)}
    assert found("D705", log({**critic, **still}))[0].severity == "warning"
    moving = {"policy/kl_ref": np.linspace(0.0, 0.1, 50) + 0.002 * np.abs(drift(3, 50))}
    assert not found("D705", log({**critic, **still, **moving}))


def test_a_policy_that_is_gone_at_once_is_seen():
    reward = np.r_[0.5, 0.3, np.zeros(38)]
    columns = {R: reward, "optim/update_ratio": np.full(40, 0.04)}
    (hit,) = found("D604", log(columns, config={"optim.lr": 1e-2}))
    assert hit.severity == "critical"
    assert hit.prescription is not None and float(hit.prescription.after) < 1e-2


def test_a_warm_up_that_goes_on_is_a_note():
    hits = found("D601", log({R: flat(), "optim/lr": np.linspace(1e-8, 1e-6, 200)}))
    assert [(hit.severity, hit.supports) for hit in hits] == [("info", "nothing")]


def test_levels_are_not_compared_across_stages():
    """A harder stage lowers the reward and shortens answers; neither is a collapse."""
    columns = {
        R: np.repeat([0.8, 0.3], 100) + drift(1, 200, 0.0, 0.02),
        "length/mean": np.repeat([200.0, 60.0], 100) + drift(2, 200, 0.0, 5.0),
    }
    alone = log(columns)
    staged = log(columns, events=[(100, "curriculum")])
    assert found("D504", alone)[0].severity == "critical"
    assert found("D504", staged)[0].severity == "warning"


def test_two_logs_of_one_content_are_judged_alike():
    """Step numbers in tens, and a column that nobody knows, change nothing."""
    for code, (make, _, _) in SICK.items():
        one = make()
        other = replace(
            one,
            step_N=one.step_N * 10.0,
            events=[replace(event, step=event.step * 10.0) for event in one.events],
            samples=tuple(
                {**row, "step": 10.0 * row["step"]} if "step" in row else row for row in one.samples
            ),
            unknown={"other": Series("other", "other", np.arange(3), np.arange(3.0))},
        )
        assert of_sick(code).verdict == diagnose(other).verdict


def test_prompt_lengths_show_sorted_epochs():
    (hit,) = [r for r in LATER if r.code == "D915"][0].run(Signals(sorted_epochs()))
    assert hit.severity == "critical" and "longer" in hit.summary


@pytest.mark.parametrize("gain", [[], [0.0, -0.02, 0.04]], ids=["not measured", "gains"])
def test_cut_answers_are_unusual_where_the_held_out_result_does_not_stand_still(gain):
    (hit,) = found("D512", capped(gain))
    assert (hit.severity, hit.supports) == ("info", "unusual")


@pytest.mark.parametrize(("moved", "severity"), [(0.0, "critical"), (1e-3, "warning")])
def test_a_rate_of_zero(moved, severity):
    columns = {R: flat(n=40), "optim/lr": np.zeros(40), "optim/update_ratio": np.full(40, moved)}
    (hit,) = found("D601", log(columns))
    assert hit.severity == severity and "is 0 at all 40" in hit.summary

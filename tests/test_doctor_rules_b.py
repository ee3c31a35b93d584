"""Rules D5xx to D9xx: each finds its fault in a sick log and keeps quiet on a healthy one.

Logs are generated and small; public runs of ../shared/runs show some of the faults as well.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from doctor_cases_b import CODE, HEALTHY, PROSE, SICK, R, capped, sorted_epochs, spiky
from doctor_logs_b import flat, log, noise, rising
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.checks import CAUSES
from pawl.doctor.diagnose import diagnose
from pawl.logs.log import Log, Series
from pawl.logs.read_pawl import trained_frac
from pawl.logs.recognise import read_logs
from pawl.rules.catalogue import RULES
from pawl.rules.completions import circles, gibberish
from pawl.rules.rule import SECTIONS
from pawl.rules.signals import Signals

RUNS = Path(__file__).resolve().parents[2] / "shared" / "runs"
MINE = [rule for rule in RULES if rule.code[1] in "56789"]


def found(rule_code: str, subject: Log) -> list:
    """What one rule says of a log, as `diagnose` would ask it."""
    rule = next(rule for rule in RULES if rule.code == rule_code)
    s = Signals(subject)
    if (rule.kinds and subject.kind not in rule.kinds) or rule.lacks(s):
        return []
    return rule.run(s)


# public runs that show a finding: code -> file
REAL = {
    "D501": "unsloth__gpt-oss-_20B_-GRPO.json",
    "D606": "unsloth_log__johnson_short_warm.json",
    "D609": "ancestor_rlaif.json",
    "D610": "unsloth__Llama3.1__8B_-GRPO.json",
    "D702": "arith__kartik_v1_ppo_seed2025.json",
    "D706": "arith__kartik_v1_ppo_seed2025.json",
    "D801": "dpo__terrense_beta0.1_initloss_not_ln2.jsonl",
    "D802": "unsloth__Llama3__8B_-ORPO.json",
    "D803": "ancestor_rlhf.json",
    "D804": "ancestor_rlhf.json",
    "D805": "unsloth__Zephyr__7B_-DPO.json",
    "D903": "unsloth__Llama3.1__8B_-GRPO.json",
}


def test_every_rule_has_a_sick_and_a_healthy_log():
    codes = {rule.code for rule in MINE}
    assert codes == set(SICK) == set(HEALTHY)
    assert len(codes) == len(MINE), "two rules share a code"


@pytest.mark.parametrize("code", SICK)
def test_sick(code):
    make, severity, cause = SICK[code]
    hits = found(code, make())
    assert hits, "nothing was found"
    order = ["info", "warning", "critical"]
    assert order.index(hits[0].severity) >= order.index(severity), hits[0]
    assert all(hit.code == code and hit.summary and hit.place for hit in hits)
    causes = {name for hit in hits for name, _, _ in hit.causes}
    assert causes <= set(CAUSES)
    assert not cause or cause in causes
    diagnose(make())


@pytest.mark.parametrize("code", HEALTHY)
def test_healthy(code):
    for make in HEALTHY[code]:
        subject = make()
        rule = next(rule for rule in MINE if rule.code == code)
        assert not rule.lacks(Signals(subject)), "the log lacks what the rule needs"
        assert found(code, subject) == []


@pytest.mark.parametrize("code", REAL)
def test_real(code):
    path = RUNS / REAL[code]
    if not path.exists():
        pytest.skip("shared/runs is not there")
    subject = read_logs(path)[0]
    if code == "D804" and not subject.series:
        pytest.skip("the importer does not read nested names")
    assert found(code, subject)


@pytest.mark.parametrize("rule", MINE, ids=lambda rule: rule.code)
def test_docstrings_have_their_sections(rule):
    sections = rule.sections()
    assert list(sections) == ["Summary", *SECTIONS]
    assert all(sections.values())


def nowhere(seed, r, n):
    """A run that goes nowhere, with every metric at a healthy level."""
    k = [noise(seed + i, n, 0.0, 1.0, r) for i in range(20)]
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
        hits = [hit for rule in MINE if not rule.lacks(s) for hit in rule.run(s)]
        called += [h.code for h in hits if h.severity == "critical" or h.supports == "invalid"]
    assert len(called) <= 1, called


def test_a_lone_spike_is_named_and_no_fault():
    hits = found("D606", log({R: rising(), "optim/grad_norm": spiky([90])}))
    assert [(hit.severity, hit.supports) for hit in hits] == [("info", "unusual")]


def test_ties_explain_a_gradient_of_zero():
    subject = log(
        {
            R: flat(),
            "optim/grad_norm": np.r_[np.zeros(20), noise(1, 30, 1, 0.1)],
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
    for make, _, _ in SICK.values():
        for hit in diagnose(make()).findings:
            p = hit.prescription
            if p is not None and p.option and p.before:
                assert p.before != p.after
                raises = "raise" in p.why or float(p.after) > float(p.before)
                assert raises == (float(p.after) > float(p.before))


@pytest.mark.parametrize("text", [PROSE, CODE, "", "42", "x = 1\n" * 3])
def test_writing_is_neither_circles_nor_gibberish(text):
    assert not circles(text)
    assert not gibberish(text)


@given(st.text(max_size=400))
@settings(max_examples=60, deadline=None)
def test_any_text_is_judged(text):
    assert isinstance(circles(text), bool)
    assert isinstance(gibberish(text), bool)


def test_all_labelled_runs_keep_their_verdict():
    """No verdict beyond FAULT is lost by these rules: what is healthy stays so."""
    labels = RUNS / "labels.json"
    if not labels.exists():
        pytest.skip("shared/runs is not there")
    for row in json.loads(labels.read_text())["runs"]:
        d = diagnose(read_logs(RUNS / row["file"])[0])
        if not set(row["verdicts"]) & {"FAULT", "INVALID RUN"}:
            mine = [f for f in d.findings if f.code[1] in "56789"]
            assert not [f for f in mine if f.severity == "critical"], (row["file"], mine)
            assert d.verdict in row["verdicts"]


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
        d = diagnose(log({k: v * repeat for k, v in columns.items()}, kind, events=[(3, "resume")]))
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
    moving = {"policy/kl_ref": np.linspace(0.0, 0.1, 50) + 0.002 * np.abs(noise(3, 50))}
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
        R: np.repeat([0.8, 0.3], 100) + noise(1, 200, 0.0, 0.02),
        "length/mean": np.repeat([200.0, 60.0], 100) + noise(2, 200, 0.0, 5.0),
    }
    alone = log(columns)
    staged = log(columns, events=[(100, "curriculum")])
    assert found("D504", alone)[0].severity == "critical"
    assert found("D504", staged)[0].severity == "warning"


def test_two_logs_of_one_content_are_judged_alike():
    """Step numbers in tens, and a column that nobody knows, change nothing."""
    for make, _, _ in SICK.values():
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
        assert diagnose(one).verdict == diagnose(other).verdict


def test_prompt_lengths_show_sorted_epochs():
    (hit,) = [r for r in MINE if r.code == "D915"][0].run(Signals(sorted_epochs()))
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

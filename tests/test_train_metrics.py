"""Metrics of a step: spread, diversity, mismatch of the wiring, moved weights, memory."""

import math
import mmap

import numpy as np
import pytest
import tiny_models
import tiny_runs
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.algo.mismatch import nll_minus_entropy
from pawl.problems import ocaml_text, python_text
from pawl.rollout.engine import SamplingParams
from pawl.rollout.select import make_engine
from pawl.store.read import read_samples, read_steps
from pawl.train.diversity import (
    MAX_PAIRS,
    diversity_metrics,
    edit_distance,
    effective_number,
    mean_distance,
    normalised,
    similarity,
    words,
)
from pawl.train.host import STEPS, resident, slope
from pawl.train.logprob_pass import log_prob_pass, whole
from pawl.train.mismatch import moved, snapshot, staleness
from pawl.train.record import length_metrics, within_share
from pawl.types import Group, Problem, Prompt, Sample

TOTALS = st.lists(
    st.lists(st.floats(0, 1, width=16), min_size=1, max_size=6), min_size=1, max_size=6
)


def group(texts, lang="ocaml"):
    samples = tuple(
        Sample("p", 0, i, tuple(text.encode()), (0.0,) * len(text), text, "stop", i)
        for i, text in enumerate(texts)
    )
    return Group(Problem("p", "", metadata={"lang": lang}), Prompt("p", 0, (1,)), samples)


# ---- reward spread ----


@settings(max_examples=100, deadline=None)
@given(TOTALS)
def test_spread_within_and_between_groups_add_up(totals):
    everything = np.concatenate(totals)
    share = within_share(totals)
    spread = np.square(everything - everything.mean()).sum()
    if spread < 1e-12:
        return
    between = sum(len(t) * (np.mean(t) - everything.mean()) ** 2 for t in totals)
    assert share == pytest.approx(1 - between / spread, abs=1e-6)


def test_spread_of_equal_rewards_is_not_a_number():
    assert within_share([]) is None
    assert within_share([[0.5, 0.5], [0.5]]) is None
    assert within_share([[0.0, 1.0]]) == 1.0
    assert within_share([[0.0, 0.0], [1.0, 1.0]]) == 0.0


# ---- diversity ----


def test_programs_that_differ_in_comments_and_layout_are_one():
    same = ["let f x = x + 1", "let f x =\n  x+1 (* add (* one *) *)", "let f  x = x +\n1"]
    record = diversity_metrics([group([*same, "let f x = x + 2"])])
    assert record["group/distinct_frac"] == 1.0
    assert record["group/distinct_norm_frac"] == 0.5
    strings = ['let s = "(* a *)"', 'let s = "(* b *)"']
    assert diversity_metrics([group(strings)])["group/distinct_norm_frac"] == 1.0


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        ("    return x+1", "    return x + 1  # one more", True),
        ("if x:\n  y = 1\nz = 2", "if x:\n\n      y = 1  # a\nz = 2\n", True),
        ("f(a,\n      b)", "f(a, b)", True),
        ("f(a, # one\n  b)", "f(a,b)", True),
        ("if x:\n  y = 1\n  z = 2", "if x:\n  y = 1\nz = 2", False),
        ("s = '# a'", "s = '# b'", False),
        ("s = '''a\n  # b'''", "s = '''a\n  # c'''", False),
        ("return 'a  b'", "return 'a b'", False),
        ("x = 1\ny = 2", "x = 1 y = 2", False),
    ],
)
def test_python_without_comments_and_layout(a, b, equal):
    assert (python_text.normal(a) == python_text.normal(b)) is equal


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab1 \n\t#\"'()[]{}\\=:*+(*", max_size=60))
def test_any_text_has_a_normal_form(text):
    for normal in (python_text.normal, ocaml_text.normal):
        assert normal(text) == normal(text + "  ")  # trailing blanks never count
        assert len(normal(text).replace(" ", "")) <= 3 * len(text) + 1


SUM = "def f(x):\n    total = 0\n    for a in x:\n        total += a\n    return total\n"


@pytest.mark.parametrize(
    ("lang", "a", "b", "equal"),
    [
        ("python", SUM, SUM.replace("total", "acc").replace("x", "values"), True),
        ("python", SUM, SUM.replace(" a ", " b ").replace("= a", "= b") + "# why", True),
        ("python", SUM, SUM.replace("+=", "-="), False),
        ("python", SUM, SUM.replace("return total", "return a"), False),
        ("python", "def f(x):\n  return x.a", "def f(y):\n  return y.b", False),
        ("python", "def f(x):\n  return len(x)", "def f(x):\n  return sum(x)", False),
        ("python", "f = lambda x: x", "g = lambda y: y", True),
        ("python", "s = 'a'", "t = 'b'", False),
        (
            "ocaml",
            "let rec f (x : int list) : int = match x with | [] -> 0 | h :: t -> h + f t",
            "let rec g (l : int list) : int = match l with | [] -> 0 | a :: b -> a + g b",
            True,
        ),
        ("ocaml", "let f x = fst x", "let f x = snd x", False),
        ("ocaml", "let f x = List.map (fun y -> y) x", "let f a = List.map (fun b -> b) a", True),
        ("ocaml", "let f x y = x", "let f x y = y", False),
        ("rust", "let a = 1;", "let b = 1;", False),
    ],
)
def test_renamed_programs_are_one(lang, a, b, equal):
    same = words(normalised(a, lang), lang) == words(normalised(b, lang), lang)
    assert same is equal


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet="ab =:()\n'\"|->.", max_size=30), min_size=1, max_size=6))
def test_diversity_of_any_texts_is_within_its_range(texts):
    programs = [words(normalised(t, "python"), "python") for t in texts]
    kernel = similarity(programs)
    assert 1 - 1e-9 <= effective_number(kernel) <= len(texts) + 1e-9
    distance = mean_distance(kernel)
    assert (distance is None) == (len(texts) == 1)
    assert distance is None or -1e-12 <= distance <= 1


def test_eight_copies_under_other_names_are_one_program():
    copies = [SUM.replace("total", f"t{k}").replace("x", f"x{k}") for k in range(8)]
    record = diversity_metrics([group(copies, "python")])
    assert record["group/distinct_norm_frac"] == 1.0
    assert record["group/distinct_renamed_frac"] == 1 / 8
    assert record["group/program_distance"] == 0.0
    assert record["group/effective_number"] == pytest.approx(1.0)
    assert effective_number(np.eye(5)) == pytest.approx(5.0)


def test_edit_distance_of_known_pairs():
    assert edit_distance([[1, 2, 3, 4]]) is None
    assert edit_distance([[1, 2, 3, 4], [1, 2, 3, 4]]) == 0.0
    assert edit_distance([[1, 2, 3, 4], [1, 2, 9, 4]]) == 0.25
    assert edit_distance([[1, 2], [3, 4]]) == 1.0
    assert edit_distance([[1, 2], [1, 2, 3, 4]]) == 0.5
    assert edit_distance([[1, 2], [1, 2], [3, 4]]) == pytest.approx(2 / 3)


def test_large_groups_are_measured_on_some_pairs():
    size = 100  # 4950 pairs
    alike = edit_distance([[i % 2] for i in range(size)])
    assert alike == pytest.approx(0.5, abs=3 * 0.5 / math.sqrt(MAX_PAIRS))
    assert alike == edit_distance([[i % 2] for i in range(size)])


# ---- length ----


def test_an_end_is_a_token_that_was_sampled():
    groups = [group(["ab", "a", ""])]
    record = length_metrics(groups, [ord("b")])
    assert record["length/eos_frac"] == pytest.approx(1 / 3)
    assert length_metrics(groups, [])["length/eos_frac"] == 0.0


# ---- mismatch ----


def rolled_out(temperature, top_k=0):
    """A policy, and groups that its engine really sampled."""
    policy = tiny_models.policy()
    engine, _ = make_engine(policy, "auto")
    engine.sync_weights(policy, 0)
    prompts = [Prompt(f"p{i}", i, (5 + i, 6, 7)) for i in range(8)]
    params = SamplingParams(temperature, 24, top_k=top_k)
    samples = sorted(engine.generate(prompts, 8, params, 0, 1), key=lambda s: (s.group, s.member))
    problem = Problem("p", "", metadata={"lang": "ocaml"})
    return policy, [
        Group(problem, prompt, tuple(samples[8 * i : 8 * i + 8]))
        for i, prompt in enumerate(prompts)
    ]


@pytest.mark.parametrize(
    ("temperature", "top_k", "low", "high"),
    [(1.0, 0, -4, 4), (0.7, 0, -math.inf, -6), (1.5, 0, 6, math.inf), (1.0, 20, -math.inf, -6)],
)
def test_a_sampler_that_is_not_the_policy_shows(temperature, top_k, low, high):
    policy, groups = rolled_out(temperature, top_k)
    scored = log_prob_pass(policy, groups, 1.0, 1, 16, False)
    parts = [[getattr(m, n) for m in scored.micros] for n in ("old_logp_ST", "entropy_ST")]
    mask_ST = whole([m.mask_ST for m in scored.micros]).bool()
    _, z = nll_minus_entropy(whole(parts[0]), whole(parts[1]), mask_ST)
    assert low < z < high


def test_staleness_counts_optimiser_steps():
    assert staleness(group(["a", "b", "c"]).samples, 2) == 1.0


def test_moved_weights_are_measured():
    policy = tiny_models.policy()
    before = [p.detach().clone() for _, p in policy.trainable()]
    still = moved(policy, snapshot(policy))
    assert (still.norm, still.ratio, still.unchanged) == (0.0, 0.0, 1.0)
    copy = snapshot(policy)
    with torch.no_grad():
        first = policy.trainable()[0][1]
        first.view(-1)[:3] += torch.tensor([0.3, 0.0, 0.4])
    found = moved(policy, copy)
    size = sum(p.numel() for p in before)
    own = math.sqrt(sum(float(p.double().square().sum()) for p in before))
    assert found.norm == pytest.approx(0.5, rel=1e-5)
    assert found.ratio == pytest.approx(0.5 / own, rel=1e-5)
    assert found.unchanged == pytest.approx(1 - 2 / size)


# ---- memory ----


def test_slope_is_least_squares():
    values = [3.0 + 0.5 * i + (-1) ** i for i in range(STEPS)]
    assert slope(values) == pytest.approx(np.polyfit(range(STEPS), values, 1)[0])
    assert slope([2.0] * STEPS) == 0.0


def test_memory_in_use_is_seen():
    before = resident()
    with mmap.mmap(-1, 32 * 2**20) as block:  # new pages, whatever the allocator keeps
        block.write(b"1" * len(block))
        assert 16 < resident() - before < 128


# ---- a run ----


def test_a_run_records_them(model, tmp_path):
    ways = ["eval.every=0", "train.steps=21", "optim.warmup=4", "eval.problems=2"]
    path, _ = tiny_runs.begin(tmp_path, "run", tiny_runs.config(model), ways)
    records = list(read_steps(path))[1:]
    for record in records:
        assert record["policy/staleness"] == 0
        assert record["policy/nonfinite"] == 0
        assert record["policy/mismatch_ess"] == pytest.approx(1.0, abs=1e-6)
        assert abs(record["policy/nll_minus_entropy_z"]) < 5
        assert record["policy/nll_minus_entropy"] == pytest.approx(
            -record["policy/trainer_logp_mean"] - record["policy/entropy"], abs=1e-5
        )
        assert record["optim/update_norm"] > 0
        assert record["optim/unchanged_frac"] < 0.5
        assert record["advantage/std"] > 0.5
        assert 0 <= record["reward/within_share"] <= 1
        ended = record["length/eos_frac"] + record["length/truncated_frac"]
        assert ended == pytest.approx(1.0)
    assert [r["optim/lr_frac"] for r in records[:5]] == [0.25, 0.5, 0.75, 1.0, 1.0]
    slopes = [r["host"]["memory/slope_mb"] for r in records]
    assert slopes[: STEPS - 1] == [None] * (STEPS - 1)
    assert all(s is not None for s in slopes[STEPS - 1 :])
    for row in read_samples(path, 3):
        assert row["trainer_logps_sum"] == pytest.approx(row["logps_sum"], abs=1e-3)
    assert all(r["trainer_logps_sum"] is None for r in read_samples(path, 0, "eval"))


def test_a_step_without_an_update_has_no_such_figures(model, tmp_path):
    ways = ["algo.zero_variance_groups=drop", "eval.every=0", "train.steps=1", "optim.lr=0"]
    path, _ = tiny_runs.begin(tmp_path, "skip", tiny_runs.config(model, "nothing"), ways)
    record = list(read_steps(path))[-1]
    assert record["group/trained"] == 0
    for name in (
        "policy/nll_minus_entropy_z",
        "advantage/std",
        "optim/update_norm",
        "policy/entropy",
    ):
        assert record[name] is None
    assert all(r["trainer_logps_sum"] is None for r in read_samples(path, 1))

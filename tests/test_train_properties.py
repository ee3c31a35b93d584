"""What must not change an update: how it is cut, padded and ordered, and what is missing in it.

Every preset's loss with every normaliser, on random group sizes, lengths and missing scores, in
float64 through the trainer's own log-prob pass and update. Two passes, so that ratios and clips act
too. The optimiser is plain SGD: the weights after it are the gradients. RMSNorm of transformers
rounds to fp32 even in a float64 model and is swapped for one that does not.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest
import tiny_models
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_models_logprobs import exact_norm
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

from pawl.config.options import AlgoConfig
from pawl.config.presets import PRESETS
from pawl.models.learner import Learner
from pawl.models.logprobs import token_logprobs
from pawl.models.policy import freeze_reference
from pawl.train.batch import compute_advantages
from pawl.train.logprob_pass import log_prob_pass
from pawl.train.update import update
from pawl.types import Group

LONGEST, VOCAB, PASSES = 6, 300, 2
POLICY = tiny_models.policy(dtype=torch.float64, layers=1, hidden=8, heads=2, kv_heads=1)
freeze_reference(POLICY)
START = [
    p.detach() + 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i))
    for i, (_, p) in enumerate(POLICY.trainable())
]  # not the reference


@dataclass
class Batch:
    """Groups with recorded log-probs, and a float64 reward for each sample; known: bool."""

    groups: list[Group]
    reward_PG: torch.Tensor
    known_PG: torch.Tensor


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """One to three groups of two to five samples; any score but one may be missing."""
    p, g = draw(st.integers(1, 3)), draw(st.integers(2, 5))
    sizes = [
        (draw(st.integers(1, 5)), draw(st.lists(st.integers(1, LONGEST), min_size=g, max_size=g)))
        for _ in range(p)
    ]
    known = draw(st.lists(st.booleans(), min_size=p * g, max_size=p * g))
    known[draw(st.integers(0, p * g - 1))] = True
    rewards = draw(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=p * g, max_size=p * g))
    return Batch(
        tiny_models.groups(sizes, draw(st.integers(0, 99))),
        torch.tensor(rewards, dtype=torch.float64).view(p, g),
        torch.tensor(known).view(p, g),
    )


def settings_of(preset: str, normaliser: str) -> AlgoConfig:
    """The preset with another normaliser, a KL and a correction where it has none."""
    options = PRESETS[preset].items()
    own = {n.removeprefix("algo."): value for n, value in options if n.startswith("algo.")}
    more = {"normaliser": normaliser, "epochs": PASSES, "correction": "truncate"}
    return AlgoConfig(**({"kl_coef": 0.1} | own | more))


def worth(batch: Batch, cfg: AlgoConfig) -> torch.Tensor:
    """advantage_ST of the batch in its own order, LONGEST wide."""
    set_weights()
    scored = log_prob_pass(POLICY, batch.groups, 0.9, 1, 0, with_reference=True)
    parts = (batch.reward_PG, batch.known_PG, cfg.kl_coef)
    advantage_ST, _ = compute_advantages(cfg, scored, *parts)
    return torch.nn.functional.pad(advantage_ST, (0, LONGEST - advantage_ST.shape[1]))


def set_weights() -> None:
    with torch.no_grad():
        for (_, p), value in zip(POLICY.trainable(), START, strict=True):
            p.copy_(value)


def trained(
    batch: Batch, advantage_ST: torch.Tensor, known_S: torch.Tensor, cfg: AlgoConfig, micro: int
) -> tuple[list[float], torch.Tensor]:
    """(statistics of the update, all weights after it)."""
    set_weights()
    optimizer = torch.optim.SGD([p for _, p in POLICY.trainable()], lr=1.0)
    scored = log_prob_pass(POLICY, batch.groups, 0.9, 1, micro, with_reference=True)
    step = tiny_models.batch_of(scored, advantage_ST, known_S, 0.9, cfg.kl_coef, LONGEST)
    learner = Learner("policy", POLICY, optimizer, torch.amp.GradScaler("cuda", enabled=False))
    stats = update(POLICY, learner, step, [0.3] * PASSES, cfg, 0.0)
    numbers = [stats.loss, stats.ratio_max, stats.k3_old, stats.clipped, stats.passed]
    weights = torch.cat([p.detach().flatten() for _, p in POLICY.trainable()])
    return [*numbers, *stats.grad_norms], weights


def assert_equal(a: tuple[list[float], torch.Tensor], b: tuple[list[float], torch.Tensor]) -> None:
    assert a[0] == pytest.approx(b[0], abs=1e-10)
    torch.testing.assert_close(a[1], b[1], atol=1e-10, rtol=0)


NORMALISERS = ("token", "sequence", "constant")
BY_LOSS = ("grpo", "gspo", "cispo")  # one preset of each loss goes with every normaliser


def pairs() -> list[object]:
    """Every preset with its own normaliser, every loss with each; slow: the other pairs."""
    made = []
    for preset, normaliser in itertools.product(PRESETS, NORMALISERS):
        quick = preset in BY_LOSS or PRESETS[preset]["algo.normaliser"] == normaliser
        marks = () if quick else (pytest.mark.slow,)
        made.append(pytest.param(preset, normaliser, marks=marks))
    return made


@pytest.mark.parametrize(("preset", "normaliser"), pairs())
@settings(max_examples=3, deadline=None)
@given(
    batch=batches(),
    micro=st.integers(1, 6),
    order=st.randoms(use_true_random=False),
    seed=st.integers(100, 199),
)
def test_cuts_order_and_missing_samples_change_nothing(
    preset: str, normaliser: str, batch: Batch, micro: int, order: object, seed: int
) -> None:
    cfg = settings_of(preset, normaliser)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Qwen2RMSNorm, "forward", exact_norm)
        batch = replace(batch, groups=sampled(batch.groups))
        advantage_ST, known_S = worth(batch, cfg), batch.known_PG.flatten()
        whole = trained(batch, advantage_ST, known_S, cfg, 0)
        assert whole[0][2] > 0 or not advantage_ST.any()  # the second pass is off policy
        assert_equal(trained(batch, advantage_ST, known_S, cfg, micro), whole)
        assert sums(batch, micro) == pytest.approx(sums(batch, 0), abs=1e-10)

        places = order.sample(range(len(batch.groups)), len(batch.groups))
        turned = Batch(
            [batch.groups[i] for i in places], batch.reward_PG[places], batch.known_PG[places]
        )
        known = turned.known_PG.flatten()
        assert_equal(trained(turned, worth(turned, cfg), known, cfg, micro), whole)

        strange = with_other_missing(batch, seed)
        assert_equal(trained(strange, worth(strange, cfg), known_S, cfg, micro), whole)

        short = without_missing(batch)
        rest = advantage_ST[known_S], known_S[known_S]
        assert_equal(trained(short, *rest, cfg, micro), whole)


def sums(batch: Batch, micro: int) -> list[float]:
    """What the log-prob pass adds up for the record, with micro-batches of this size."""
    set_weights()
    s = log_prob_pass(POLICY, batch.groups, 0.9, 1, micro, with_reference=True)
    assert s.kl_ref is not None and s.kl_seq is not None
    return [s.tokens, s.entropy, s.kl_ref, s.kl_seq, s.sampler_diff, s.sampler_diff_max]


def sampled(groups: list[Group]) -> list[Group]:
    """The groups with log-probs as a sampler of slightly other weights would record them."""
    set_weights()
    with torch.no_grad():
        logp_ST = token_logprobs(POLICY, groups, 0.85).logp_ST.tolist()
    rows = iter(logp_ST)
    return [
        replace(
            group,
            samples=tuple(
                replace(s, logps=tuple(next(rows)[: len(s.tokens)])) for s in group.samples
            ),
        )
        for group in groups
    ]


def with_other_missing(batch: Batch, seed: int) -> Batch:
    """Other tokens, lengths and rewards where the score is missing."""
    draw = torch.Generator().manual_seed(seed)
    groups = []
    for group, known_G in zip(batch.groups, batch.known_PG.tolist(), strict=True):
        samples = []
        for s, known in zip(group.samples, known_G, strict=True):
            n = int(torch.randint(1, LONGEST + 1, (1,), generator=draw))
            other = tuple(torch.randint(0, VOCAB, (n,), generator=draw).tolist())
            samples.append(s if known else replace(s, tokens=other, logps=(-9.0,) * n))
        groups.append(replace(group, samples=tuple(samples)))
    reward_PG = torch.where(batch.known_PG, batch.reward_PG, 7.0)
    return Batch(groups, reward_PG, batch.known_PG)


def without_missing(batch: Batch) -> Batch:
    """Ragged groups: what is missing is not there at all."""
    groups = [
        replace(
            group,
            samples=tuple(s for s, known in zip(group.samples, known_G, strict=True) if known),
        )
        for group, known_G in zip(batch.groups, batch.known_PG.tolist(), strict=True)
    ]
    return replace(batch, groups=[g for g in groups if g.samples])

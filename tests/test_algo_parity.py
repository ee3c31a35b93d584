"""Losses and advantages equal TRL's own values, written by bench/parity.py from its code."""

import json
from pathlib import Path

import pytest
import tiny_models
import torch

from pawl.algo import advantages, losses
from pawl.config.options import AlgoConfig
from pawl.train.logprob_pass import BatchLogprobs, Micro
from pawl.train.update import micro_loss

GOLDEN = Path(__file__).parent / "data" / "trl.json"
NORMALISER = {"dapo": "token", "cispo": "token", "grpo": "sequence", "dr_grpo": "constant"}


def ours_loss(case, given):
    """(loss, gradient with respect to the log-probs) of the loss that training uses."""
    kind = "gspo" if case.get("level") == "sequence" else "clip"
    cfg = AlgoConfig(
        loss="cispo" if case["loss_type"] == "cispo" else kind,
        normaliser=NORMALISER[case["loss_type"]],
        clip_low=case.get("low", 0.2),
        clip_high=case.get("high", 0.2),
        dual_clip=case.get("delta", 0.0),
    )
    logp, old, ref = (torch.tensor(given[k], dtype=torch.float64) for k in ("logp", "old", "ref"))
    logp.requires_grad_()
    mask = torch.arange(logp.shape[1])[None] < torch.tensor(given["lengths"])[:, None]
    advantage = torch.tensor(given["advantage"], dtype=torch.float64)[:, None].expand(logp.shape)
    beta = case.get("beta", 0.0)
    micro = Micro((), slice(None), mask, old, old, ref if beta else None, torch.zeros_like(old))
    known = torch.ones(len(mask), dtype=torch.bool)
    step = tiny_models.batch_of(BatchLogprobs([]), advantage, known, 1.0, beta, given["longest"])
    total, kept, _, _ = micro_loss(logp, torch.zeros_like(logp), micro, step, cfg)
    loss = total / losses.count(kept, cfg.normaliser)
    (gradient,) = torch.autograd.grad(loss, logp)
    return float(loss.detach()), gradient


def ours_advantage(kind, rewards):
    reward_PG = torch.tensor(rewards, dtype=torch.float64)
    known_PG = torch.ones_like(reward_PG, dtype=torch.bool)
    if kind == "grpo":
        return advantages.grpo(reward_PG, known_PG, 1e-4)
    return {"dr_grpo": advantages.dr_grpo, "rloo": advantages.rloo}[kind](reward_PG, known_PG)


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text())


def test_every_loss_equals_trl(golden):
    assert golden["trl"] == "1.16.0" and len(golden["losses"]) >= 10
    for name, kept in golden["losses"].items():
        for (loss, gradient), given in zip(kept["values"], golden["inputs"], strict=True):
            own, own_gradient = ours_loss(kept["case"], given)
            assert own == pytest.approx(loss, abs=1e-6), name
            expected = torch.tensor(gradient, dtype=torch.float64)
            torch.testing.assert_close(own_gradient, expected, atol=1e-6, rtol=0, msg=name)


def test_every_advantage_equals_trl(golden):
    for kind, values in golden["advantages"].items():
        expected = torch.tensor(values, dtype=torch.float64)
        own = ours_advantage(kind, golden["rewards"])
        torch.testing.assert_close(own, expected, atol=1e-6, rtol=0)

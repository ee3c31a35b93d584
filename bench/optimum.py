"""Does each estimator reach the closed-form optimum? pi* = pi_ref exp(r / beta) / Z, enumerated.

    python bench/optimum.py [--seeds 0 1 2 3 4 5 6 7 8 9]

A tiny transformer writes three of six tokens after one of two prompts, so every completion can be
enumerated: the objective J = E[r] - beta KL(pi || pi_ref), its optimum and the start are exact.
Rollouts are drawn from the exact distribution; log-prob pass, advantages, loss and optimiser are
Pawl's own. Prints the share of the gap that is closed, J between start (0) and optimum (1), for
each estimator and seed. One setting for all; published GRPO is there to show that it optimises
something else. Left out: generation, real rewards (bench/presets.py).
"""

from __future__ import annotations

import argparse
import platform
import time
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pawl.config.options import AlgoConfig, OptimConfig
from pawl.models.learner import make_learner
from pawl.models.logprobs import token_logprobs
from pawl.models.optim import lr_at
from pawl.models.policy import Policy, freeze_reference
from pawl.train.batch import TrainBatch, compute_advantages
from pawl.train.logprob_pass import log_prob_pass
from pawl.train.update import update
from pawl.types import Group, Problem, Prompt, Sample

V, T, P, BETA = 6, 3, 2, 0.5
LAYERS, WIDTH, HEADS, SPREAD = 2, 32, 4, 0.2
GROUPS, MEMBERS, ITERATIONS = 32, 32, 80
SEQUENCES = [tuple(row) for row in torch.cartesian_prod(*[torch.arange(V)] * T).tolist()]
MINIS, PASSES = 4, 2  # optimiser steps of an iteration: 8
OPTIM = OptimConfig(lr=3e-3, schedule="linear")
UNBIASED = {
    "rloo": {"advantage": "rloo", "kl": "k1"},
    "reinforce_pp": {"advantage": "reinforce_pp", "kl": "k1"},
    "dr_grpo": {"advantage": "dr_grpo", "kl": "k1"},
}
PUBLISHED = {"grpo": {"advantage": "grpo", "kl": "k3", "normaliser": "sequence"}}


class TinyLM(nn.Module):
    """A causal transformer without biases, as Pawl calls any causal LM; ids V + p are prompts.

    The head knows the V tokens alone. Attention needs no mask beyond the causal one, since all
    rows are equally long.
    """

    is_gradient_checkpointing = False

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.config = SimpleNamespace(model_type="tiny", vocab_size=V)
        draw = torch.Generator().manual_seed(seed)

        def weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape, generator=draw) * SPREAD)

        self.token, self.place = weight(V + P, WIDTH), weight(1 + T, WIDTH)
        self.qkv, self.out, self.up, self.down = (
            nn.ParameterList(weight(*shape) for _ in range(LAYERS))
            for shape in (
                (3 * WIDTH, WIDTH),
                (WIDTH, WIDTH),
                (3 * WIDTH, WIDTH),
                (WIDTH, 3 * WIDTH),
            )
        )
        self.head = weight(V, WIDTH)

    def forward(self, input_ids: Tensor, **_: object) -> SimpleNamespace:
        """Logits (S, L, V) of rows of L tokens."""
        rows, size = input_ids.shape
        x = self.token[input_ids] + self.place[:size]
        for qkv, out, up, down in zip(self.qkv, self.out, self.up, self.down, strict=True):
            heads = F.linear(norm(x), qkv).view(rows, size, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(*heads, is_causal=True)
            x = x + F.linear(mixed.transpose(1, 2).flatten(2), out)
            x = x + F.linear(F.gelu(F.linear(norm(x), up)), down)
        return SimpleNamespace(logits=F.linear(norm(x), self.head))


def norm(x: Tensor) -> Tensor:
    """Layer norm without weights."""
    return F.layer_norm(x, (WIDTH,))


def make_policy(seed: int) -> Policy:
    """A random tiny transformer and its reference."""
    policy = Policy(TinyLM(seed), None, 0, (), torch.device("cpu"))
    freeze_reference(policy)
    return policy


def groups_of(prompts: list[int], chosen: Tensor, logp: Tensor) -> list[Group]:
    """Groups of the sequences with numbers `chosen` (one row a group) and their log-probs."""
    made, logps = [], logp.tolist()
    for group, (prompt, numbers) in enumerate(zip(prompts, chosen.tolist(), strict=True)):
        samples = tuple(
            Sample("w", group, m, SEQUENCES[n], tuple(logps[prompt][n]), "", "length")
            for m, n in enumerate(numbers)
        )
        made.append(Group(Problem("w", ""), Prompt("w", group, (V + prompt,)), samples))
    return made


EVERYTHING = groups_of(list(range(P)), torch.arange(V**T).expand(P, -1), torch.zeros(P, V**T, T))


@torch.no_grad()
def exact(policy: Policy) -> Tensor:
    """Log-prob of each token of every sequence after every prompt, (P, N, T)."""
    return token_logprobs(policy, EVERYTHING, 1.0).logp_ST.view(P, -1, T).double()


def run(algo: dict[str, str], seed: int) -> tuple[float, float]:
    """(share of the gap closed, CPU seconds) of one training."""
    began = time.process_time()
    cfg = AlgoConfig.model_validate(
        {"kl_coef": BETA, "epochs": PASSES, "minibatches": MINIS, **algo}
    )
    policy = make_policy(seed)
    draw = torch.Generator().manual_seed(seed + 1000)
    reward_PN = torch.randn(P, len(SEQUENCES), generator=draw, dtype=torch.float64)
    ref_PN = exact(policy).sum(2)
    log_z = torch.logsumexp(ref_PN + reward_PN / BETA, 1)

    def objective() -> float:
        logp_PN = exact(policy).sum(2)
        value_PN = logp_PN.exp() * (reward_PN - BETA * (logp_PN - ref_PN))
        return float(value_PN.sum(1).mean())

    n = PASSES * MINIS
    start, best = objective(), float((BETA * log_z).mean())
    learner = make_learner("policy", policy, OPTIM, torch.float32)
    known_PG = torch.ones(GROUPS, MEMBERS, dtype=torch.bool)
    for i in range(ITERATIONS):
        logp_PNT = exact(policy)
        prompts = torch.randint(P, (GROUPS,), generator=draw)
        weights = logp_PNT.sum(2).exp()[prompts]
        chosen = torch.multinomial(weights, MEMBERS, replacement=True, generator=draw)
        groups = groups_of(prompts.tolist(), chosen, logp_PNT)
        logprobs = log_prob_pass(policy, groups, 1.0, MINIS, 0, with_reference=True)
        reward_PG = reward_PN[prompts[:, None], chosen]
        advantage_ST, _ = compute_advantages(cfg, logprobs, reward_PG, known_PG, BETA)
        known_S = known_PG.flatten()
        parts = (logprobs, known_S, known_S, advantage_ST)
        batch = TrainBatch(*parts, 1.0, BETA, T)
        lrs = [lr_at(n * i + k, n * ITERATIONS, OPTIM) for k in range(n)]
        update(policy, learner, batch, lrs, cfg, OPTIM.max_grad_norm)
    return (objective() - start) / (best - start), time.process_time() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, one thread, torch {torch.__version__}; share of the gap closed")
    for name, algo in (UNBIASED | PUBLISHED).items():
        found = [run(algo, seed) for seed in args.seeds]
        shares = " ".join(f"{share:+.3f}" for share, _ in found)
        print(f"{name:14} {shares}  longest {max(s for _, s in found):.1f} CPU s", flush=True)


if __name__ == "__main__":
    main()

"""GRPO in one file: a small model learns OCaml from the compiler, read from top to bottom.

    python examples/grpo_in_one_file.py            # about two minutes on two CPU cores
    python examples/grpo_in_one_file.py --steps 5  # a taste

Sample a group of programs for each problem, compile and test every one of them, credit each with
how much better it did than its group, and make the better ones more likely. Then count, on problems
that training never showed, how many attempts pass: before and after.

The pieces are Pawl's own: model, sampler, sandboxed compiler, log-probs, losses. The loop around
them is all here. Left out, and what `pawl train` adds: exact resume, records of every step and
sample, the proof of the reward, KL, several updates a batch, mixed precision, LoRA.

Legend: P problems of a step, G attempts at each, S = P * G samples, T tokens of the longest.
"""

import argparse
import random
import statistics
from collections.abc import Sequence

import torch

from pawl.algo import losses
from pawl.algo.advantages import grpo
from pawl.config.options import RewardConfig, SandboxConfig
from pawl.config.sources import ModelConfig, ProblemsConfig, PromptConfig
from pawl.models.logprobs import token_logprobs
from pawl.models.policy import Policy, load_policy
from pawl.models.text import PromptEncoder
from pawl.problems.load import prepare
from pawl.rewards.grader import Grader
from pawl.rewards.pay import pay
from pawl.rollout.engine import Engine, SamplingParams
from pawl.rollout.select import make_engine
from pawl.types import Completion, Group, Problem, Prompt, Sample, Score

P, G = 16, 8  # problems in a step, attempts at each: their spread is the learning signal
TEMPERATURE = 1.0  # of sampling and of log-probs: one number, or the ratio below is wrong
MAX_TOKENS = 96  # the longest reference solution fits
LR, WARMUP = 4e-4, 10  # steps of warm-up: Adam's second moment is empty before that
MAX_GRAD_NORM = 1.0
CLIP = 0.2  # never acts here: with one update a batch the ratio is 1 (see `learn`)
SEED = 0


def attempt(
    engine: Engine,
    encoder: PromptEncoder,
    grader: Grader,
    problems: Sequence[Problem],
    size: int,
    step: int,
) -> tuple[list[Group], list[Score]]:
    """`size` completions of each problem, and their scores in (problem, member) order.

    The engine yields a completion as soon as it ends and the grader measures it on another process,
    so the compiler works while the model still writes; then each group is paid.
    """
    prompts = [Prompt(p.id, i, encoder.encode(p)) for i, p in enumerate(problems)]
    params = SamplingParams(TEMPERATURE, MAX_TOKENS)
    samples, rows = {}, {}
    for s in engine.generate(prompts, size, params, SEED, step):
        samples[s.group, s.member] = s
        grader.submit(s.group, s.member, size, problems[s.group], completion_of(s))
    while len(rows) < len(problems):
        rows.update(grader.poll(1.0))
    groups, scores = [], []
    for i, problem in enumerate(problems):
        members = tuple(samples[i, m] for m in range(size))
        groups.append(Group(problem, prompts[i], members))
        scores += pay(problem, [completion_of(s) for s in members], rows[i], grader.reward)
    return groups, scores


def completion_of(sample: Sample) -> Completion:
    """What a reward sees of a sample."""
    return Completion(sample.problem_id, sample.text, len(sample.tokens), sample.finish)


def rewards(scores: Sequence[Score]) -> tuple[torch.Tensor, torch.Tensor]:
    """reward_PG, and known_PG: a score that could not be computed is missing, never 0."""
    totals = [score.total for score in scores]
    known_PG = torch.tensor([t is not None for t in totals]).view(-1, G)
    reward_PG = torch.tensor([0.0 if t is None else t for t in totals]).view(-1, G)
    return reward_PG, known_PG


def learn(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    groups: Sequence[Group],
    advantage_PG: torch.Tensor,
    known_PG: torch.Tensor,
) -> None:
    """One update: -min(ratio A, clip(ratio) A), averaged over all tokens of the batch.

    The ratio is that of the policy now to the policy that sampled. With one update for each batch
    they are the same, so the ratio is 1 and the gradient is plain A * grad log p; the clip would
    act from a second update on.
    """
    out = token_logprobs(policy, groups, TEMPERATURE)
    mask_ST = out.mask_ST & known_PG.view(-1, 1).to(out.mask_ST.device)
    advantage_ST = advantage_PG.view(-1, 1).to(out.logp_ST).expand_as(out.logp_ST)
    log_ratio_ST = losses.log_ratio(out.logp_ST, out.logp_ST.detach(), mask_ST)
    loss_ST, _ = losses.clipped_surrogate(log_ratio_ST, advantage_ST, mask_ST, CLIP, CLIP)
    loss = losses.reduce(loss_ST, mask_ST, "token", MAX_TOKENS)
    loss = loss / max(1, losses.count(mask_ST, "token"))
    loss.backward()
    weights = [p for _, p in policy.trainable()]
    torch.nn.utils.clip_grad_norm_(weights, MAX_GRAD_NORM)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def pass_at_1(
    engine: Engine, encoder: PromptEncoder, grader: Grader, problems: Sequence[Problem]
) -> float:
    """Share of attempts that pass every test, four at each problem; the same streams each time."""
    _, scores = attempt(engine, encoder, grader, problems, 4, step=0)
    return statistics.mean(score.passed for score in scores if score.total is not None)


def main() -> None:
    parser = argparse.ArgumentParser(description="GRPO in one file.")
    parser.add_argument("--steps", type=int, default=40, help="updates, default 40")
    parser.add_argument("--held-out", type=int, default=40, help="problems of the two exams")
    args = parser.parse_args()

    # Problems: the held-out ones ask for other functions than the training ones.
    data = prepare(ProblemsConfig(train="starter-ocaml"), SEED)
    rng = random.Random(SEED)
    exam = [data.held_out[i] for i in rng.sample(range(len(data.held_out)), args.held_out)]

    # The policy: a model of a million weights that writes OCaml, weakly on purpose. The engine is
    # a faster way to sample from the same weights; it must be told when they change.
    policy = load_policy(ModelConfig(path="bundled", dtype="fp32"), SEED)
    encoder = PromptEncoder(policy.tokenizer, PromptConfig())
    engine, _ = make_engine(policy, "auto")
    optimizer = torch.optim.AdamW([p for _, p in policy.trainable()], LR, weight_decay=0.0)

    # The reward: each program is compiled and tested in a sandbox. Partial credit for types and
    # for tests; a program that only compiles earns less than one test.
    with Grader(RewardConfig(), SandboxConfig()) as grader:
        engine.sync_weights(policy, 0)
        before = pass_at_1(engine, encoder, grader, exam)
        print(f"held-out pass@1 before: {before:.2f} ({len(exam)} problems, 4 attempts each)")

        for step in range(1, args.steps + 1):
            problems = [data.train[i] for i in rng.sample(range(len(data.train)), P)]
            groups, scores = attempt(engine, encoder, grader, problems, G, step)

            # What an attempt is worth: how much better than its group it did, in units of the
            # group's spread. Where all did alike there is nothing to learn, and all get 0.
            reward_PG, known_PG = rewards(scores)
            advantage_PG = grpo(reward_PG, known_PG, std_floor=1e-4)

            for part in optimizer.param_groups:
                part["lr"] = LR * min(1.0, step / WARMUP)
            learn(policy, optimizer, groups, advantage_PG, known_PG)
            engine.sync_weights(policy, step)

            passed = statistics.mean(score.passed for score in scores if score.total is not None)
            mixed = float((advantage_PG != 0).any(1).float().mean())
            print(
                f"step {step:3d}/{args.steps}  reward {float(reward_PG[known_PG].mean()):.2f}"
                f"  pass {passed:4.0%}  groups with a signal {mixed:4.0%}"
            )

        after = pass_at_1(engine, encoder, grader, exam)
    print(f"held-out pass@1: {before:.2f} -> {after:.2f} ({after - before:+.2f})")


if __name__ == "__main__":
    main()

"""Scoring beside generation against scoring after it: the same samples, cache off.

    python bench/overlap.py [--rounds 10]

Each round takes one batch of the quickstart's problems, once with completions scored while others
are still being written (as training does) and once with all scoring left to the end. Both write
the same completions. Prints wall-clock seconds, their ratio, and the machine.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch

import argparse
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pawl.config.load import load_run
from pawl.models.policy import load_policy
from pawl.models.text import PromptEncoder
from pawl.problems.load import prepare
from pawl.rewards.grader import Grader
from pawl.rollout.engine import Engine, SamplingParams
from pawl.rollout.select import make_engine
from pawl.train.data import draw, pool_of
from pawl.train.rollouts import Payment, collect, completion_of
from pawl.types import Problem, Prompt

CONFIG = Path(__file__).resolve().parent.parent / "examples" / "quickstart.yaml"


@dataclass(frozen=True)
class Bench:
    """What both ways share."""

    engine: Engine
    grader: Grader
    encoder: PromptEncoder
    group_size: int
    params: SamplingParams

    def beside(self, drawn: Sequence[tuple[Problem, int]], step: int) -> float:
        """Seconds to score completions while others are being written."""
        payment = Payment(self.grader.reward)
        began = time.perf_counter()
        asked = (self.engine, self.grader, self.encoder, drawn, self.group_size, self.params)
        collect(*asked, 0, step, payment)
        return time.perf_counter() - began

    def after(self, drawn: Sequence[tuple[Problem, int]], step: int) -> float:
        """Seconds to generate everything and then score everything."""
        prompts = [Prompt(p.id, i, self.encoder.encode(p), s) for i, (p, s) in enumerate(drawn)]
        began = time.perf_counter()
        samples = list(self.engine.generate(prompts, self.group_size, self.params, 0, step))
        self.grader.score(
            [
                (problem, [completion_of(s) for s in samples if s.group == i])
                for i, (problem, _) in enumerate(drawn)
            ]
        )
        return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    cfg, _ = load_run(CONFIG, ["reward.cache=false", "problems.audit=false"], {})
    torch.set_num_threads(os.cpu_count() or 1)
    policy = load_policy(cfg.model, cfg.seed)
    encoder = PromptEncoder(policy.tokenizer, cfg.prompt)
    engine, _ = make_engine(policy, cfg.rollout.engine, cfg.rollout.batch)
    engine.sync_weights(policy, 0)
    train = prepare(cfg.problems, cfg.seed).train
    whole = pool_of([range(len(train))], [1.0])
    g, r = cfg.rollout.group_size, cfg.rollout
    params = SamplingParams(r.temperature, r.max_tokens, r.stop)
    beside, behind = list[float](), list[float]()
    with Grader(cfg.reward, cfg.sandbox) as grader:
        bench = Bench(engine, grader, encoder, g, params)
        for step in range(rounds + 1):
            drawn = [(train[i], s) for i, s in draw(step * r.prompts, r.prompts, whole, 0)]
            ways = [(bench.beside, beside), (bench.after, behind)]
            for way, seconds in ways if step % 2 else reversed(ways):  # neither is always first
                seconds.append(way(drawn, step))
    beside, behind = beside[1:], behind[1:]  # the first round warms up
    a, b = statistics.median(beside), statistics.median(behind)
    print(f"{r.prompts} x {g} completions, {rounds} rounds, medians")
    print(f"scored beside generation  {a:6.2f} s")
    print(f"scored after generation   {b:6.2f} s")
    print(f"beside / after            {a / b:6.2f}")
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.machine()}, {cores} cores, Python {platform.python_version()}")


if __name__ == "__main__":
    main()

"""How fast the `local` engine is against `hf` (plain generate), on the same weights and prompts.

Prints a table: seconds (best of the repeats), completion tokens per second, and the ratio.
Run: python bench/rollout.py [--model FOLDER] [--prompts 8] [--group 8] [--threads 2]
Both engines sample the same completions, so they do the same work; a share of rows that differ
by a rounding at the edge of the inverse CDF is printed.
"""

from __future__ import annotations

import argparse
import time

import torch

from pawl.config.sources import ModelConfig
from pawl.models.policy import Policy, bundled_path, load_policy
from pawl.rollout.engine import Engine, SamplingParams
from pawl.rollout.hf import HfEngine
from pawl.rollout.local import LocalEngine
from pawl.types import Prompt, Sample

TASKS = (
    "(* Return the sum of the elements of xs. *)\nlet solve (xs : int list) : int =\n",
    "(* Return the even elements of xs, each doubled. *)\nlet solve (xs : int list) : int list =\n",
    "(* Return the largest of the positive elements of xs. *)\nlet f (xs : int list) : int =\n",
    "(* Reverse s. *)\nlet reverse_text (s : string) : string =\n",
)


def measure(
    engine: Engine, prompts: list[Prompt], group: int, params: SamplingParams, repeats: int
) -> tuple[float, float, list[Sample]]:
    """Best wall seconds, best CPU seconds, and the samples in order."""
    wall, cpu = [], []
    for _ in range(repeats + 1):
        start, start_cpu = time.perf_counter(), time.process_time()
        samples = list(engine.generate(prompts, group, params, seed=0, step=0))
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    return min(wall[1:]), min(cpu[1:]), sorted(samples, key=lambda s: (s.group, s.member))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(bundled_path()))
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    policy: Policy = load_policy(ModelConfig(path=args.model, dtype=args.dtype), 0)
    texts = [TASKS[i % len(TASKS)] for i in range(args.prompts)]
    ids = [tuple(policy.tokenizer.encode(text)) for text in texts]
    prompts = [Prompt(f"p{i}", i, tokens) for i, tokens in enumerate(ids)]
    params = SamplingParams(temperature=1.0, max_tokens=args.max_tokens)
    count = sum(p.numel() for p in policy.model.parameters())
    print(
        f"{count / 1e6:.2f}M parameters, {args.prompts} prompts x {args.group}, "
        f"{args.dtype}, {args.threads} threads, torch {torch.__version__}"
    )
    print("engine     wall s    CPU s   tokens     tok/s  ratio CPU ratio")
    base, base_cpu, first = 0.0, 0.0, list[Sample]()
    for name, engine in (("hf", HfEngine(policy)), ("local", LocalEngine(policy))):
        wall, cpu, samples = measure(engine, prompts, args.group, params, args.repeats)
        tokens = sum(len(sample.tokens) for sample in samples)
        base, base_cpu, first = base or wall, base_cpu or cpu, first or samples
        line = f"{name:8} {wall:8.3f} {cpu:8.3f} {tokens:8d} {tokens / wall:9,.0f}"
        print(f"{line} {base / wall:6.2f} {base_cpu / cpu:9.2f}")
    pairs = zip(first, samples, strict=True)
    other = sum(a.tokens != b.tokens for a, b in pairs)
    print(f"rows whose tokens differ: {other} of {len(samples)}")


if __name__ == "__main__":
    main()

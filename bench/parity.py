"""Pawl's losses and advantages against TRL's own code, on identical tensors.

    python -m venv /somewhere && /somewhere/bin/pip install trl==1.16.0 -e '.[train]'
    /somewhere/bin/python bench/parity.py [--write tests/data/trl.json]

Calls `GRPOTrainer._compute_loss` of the installed TRL with given log-probs, and lets a real
GRPOTrainer and RLOOTrainer with a tiny model turn given rewards into advantages. Prints TRL's
version, the file that its functions come from and the largest difference of each case; --write
keeps the inputs and TRL's values, which the quick suite compares with (test_algo_parity.py). Left
out: what TRL does not have (pass@k, RAFT, REINFORCE++), and its sequence-ratio loss of RLOO.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import tiny_models  # noqa: E402 - the path above comes first
import torch  # noqa: E402 - the path above comes first
import trl  # noqa: E402 - the path above comes first
from datasets import Dataset  # noqa: E402 - the path above comes first
from test_algo_parity import ours_advantage, ours_loss  # noqa: E402 - the path above comes first
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer  # noqa: E402 - as above

S, T, G, LONGEST = 6, 5, 4, 9
LOSSES: dict[str, dict[str, Any]] = {
    "clip, token": {"loss_type": "dapo"},
    "clip, sequence": {"loss_type": "grpo"},
    "clip, constant": {"loss_type": "dr_grpo"},
    "clip-higher, token": {"loss_type": "dapo", "high": 0.28},
    "dual clip, token": {"loss_type": "dapo", "delta": 1.5},
    "gspo, sequence": {"loss_type": "grpo", "level": "sequence", "low": 0.03, "high": 0.04},
    "cispo, token": {"loss_type": "cispo", "low": 1.0, "high": 0.5},
    "k3, token": {"loss_type": "dapo", "beta": 0.04},
    "k3, sequence": {"loss_type": "grpo", "beta": 0.04},
    "k3, constant": {"loss_type": "dr_grpo", "beta": 0.04},
}
REWARDS = [[0.0, 1.0, 0.25, 0.5], [1.0, 1.0, 1.0, 0.0], [0.3, 0.3, 0.3, 0.3]]


def tensors(seed: int) -> dict[str, Any]:
    """Log-probs, advantages and a ragged mask, float64, as lists."""
    g = torch.Generator().manual_seed(seed)
    logp = -3 * torch.rand(S, T, generator=g, dtype=torch.float64)
    old = logp + 0.5 * torch.randn(S, T, generator=g, dtype=torch.float64)
    ref = logp + 0.5 * torch.randn(S, T, generator=g, dtype=torch.float64)
    advantage = torch.randn(S, generator=g, dtype=torch.float64)
    lengths = torch.randint(1, T + 1, (S,), generator=g)
    return {
        "logp": logp.tolist(),
        "old": old.tolist(),
        "ref": ref.tolist(),
        "advantage": advantage.tolist(),
        "lengths": lengths.tolist(),
        "longest": LONGEST,
    }


def their_loss(case: dict[str, Any], given: dict[str, Any]) -> tuple[float, list[list[float]]]:
    """(loss, gradient with respect to the log-probs) of TRL's method."""
    logp = torch.tensor(given["logp"], dtype=torch.float64, requires_grad=True)
    mask = torch.arange(T)[None] < torch.tensor(given["lengths"])[:, None]
    accelerator = SimpleNamespace(
        num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x, sync_gradients=True
    )
    # TRL names an absolute cap where Pawl names a distance from 1.
    high = case.get("high", 0.2) + (1.0 if case["loss_type"] == "cispo" else 0.0)
    args = SimpleNamespace(
        delta=case.get("delta"), use_bias_correction_kl=False, steps_per_generation=1
    )
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *a, **k: (logp, torch.zeros_like(logp), None),
        _metrics=defaultdict(lambda: defaultdict(list)),
        model=SimpleNamespace(training=True),
        accelerator=accelerator,
        args=args,
        loss_type=case["loss_type"],
        importance_sampling_level=case.get("level", "token"),
        epsilon_low=case.get("low", 0.2),
        epsilon_high=high,
        beta=case.get("beta", 0.0),
        max_completion_length=given["longest"],
        current_gradient_accumulation_steps=1,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        aux_loss_enabled=False,
        use_vllm=False,
        _entropy_bonus_enabled=False,
    )
    ids = torch.zeros(S, T, dtype=torch.long)
    inputs = {
        "prompt_ids": ids,
        "prompt_mask": torch.ones_like(ids),
        "completion_ids": ids,
        "completion_mask": mask.double(),
        "advantages": torch.tensor(given["advantage"], dtype=torch.float64),
        "old_per_token_logps": torch.tensor(given["old"], dtype=torch.float64),
        "ref_per_token_logps": torch.tensor(given["ref"], dtype=torch.float64),
        "num_items_in_batch": mask.sum().double(),
    }
    loss = GRPOTrainer._compute_loss(trainer, None, inputs)
    (gradient,) = torch.autograd.grad(loss, logp)
    return float(loss.detach()), gradient.tolist()


def their_advantages(kind: str) -> list[list[float]]:
    """Advantages that a real trainer computes for REWARDS."""
    flat = [r for row in REWARDS for r in row]
    config = RLOOConfig if kind == "rloo" else GRPOConfig
    extra = {} if kind == "rloo" else {"scale_rewards": {"grpo": "group", "dr_grpo": "none"}[kind]}
    with tempfile.TemporaryDirectory() as folder:
        args = config(
            output_dir=folder,
            num_generations=G,
            per_device_train_batch_size=len(flat),
            max_completion_length=4,
            beta=0.0,
            report_to=[],
            use_cpu=True,
            bf16=False,
            **extra,
        )
        trainer = (RLOOTrainer if kind == "rloo" else GRPOTrainer)(
            model=tiny_models.model(),
            reward_funcs=lambda completions, **_: flat,
            args=args,
            train_dataset=Dataset.from_dict({"prompt": ["let f"] * len(REWARDS)}),
            processing_class=tiny_models.tokenizer(),
        )
        trainer.model.train()
        made = trainer._generate_and_score_completions([{"prompt": "let f"}] * len(flat))
    return made["advantages"].double().view(-1, G).tolist()


def main() -> None:
    """Compare, print, and keep if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    print(f"TRL {trl.__version__}, {inspect.getsourcefile(GRPOTrainer)}")
    given = [tensors(seed) for seed in range(3)]
    golden: dict[str, Any] = {"trl": trl.__version__, "inputs": given, "rewards": REWARDS}
    golden["losses"], golden["advantages"] = {}, {}
    for name, case in LOSSES.items():
        theirs = [their_loss(case, g) for g in given]
        golden["losses"][name] = {"case": case, "values": theirs}
        worst = 0.0
        for (loss, gradient), inputs in zip(theirs, given, strict=True):
            own, own_gradient = ours_loss(case, inputs)
            worst = max(worst, abs(own - loss))
            worst = max(worst, float((own_gradient - torch.tensor(gradient)).abs().max()))
        print(f"loss {name:20} largest difference {worst:.1e}")
    for kind in ("grpo", "dr_grpo", "rloo"):
        theirs = their_advantages(kind)
        golden["advantages"][kind] = theirs
        worst = float((ours_advantage(kind, REWARDS) - torch.tensor(theirs)).abs().max())
        print(f"advantage {kind:15} largest difference {worst:.1e}")
    if args.write:
        args.write.parent.mkdir(parents=True, exist_ok=True)
        args.write.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()

"""Texts as verl, OpenRLHF, prime-rl and NeMo-RL print them, built from what their sources state.

The values are made up; no such package ran for them. Left out: tests.
"""

from __future__ import annotations

from pathlib import Path

from pawl.logs.log import Log
from pawl.logs.recognise import read_logs

CYAN, RESET = "\x1b[36m", "\x1b[0m"


def write(folder: Path, text: str, name: str = "run.log") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def log_of(folder: Path, text: str, name: str = "run.log") -> Log:
    [log] = read_logs(write(folder, text, name))
    return log


def values(log: Log, name: str) -> list[float]:
    return [round(float(v), 9) for v in log.series[name].value_N]


VERL = {
    "actor/entropy": 0.323,
    "actor/kl_loss": 0.0012,
    "actor/pg_loss": -0.0013,
    "actor/ppo_kl": -1e-05,
    "actor/pg_clipfrac": 0.001,
    "actor/grad_norm": 0.125,
    "actor/lr": 1e-06,
    "critic/score/mean": 0.558,
    "critic/rewards/mean": 0.541,
    "critic/vf_explained_var": 0.25,
    "response_length/mean": 512.5,
    "response_length/clip_ratio": 0.0625,
    "training/rollout_probs_diff_mean": 0.003,
    "rollout_corr/kl": -0.0004,
    "rollout_corr/k3_kl": 0.0005,
    "perf/cpu_memory_used_gb": 2.0,
    "timing_s/step": 88.5,
}


def verl_line(step: int, **changed: object) -> str:
    row = {**VERL, **{k.replace("__", "/"): v for k, v in changed.items()}}
    return f"step:{step} - " + " - ".join(f"{k}:{v}" for k, v in row.items())


def ray(line: str) -> str:
    return f"{CYAN}(TaskRunner pid=4242, ip=10.0.0.7){RESET} {line}"


def openrlhf_line(step: int, sparkle: str = "\u2728 ", **changed: object) -> str:
    row: dict[str, object] = {
        "policy_loss": 0.024,
        "entropy_loss": 0.61,
        "reward": 0.40,
        "return": 0.41,
        "kl": 0.0031,
        "ppo_kl": -0.0002,
        "response_length": 512.25,
        "actor_lr": 9e-07,
        "actor_grad_norm": 0.42,
        "group_reward_std": 0.2,
        "vllm_kl": 0.001,
        "rollout/reward_mean": 0.41,
        "rollout/reward_std": 0.47,
        "rollout/truncated_rate": 0.05,
        "timing/step_total": 80.9,
    }
    row |= {k.replace("__", "/"): v for k, v in changed.items()}
    body = ", ".join(f"'{k}': {v}" for k, v in row.items())
    prefix = "INFO 09-14 10:02:11 ppo_trainer.py:529] "
    return f"{CYAN}(PPOTrainer pid=12){RESET} {prefix}{sparkle}Global step {step}: {{{body}}}"


def prime_rows(step: int, **changed: object) -> list[dict[str, object]]:
    agent = {
        "train/agg/all/reward/mean": 0.4,
        "train/agg/effective/reward/mean": 0.5,
        "train/agg/all/solved_none": 0.25,
        "train/agg/all/solved_all": 0.125,
        "train/agg/all/solved_some": 0.625,
        "train/math/all/reward/mean": 0.3,
        "train/agg/all/is_truncated/mean": 0.03,
        "train/agg/all/rewards/format/mean": 0.9,
        "off_policy/mean": 1.5,
    }
    return [
        {"step": step, "time": 1.7e9, "perf/throughput": 21000, "perf/mfu": 31.0},
        {"step": step, "time": 1.7e9, "optim/lr": 3e-06, "optim/grad_norm": 0.08},
        {"step": step, "entropy/all/mean": 0.41, "mismatch_kl/all/mean": 9e-4, "loss/mean": 0.003},
        {"step": step, **agent, **changed},
    ]


def nemo_block(step: int, reward: float, heading: bool = True) -> str:
    head = f"\n{'=' * 25} Step {step}/100 {'=' * 25}\n" if heading else ""
    return f"""{head}\u25b6 Preparing batch...
\U0001f4ca Training Results:
  \u2022 Loss: 0.0123
  \u2022 Generation KL Error: 0.0008
  \u2022 Avg Reward: {reward:.4f}
  \u2022 Mean Generation Length: 812.4000

\u23f1\ufe0f  Timing:
  \u2022 Total step time: 93.41s
  \u2022 generation: 51.20s (54.8%)
"""

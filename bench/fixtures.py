"""Writes the log files of tests/data/logs with the real packages: TRL, W&B, TensorBoard, Trackio.

    python -m venv ENV
    ENV/bin/pip install torch==2.13.0 trl==1.16.0 transformers wandb tensorboard trackio
    ENV/bin/python bench/fixtures.py OUT
    OLD/bin/python bench/fixtures.py OUT old

Tiny random models of 2 layers, CPU, a minute, nothing sent anywhere (offline modes, no telemetry).
Written by transformers 5.23.0, trl 1.16.0, wandb 0.31.0, tensorboard 2.21.0, trackio 0.43.0 (the
versions in use are printed). One GRPO run, made twice with one seed, reports to all of them, so
that five files tell of the same steps. Host name, paths and process numbers are replaced by neutral
ones; weights, optimiser states and tokenizers are thrown away. `old` writes, with a release before
the present format, the history and the options of a GRPO run and the rewards of its batches, which
show what reward_std was: trl 0.16.1 (transformers 4.49, accelerate 1.4, datasets 3.3) and 0.26.2
(4.57, 1.11, 4.4). Left out: libraries whose logs the tests build by themselves.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

NEUTRAL = {
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "WANDB_DIR": "wandb_files",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRACKIO_DIR": "trackio_files",
    "TOKENIZERS_PARALLELISM": "false",
    "LOGNAME": "user",
    "USER": "user",
}
WORDS = ["<pad>", "<eos>", "<unk>", *"abcdefghijklmnopqrstuvwxyz", *"0123456789"]
KEPT = {"trainer_state.json", "training_args.bin"}  # of a checkpoint
PROMPTS = ["a b c", "d e f", "g h i", "j k l", "m n o", "p q r", "s t u", "v w x"]


def tiny(kind: str) -> tuple[Any, Any]:
    """A random model of two layers and its word tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen2Config,
        Qwen2ForCausalLM,
        Qwen2ForSequenceClassification,
    )

    torch.manual_seed(0)
    body = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    body.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=body, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    config = Qwen2Config(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        num_labels=1,
    )
    model = (Qwen2ForCausalLM if kind == "causal" else Qwen2ForSequenceClassification)(config)
    model.save_pretrained(f"tiny_{kind}")
    tokenizer.save_pretrained(f"tiny_{kind}")
    return type(model).from_pretrained(f"tiny_{kind}"), tokenizer


def vowels(completions: list[str], **_: object) -> list[float]:
    """Share of vowels."""
    return [sum(c in "aeiou" for c in text) / max(1, len(text)) for text in completions]


def short(completions: list[str], trainer_state: Any, **_: object) -> list[float | None]:
    """1 for a short completion; None (not applicable) in every second step."""
    if trainer_state.global_step % 2:
        return [None] * len(completions)
    return [float(len(text) < 20) for text in completions]


def common(out: str, **more: object) -> dict[str, Any]:
    return {
        "output_dir": out,
        "max_steps": 6,
        "logging_steps": 1,
        "save_steps": 3,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-3,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": [],
        "seed": 0,
        "project": "grpo",
        **more,
    }


def grpo(out: str, steps: int = 6, **more: object) -> None:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    model, tokenizer = tiny("causal")
    data = Dataset.from_dict({"prompt": PROMPTS})
    args = {"num_generations": 4, "max_completion_length": 12, "beta": 0.04}
    GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        reward_funcs=[vowels, short],
        args=GRPOConfig(**{**common(out, **args), "max_steps": steps, **more}),
        train_dataset=data,
        eval_dataset=data if "eval_steps" in more else None,
    ).train()


def dpo(out: str) -> None:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

    rows = [{"prompt": p, "chosen": " y z", "rejected": f" {p}"} for p in PROMPTS]
    model, tokenizer = tiny("causal")
    DPOTrainer(
        model=model,
        processing_class=tokenizer,
        args=DPOConfig(**common(out, save_steps=6)),
        train_dataset=Dataset.from_list(rows),
    ).train()
    model, tokenizer = tiny("score")
    RewardTrainer(
        model=model,
        processing_class=tokenizer,
        args=RewardConfig(**common(f"{out}_reward", save_steps=6)),
        train_dataset=Dataset.from_list([{k: r[k] for k in ("chosen", "rejected")} for r in rows]),
    ).train()


def wandb_run(project: str) -> Any:
    import wandb

    settings = wandb.Settings(
        host="host",
        console="off",
        disable_git=True,
        disable_code=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
    return wandb.init(project=project, name="run", id=project, settings=settings)


def plain_wandb() -> None:
    """Forty steps with a nested key, nan, inf, a text and a histogram between the numbers."""
    import wandb

    run = wandb_run("plain")
    run.config.update({"learning_rate": 1e-5, "nested": {"group_size": 8}})
    for step in range(1, 41):
        row: dict[str, Any] = {"reward": step / 40, "stats": {"kl": 0.01 * step, "word": "text"}}
        if step == 7:
            row |= {"reward": float("nan"), "loss": float("inf")}
        if step % 10 == 0:
            row |= {"histogram": wandb.Histogram([1, 2, 3]), "loss": -0.5}
        run.log(row, step=step)
    run.finish()


def plain_trackio() -> None:
    """Two runs in one project."""
    import trackio

    for name, slope in (("one", 1.0), ("two", -1.0)):
        trackio.init(project="plain", name=name, config={"learning_rate": 1e-5})
        for step in range(5):
            value = float("inf") if step == 3 else slope * step
            trackio.log({"reward": value, "loss": float("nan"), "note": "text"}, step=step)
        trackio.finish()


def plain_tensorboard(folder: Path) -> None:
    """Scalars as tensors (TensorFlow 2's way) and as plain values, in two files: a restart."""
    import numpy as np
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.scalar.metadata import create_summary_metadata
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
    from tensorboard.util.tensor_util import make_tensor_proto

    about = create_summary_metadata("", "")

    for part, steps in enumerate((range(1, 8), range(6, 11))):
        writer = EventFileWriter(str(folder / f"part{part}"))
        for step in steps:
            tensor = make_tensor_proto(1.0 / step + part, dtype=np.float32)
            values = (
                Summary.Value(tag="actor/entropy", tensor=tensor, metadata=about),
                Summary.Value(tag="critic/score/mean", simple_value=step),
            )
            for value in values:
                body = Summary(value=[value])
                writer.add_event(Event(wall_time=100.0 * part + step, step=step, summary=body))
        writer.close()
        (found,) = (folder / f"part{part}").iterdir()
        found.rename(folder / f"events.out.tfevents.{1700000000 + part}.host.1.0")
        found.parent.rmdir()


@contextlib.contextmanager
def output_into(path: Path) -> Iterator[None]:
    """Send what this process prints into a file."""
    with path.open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        yield
    path.write_text(path.read_text().replace(sys.prefix, "ENV"))


def keep(source: Path, target: Path) -> None:
    """Copy what a log reader can use of a TRL output folder, under neutral names."""
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        inner = path.relative_to(source)
        name = path.name
        if name.startswith("events.out.tfevents."):
            inner = Path("runs/first") / f"events.out.tfevents.1700000000.host.1.{name[-1]}"
        elif name not in KEPT | {"README.md"} and path.suffix != ".parquet":
            continue
        (target / inner).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target / inner)


def older(out: Path) -> None:
    """A GRPO run of an older release, with the rewards of every batch."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    model, tokenizer = tiny("causal")
    tokenizer.padding_side, tokenizer.model_input_names = "left", ["input_ids", "attention_mask"]
    batches: list[list[float]] = []

    def recorded(completions: list[str], **_: object) -> list[float]:
        batches.append(vowels(completions))
        return batches[-1]

    args = {"num_generations": 4, "max_completion_length": 12, "beta": 0.04, "save_steps": 6}
    args["logging_dir"] = "run/logs"  # else named after the host
    newer = ("project", "gradient_checkpointing")
    known = {k: v for k, v in common("run", **args).items() if k not in newer}
    GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        reward_funcs=[recorded],
        args=GRPOConfig(**known),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
    ).train()
    target = out / f"trl_{version('trl')}"
    keep(Path("run"), target)
    (target / "rewards.json").write_text(json.dumps(batches))


def main() -> None:
    out = Path(sys.argv[1]).resolve()
    work = out / "work"
    work.mkdir(parents=True)
    os.environ.update(NEUTRAL)
    os.chdir(work)
    if sys.argv[2:] == ["old"]:
        older(out)
        return
    for name in ("transformers", "trl", "torch", "wandb", "tensorboard", "trackio"):
        print(name, version(name))
    run = wandb_run("grpo")
    evaluated = {"eval_steps": 4, "eval_strategy": "steps"}
    grpo("trl_again", report_to=["wandb", "trackio"], run_name="run", **evaluated)
    run.finish()
    shown = {"log_completions": True, "num_completions_to_print": 1}
    with output_into(out / "trl_stdout.log"):
        grpo("trl", report_to=["tensorboard"], **shown, **evaluated)
    grpo("trl_reuse", num_iterations=2, save_steps=6)
    dpo("trl_dpo")
    keep(work / "trl", out / "trl")
    for name in ("trl_reuse", "trl_dpo", "trl_dpo_reward"):
        shutil.copy(work / name / "checkpoint-6/trainer_state.json", out / f"{name}.json")
    plain_wandb()
    plain_trackio()
    plain_tensorboard(out / "tensorboard")
    for path in [*work.rglob("run-*.wandb"), *work.rglob("*.db")]:
        name = path.name if path.suffix == ".wandb" else f"trackio_{path.name}"
        (out / f"{name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))


if __name__ == "__main__":
    main()

"""What a careless user writes: one block, the right place, the exit code of the table, no training.

Each row is a command in a folder with a small config, a problem set and a reward, of which the row
replaces some. Every command is a process of its own (forked_commands.py), and none may use more
than 10 CPU seconds. The rows that need torch are slow; the others are refused before it is
imported. Left out: what an option may be (test_config_load.py), what a reward may return
(test_rewards_functions.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from pawl.errors import Exit

CPU_S = 10.0
CONFIG = """\
model: {path: bundled}
problems: {train: set.jsonl}
prompt: {template: prompt.txt}
rollout: {prompts: 2, group_size: 2, max_tokens: 8}
reward: mine.py:score
train: {steps: 2, threads: 1}
eval: {every: 0, problems: 2}
sandbox: {workers: 1}
"""
ROWS = [{"id": f"p{i}", "prompt": f"Say {i}.", "reference": f"It is {i * 3}."} for i in range(12)]
FILES: dict[str, str | bytes] = {
    "run.yaml": CONFIG,
    "set.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS),
    "prompt.txt": "(* {prompt} *)\n",
    "mine.py": "def score(problem, completions):\n    return [0.5 for c in completions]\n",
    "answers.jsonl": '{"problem_id": "p1", "completion": "x"}\n',
    "log.jsonl": '{"step": 1, "reward/mean": 0.5}\n',
    "tune.yaml": "data: answers.jsonl\nout: tuned\n",
    "bare/config.json": '{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}',
    "none/notes.txt": "no model\n",
}


class Wrong(NamedTuple):
    """A command in words, what its message holds, and the files that are other than FILES."""

    command: str
    words: tuple[str, ...]
    files: dict[str, str | bytes] = {}


def reward(text: str | bytes) -> dict[str, str | bytes]:
    return {"mine.py": text}


def gives(value: str, kind: str = "def") -> dict[str, str | bytes]:
    """A reward that returns this."""
    return reward(f"\n{kind} score(problem, completions):\n    return {value}\n")


def config(more: str = "", whole: str | bytes | None = None) -> dict[str, str | bytes]:
    return {"run.yaml": CONFIG + more if whole is None else whole}


TRAIN = "train run.yaml"
EMPTY = ("run.yaml: the config is empty", "quickstart.yaml")
HANGS = "import time\ndef score(problem, completions):\n    time.sleep(600)\n"

QUICK = {
    # an empty config
    "empty": Wrong(TRAIN, EMPTY, config(whole="")),
    "comments alone": Wrong(TRAIN, EMPTY, config(whole="# to do\n\n")),
    "braces": Wrong("check run.yaml", EMPTY, config(whole="{}\n")),
    "an empty section": Wrong(TRAIN, EMPTY, config(whole="optim:\n")),
    "sft without data": Wrong(
        "sft tune.yaml", ("tune.yaml:1: `data` is required",), {"tune.yaml": "out: tuned"}
    ),
    # names of other libraries, at the top, in a section, on the command line
    "TRL": Wrong(TRAIN, ("run.yaml:9: ", "`optim.lr`"), config("learning_rate: 1e-5\n")),
    "TRL's group": Wrong(f"{TRAIN} num_generations=4", ("command line", "`rollout.group_size`")),
    "TRL's length": Wrong(f"{TRAIN} max_completion_length=9", ("`rollout.max_tokens`",)),
    "TRL's KL": Wrong(f"{TRAIN} beta=0.1", ("`algo.kl_coef`",)),
    "in a section": Wrong(TRAIN, ("run.yaml:9", "`optim.lr`"), config("optim: {learning_rate: 1}")),
    "LoRA's rank": Wrong(TRAIN, ("run.yaml:9", "`model.lora.r`"), config("lora: {rank: 8}\n")),
    "LoRA's r": Wrong(f"{TRAIN} lora_r=8", ("`lora_r`", "`model.lora.r`")),
    "LoRA's alpha": Wrong(f"{TRAIN} lora_alpha=8", ("`model.lora.alpha`",)),
    "verl": Wrong(f"{TRAIN} actor_rollout_ref.rollout.n=8", ("`rollout.group_size`",)),
    "verl's section": Wrong(
        TRAIN,
        ("run.yaml:9: unknown option `actor_rollout_ref`", "`optim.lr`", "`rollout.group_size`"),
        config("actor_rollout_ref:\n  actor: {optim: {lr: 1}}\n  rollout: {n: 8}\n"),
    ),
    "verl's epochs": Wrong(f"{TRAIN} trainer.total_epochs=2", ("`train.epochs`",)),
    "OpenRLHF": Wrong(f"{TRAIN} init_kl_coef=0.1", ("`algo.kl_coef`", "OpenRLHF")),
    "OpenRLHF's lr": Wrong(f"{TRAIN} actor_learning_rate=1", ("`optim.lr`",)),
    "TRL's in sft": Wrong("sft tune.yaml num_train_epochs=2", ("`epochs`", "command line")),
    "no such option": Wrong(f"{TRAIN} report_to=all", ("steps.jsonl",)),
    # misspelt names and values
    "a name with dots": Wrong(TRAIN, ("run.yaml:9", "optim: {lr: ...}"), config("optim.lr: 1\n")),
    "option": Wrong(TRAIN, ("run.yaml:9", "`optim.lr`"), config("optim: {lrr: 1}\n")),
    "preset": Wrong(f"{TRAIN} algo.preset=dr-grpo", ('"dr_grpo"',)),
    "engine": Wrong(f"{TRAIN} rollout.engine=locl", ('"local"',)),
    "tier": Wrong(f"{TRAIN} sandbox.tier=bublewrap", ('"bubblewrap"',)),
    "tier of score": Wrong("score --problems a b --tier bublewrap", ('"bubblewrap"',)),
    "set of check": Wrong("check starter_python", ("did you mean starter-python?",)),
    "set of score": Wrong(
        "score --problems starter-ocmal answers.jsonl", ("did you mean starter-ocaml?",)
    ),
    "file of score": Wrong("score --problems set.jsonl anwers.jsonl", ("mean answers.jsonl?",)),
    "config": Wrong("train rum.yaml", ("rum.yaml: no such config", "did you mean run.yaml?")),
    "config of eval": Wrong("eval bundled --config rum.yaml", ("did you mean run.yaml?",)),
    "option of eval": Wrong("eval bundled eval.sampels=3", ("`eval.samples`",)),
    "split of eval": Wrong("eval bundled --split test", ("'held_out'",)),
    "command": Wrong("trian run.yaml", ("Did you mean 'train'?",)),
    "flag": Wrong("schema --stf", ("--sft",)),
    "environment": Wrong(TRAIN, ("environment PAWL_OPTIM__LRR", "PAWL_OPTIM__LR?")),
    # values and files
    "length below 1": Wrong(f"{TRAIN} rollout.max_tokens=-5", ("[1, 131072]",)),
    "half a step": Wrong(f"{TRAIN} train.steps=0.5", ("`train.steps` wants a whole number",)),
    "NUL in YAML": Wrong(TRAIN, ("run.yaml:2: ",), config(whole=b"seed: 1\nname: \0\n")),
    "Latin-1 in YAML": Wrong(TRAIN, ("run.yaml:2: ",), config(whole=b"seed: 1\nname: \xe9\n")),
    "a folder": Wrong("train none", ("none: cannot read the config",)),
    "config comes first": Wrong("train optim.lr=1 run.yaml", ("the config comes first",)),
    "no config": Wrong("train", ("no config given",)),
    "no equals sign": Wrong(f"{TRAIN} optim.lr", ("`optim.lr=...`",)),
    "resume": Wrong("train --resume nope", ("nope: not a run folder",)),
    "samples": Wrong("samples nope", ("nope: not a run folder",)),
    "runs": Wrong("runs nope", ("nope: no such folder of runs",)),
    "diff": Wrong("diff nope", ("Missing argument 'B'",)),
    "doctor": Wrong("doctor lgo.jsonl", ("lgo.jsonl: no such file", "did you mean log.jsonl?")),
    "doctor's level": Wrong("doctor log.jsonl --fail-on all", ("'critical'",)),
    "doctor's target": Wrong("doctor log.jsonl --target reward/meen=1", ("`reward/mean`",)),
    "a cause": Wrong("explain reward-bugs", ("no cause is called", "reward-bug")),
    "a check": Wrong("explain frist-pass-ratio", ("no check is called", "first-pass-ratio")),
    "a rule": Wrong("explain kl-at-strat", ("no rule is called", "kl-at-start")),
    "a metric": Wrong("explain policy/entrpy", ("no metric is called", "`policy/entropy`")),
    # a reward where no model is needed
    "score text": Wrong(
        "score --problems set.jsonl answers.jsonl reward=mine.py:score",
        ("mine.py:2: ", "returned 'high' for p1, expected a number", "from 0 to 1"),
        gives("['high']"),
    ),
    "score hangs": Wrong(
        "score --problems set.jsonl answers.jsonl reward=mine.py:score reward.wall_s=1",
        ("mine.py:3: ", "no answer within 1 s for problem p1, completion 'x'"),
        reward(HANGS),
    ),
    "score loads for ever": Wrong(
        "score --problems set.jsonl answers.jsonl reward=mine.py:score reward.wall_s=1",
        ("mine.py:1: ", "hangs while it is loaded"),
        reward("while True: pass\n"),
    ),
}
SLOW = {
    # a reward that does not load
    "syntax": Wrong(TRAIN, ("mine.py:2: ",), reward("x = 1\ndef score(problem)\n    pass\n")),
    "indentation": Wrong(
        "check run.yaml", ("mine.py:3: ",), reward("def f():\n    x = 1\n  return\n")
    ),
    "NUL": Wrong(TRAIN, ("mine.py:2: ", "NUL"), reward(b"x = 1\ny = '\0'\n")),
    "UTF-16": Wrong(TRAIN, ("mine.py:1: ", "UTF-8"), reward("x = 1\n".encode("utf-16"))),
    "Latin-1": Wrong(TRAIN, ("mine.py:2: ", "utf-8"), reward(b"x = 1\n# \xe9\n")),
    "encoding": Wrong(TRAIN, ("mine.py:1: ", "klingon"), reward("# coding: klingon\n")),
    "a neighbour": Wrong(
        TRAIN, ("other.py:1: ",), {"mine.py": "import other\n", "other.py": "x = (\n"}
    ),
    "an import": Wrong(TRAIN, ("mine.py:2: ", "No module"), reward("x = 1\nimport nothere\n")),
    "an exit": Wrong(TRAIN, ("mine.py:2: ", "SystemExit"), reward("import sys\nsys.exit(0)\n")),
    "no function": Wrong(TRAIN, ("run.yaml:5: `reward.use`", "scoore"), reward("scoore = print\n")),
    "no file": Wrong(f"{TRAIN} reward=mien.py:score", ("command line", "did you mean mine.py?")),
    "no colon": Wrong(f"{TRAIN} reward=mine.py", ("mine.py:FUNCTION",)),
    "its arguments": Wrong(
        TRAIN, ("mine.py:1: ", "2 were given"), reward("def score(texts):\n    return [1]\n")
    ),
    # what it returns
    "text": Wrong(TRAIN, ("mine.py:2: ", "'high' for p", "scale"), gives("['high']")),
    "text with a digit": Wrong("check run.yaml", ("mine.py:2: ", "'0.5' for p"), gives("['0.5']")),
    "async text": Wrong(TRAIN, ("mine.py:2: ", "'high'"), gives("['high']", "async def")),
    "nan": Wrong(TRAIN, ("mine.py:2: ", "a finite number"), gives("[float('nan')]")),
    "inf": Wrong(TRAIN, ("mine.py:2: ", "a finite number"), gives("[float('inf')]")),
    "too many": Wrong(TRAIN, ("mine.py:2: ", "3 values for 1"), gives("[0.5] * 3")),
    "nested": Wrong(TRAIN, ("mine.py:2: ", "[0.5] for p"), gives("[[0.5]]")),
    "off the scale": Wrong(TRAIN, ("mine.py:2: ", "expected 0 to 1"), gives("[7]")),
    "no list": Wrong(TRAIN, ("mine.py:2: ", "expected a list"), gives("0.5")),
    "missing": Wrong(TRAIN, ("reward", "gave no value"), gives("[None]")),
    "eval": Wrong("eval bundled --config run.yaml", ("mine.py:2: ", "'high'"), gives("['high']")),
    # a call that hangs
    "hangs": Wrong(
        f"{TRAIN} reward.wall_s=1", ("mine.py:3: ", "for problem p", "completion"), reward(HANGS)
    ),
    "awaits": Wrong(
        f"{TRAIN} reward.wall_s=1",
        ("mine.py:2: ", "for problem p"),
        reward(
            "import asyncio, time\nasync def score(problem, completions):\n"
            "    await asyncio.to_thread(time.sleep, 30)\n"
        ),
    ),
    # lengths, memory, device, model: before any work on data, which is broken in these rows
    "long completions": Wrong(f"{TRAIN} rollout.max_tokens=99999", ("command line", "1024 pos")),
    "long prompts": Wrong(
        "check run.yaml prompt.max_tokens=99999", ("command line", "1024 positions")
    ),
    "long rows": Wrong("sft tune.yaml seq_len=99999", ("command line", "1024 positions")),
    "memory": Wrong(
        f"{TRAIN} rollout.prompts=65536 rollout.group_size=1024 rollout.max_tokens=999",
        ("65536 prompts x 1024 completions of 999 tokens", "GiB"),
    ),
    "device": Wrong(f"{TRAIN} model.device=gpu", ("command line: `model.device`", "gpu")),
    "GPU": Wrong("check run.yaml model.device=cuda:99", ("cuda:99", "GPUs")),
    "eval's device": Wrong("eval bundled model.device=gpu", ("command line: `model.device`",)),
    "sft's device": Wrong("sft tune.yaml model.device=gpu", ("command line: `model.device`",)),
    "model": Wrong(f"{TRAIN} model.path=./nope", ("command line: `model.path`", "./nope")),
    "model's name": Wrong(f"{TRAIN} model.path=bundeld", ("did you mean bundled?",)),
    "model without config": Wrong(f"{TRAIN} model.path=none", ("no config.json",)),
    "model without weights": Wrong(f"{TRAIN} model.path=bare", ("bare holds no weights",)),
    "eval's model": Wrong("eval ./nope", ("no model folder at ./nope",)),
    "export's model": Wrong("export ./nope out", ("no model folder at ./nope",)),
    "export's folder": Wrong("export bundled none", ("none exists and is not empty",)),
    # names that only a run reads
    "set": Wrong(f"{TRAIN} problems.train=starter-ocmal", ("mean starter-ocaml?", "command line")),
    "set's file": Wrong(
        f"{TRAIN} problems.held_out=sets.jsonl", ("`problems.held_out`", "mean set.jsonl?")
    ),
    "template": Wrong(f"{TRAIN} prompt.template=plian", ("command line", "plain")),
    "metric of a target": Wrong(
        TRAIN, ("run.yaml:9", "`eval/success`"), config("target: {metric: eval/sucess}\n")
    ),
    "metric of a rule": Wrong(
        TRAIN,
        ("run.yaml:9", "`reward/mean`"),
        config("rules: [{when: step 1, metric: reward/meen}]"),
    ),
    "override": Wrong(f"{TRAIN} train.override=[schedul-warms]", ("schedule-warms?",)),
    "success": Wrong(f"{TRAIN} reward=code eval.success=rewad", ("did you mean reward?",)),
    "pass rates": Wrong("eval bundled --pass-rates no/x.jsonl", ("--pass-rates", "no folder")),
}


@contextmanager
def commands(root: Path, *modules: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs commands; see forked_commands.py."""
    script = str(Path(__file__).with_name("forked_commands.py"))
    env = os.environ | {"PYTHONPATH": str(root)}
    pipe = subprocess.PIPE
    command = [sys.executable, script, "pawl.cli.main", *modules]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="module")
def light(root: Path) -> Iterator[subprocess.Popen[str]]:
    with commands(root, "pawl.api", "pawl.cli.doctor", "pawl.rewards.score_file") as process:
        yield process


@pytest.fixture(scope="module")
def heavy(root: Path) -> Iterator[subprocess.Popen[str]]:
    with commands(root, "pawl.preflight.rehearse", "pawl.sft.run", "transformers") as process:
        yield process


def refused(row: Wrong, folder: Path, process: subprocess.Popen[str]) -> None:
    """Run a row's command and hold what it did against the contract."""
    for name, text in (FILES | row.files).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    env = {"PAWL_OPTIM__LRR": "1"} if "PAWL_" in row.words[0] else {}
    asked = {"args": row.command.split(), "folder": str(folder), "env": env}
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(asked) + "\n")
    process.stdin.flush()
    done = json.loads(process.stdout.readline())
    told = done["err"]
    assert done["code"] == Exit.USER, told
    assert done["out"] == "" and "Traceback" not in told, told
    assert told.count("error: ") == 1 and "resume with" not in told, told
    for words in row.words:
        assert words in told, told
    assert done["cpu_s"] < CPU_S, done["cpu_s"]
    assert not list(folder.glob("runs/*/steps.jsonl")) and not (folder / "tuned").exists()


def test_there_are_enough_rows() -> None:
    assert len(QUICK) + len(SLOW) >= 60


@pytest.mark.parametrize("name", QUICK)
def test_wrong_input_is_told_at_once(
    name: str, tmp_path: Path, light: subprocess.Popen[str]
) -> None:
    refused(QUICK[name], tmp_path, light)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_wrong_input_of_a_run_is_told_before_it_trains(
    name: str, tmp_path: Path, heavy: subprocess.Popen[str]
) -> None:
    refused(SLOW[name], tmp_path, heavy)

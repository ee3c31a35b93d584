"""Short runs of a tiny random model in this process, for the tests of the loop.

Rewards are those of loop_reward.py, called in this process; a test of the worker processes asks for
them. The preflight changes nothing (test_preflight.py) and is left out where no test asks for it.
"""

import functools
import json
import tempfile
from pathlib import Path

import loop_reward

from pawl.config.load import load_run
from pawl.config.sources import ProblemsConfig
from pawl.preflight.prove import prove
from pawl.problems.load import prepare
from pawl.store.display import Silent
from pawl.store.files import dumps
from pawl.store.run import RunFolder
from pawl.train.data import chosen
from pawl.train.eval_model import row_of
from pawl.train.fork import open_fork
from pawl.train.loop import train

ROOT = Path(__file__).resolve().parent
CONFIG = """
model: {{path: {model}}}
problems: {{train: {problems}}}
rollout: {{prompts: 3, group_size: 4, max_tokens: 12}}
reward: {reward}
optim: {{lr: 1e-3}}
train: {{steps: 4, threads: 1}}
eval: {{every: 2, problems: 4, probe: 2, samples: 2}}
sandbox: {{workers: 1}}
"""


@functools.cache
def small_set():
    """Six training problems of starter-ocaml and a few held-out ones, in a file that opens fast."""
    data = prepare(ProblemsConfig(train="starter-ocaml", limit=6), 0)
    parts = {"train": data.train, "held_out": chosen(data.held_out, 6, 0)}
    parts["held_out_family"] = chosen(data.held_out_families, 6, 0)
    rows = [row_of(p) | {"split": split} for split, part in parts.items() for p in part]
    folder = tempfile.TemporaryDirectory(prefix="pawl-tests-")
    (Path(folder.name) / "small.jsonl").write_text("".join(dumps(r) + "\n" for r in rows))
    return folder


class Notes(Silent):
    """A display that keeps its lines."""

    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)


def config(model, reward="score", more=""):
    return config_of(model, f"{ROOT / 'loop_reward.py'}:{reward}") + more


def config_of(model, reward):
    """The config with a whole entry for the reward."""
    problems = f"{small_set().name}/small.jsonl"
    return CONFIG.format(model=model, problems=problems, reward=reward)


def begin(folder, name, text, overrides=(), control=(), display=None, proved=False, pool=False):
    """A run -> (path of its folder, its result); pool: the reward in worker processes."""
    path = folder / f"{name}.yaml"
    path.write_text(text)
    cfg, places = load_run(path, [f"runs_dir={folder}", f"name={name}", *overrides], {})
    with RunFolder.create(cfg, places) as run:
        command(run.path, *control)
        return run.path, _train(run, display, False, proved, pool)


def resume(path, display=None, proved=False, pool=False):
    with RunFolder.open(path) as run:
        return _train(run, display, True, proved, pool)


def fork(source, *overrides, control=(), proved=False):
    """A fork that is trained to its end -> (path of its folder, its result)."""
    run, _ = open_fork(source, overrides)
    with run:
        command(run.path, *control)
        return run.path, _train(run, None, False, proved, False)


def command(path, *commands):
    """Hand commands to a run; earlier ones stay."""
    with (path / "control.jsonl").open("a") as file:
        file.writelines(json.dumps(c) + "\n" for c in commands)


def _train(run, display, resumed, proved, pool):
    cfg = run.config()
    use = cfg.reward.use.rsplit(":", 1)[-1]
    function = None if pool or cfg.reward.components else getattr(loop_reward, use, None)
    before = prove if proved else lambda s, progress: None
    return train(cfg, run, display or Silent(), resumed, before, function)

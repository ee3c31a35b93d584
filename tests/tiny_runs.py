"""Short runs of a tiny random model in this process, for the tests of the loop.

Rewards are those of loop_reward.py, called in this process; a test of the worker processes asks for
them. The preflight changes nothing (test_preflight.py) and is left out where no test asks for it.
"""

import json
from pathlib import Path

import loop_reward

from pawl.config.load import load_run
from pawl.preflight.prove import prove
from pawl.store.display import Silent
from pawl.store.run import RunFolder
from pawl.train.fork import open_fork
from pawl.train.loop import train

ROOT = Path(__file__).resolve().parent
CONFIG = """
model: {{path: {model}}}
problems: {{train: starter-ocaml, limit: 6}}
rollout: {{prompts: 3, group_size: 4, max_tokens: 12}}
reward: {reward}
optim: {{lr: 1e-3}}
train: {{steps: 4, threads: 1}}
eval: {{every: 2, problems: 4, probe: 2, samples: 2}}
sandbox: {{workers: 1}}
"""


class Notes(Silent):
    """A display that keeps its lines."""

    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)


def config(model, reward="score", more=""):
    return CONFIG.format(model=model, reward=f"{ROOT / 'loop_reward.py'}:{reward}") + more


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

"""Damaged records: a resume is exact, or refuses with a message. Never a silent difference.

One small run with a patched learning rate is stopped beyond its newest checkpoint and copied; each
copy is damaged once, by seed, and resumed. A resume that goes on must end as the undamaged one did,
bit for bit in everything but `host`. (A line more in control.jsonl is a command more, as ever: here
one that is repeated changes nothing.) The quick test damages 16 copies, the slow one 200.
"""

import contextlib
import json
import random
import shutil

import pytest
import tiny_runs
from test_train_resume import without_host
from tiny_runs import resume

from pawl.errors import Exit, PawlError
from pawl.store.read import read_steps

STEPS = 6
WAYS = ["train.steps=6", "checkpoint.every=2", "checkpoint.keep_last=3", "eval.every=3"]
WAYS += ["eval.problems=2", "rollout.prompts=2", "rollout.group_size=2", "rollout.max_tokens=6"]
PATCH = {"command": "patch", "set": {"optim.lr": 5e-4}}


class Killed(BaseException):
    """Stands for a kill -9: nothing is recorded of it."""


@pytest.fixture(scope="module")
def runs(model, tmp_path_factory):
    """(a run that was killed after step 5, with checkpoints 1, 2 and 4; how it ends undamaged)."""
    folder = tmp_path_factory.mktemp("damage")
    with pytest.MonkeyPatch.context() as patch:
        from pawl.store.run import RunFolder
        from pawl.train import loop

        real = loop.after_step

        def dying(s, progress, record, seen):
            real(s, progress, record, seen)
            if progress.state.step == STEPS - 1:
                raise Killed

        patch.setattr(loop, "after_step", dying)
        patch.setattr(RunFolder, "__exit__", lambda run, *_: run.close())
        with pytest.raises(Killed):
            tiny_runs.begin(
                folder, "base", tiny_runs.config(model), WAYS, [PATCH], proved=True, pool=True
            )
    base = folder / "base"
    assert [r["step"] for r in read_steps(base)] == [0, 1, 2, 3, 4, 5]
    names = sorted(p.name for p in (base / "checkpoints").iterdir())
    assert {"step-000001", "step-000002", "step-000004"} <= set(names)
    whole = shutil.copytree(base, folder / "whole")
    assert resume(whole).exit_code == Exit.OK
    return base, ending(whole)


def ending(run):
    """Everything that a damage must not change, of a run that came to its end."""
    files = sorted((run / "samples").iterdir())
    last = run / "checkpoints" / f"step-{STEPS:06d}"
    state = json.loads((last / "state.json").read_text())["state"]
    facts = json.loads((run / "run.json").read_text())
    return {
        "steps": without_host(run / "steps.jsonl"),
        "samples": {path.name: without_host(path) for path in files},
        "weights": {path.name: path.read_bytes() for path in sorted(last.rglob("*.safetensors"))},
        "state": {name: value for name, value in state.items() if name != "records"},
        "facts": {name: facts[name] for name in ("config", "parent", "seed", "data", "reward")},
    }


def lines_of(data, rng):
    lines = data.splitlines(keepends=True)
    return lines, rng.randrange(len(lines))


def cut(data, rng):
    return data[: rng.randrange(len(data))]


def flip(data, rng):
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def drop(data, rng):
    lines, i = lines_of(data, rng)
    return b"".join(lines[:i] + lines[i + 1 :])


def double(data, rng):
    lines, i = lines_of(data, rng)
    return b"".join(lines[: i + 1] + lines[i:])


def swap(data, rng):
    lines, i = lines_of(data, rng)
    j = rng.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]
    return b"".join(lines)


def digit(data, rng):
    """Another digit: the file can be read as before."""
    places = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
    at = rng.choice(places) if places else 0
    return data[:at] + bytes([48 + (data[at] - 47) % 10]) + data[at + 1 :]


def empty(data, rng):
    return b""


DAMAGES = (cut, flip, drop, double, swap, digit, empty, None)  # None: the file is removed


def damage(run, seed):
    """Damage one file of a run, every kind of file as often as another; what was done."""
    rng = random.Random(seed)
    files = sorted(p for p in run.rglob("*") if p.is_file() and p.name != "run.lock")
    kinds = {}
    for path in files:
        place = path.relative_to(run).parts
        kinds.setdefault((place[0], path.suffix, path.name[:5]), []).append(path)
    path = rng.choice(kinds[sorted(kinds)[seed % len(kinds)]])
    how = DAMAGES[seed // len(kinds) % len(DAMAGES)]
    if how is None:
        path.unlink()
    elif data := path.read_bytes():
        path.write_bytes(how(data, rng))
    return f"seed {seed}: {how.__name__ if how else 'remove'} {path.relative_to(run)}"


def go_on(base, seed, folder):
    """(what was damaged, how the run ended or None when it was refused, the refusal)."""
    run = shutil.copytree(base, folder / f"run-{seed}")
    what = damage(run, seed)
    try:
        with contextlib.redirect_stdout(None):
            resume(run)
        return what, ending(run), ""
    except PawlError as e:
        assert e.code in (Exit.USER, Exit.STOPPED), (what, e)
        return what, None, e.block()
    finally:
        shutil.rmtree(run)


def hold(base, expected, seeds, folder):
    """Every damage is refused or changes nothing; the share that was refused."""
    refused = 0
    for seed in seeds:
        what, ended, message = go_on(base, seed, folder)
        refused += ended is None
        if ended is not None:
            parts = [name for name in expected if ended[name] != expected[name]]
            assert not parts, f"{what}: silently different: {parts}"
        else:
            assert message.startswith("error: "), (what, message)
    return refused


def test_a_damaged_run_resumes_exactly_or_not_at_all(runs, tmp_path):
    refused = hold(*runs, range(0, 16 * 13, 13), tmp_path)
    assert 0 < refused < 16  # neither is refusing everything exact


@pytest.mark.slow
def test_200_damages(runs, tmp_path):
    refused = hold(*runs, range(1000, 1200), tmp_path)
    assert 20 < refused < 180


def test_the_undamaged_run_resumes(runs, tmp_path):
    base, expected = runs
    run = shutil.copytree(base, tmp_path / "run")
    resume(run)
    assert ending(run) == expected

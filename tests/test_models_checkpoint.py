"""Checkpoints: exact restore, atomic writes, refusal of foreign and damaged ones."""

import json
import os
import resource
import subprocess
import sys

import pytest
import tiny_models
import torch

from pawl.config.options import OptimConfig
from pawl.errors import Exit, PawlError
from pawl.models import checkpoint
from pawl.models.learner import make_learner
from pawl.train.progress import TrainState


def trained(lora=0, steps=2, seed=0, name="policy"):
    policy = tiny_models.policy(lora=lora, seed=seed)
    learner = make_learner(name, policy, OptimConfig(lr=1e-2), torch.float32)
    train_on(learner, steps)
    return learner


def train_on(learner, steps):
    for i in range(steps):
        g = torch.Generator().manual_seed(i)
        for p in learner.parameters():
            p.grad = torch.randn(p.shape, generator=g)
        learner.optimizer.step()


def state(step=3):
    return TrainState(step, step, "abc", 0, 0.25, 1, 0.1)


def save(root, *learners, step=3):
    return checkpoint.save(root, step, learners, state(step).as_dict())


def weights(learner):
    return [p.detach().clone() for p in learner.parameters()]


@pytest.mark.parametrize("lora", [0, 4])
def test_training_goes_on_as_if_nothing_had_happened(tmp_path, lora):
    learner, other = trained(lora), trained(lora, steps=1)
    folder = save(tmp_path, learner)
    assert TrainState.read(checkpoint.load(folder, [other]), "here") == state()
    assert checkpoint.unlike(folder, [other]) == []
    train_on(learner, 2)
    train_on(other, 2)
    assert all(torch.equal(a, b) for a, b in zip(weights(learner), weights(other), strict=True))


def test_learners_are_saved_and_restored_by_name(tmp_path):
    policy, critic = trained(), trained(seed=1, name="critic")
    folder = save(tmp_path, policy, critic)
    assert {p.name for p in folder.iterdir()} == {"policy", "critic", "state.json"}
    others = [trained(steps=1, seed=2, name="critic"), trained(steps=1, seed=3)]
    checkpoint.load(folder, others)
    for mine, theirs in zip((critic, policy), others, strict=True):
        pairs = zip(weights(mine), weights(theirs), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        assert checkpoint.unlike(folder, [theirs]) == []
    with pytest.raises(PawlError, match="holds critic, policy, the run trains policy"):
        checkpoint.load(folder, [trained()])


def test_a_start_without_optimiser_state_restores_too(tmp_path):
    learner = trained(steps=0)
    folder = save(tmp_path, learner, step=0)
    assert checkpoint.load(folder, [learner])["step"] == 0


def test_damaged_checkpoints_are_skipped_and_named(tmp_path):
    learner = trained()
    for step in (1, 2, 3):
        save(tmp_path, learner, step=step)
    with (tmp_path / "step-000003" / "policy" / "model.safetensors").open("r+b") as f:
        f.seek(100)
        f.write(b"\xff\xff\xff")
    (tmp_path / "step-000002" / "policy" / "optimizer.safetensors").unlink()
    (tmp_path / "step-000004.tmp").mkdir()
    folder, notes = checkpoint.newest_valid(tmp_path)
    assert folder.name == "step-000001"
    assert len(notes) == 3
    assert not (tmp_path / "step-000004.tmp").exists()


def test_no_usable_checkpoint_is_the_users_error(tmp_path):
    (tmp_path / "step-000001").mkdir()
    (tmp_path / "step-000001" / "state.json").write_text("{")
    with pytest.raises(PawlError, match="no usable checkpoint") as e:
        checkpoint.newest_valid(tmp_path)
    assert e.value.code == Exit.USER


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    folder = save(tmp_path, trained())
    with pytest.raises(PawlError):
        checkpoint.load(folder, [trained(lora=4)])


@pytest.mark.parametrize("written", [1, 2, 99])
def test_a_checkpoint_of_another_build_is_refused(tmp_path, written):
    learner = trained()
    folder = save(tmp_path, learner)
    body = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(body | {"format": written}))
    with pytest.raises(PawlError, match=f"format {written}, this build reads 3") as refused:
        checkpoint.load(folder, [learner])
    assert "export its weights" in refused.value.hint
    with pytest.raises(PawlError, match="no usable checkpoint.*another build"):
        checkpoint.newest_valid(tmp_path)


@pytest.mark.parametrize("part", ["state", "scalers", "files"])
def test_an_emptied_or_changed_state_is_refused(tmp_path, part):
    learner = trained()
    folder = save(tmp_path, learner)
    body = json.loads((folder / "state.json").read_text())
    assert body[part]
    for other in ({}, dict(list(body[part].items())[1:])):
        (folder / "state.json").write_text(json.dumps(body | {part: other}))
        for read in (checkpoint.read_state, checkpoint.state_of):
            with pytest.raises(PawlError, match=r"state\.json was changed"):
                read(folder)
    (folder / "state.json").write_text(json.dumps({k: v for k, v in body.items() if k != part}))
    with pytest.raises(PawlError, match=f"no {part}"):
        checkpoint.load(folder, [learner])


def test_a_checkpoint_stands_under_its_own_step(tmp_path):
    folder = save(tmp_path, trained(), step=3)
    folder.rename(tmp_path / "step-000004")
    with pytest.raises(PawlError, match="checkpoint of step 3"):
        checkpoint.read_state(tmp_path / "step-000004")


def test_a_state_can_be_put_in_the_place_of_another(tmp_path):
    learner = trained()
    folder = save(tmp_path, learner)
    checkpoint.restate(folder, {"step": 3, "more": [1.5]})
    assert checkpoint.load(folder, [learner]) == {"step": 3, "more": [1.5]}


@pytest.fixture
def size_limit():
    """Limits how large a file may become; a write beyond it fails as on a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.mark.parametrize("lora", [0, 4])
def test_a_fault_while_writing_leaves_the_old_checkpoint(tmp_path, size_limit, lora):
    learner = trained(lora)
    folder = save(tmp_path, learner, step=1)
    sizes = sorted(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    for size in sizes:
        size_limit(size - 1)
        with pytest.raises(PawlError, match="cannot write the checkpoint: .*too large") as e:
            save(tmp_path, learner, step=2)
        assert e.value.code == Exit.STOPPED
        assert os.listdir(tmp_path) == ["step-000001"]
    size_limit(sizes[-1])
    assert checkpoint.load(save(tmp_path, learner, step=2), [learner])["step"] == 2


FULL = """
import os, sys, subprocess
sys.path.insert(0, sys.argv[1])
from test_models_checkpoint import save, trained
from pathlib import Path
from pawl.errors import PawlError
disk = Path(sys.argv[2])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=True)
learner = trained(int(sys.argv[3]))
save(disk, learner, step=1)
for free in range(4, 2000, 8):
    (disk / "filler").write_bytes(b"")
    space = os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize
    (disk / "filler").write_bytes(bytes(max(0, space - free * 1024)))
    try:
        save(disk, learner, step=2)
    except PawlError as e:
        assert e.code == 4, e
        assert sorted(os.listdir(disk)) == ["filler", "step-000001"], os.listdir(disk)
    else:
        print("full up to", free, "KiB")
        break
"""


@pytest.mark.slow
@pytest.mark.parametrize("lora", ["0", "4"])
def test_a_full_disk_at_any_byte(tmp_path, lora):
    """A small file system of its own, in a mount namespace, filled up to any place of the write."""
    space = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        able = subprocess.run([*space, "mount", "-t", "tmpfs", "tmpfs", tmp_path]).returncode == 0
    except FileNotFoundError:
        able = False
    if not able:
        pytest.skip("no mount namespace can be had here")
    args = [sys.executable, "-c", FULL, os.path.dirname(__file__), str(tmp_path), lora]
    env = os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(__file__))}
    done = subprocess.run([*space, *args], capture_output=True, text=True, env=env)
    assert "full up to" in done.stdout, done.stderr[-2000:]
    assert int(done.stdout.split()[3]) > 50


def test_a_run_folder_that_is_gone_is_not_made_again(tmp_path):
    with pytest.raises(PawlError, match="No such file") as e:
        save(tmp_path / "gone", trained())
    assert e.value.code == Exit.STOPPED and not (tmp_path / "gone").exists()


def test_pruning_keeps_the_newest_and_the_best(tmp_path):
    learner = trained()
    for step in range(5):
        save(tmp_path, learner, step=step)
    assert checkpoint.prune(tmp_path, 0, set()) == []
    assert checkpoint.prune(tmp_path, 2, {1}) == [0, 2]
    assert sorted(os.listdir(tmp_path)) == ["step-000001", "step-000003", "step-000004"]

"""Checkpoints: exact restore, atomic writes, refusal of foreign and damaged ones."""

import json
import os

import pytest
import tiny_models
import torch

from pawl.config.options import OptimConfig
from pawl.errors import Exit, PawlError
from pawl.models import checkpoint
from pawl.models.optim import make_optimizer
from pawl.models.policy import trainable


def trained(lora=0, steps=2, seed=0):
    policy = tiny_models.policy(lora=lora, seed=seed)
    optimizer = make_optimizer(trainable(policy), OptimConfig(lr=1e-2))
    train_on(policy, optimizer, steps)
    return policy, optimizer


def train_on(policy, optimizer, steps):
    for i in range(steps):
        g = torch.Generator().manual_seed(i)
        for _, p in trainable(policy):
            p.grad = torch.randn(p.shape, generator=g)
        optimizer.step()


def state(step=3, config_hash="abc"):
    return checkpoint.TrainState(step, step, config_hash, 0, 0.25, 1, {}, 0.1)


def weights(policy):
    return [p.detach().clone() for _, p in trainable(policy)]


@pytest.mark.parametrize("lora", [0, 4])
def test_training_goes_on_as_if_nothing_had_happened(tmp_path, lora):
    policy, optimizer = trained(lora)
    folder = checkpoint.save(tmp_path, policy, optimizer, state())
    other, fresh = trained(lora, steps=1)
    assert checkpoint.load(folder, other, fresh, "abc") == state()
    train_on(policy, optimizer, 2)
    train_on(other, fresh, 2)
    assert all(torch.equal(a, b) for a, b in zip(weights(policy), weights(other), strict=True))


def test_a_start_without_optimiser_state_restores_too(tmp_path):
    policy, optimizer = trained(steps=0)
    folder = checkpoint.save(tmp_path, policy, optimizer, state(0))
    assert checkpoint.load(folder, policy, optimizer, "abc").step == 0


def test_damaged_checkpoints_are_skipped_and_named(tmp_path):
    policy, optimizer = trained()
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, policy, optimizer, state(step))
    with (tmp_path / "step-000003" / "model.safetensors").open("r+b") as f:
        f.seek(100)
        f.write(b"\xff\xff\xff")
    (tmp_path / "step-000002" / "optimizer.safetensors").unlink()
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


def test_a_checkpoint_of_another_config_or_model_is_refused(tmp_path):
    policy, optimizer = trained()
    folder = checkpoint.save(tmp_path, policy, optimizer, state())
    with pytest.raises(PawlError, match="another config"):
        checkpoint.load(folder, policy, optimizer, "xyz")
    adapted, own = trained(lora=4)
    with pytest.raises(PawlError):
        checkpoint.load(folder, adapted, own, "abc")


def test_a_state_from_the_future_is_refused(tmp_path):
    policy, optimizer = trained()
    folder = checkpoint.save(tmp_path, policy, optimizer, state())
    body = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(body | {"format": 99}))
    with pytest.raises(PawlError, match="format 99"):
        checkpoint.load(folder, policy, optimizer, "abc")


def test_a_fault_while_writing_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    policy, optimizer = trained()
    checkpoint.save(tmp_path, policy, optimizer, state(1))

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(PawlError, match="No space left") as e:
        checkpoint.save(tmp_path, policy, optimizer, state(2))
    assert e.value.code == Exit.STOPPED
    assert sorted(os.listdir(tmp_path)) == ["step-000001"]


def test_pruning_keeps_the_newest_and_the_best(tmp_path):
    policy, optimizer = trained()
    for step in range(5):
        checkpoint.save(tmp_path, policy, optimizer, state(step))
    assert checkpoint.prune(tmp_path, 0, set()) == []
    assert checkpoint.prune(tmp_path, 2, {1}) == [0, 2]
    assert sorted(os.listdir(tmp_path)) == ["step-000001", "step-000003", "step-000004"]

"""Checkpoints: atomic on disk, complete, and verified before they are trusted.

A checkpoint is a folder `step-000120` that becomes visible by one rename; it holds the trained
weights, the optimiser state (safetensors) and state.json with a digest of every file. Left out:
random states, because sampling and data order are functions of (seed, step).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pawl.algo.shaping import Spread
from pawl.errors import Exit, PawlError
from pawl.models.policy import (
    Policy,
    load_weights,
    same,
    save_policy,
    trainable,
    weights_unlike,
)

FORMAT = 1


@dataclass(frozen=True, slots=True)
class TrainState:
    """What must survive an interruption beside weights and optimiser."""

    step: int
    updates: int
    config_hash: str
    best_step: int
    best_score: float | None
    evals_since_best: int
    scaler: dict[str, float]
    kl_coef: float
    spread: Spread = Spread()


def folder_name(step: int) -> str:
    """Name of the checkpoint after `step` steps."""
    return f"step-{step:06d}"


def save(root: Path, policy: Policy, optimizer: torch.optim.Optimizer, state: TrainState) -> Path:
    """Write `root/step-N` atomically; raises PawlError (exit 4) when the disk refuses."""
    final = root / folder_name(state.step)
    tmp = root / (folder_name(state.step) + ".tmp")
    try:
        shutil.rmtree(tmp, ignore_errors=True)
        tmp.mkdir(parents=True)
        save_policy(policy, tmp)
        save_file(_optimizer_tensors(policy, optimizer), str(tmp / "optimizer.safetensors"))
        body = {"format": FORMAT, "state": _as_dict(state), "files": _digests(tmp)}
        _write_synced(tmp / "state.json", json.dumps(body, indent=1, sort_keys=True))
        if final.exists():
            shutil.rmtree(final)
        os.rename(tmp, final)
        _sync_dir(root)
    except OSError as e:
        shutil.rmtree(tmp, ignore_errors=True)
        raise PawlError(
            f"cannot write the checkpoint: {e.strerror or e}",
            str(tmp),
            "free some disk space, then resume the run",
            Exit.STOPPED,
        ) from e
    return final


def load(
    folder: Path, policy: Policy, optimizer: torch.optim.Optimizer, config_hash: str
) -> TrainState:
    """Restore weights and optimiser in place; raises PawlError for a foreign checkpoint."""
    body = read_state(folder)
    try:
        state = TypeAdapter(TrainState).validate_python(body["state"])
    except ValidationError as e:
        raise PawlError(f"state.json does not fit: {e.errors()[0]['msg']}", str(folder)) from e
    if state.config_hash != config_hash:
        raise PawlError(
            "this checkpoint was written under another config",
            str(folder),
            "resume keeps the original config; `pawl train --from RUN@STEP` forks a run",
        )
    load_weights(policy, folder)
    tensors = load_file(str(folder / "optimizer.safetensors"))
    expected = {f"{name}.{key}" for name, _ in trainable(policy) for key in _KEYS}
    if tensors and set(tensors) != expected:
        odd = sorted(set(tensors) ^ expected)[0]
        raise PawlError(
            f"the optimiser state does not fit this model ({odd})",
            str(folder),
            "this checkpoint belongs to another model; resume its own run",
        )
    if tensors:
        for name, param in trainable(policy):
            optimizer.state[param] = {
                key: _to_state(key, tensors[f"{name}.{key}"], param) for key in _KEYS
            }
    return state


def unlike(folder: Path, policy: Policy, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of the checkpoint's tensors that weights and optimiser state do not hold bit for bit.

    Read from the files once more, on a way of its own: what `load` forgot or changed shows here.
    """
    lost = weights_unlike(policy, folder)
    own = _optimizer_tensors(policy, optimizer)
    with safe_open(str(folder / "optimizer.safetensors"), framework="pt") as file:
        saved = list(file.keys())
        return lost + [n for n in saved if n not in own or not same(own[n], file.get_tensor(n))]


def newest_valid(root: Path) -> tuple[Path, list[str]]:
    """The newest checkpoint whose digests hold, and notes on the ones that do not.

    Raises PawlError when there is none. Half-written folders (`*.tmp`) are removed.
    """
    removed = []
    for tmp in root.glob("step-*.tmp"):
        shutil.rmtree(tmp, ignore_errors=True)
        removed.append(f"removed half-written {tmp.name}")
    folder, notes = find_valid(root)
    return folder, removed + notes


def find_valid(root: Path) -> tuple[Path, list[str]]:
    """As `newest_valid`, for a run that another trainer may hold: nothing is touched."""
    notes = []
    for folder in sorted(root.glob("step-??????"), reverse=True):
        try:
            read_state(folder)
        except PawlError as e:
            notes.append(f"skipped {folder.name}: {e.what}")
            continue
        return folder, notes
    detail = f" ({'; '.join(notes)})" if notes else ""
    raise PawlError(
        f"no usable checkpoint{detail}", str(root), "start the run again under another name"
    )


def adopt(source: Path, root: Path, changed: Mapping[str, object]) -> None:
    """Take a checkpoint of another run over as `root/step-N`, its TrainState changed; atomic.

    Files are linked where the file system allows it: a checkpoint is never written to again.
    Raises PawlError when the source is damaged or gone, or the disk refuses.
    """
    body = read_state(source)
    state, names = body["state"], body["files"]
    assert isinstance(state, dict) and isinstance(names, dict)
    tmp = root / (source.name + ".tmp")
    try:
        shutil.rmtree(tmp, ignore_errors=True)
        for name in names:
            (tmp / name).parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(source / name, tmp / name)
        body = {**body, "state": {**state, **changed}}
        _write_synced(tmp / "state.json", json.dumps(body, indent=1, sort_keys=True))
        os.rename(tmp, root / source.name)
        _sync_dir(root)
    except OSError as e:
        shutil.rmtree(tmp, ignore_errors=True)
        what = f"cannot take the checkpoint over: {e.strerror or e}"
        raise PawlError(
            what, str(source), "free some disk space; is the parent still there?"
        ) from e


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def read_state(folder: Path) -> dict[str, object]:
    """state.json of a checkpoint, after every file's digest was checked."""
    path = folder / "state.json"
    try:
        body: dict[str, object] = json.loads(path.read_text())
        files = TypeAdapter(dict[str, str]).validate_python(body["files"])
        known = body["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise PawlError(f"state.json cannot be read: {e}", str(folder)) from e
    if not known:
        raise PawlError(f"checkpoint format {body['format']}, not {FORMAT}", str(folder))
    for name, digest in files.items():
        if not (folder / name).is_file() or _digest(folder / name) != digest:
            raise PawlError(f"{name} is missing or damaged", str(folder))
    return body


def prune(root: Path, keep_last: int, keep: set[int]) -> list[int]:
    """Remove all but the newest `keep_last` (0: all stay) and the steps in `keep`."""
    steps = sorted(int(p.name[5:]) for p in root.glob("step-??????"))
    if keep_last == 0:
        return []
    gone = [s for s in steps[:-keep_last] if s not in keep]
    for step in gone:
        # Rename first: a crash inside rmtree must not leave a folder that looks complete.
        doomed = root / (folder_name(step) + ".tmp")
        os.rename(root / folder_name(step), doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    return gone


_KEYS = ("step", "exp_avg", "exp_avg_sq")


def _optimizer_tensors(policy: Policy, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, param in trainable(policy):
        for key, value in optimizer.state.get(param, {}).items():
            tensors[f"{name}.{key}"] = value.detach().cpu().contiguous()
    return tensors


def _to_state(key: str, value: torch.Tensor, param: torch.Tensor) -> torch.Tensor:
    return value.clone() if key == "step" else value.to(param.device, copy=True)


def _as_dict(state: TrainState) -> dict[str, object]:
    return {name: getattr(state, name) for name in TrainState.__slots__}


def _digest(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    for path in files:
        _sync_file(path)
    return {str(p.relative_to(folder)): _digest(p) for p in files}


def _write_synced(path: Path, text: str) -> None:
    path.write_text(text)
    _sync_file(path)


def _sync_file(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_dir(path: Path) -> None:
    _sync_file(path)

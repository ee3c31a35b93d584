"""Checkpoints: atomic on disk, complete, and verified before they are trusted.

A checkpoint is a folder `step-000120` that becomes visible by one rename. It holds a folder for
each learner, by its name, with weights and optimiser state (safetensors), and state.json with the
caller's state and a digest of every file. Left out: what the state means (`pawl.train.progress`),
random states, because sampling and data order are functions of (seed, step).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from pydantic import TypeAdapter
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pawl.errors import Exit, PawlError
from pawl.models.learner import Learner
from pawl.models.tensors import same

FORMAT = 2  # 1: the policy's files lay in the checkpoint's own folder


def folder_name(step: int) -> str:
    """Name of the checkpoint after `step` steps."""
    return f"step-{step:06d}"


def save(root: Path, step: int, learners: Sequence[Learner], state: Mapping[str, object]) -> Path:
    """Write `root/step-N` atomically; raises PawlError (exit 4) when the disk refuses.

    state: JSON values that `load` gives back.
    """
    final = root / folder_name(step)
    tmp = root / (folder_name(step) + ".tmp")
    try:
        shutil.rmtree(tmp, ignore_errors=True)
        tmp.mkdir(parents=True)
        for learner in learners:
            learner.weights.save(tmp / learner.name)
            tensors = _optimizer_tensors(learner)
            save_file(tensors, str(tmp / learner.name / "optimizer.safetensors"))
        scalers = {learner.name: learner.scaler.state_dict() for learner in learners}
        body = {"format": FORMAT, "state": dict(state), "scalers": scalers, "files": _digests(tmp)}
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


def load(folder: Path, learners: Sequence[Learner]) -> Mapping[str, object]:
    """Restore weights, optimisers and scalers in place; the state that `save` was given.

    Raises PawlError for a foreign checkpoint.
    """
    body = read_state(folder)
    state, scalers = body["state"], body["scalers"]
    assert isinstance(state, dict) and isinstance(scalers, dict), "read_state checks them"
    hint = "this checkpoint belongs to another model; resume its own run"
    names = [learner.name for learner in learners]
    if sorted(scalers) != sorted(names):
        what = f"the checkpoint holds {', '.join(sorted(scalers))}, the run trains "
        raise PawlError(what + ", ".join(sorted(names)), str(folder), hint)
    for learner in learners:
        own = folder / learner.name
        learner.weights.load(own)
        tensors = load_file(str(own / "optimizer.safetensors"))
        named = learner.weights.trainable()
        expected = {f"{name}.{key}" for name, _ in named for key in _KEYS}
        if tensors and set(tensors) != expected:
            odd = sorted(set(tensors) ^ expected)[0]
            what = f"the optimiser state does not fit this model ({odd})"
            raise PawlError(what, str(own), hint)
        if tensors:
            for name, param in named:
                learner.optimizer.state[param] = {
                    key: _to_state(key, tensors[f"{name}.{key}"], param) for key in _KEYS
                }
        if scalers[learner.name]:
            learner.scaler.load_state_dict(dict(scalers[learner.name]))
    return state


def state_of(folder: Path) -> Mapping[str, object]:
    """The caller's state of a checkpoint; neither restored nor verified."""
    state = _body(folder)["state"]
    assert isinstance(state, dict), "_body checks it"
    return state


def unlike(folder: Path, learners: Sequence[Learner]) -> list[str]:
    """Names of the checkpoint's tensors that weights and optimisers do not hold bit for bit.

    Read from the files once more, on a way of its own: what `load` forgot or changed shows here.
    """
    lost = list[str]()
    for learner in learners:
        place = folder / learner.name
        lost += learner.weights.unlike(place)
        own = _optimizer_tensors(learner)
        with safe_open(str(place / "optimizer.safetensors"), framework="pt") as file:
            names = list(file.keys())
            lost += [n for n in names if n not in own or not same(own[n], file.get_tensor(n))]
    return lost


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
    """Take a checkpoint of another run over as `root/step-N`, its state changed; atomic.

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
    body = _body(folder)
    files = TypeAdapter(dict[str, str]).validate_python(body["files"])
    for name, expected in files.items():
        if not (folder / name).is_file() or _digest(folder / name) != expected:
            raise PawlError(f"{name} is missing or damaged", str(folder))
    return body


def _body(folder: Path) -> dict[str, object]:
    """state.json as it stands; raises PawlError for a broken one, or one of another build."""
    path = folder / "state.json"
    try:
        body: dict[str, object] = json.loads(path.read_text())
        TypeAdapter(dict[str, str]).validate_python(body["files"])
        written = int(str(body["format"]))
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise PawlError(f"state.json cannot be read: {e}", str(folder)) from e
    if written != FORMAT:
        raise PawlError(
            f"it was written by another build of Pawl (checkpoint format {written}, this build "
            f"reads {FORMAT})",
            str(folder),
            "finish the run with the build that began it, or export its weights there and start a "
            "new run on them (model.path)",
        )
    for part in ("state", "scalers"):
        if not isinstance(body.get(part), dict):
            raise PawlError(f"state.json has no {part}", str(folder))
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


def _optimizer_tensors(learner: Learner) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, param in learner.weights.trainable():
        for key, value in learner.optimizer.state.get(param, {}).items():
            tensors[f"{name}.{key}"] = value.detach().cpu().contiguous()
    return tensors


def _to_state(key: str, value: torch.Tensor, param: torch.Tensor) -> torch.Tensor:
    return value.clone() if key == "step" else value.to(param.device, copy=True)


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

"""Checkpoints: atomic on disk, complete, and verified before they are trusted.

A checkpoint is a folder `step-000120` that becomes visible by one rename. It holds a folder for
each learner, by its name, with weights and optimiser state (safetensors), and state.json with the
caller's state, a digest of every file, and one of its own values. Left out: what the state means
(`pawl.train.progress`), random states, because sampling and data order are functions of (seed,
step).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pawl.errors import Exit, PawlError
from pawl.models.learner import Learner
from pawl.models.tensors import other_than
from pawl.store.digests import seal
from pawl.store.files import sync

FORMAT = 3  # 2: state.json had no digest of its own; 1: the policy had no folder of its own
HINT = "free some disk space, then resume the run"


class Body(BaseModel):
    """What stands in state.json. state: the caller's. files: digests by name; digest: its own."""

    format: int
    step: int
    state: dict[str, Any]
    scalers: dict[str, dict[str, Any]]
    files: dict[str, str]
    digest: str = ""


def folder_name(step: int) -> str:
    """Name of the checkpoint after `step` steps."""
    return f"step-{step:06d}"


def save(root: Path, step: int, learners: Sequence[Learner], state: Mapping[str, object]) -> Path:
    """Write `root/step-N` atomically; raises PawlError (exit 4) when the disk refuses.

    state: JSON values that `load` gives back.
    """
    final = root / folder_name(step)
    scalers = {learner.name: learner.scaler.state_dict() for learner in learners}
    with _written(final, "cannot write the checkpoint", f"{final}.tmp", HINT, Exit.STOPPED) as tmp:
        for learner in learners:
            learner.weights.save(tmp / learner.name)
            tensors = _optimizer_tensors(learner)
            save_file(tensors, str(tmp / learner.name / "optimizer.safetensors"))
        files = _digests(tmp)
        body = Body(format=FORMAT, step=step, state=dict(state), scalers=scalers, files=files)
        _write_body(tmp, body)
    return final


def restate(folder: Path, state: Mapping[str, object]) -> None:
    """Give a checkpoint another state, atomically; raises PawlError (exit 4) as `save` does."""
    body = _body(folder)
    body.state = dict(state)
    try:
        _write_body(folder, body, "state.json.tmp")
        os.replace(folder / "state.json.tmp", folder / "state.json")
        sync(folder)
    except OSError as e:
        (folder / "state.json.tmp").unlink(missing_ok=True)
        raise PawlError(f"cannot write the checkpoint: {e}", str(folder), HINT, Exit.STOPPED) from e


@contextmanager
def _written(final: Path, what: str, where: str, hint: str, code: Exit) -> Iterator[Path]:
    """A folder to fill, which becomes `final` by one rename; else a PawlError of these parts."""
    tmp = final.with_name(final.name + ".tmp")
    try:
        shutil.rmtree(tmp, ignore_errors=True)
        tmp.mkdir()  # without parents: a run folder that is gone is not made again in part
        yield tmp
        for folder in (tmp, *(p for p in tmp.rglob("*") if p.is_dir())):
            sync(folder)
        if final.exists():
            shutil.rmtree(final)
        os.rename(tmp, final)
        _sync_dir(final.parent)
    except Exception as e:
        shutil.rmtree(tmp, ignore_errors=True)
        if not of_disk(e):
            raise
        reason = e.strerror if isinstance(e, OSError) and e.strerror else e
        raise PawlError(f"{what}: {reason}", where, hint, code) from e


def of_disk(error: Exception) -> bool:
    """Whether an error of writing weights is the disk's.

    A full one is an error of its own in safetensors, and a bare Exception in tokenizers.
    """
    return isinstance(error, OSError | SafetensorError) or type(error) is Exception


def load(folder: Path, learners: Sequence[Learner]) -> Mapping[str, Any]:
    """Restore weights, optimisers and scalers in place; the state that `save` was given.

    Raises PawlError for a foreign checkpoint.
    """
    body = read_state(folder)
    scalers = body.scalers
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
            learner.scaler.load_state_dict(scalers[learner.name])
    return body.state


def state_of(folder: Path) -> Mapping[str, Any]:
    """The caller's state of a checkpoint; of its files state.json alone is verified."""
    return _body(folder).state


def unlike(folder: Path, learners: Sequence[Learner]) -> list[str]:
    """Names of the checkpoint's tensors that weights and optimisers do not hold bit for bit.

    Read from the files once more, on a way of its own: what `load` forgot or changed shows here.
    """
    lost = list[str]()
    for learner in learners:
        place = folder / learner.name
        lost += learner.weights.unlike(place)
        lost += other_than(_optimizer_tensors(learner), place / "optimizer.safetensors")
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


def adopt(source: Path, root: Path, changed: Mapping[str, object]) -> Path:
    """Take a checkpoint of another run over as `root/step-N`, its state changed; atomic.

    Files are linked where the file system allows it: they are never written to again, and
    state.json, which may be, is each run's own.
    Raises PawlError when the source is damaged or gone, or the disk refuses.
    """
    body = read_state(source)
    body.state |= changed
    what, hint = (
        "cannot take the checkpoint over",
        "free some disk space; is the parent still there?",
    )
    with _written(root / source.name, what, str(source), hint, Exit.USER) as tmp:
        for name in body.files:
            (tmp / name).parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(source / name, tmp / name)
        _write_body(tmp, body)
    return root / source.name


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def read_state(folder: Path) -> Body:
    """state.json of a checkpoint, after every file's digest was checked."""
    body = _body(folder)
    for name, expected in body.files.items():
        if not (folder / name).is_file() or _digest(folder / name) != expected:
            raise PawlError(f"{name} is missing or damaged", str(folder))
    return body


def _body(folder: Path) -> Body:
    """state.json as it stands; raises PawlError for a broken one, or one of another build."""
    try:
        raw = json.loads((folder / "state.json").read_text())
        if raw["format"] == FORMAT:
            body = Body.model_validate(raw)
            if body.digest != seal(raw):
                raise PawlError("state.json was changed", str(folder))
            if folder.name != folder_name(body.step):
                raise PawlError(f"it is the checkpoint of step {body.step}", str(folder))
            return body
    except PawlError:
        raise
    except ValidationError as e:
        lost = ", ".join(dict.fromkeys(str(error["loc"][0]) for error in e.errors()))
        raise PawlError(f"state.json has no {lost}", str(folder)) from e
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise PawlError(f"state.json cannot be read: {e}", str(folder)) from e
    raise PawlError(
        f"it was written by another build of Pawl (checkpoint format {raw['format']}, this build "
        f"reads {FORMAT})",
        str(folder),
        "finish the run with the build that began it, or export its weights there and start a "
        "new run on them (model.path)",
    )


def prune(root: Path, keep_last: int, keep: set[int]) -> list[int]:
    """Remove all but the newest `keep_last` (0: all stay) and the steps in `keep`."""
    steps = sorted(int(p.name[5:]) for p in root.glob("step-??????"))
    gone = [s for s in steps[:-keep_last] if s not in keep] if keep_last else []
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
        sync(path)
    return {str(p.relative_to(folder)): _digest(p) for p in files}


def _write_body(folder: Path, body: Body, name: str = "state.json") -> None:
    values = dict(body)
    text = json.dumps(values | {"digest": seal(values)}, indent=1, sort_keys=True)
    (folder / name).write_text(text)
    sync(folder / name)


def _sync_dir(path: Path) -> None:
    """The rename in it lasts; a place where tests kill the process."""
    sync(path)

"""The run folder, seen from the trainer: create or open it, append to it, cut it back on resume.

Format and meaning of every file: docs/run-folder.md. One trainer at a time holds the folder's
lock; readers need none (`pawl.store.read`). Left out: what stands inside a checkpoint (the
trainer's), reading.

Use: `with RunFolder.create(cfg, places) as run: run.append_step({...})`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pawl.config.options import RunConfig
from pawl.errors import Exit, PawlError
from pawl.store.files import (
    append_lines,
    read_lines,
    repair,
    write_atomic,
    write_error,
    write_lines,
)
from pawl.store.lock import RunLock
from pawl.store.manifest import FORMAT, Parent, config_hash, first_facts, never_began, now, pretty
from pawl.store.read import count, read_run, saved_config

APPENDED = ("steps.jsonl", "events.jsonl", "preflight.jsonl")
COMMANDS = ("pause", "continue", "stop", "checkpoint", "patch")
SampleKind = Literal["step", "eval"]
Record = Mapping[str, object]


class RunFolder:
    """An open run folder and its lock; use as a context manager, which records how it ended."""

    def __init__(self, path: Path, lock: RunLock) -> None:
        self.path = path
        self._lock = lock
        self._seen = 0  # lines of control.jsonl that were already looked at
        self._obeyed: set[int] = set()  # lines that an earlier process settled
        self.resumed = False  # whether it was there before this process

    @classmethod
    def create(
        cls, cfg: RunConfig, places: Mapping[str, str] | None = None, parent: Parent | None = None
    ) -> RunFolder:
        """Make `runs_dir/name`; raises PawlError when it exists or cannot be made.

        A run that was refused before its first record (wrong data, no compiler) is replaced.
        """
        assert cfg.name, "a run needs a name"
        path = Path(cfg.runs_dir) / cfg.name
        if never_began(path):
            shutil.rmtree(path)
        if path.exists():
            hint = f"continue it with `pawl train --resume {path}`, or set another name=..."
            raise PawlError("this run folder exists already", str(path), hint)
        try:
            path.mkdir(parents=True)
            (path / "samples").mkdir()
            (path / "checkpoints").mkdir()
            run = cls(path, RunLock(path))
        except OSError as e:
            raise write_error(e, path, Exit.USER) from e
        try:
            write_atomic(path / "run.json", pretty(first_facts(cfg, places or {}, parent)))
            run.event("start", config_hash=config_hash(cfg))
        except PawlError:
            run.close()
            shutil.rmtree(path, ignore_errors=True)  # nothing was done in it yet
            raise
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open an existing run: lock it, cut torn last lines off, skip commands already carried
        out.

        Raises PawlError when it is no run folder or another trainer holds it.
        """
        folder = Path(path)
        if read_run(folder).get("format") != FORMAT:
            what = f"run.json is not of format {FORMAT}"
            raise PawlError(what, str(folder), "another Pawl made it")
        run = cls(folder, RunLock(folder))
        run.resumed = True
        try:
            torn = [name for name in APPENDED if repair(folder / name)]
            torn += [p.name for p in sorted((folder / "samples").glob("*.jsonl")) if repair(p)]
        except OSError as e:
            raise write_error(e, folder) from e
        if torn:
            run.event("repaired", files=torn, note="a torn last line was cut off")
        events = read_lines(folder / "events.jsonl")
        run._obeyed = {count(e, "line") for e in events if e.get("kind") == "command"}
        return run

    def facts(self) -> dict[str, object]:
        """run.json as it stands."""
        return read_run(self.path)

    def config(self) -> RunConfig:
        """The run's resolved config, as it was saved."""
        return saved_config(self.path)

    def update(self, **more: object) -> None:
        """Add facts to run.json (sandbox tier, data and reward versions, device), atomically."""
        write_atomic(self.path / "run.json", pretty({**self.facts(), **more}))

    def append_step(self, record: Record) -> None:
        """One record of one optimiser step; it must hold an integer `step`."""
        assert isinstance(record["step"], int)
        append_lines(self.path / "steps.jsonl", [record])

    def replace_last_step(self, record: Record) -> None:
        """Put `record` in the place of the newest one, which has the same step."""
        *records, last = read_lines(self.path / "steps.jsonl")
        assert last["step"] == record["step"]
        write_lines(self.path / "steps.jsonl", [*records, record])

    def append_samples(self, step: int, rows: Sequence[Record], kind: SampleKind = "step") -> None:
        """Completions of a step ("step") or of a held-out evaluation after it ("eval")."""
        if rows:
            append_lines(self.path / "samples" / f"{kind}-{step:06d}.jsonl", rows)

    def event(self, kind: str, **fields: object) -> None:
        """One thing that happened; `at` is the wall clock."""
        row = {"kind": kind, **fields, "at": now()}
        append_lines(self.path / "events.jsonl", [row])

    def preflight(self, rows: Sequence[Record]) -> None:
        """Invariants and calibrations: name, expected, observed, tolerance, passed, meaning."""
        append_lines(self.path / "preflight.jsonl", rows)

    def commands(self) -> list[dict[str, object]]:
        """New commands of control.jsonl, in order; each is handed out once.

        A command is an object with `command` (pause, continue, stop, checkpoint, patch) and, for
        patch, `set` ({"optim.lr": 1e-6}); `line` is added. Anything else is refused in events.
        Call `acknowledge` once it is carried out: only then does a resumed run skip it.
        """
        path = self.path / "control.jsonl"
        data = path.read_bytes() if path.exists() else b""
        lines = data[: data.rfind(b"\n") + 1].splitlines()
        found: list[dict[str, object]] = []
        for number, line in enumerate(lines[self._seen :], self._seen + 1):
            if number in self._obeyed:
                continue
            command = _command(line)
            if isinstance(command, str):
                self.event("command", line=number, outcome="refused", reason=command)
            else:
                found.append({**command, "line": number})
        self._seen = len(lines)
        return found

    def acknowledge(self, command: Record, step: int, outcome: str = "done") -> None:
        """Record what became of a command that `commands` handed out."""
        self.event("command", **{**command, "step": step, "outcome": outcome})

    def cut_after(self, step: int) -> int:
        """Drop step records and samples past `step`; returns how many records were dropped.

        Each file is replaced atomically or removed; events are never cut, and one says so.
        """
        path = self.path / "steps.jsonl"
        records = list(read_lines(path))
        kept = [r for r in records if count(r, "step") <= step]
        if len(kept) < len(records):
            write_lines(path, kept)
        files = [p for p in (self.path / "samples").glob("*-*.jsonl") if _step_of(p) > step]
        for file in files:
            file.unlink()
        cut = len(records) - len(kept)
        self.event("cut", after_step=step, records=cut, sample_files=len(files))
        return cut

    @property
    def checkpoints_dir(self) -> Path:
        """The folder that holds `step-000120` and so on."""
        return self.path / "checkpoints"

    def checkpoints(self) -> list[tuple[int, Path]]:
        """Visible (never half-written) checkpoints as (step, folder), oldest first."""
        found = [(_step_of(p), p) for p in self.checkpoints_dir.glob("step-*") if not p.suffix]
        return sorted(found)

    def close(self) -> None:
        """Give the lock back."""
        self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if isinstance(error, PawlError):
                self.event("error", what=error.what, where=error.where, code=int(error.code))
            elif isinstance(error, KeyboardInterrupt):
                self.event("interrupted", code=int(Exit.INTERRUPTED))
            elif error is not None:
                self.event("crash", error=f"{type(error).__name__}: {error}")
        except PawlError:
            os.write(2, b"pawl: the end of the run could not be recorded in events.jsonl\n")
        finally:
            self.close()


def _command(line: bytes) -> dict[str, object] | str:
    """A command as an object, or why it is none."""
    try:
        command = json.loads(line)
    except ValueError as e:
        return f"not JSON: {e}"
    if not isinstance(command, dict) or command.get("command") not in COMMANDS:
        return f"`command` must be one of {', '.join(COMMANDS)}"
    if command["command"] == "patch" and not isinstance(command.get("set"), dict):
        return 'a patch needs "set": {"section.option": value}'
    return command


def _step_of(path: Path) -> int:
    digits = path.stem.rsplit("-", 1)[-1]
    return int(digits) if digits.isdigit() else -1

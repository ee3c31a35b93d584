"""The run folder, seen from the trainer: create or open it, append to it, cut it back on resume.

Format and meaning of every file: docs/run-folder.md. One trainer at a time holds the folder's
lock; readers need none (`pawl.store.read`). Left out: what stands inside a checkpoint (the
trainer's), reading.

Use: `with RunFolder.create(cfg, places) as run: run.append_step({...})`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pawl.config.options import RunConfig, run_name_fault
from pawl.errors import Exit, PawlError
from pawl.store.digests import Written, seal, written
from pawl.store.files import (
    append_lines,
    dumps,
    read_lines,
    repair,
    sync,
    write_atomic,
    write_error,
    write_lines,
)
from pawl.store.lock import RunLock
from pawl.store.manifest import FORMAT, Parent, config_hash, first_facts, never_began, now, pretty
from pawl.store.read import read_events, read_run, require_sealed, saved_config

STEPS, EVENTS, PREFLIGHT = APPENDED = ("steps.jsonl", "events.jsonl", "preflight.jsonl")
OF_A_STEP = re.compile(r"(step|eval)-\d{6,}\.jsonl")  # files of samples/
COMMANDS = ("pause", "continue", "stop", "checkpoint", "patch")
SampleKind = Literal["step", "eval"]
Record = Mapping[str, object]


class RunFolder:
    """An open run folder and its lock; use as a context manager, which records how it ended."""

    def __init__(self, path: Path, lock: RunLock) -> None:
        self.path = path
        self.disk = path  # whose file system the run will fill; a rehearsal's is another one
        self._lock = lock
        self._written: dict[str, Written] = {}  # what was written to each file of records
        self._unsynced: set[str] = set()  # files that may not be on the disk yet
        self._seen = 0  # lines of control.jsonl that were already looked at
        self._settled: dict[int, Record] | None = None  # events of earlier processes' commands
        self.resumed = False  # whether it was there before this process

    @classmethod
    def create(
        cls, cfg: RunConfig, places: Mapping[str, str] | None = None, parent: Parent | None = None
    ) -> RunFolder:
        """Make `runs_dir/name`; raises PawlError when it exists or cannot be made.

        A run that was refused before its first record (wrong data, no compiler) is replaced.
        """
        if fault := run_name_fault(cfg.name):
            raise PawlError(fault, f"name {ascii(cfg.name[:40])}", "for instance name=my-run")
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
            run._write_facts(first_facts(cfg, places or {}, parent))
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

        Raises PawlError when it is no run folder, was changed, or another trainer holds it.
        """
        folder = Path(path)
        if read_run(folder).get("format") != FORMAT:
            what = f"run.json is not of format {FORMAT}"
            raise PawlError(what, str(folder), "another Pawl made it")
        require_sealed(folder)
        run = cls(folder, RunLock(folder))
        run.resumed = True
        try:
            torn = [name for name in APPENDED if repair(folder / name)]
            run._written = {name: written(folder / name) for name in APPENDED}
            if torn:
                run.event("repaired", files=torn, note="a torn last line was cut off")
        except OSError as e:
            run.close()
            raise write_error(e, folder) from e
        return run

    def require_commands(self) -> dict[int, Record]:
        """The commands that earlier processes carried out or refused, by their line.

        Raises PawlError when control.jsonl lost or changed one of them.
        """
        events = [e for e in read_events(self.path) if e.get("kind") == "command"]
        settled: dict[int, Record] = {n: e for e in events if isinstance(n := e.get("line"), int)}
        lines = self._control()
        for n, event in settled.items():
            command = _command(lines[n - 1]) if 0 < n <= len(lines) else None
            if "command" in event and isinstance(command, dict):
                written_so = json.loads(dumps(command))  # a number that is not finite is text there
                same = all(written_so.get(key) == event.get(key) for key in ("command", "set"))
            else:  # a line that was refused says what it is no more
                same = "command" not in event and isinstance(command, str)
            if not same:
                where = f"{self.path / 'control.jsonl'}:{n}"
                hint = "events.jsonl says what stood there; put it back, and append new commands"
                raise PawlError("this line is not the command that was carried out", where, hint)
        return settled

    def facts(self) -> dict[str, object]:
        """run.json as it stands."""
        return read_run(self.path)

    def config(self) -> RunConfig:
        """The run's resolved config, as it was saved."""
        return saved_config(self.path)

    def update(self, **more: object) -> None:
        """Add facts to run.json (sandbox tier, data and reward versions, device), atomically."""
        self._require_place()
        self._write_facts({**self.facts(), **more})

    def _write_facts(self, facts: Record) -> None:
        """run.json with a digest of its own values."""
        body = json.loads(dumps(facts))
        write_atomic(self.path / "run.json", pretty({**body, "digest": seal(body)}))

    def _require_place(self) -> None:
        """Raise PawlError (exit 4) when the folder is gone: what is left of a run is no run."""
        if not self._lock.stands():
            what = "the run folder was moved or removed while the run went on"
            hint = "nothing is written any more; a folder that was moved can be resumed there"
            raise PawlError(what, str(self.path), hint, Exit.STOPPED)

    def _append(self, name: str, records: Sequence[Record]) -> None:
        """Append to a file of records, and keep count of it."""
        self._require_place()
        own = self._written.get(name) or Written()
        own.add(append_lines(self.path / name, records, own.size))
        self._written[name] = own
        self._unsynced.add(name)

    def append_step(self, record: Record) -> None:
        """One record of one optimiser step; it must hold an integer `step`."""
        assert isinstance(record["step"], int)
        self._append(STEPS, [record])

    def replace_last_step(self, record: Record) -> None:
        """Put `record` in the place of the newest one, which has the same step."""
        path = self.path / STEPS
        *records, last = read_lines(path)
        assert last["step"] == record["step"]
        write_lines(path, [*records, record])
        self._written[STEPS] = written(path)

    def append_samples(self, step: int, rows: Sequence[Record], kind: SampleKind = "step") -> None:
        """Completions of a step ("step"), or of a held-out evaluation after it ("eval"), which
        replace those of an earlier one there."""
        name = f"samples/{kind}-{step:06d}.jsonl"
        if kind == "eval":
            (self.path / name).unlink(missing_ok=True)
            self._written.pop(name, None)
            self._unsynced.discard(name)
        if rows:
            self._append(name, rows)

    def event(self, kind: str, **fields: object) -> None:
        """One thing that happened; `at` is the wall clock."""
        row = {"kind": kind, **fields, "at": now()}
        self._append(EVENTS, [row])

    def preflight(self, rows: Sequence[Record]) -> None:
        """Invariants and calibrations: name, expected, observed, tolerance, passed, meaning."""
        self._append(PREFLIGHT, rows)

    def commands(self) -> list[dict[str, object]]:
        """New commands of control.jsonl, in order; each is handed out once.

        A command is an object with `command` (pause, continue, stop, checkpoint, patch) and, for
        patch, `set` ({"optim.lr": 1e-6}); `line` is added. Anything else is refused in events.
        Call `acknowledge` once it is carried out: only then does a resumed run skip it.
        """
        if self._settled is None:
            self._settled = self.require_commands() if self.resumed else {}
        lines = self._control()
        found: list[dict[str, object]] = []
        for number, line in enumerate(lines[self._seen :], self._seen + 1):
            if number in self._settled:
                continue
            command = _command(line)
            if isinstance(command, str):
                self.event("command", line=number, outcome="refused", reason=command)
            else:
                found.append({**command, "line": number})
        self._seen = len(lines)
        return found

    def _control(self) -> list[bytes]:
        """The whole lines of control.jsonl."""
        path = self.path / "control.jsonl"
        data = path.read_bytes() if path.exists() else b""
        return data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]

    def acknowledge(self, command: Record, step: int, outcome: str = "done") -> None:
        """Record what became of a command that `commands` handed out."""
        self.event("command", **{**command, "step": step, "outcome": outcome})

    def records(self) -> dict[str, str]:
        """What was written so far, by file, for a checkpoint to state; it is on the disk then.

        Raises PawlError (exit 4) where the disk refuses.
        """
        self._require_place()
        try:
            for place in (*sorted(self._unsynced), "samples", "."):
                sync(self.path / place)
        except OSError as e:
            raise write_error(e, self.path) from e
        self._unsynced.clear()
        return {name: own.text() for name, own in sorted(self._written.items())}

    def cut_after(self, step: int, stated: Mapping[str, Written]) -> int:
        """Cut steps and samples back to what a checkpoint of `step` states, and no further.

        Returns how many step records were dropped. events.jsonl and preflight.jsonl are never cut,
        and an event says what was. stated: read back and equal to the checkpoint's statement.
        """
        removed = 0
        try:
            for path in sorted((self.path / "samples").iterdir()):
                own = stated.get(f"samples/{path.name}")
                if own is None and OF_A_STEP.fullmatch(path.name):
                    path.unlink()
                    removed += 1
                elif own is not None and path.stat().st_size > own.size:
                    os.truncate(path, own.size)
            steps = self.path / STEPS
            kept = stated.get(STEPS) or Written()
            cut = written(steps).lines - kept.lines
            if steps.exists():
                os.truncate(steps, kept.size)
        except OSError as e:
            raise write_error(e, self.path) from e
        events = {name: self._written.get(name) or Written() for name in (EVENTS, PREFLIGHT)}
        self._written = {**stated, STEPS: kept, **events}
        self._unsynced = {name for name, own in self._written.items() if own.size}
        self.event("cut", after_step=step, records=cut, sample_files=removed)
        return cut

    def recount(self) -> None:
        """Read again what was put into the folder from outside: a fork's history."""
        samples = (f"samples/{path.name}" for path in (self.path / "samples").iterdir())
        names = [STEPS, *(n for n in samples if OF_A_STEP.fullmatch(n.rpartition("/")[2]))]
        self._written |= {name: written(self.path / name) for name in names}
        self._unsynced |= set(names)

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

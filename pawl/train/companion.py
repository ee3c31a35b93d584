"""The doctor beside a run: a child process looks at the run folder, and nobody waits for it.

Every `EVERY` steps `pawl doctor RUN --json` is started at the lowest priority, unless the one
before still runs. Its findings are picked up at a later step; new ones become an event and
a line. The child reads files only, so a run is the same with and without it. Left out: acting on
what it says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import IO

from pawl.store.display import Display
from pawl.store.run import RunFolder

EVERY = 25  # steps
SHOWN = ("critical", "warning")


class Companion:
    """One child at a time; `told` holds what was said, so that it is said once."""

    def __init__(self, run: RunFolder, display: Display) -> None:
        self._run, self._display = run, display
        self._child: subprocess.Popen[bytes] | None = None
        self._answer: IO[bytes] | None = None
        self._step = 0
        self.told: set[tuple[str, str]] = set()

    def look(self, step: int) -> None:
        """Pick up an answer that is there, and ask again when it is time. Never waits."""
        self._pick_up()
        if step % EVERY == 0 and self._child is None:
            self._ask(step)

    def _ask(self, step: int) -> None:
        self._answer, self._step = tempfile.TemporaryFile(), step
        command = [sys.executable, "-m", "pawl", "doctor", str(self._run.path), "--json"]
        try:
            self._child = subprocess.Popen(
                [*command, "--fail-on", "never"],
                stdin=subprocess.DEVNULL,
                stdout=self._answer,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
            os.setpriority(os.PRIO_PROCESS, self._child.pid, 19)
        except OSError as e:  # no more processes, or the child is gone already
            self._run.event("doctor_failed", step=step, reason=str(e))

    def _pick_up(self) -> None:
        if self._child is None or self._child.poll() is None:
            return
        code, self._child = self._child.returncode, None
        assert self._answer is not None
        with self._answer as file:
            file.seek(0)
            text = file.read()
        try:
            report = json.loads(text)
            findings = report["findings"]
        except (ValueError, KeyError, TypeError):
            self._run.event("doctor_failed", step=self._step, reason=f"exit code {code}")
            return
        for finding in findings:
            self._tell(finding, str(report.get("verdict")))

    def _tell(self, finding: Mapping[str, object], verdict: str) -> None:
        """A new finding as an event and a line; one that was told in this process is not again."""
        key = (str(finding["code"]), str(finding["severity"]))
        if key in self.told or finding["severity"] not in SHOWN:
            return
        self.told.add(key)
        told = {name: finding[name] for name in ("code", "name", "severity", "place", "summary")}
        self._run.event("finding", step=self._step, verdict=verdict, **told)
        line = f"doctor at step {self._step}: {told['code']} {told['name']}: {told['summary']}"
        self._display.note(line)

    def close(self) -> None:
        """End a child that still runs; its answer is dropped."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None
        if self._answer is not None:
            self._answer.close()

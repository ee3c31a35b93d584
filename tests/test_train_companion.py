"""The doctor beside a run: asked at intervals, never waited for, each finding told once."""

import json
import subprocess
import time

import pytest

from pawl.config.load import load_run
from pawl.store.display import Silent
from pawl.store.read import read_events
from pawl.store.run import RunFolder
from pawl.train import companion
from pawl.train.companion import EVERY, Companion

FINDING = {
    "code": "D101",
    "name": "non-finite",
    "severity": "critical",
    "place": "loss/total",
    "summary": "it is not finite",
}


class Noting(Silent):
    """A display that keeps its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Child:
    """A process that ends when told to, with an answer."""

    def __init__(self, answer: bytes) -> None:
        self.pid, self.returncode, self.killed = 0, None, False
        self._answer, self.file = answer, None

    def poll(self):
        return self.returncode

    def end(self) -> None:
        self.file.write(self._answer)
        self.returncode = 0

    def kill(self) -> None:
        self.killed = True

    def wait(self) -> None:
        assert self.killed


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("name: beside\nmodel: {path: bundled}\nproblems: {train: starter-ocaml}\n")
    cfg, places = load_run(path, [f"runs_dir={tmp_path}"], {})
    with RunFolder.create(cfg, places) as folder:
        yield folder


@pytest.fixture
def children(monkeypatch):
    made = []

    def start(command, stdout, **_):
        made.append(Child(json.dumps({"verdict": "FAULT", "findings": [FINDING]}).encode()))
        made[-1].file, made[-1].command = stdout, command
        return made[-1]

    monkeypatch.setattr(companion.subprocess, "Popen", start)
    monkeypatch.setattr(companion.os, "setpriority", lambda *_: None)
    return made


def test_it_is_asked_at_intervals_and_one_at_a_time(run, children):
    beside = Companion(run, Noting())
    for step in range(1, 3 * EVERY):
        beside.look(step)
    assert len(children) == 1, "the first still runs: no second one, and nobody waited"
    assert children[0].command[-5:] == ["doctor", str(run.path), "--json", "--fail-on", "never"]
    beside.close()
    assert children[0].killed


def test_a_finding_is_told_once_as_event_and_line(run, children):
    display = Noting()
    beside = Companion(run, display)
    for step in range(EVERY, 3 * EVERY + 2):
        beside.look(step)
        if children[-1].returncode is None and step % EVERY == 1:
            children[-1].end()
    rows = [e for e in read_events(run.path) if e["kind"] == "finding"]
    assert [(r["step"], r["code"], r["verdict"]) for r in rows] == [(EVERY, "D101", "FAULT")]
    assert display.notes == [f"doctor at step {EVERY}: D101 non-finite: it is not finite"]
    assert len(children) == 3


def test_an_answer_that_is_none_is_an_event(run, children):
    beside = Companion(run, Noting())
    beside.look(EVERY)
    children[0]._answer = b"Traceback"
    children[0].end()
    beside.look(EVERY + 1)
    assert [e["kind"] for e in read_events(run.path)][-1] == "doctor_failed"


def test_the_real_command_answers(run):
    steps = [{"step": i, "reward/mean": 0.1, "loss/total": 0.1 * i} for i in range(40)]
    steps[30]["loss/total"] = "nan"
    for record in steps:
        run.append_step(record | {"host": {}})
    display = Noting()
    beside = Companion(run, display)
    beside.look(EVERY)
    for _ in range(600):
        if beside._child is None or beside._child.poll() is not None:
            break
        time.sleep(0.1)
    assert isinstance(beside._child, subprocess.Popen)
    beside.look(EVERY + 1)
    assert any("D101" in note for note in display.notes), display.notes
    beside.close()

"""A key of a judge appears nowhere: not in a run's files, pages, crash reports, or what is printed.

The server sends the key back in bodies and headers, as gateways do in their errors. What single
requests and exceptions hold is in test_judge_access.py.
"""

import base64
import contextlib
import io
import json
import os

import pytest
from judge_setup import KEY
from test_train_judge import judged, knows_the_answers

from pawl.cli.main import main
from pawl.judge import fake_server
from pawl.judge.fake_server import FakeTeacher, Options

KEY_NAME = "TEACHER_KEY"
FORMS = (
    KEY.encode(),
    json.dumps(KEY)[1:-1].encode(),
    base64.b64encode(KEY.encode()).rstrip(b"="),
    KEY.encode("utf-16-le"),
    KEY[3:-3].encode(),
)


def pawl(*args):
    """The command line, in this process -> (exit code, all that it said)."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, args)))
    return ended.value.code, said.getvalue()


def holders(folder):
    """Files below a folder that hold the key in any form, and names that do."""
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with open(path, "rb") as f:
                raw = f.read()
            found += [path for form in FORMS if form in raw or form in path.encode()]
    return found


@pytest.fixture
def echoing(monkeypatch, tmp_path):
    """A teacher that turns `after` answers into errors that hold the key; and a run's config."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv(KEY_NAME, KEY)
    (tmp_path / "tmp").mkdir()
    real = FakeTeacher._answer
    left, own = [10**9], list[FakeTeacher]()

    async def answer(self, method, path, raw):
        left[0] -= self in own
        if self not in own or left[0] >= 0:  # the wiring is proved with a teacher of its own
            return await real(self, method, path, raw)
        error = {"error": {"type": "invalid", "message": f"bad key: Bearer {KEY}", "key": KEY}}
        return fake_server._http(400, error, f"request-{KEY}", {"x-echo": KEY})

    monkeypatch.setattr(FakeTeacher, "_answer", answer)
    with FakeTeacher(knows_the_answers, Options()) as server:
        own.append(server)
        yield server, left


def config_file(tmp_path, model, server):
    text = judged(model, server).replace("judge: {", f"judge: {{key_env: {KEY_NAME}, ")
    (tmp_path / "keyed.yaml").write_text(text, "utf-8")
    return tmp_path / "keyed.yaml"


def looked_at(run, tmp_path):
    """Everything that shows a run."""
    said = []
    for args in (
        ("doctor", run),
        ("doctor", run, "--html", tmp_path / "report.html"),
        ("doctor", run, "--json"),
        ("samples", run),
        ("runs", run.parent),
        ("explain", "D237"),
    ):
        said.append(pawl(*args)[1])
    return "\n".join(said)


def test_a_run_that_its_judge_leaves_with_the_key(model, echoing, tmp_path):
    server, left = echoing
    path = config_file(tmp_path, model, server)
    ways = [f"runs_dir={tmp_path / 'runs'}", "train.override=[calibration,judge-canaries]"]
    left[0] = 60  # enough for the probe and the calibration
    code, said = pawl("train", path, *ways, "--debug")
    assert code == 4, said
    said += looked_at(tmp_path / "runs" / "keyed", tmp_path)
    assert KEY[3:-3] not in said
    assert (tmp_path / "report.html").exists(), said
    assert not holders(tmp_path)


def test_a_run_that_is_refused_at_the_probe(model, echoing, tmp_path):
    server, left = echoing
    path = config_file(tmp_path, model, server)
    left[0] = 0
    code, said = pawl("train", path, f"runs_dir={tmp_path / 'runs'}", "--debug")
    assert (code, "the probe failed" in said) == (2, True), said
    assert KEY[3:-3] not in said
    assert not holders(tmp_path)


@pytest.mark.slow
def test_a_crash(model, echoing, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("the update broke")

    server, _ = echoing
    path = config_file(tmp_path, model, server)
    monkeypatch.setattr("pawl.train.loop.update", broken)
    code, said = pawl("train", path, f"runs_dir={tmp_path / 'runs'}")
    assert code == 3, said
    assert list((tmp_path / "runs" / "keyed").glob("crash-*.txt"))
    said += looked_at(tmp_path / "runs" / "keyed", tmp_path)
    assert KEY[3:-3] not in said
    assert not holders(tmp_path)

"""`pawl doctor` and `pawl explain CODE` as a user meets them: exit codes, files, watching."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_cli_commands import run

from pawl.cli import doctor as command
from pawl.cli.show import coloured, print_styled
from pawl.cli.watch import watched
from pawl.config.options import RunConfig
from pawl.doctor.diagnose import Diagnosis, diagnose
from pawl.errors import Exit, PawlError
from pawl.logs.recognise import read_logs, search
from pawl.store.run import RunFolder


def written(
    path: Path,
    n: int = 60,
    rise: float = 0.0,
    kl: float = 0.0,
    extra: Mapping[str, float] | None = None,
) -> Path:
    """A log of n steps at a path: reward with noise and a rise, a KL that starts where told."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n):
        reward = 0.4 + rise * i / n + 0.05 * float(rng.normal())
        rows.append({"step": i + 1, "reward": reward, "kl": kl + 0.001 * i, **(extra or {})})
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def pawl(capsys: pytest.CaptureFixture[str]) -> Run:
    """`pawl doctor` with some arguments: exit code, standard output, standard error."""

    def call(*args: object) -> tuple[int, str, str]:
        return run(capsys, "doctor", *map(str, args))

    return call


@pytest.fixture
def healthy(tmp_path: Path) -> Path:
    return written(tmp_path / "healthy.jsonl", rise=0.5)


@pytest.fixture
def invalid(tmp_path: Path) -> Path:
    return written(tmp_path / "invalid.jsonl", kl=0.5)


@pytest.fixture
def unclear(tmp_path: Path) -> Path:
    return written(tmp_path / "unclear.jsonl")


def test_verdicts_become_exit_codes(pawl: Run, healthy: Path, invalid: Path, unclear: Path) -> None:
    for path, code, verdict in (
        (healthy, Exit.OK, "HEALTHY"),
        (unclear, Exit.OK, "CANNOT TELL"),
        (invalid, Exit.FINDINGS, "INVALID RUN"),
    ):
        got, out, err = pawl(path)
        assert (got, err) == (code, "")
        assert f"\nverdict: {verdict}: " in out
        assert "\x1b" not in out, "no colours where no terminal is"


def test_fail_on_counts_findings_and_grave_verdicts_always_count(
    healthy: Path, invalid: Path, unclear: Path
) -> None:
    def one(path: Path) -> Diagnosis:
        return diagnose(read_logs(path)[0])

    d = one(healthy)
    rows = [f for f in one(invalid).findings if f.severity == "critical"][:1]
    warned = replace(d, findings=[replace(rows[0], severity="warning")])
    assert [command.counts(warned, level) for level in command.LEVELS] == [False, True, True, False]
    assert all(command.counts(one(invalid), level) for level in command.LEVELS)
    none = replace(one(unclear), findings=rows)
    assert not any(command.counts(none, level) for level in command.LEVELS)


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["nowhere.json"], "no such file"),
        (["nowhere"], "not a run folder"),
        (["{log}", "--map", "reward"], "SOURCE=NAME"),
        (["{log}", "--map", "a=reward/maen"], "did you mean `reward/mean`"),
        (["{log}", "--target", "reward/mean"], "METRIC=VALUE[@STEP]"),
        (["{log}", "--target", "reward/mean=high"], "METRIC=VALUE[@STEP]"),
        (["{log}", "--against", "{log}"], "not a report"),
        (["{log}", "{log}", "--check", "{log}"], "one log"),
        (["{log}", "--report", "x.json"], "--report takes the Markdown file"),
        (["{log}", "--fail-on", "all"], "--fail-on"),
        (["{log}", "--check", "missing.md"], "cannot be read"),
        ([], "PATH"),
    ],
)
def test_mistakes_are_one_block_and_exit_2(
    pawl: Run, healthy: Path, args: list[str], word: str
) -> None:
    code, _, err = pawl(*(arg.format(log=healthy) for arg in args))
    assert code == Exit.USER
    assert word in err
    assert "Traceback" not in err


def test_json_is_one_object(pawl: Run, healthy: Path, invalid: Path) -> None:
    code, out, _ = pawl(healthy, "--json")
    body = json.loads(out)
    assert (code, body["schema"], body["verdict"]) == (Exit.OK, 1, "HEALTHY")
    code, out, _ = pawl(healthy, invalid, "--json")
    assert code == Exit.FINDINGS
    assert [row["verdict"] for row in json.loads(out)["reports"]] == ["HEALTHY", "INVALID RUN"]


def test_several_logs_get_a_line_each(pawl: Run, healthy: Path, invalid: Path) -> None:
    code, out, _ = pawl(healthy, invalid)
    lines = out.splitlines()
    assert code == Exit.FINDINGS
    assert lines[0].split() == ["HEALTHY", "none", str(healthy)]
    assert lines[1].startswith("INVALID RUN ") and lines[1].endswith(str(invalid))
    assert lines[2:] == ["2 logs: 1 INVALID RUN, 1 HEALTHY."]


def test_a_folder_gets_a_line_for_each_log_and_names_the_rest_when_asked(
    pawl: Run, healthy: Path, invalid: Path
) -> None:
    (healthy.parent / "a\x1b.bin").write_bytes(b"\x00\x01")
    code, out, err = pawl(healthy.parent)
    assert code == Exit.FINDINGS
    assert [line.split()[-1] for line in out.splitlines()[:2]] == [str(healthy), str(invalid)]
    assert err == "1 file could not be read as logs (--verbose)\n"
    err = pawl(healthy.parent, "--verbose")[2]
    assert "a\\x1b.bin: no log: " in err and "\x1b" not in err


def test_a_run_is_found_by_its_name(
    pawl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = RunConfig.model_validate({"name": "mine", "runs_dir": str(tmp_path / "runs")})
    with RunFolder.create(cfg) as folder:
        for step in range(40):
            row = {"step": step, "reward/mean": 0.4 + 0.01 * step, "policy/entropy": 1.0}
            folder.append_step(row)
    monkeypatch.chdir(tmp_path)
    code, out, _ = pawl("mine")
    assert "run folder of Pawl" in out and code in (Exit.OK, Exit.FINDINGS)
    assert "did you mean `mine`?" in pawl("mime")[2]


def test_report_writes_markdown_and_json_beside_it(
    pawl: Run, unclear: Path, tmp_path: Path
) -> None:
    page = tmp_path / "report.md"
    code, _, _ = pawl(unclear, "--report", page)
    assert code == Exit.OK
    assert page.read_text().startswith("# Analysis of ")
    body = json.loads((tmp_path / "report.json").read_text())
    assert body["verdict"] == "CANNOT TELL" and body["criteria"]
    later = written(unclear, n=95)
    code, out, _ = pawl(later, "--against", tmp_path / "report.json")
    assert f"since the last report ({tmp_path / 'report.json'}, CANNOT TELL):" in out
    assert "missed: stop, or change something: continue if reward/mean" in out
    assert "missed: no reason to stop: stop if reward/mean" in out


def test_the_report_in_a_run_folder_is_answered(
    pawl: Run, unclear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    monkeypatch.setattr(command, "search", lambda path, names: search(unclear, names))
    assert "since the last report" not in pawl(folder)[1]
    pawl(folder, "--report", folder / "report.md")
    out = pawl(folder)[1]
    assert f"since the last report ({folder / 'report.json'}, CANNOT TELL):" in out
    assert "open: continue if reward/mean" in out
    monkeypatch.chdir(tmp_path)
    assert "since the last report" in pawl("mine")[1], "a run is found by its name in runs/"


def test_a_report_of_somebody_else_in_the_folder_is_left_alone(
    pawl: Run, unclear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "report.json").write_text("[]")
    monkeypatch.setattr(command, "search", lambda path, names: search(unclear, names))
    code, out, err = pawl(folder)
    assert code == Exit.OK and "since the last report" not in out
    assert "report.json was not used: not a report" in err


def test_watching_answers_the_criteria_of_its_first_look(
    pawl: Run, unclear: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = unclear.read_text()
    worse = "".join(f'{{"step": {i}, "reward": 0.01, "kl": {0.001 * i}}}\n' for i in range(61, 81))
    monkeypatch.setattr(time, "sleep", lambda seconds: unclear.write_text(text + worse))
    out = pawl(unclear, "--watch", "--looks", "2")[1]
    assert "since the last report (the first look, CANNOT TELL):" in out
    assert "met: stop: stop if reward/mean" in out


def test_columns_and_target_of_the_user(pawl: Run, tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_text("".join(f'{{"step": {i}, "glory": {0.5 + i % 3}}}\n' for i in range(40)))
    assert "no reward, accuracy or loss" in pawl(path)[1]
    out = pawl(path, "--map", "glory=reward/mean", "--target", "reward/mean=9@50")[1]
    assert "chance of at least 9 then: below 2.5%, out of reach" in out
    assert "by step 50" in out
    assert "no values of eval/pass_at_1" in pawl(path, "--target", "eval/pass_at_1=1")[2]


def test_hostile_names_are_shown_as_escapes(pawl: Run, tmp_path: Path) -> None:
    path = written(tmp_path / "hostile.jsonl", extra={"rewards/\x1b[2J/mean": 0.0})
    _, out, _ = pawl(path, "--verbose")
    assert "\x1b" not in out


def test_no_color_is_respected_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    print_styled([[("D401", "red"), (" plain", ""), (" faint", "dim")]])
    assert capsys.readouterr().out == "D401 plain faint\n"
    assert coloured("a", "red") == "\x1b[31m\x1b[1ma\x1b[0m"
    assert coloured("a", "dim") == "\x1b[2ma\x1b[0m"
    assert coloured("a", "bold") == "\x1b[1ma\x1b[0m"
    assert coloured("a", "") == "a"


def test_watch_tells_again_when_something_new_was_found(tmp_path: Path) -> None:
    path = written(tmp_path / "log.jsonl")
    told: list[str] = []
    turns: Iterator[dict[str, float]] = iter([{}, {"n": 61}, {"n": 61, "kl": 0.5}])

    def look() -> list[Diagnosis]:
        return [diagnose(log) for log in read_logs(path)]

    def tell(diagnoses: Sequence[Diagnosis]) -> None:
        told.append(diagnoses[0].verdict)

    def nap(seconds: float) -> None:
        turn = next(turns)
        if turn:
            written(path, int(turn["n"]), kl=turn.get("kl", 0.0))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", nap)
        last = watched([path], look, tell, 1.0, looks=4)
    assert told == ["CANNOT TELL", "INVALID RUN"], "a step more of the same is nothing new"
    assert last[0].verdict == "INVALID RUN"


def test_watch_outlives_a_file_that_is_being_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "log.jsonl")
    turns = iter(["torn", written(tmp_path / "next", kl=0.5).read_text()])
    monkeypatch.setattr(time, "sleep", lambda seconds: path.write_text(next(turns)))

    def look() -> list[Diagnosis]:
        if path.read_text() == "torn":
            raise PawlError("no records")
        return [diagnose(log) for log in read_logs(path)]

    last = watched([path], look, lambda diagnoses: None, 1.0, looks=3)
    assert last[0].verdict == "INVALID RUN"
    assert "not readable at this moment: no records" in capsys.readouterr().err


def test_watch_ends_with_the_code_of_its_last_look(pawl: Run, invalid: Path) -> None:
    code, out, _ = pawl(invalid, "--watch", "--every", "0.01", "--looks", "2")
    assert code == Exit.FINDINGS
    assert out.count("verdict: INVALID RUN") == 1


def test_interrupting_a_watch_is_clean(
    pawl: Run, healthy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    code, out, err = pawl(healthy, "--watch")
    assert code == Exit.INTERRUPTED
    assert "verdict: HEALTHY" in out
    assert err.strip() == "interrupted"


def test_html_holds_the_verdict(pawl: Run, healthy: Path, tmp_path: Path) -> None:
    pytest.importorskip("pawl.dash.export")
    page = tmp_path / "page.html"
    code, _, _ = pawl(healthy, "--html", page)
    assert code == Exit.OK
    assert "HEALTHY" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["D401", "d401", "kl-at-start"])
def test_explain_takes_codes_and_names_of_rules(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    code, out, err = run(capsys, "explain", name)
    assert (code, err) == (Exit.OK, "")
    assert out.startswith("D401 kl-at-start\n")
    for title in ("What ", "Why it matters", "Evidence needed", "Traps", "Fix", "Source", "Proof"):
        assert f"\n  {title}" in out
    code, out, _ = run(capsys, "explain", name, "--json")
    body = json.loads(out)
    assert body["code"] == "D401" and body["sections"]["Traps"]
    assert set(body["causes"]) == {"sampler-mismatch", "reference-mismatch"}


def test_explain_names_the_nearest_rule(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "explain", "kl-at-strat")
    assert code == Exit.USER
    assert "no rule is called kl-at-strat" in err and "kl-at-start" in err
    assert "no rule is called D000" in run(capsys, "explain", "D000")[2]


def test_doctor_is_light(healthy: Path, root: Path) -> None:
    code = (
        "import sys\nfrom pawl.cli.main import main\n"
        f"try: main(['doctor', {str(healthy)!r}])\n"
        "except SystemExit as e: assert e.code == 0, e.code\n"
        "heavy = {'torch', 'transformers', 'pyarrow', 'rich', 'pandas', 'scipy.stats'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()

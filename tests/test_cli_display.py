"""What training shows: the step line, the epoch row, terminals of all kinds, readers that leave."""

from __future__ import annotations

import io
import json
import os

import pytest

from pawl.cli.display import JsonLines, LastLine, Output, Terminal, open_display
from pawl.cli.line import epoch_row, eval_line, seconds, step_line
from pawl.cli.show import columns, harmless, printable
from pawl.config.options import RunConfig
from pawl.store.display import Display

RECORD: dict[str, object] = {
    "step": 41,
    "epoch": 1.25,
    "reward/mean": 0.41,
    "reward/mean_se": 0.02,
    "reward/std": 0.3,
    "reward/compile": 0.9,
    "reward/my_bonus": 0.25,
    "verifier/pass_frac": 0.37,
    "verifier/missing_frac": 0.0,
    "loss/total": -0.0123,
    "optim/lr": 1e-5,
    "policy/entropy": 0.71,
    "policy/kl_ref": None,
    "group/zero_std_frac": 0.125,
    "optim/grad_norm": 0.8,
    "length/mean": 214.2,
    "host": {
        "time/step_s": 12.3,
        "time/generate_s": 8.7,
        "speed/tokens_per_s": 3100.0,
    },
}


def test_step_line_holds_everything_that_was_measured() -> None:
    line = step_line(RECORD, 300, {"reward/mean": 0.39}, 3180.0)
    assert line == (
        "step 41/300  epoch 1.25  12.3s  eta 53m"
        " | reward 0.41\u00b10.02 (+0.02) [compile 0.90, my_bonus 0.25]"
        " | pass 37% | loss -0.0123 | lr 1.0e-05 | entropy 0.71 | zero-std 12% | grad 0.8"
        " | len 214 | 3.1k tok/s | waiting: rollout 71% | ok"
    )


def test_what_was_not_measured_is_never_a_number() -> None:
    assert step_line({"step": 1}, 2, None, None) == "step 1/2 | reward missing | ok"
    lost = step_line({"step": 1, "verifier/missing_frac": 0.25}, 2, None, None)
    assert lost.endswith("25% of scores missing")
    assert "missing" in eval_line({"step": 0})
    assert epoch_row({"step": 1}).split() == ["-"] * 8


def test_a_step_that_a_filter_emptied_is_loud() -> None:
    emptied = {"step": 1, "reward/mean": 0.1, "filter/kept_frac": 0.0, "filter/emptied": 1}
    line = step_line({**emptied, "reward/trained_mean": 0.05}, 2, None, None)
    assert line == (
        "step 1/2 | reward 0.10 | kept 0% | NOTHING TRAINED: no sample passes algo.filter"
    )


def test_nan_is_shown_as_it_is() -> None:
    assert "loss nan" in step_line({"step": 1, "loss/total": float("nan")}, 2, None, None)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.04, "0.0s"), (59.9, "59.9s"), (60, "1m"), (3600, "1h00m"), (7500, "2h05m")],
)
def test_seconds(value: float, shown: str) -> None:
    assert seconds(value) == shown


class Stream(io.TextIOWrapper):
    """A text stream with an encoding, on a terminal or not."""

    def __init__(self, encoding: str = "utf-8", tty: bool = False) -> None:
        self.raw_bytes = io.BytesIO()
        self.tty = tty
        super().__init__(self.raw_bytes, encoding=encoding, write_through=True)

    def isatty(self) -> bool:
        return self.tty

    def text(self) -> str:
        return self.raw_bytes.getvalue().decode(self.encoding)


def play(display: Display) -> None:
    """A run of one step, one epoch and one evaluation."""
    cfg = RunConfig(name="a")
    display.start(cfg, 41, [{"path": "seed", "default": 0, "value": 1, "from": "default"}])
    display.phase("generate")
    display.note("engine: local \x1b[31m")
    display.step(RECORD)
    ended = {"epoch": 1.0, "epoch/reward_mean": 0.4, "eval/success": 0.3}
    display.epoch(ended | {"host": {"epoch/generate_s": 8.7}})
    display.eval({"step": 41, "eval/pass_at_1": 0.3, "eval/problems": 64})
    display.close("held-out pass@1: 0.18 -> 0.61 (+0.43, n=200)")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_plain_lines_without_a_terminal(encoding: str) -> None:
    err, out = Stream(encoding), Stream(encoding)
    play(Terminal(err, out, {"seed": "a.yaml:1"}))
    text = err.text()
    assert "\x1b" not in text
    assert "seed: 0 -> 1  (a.yaml:1)" in text
    assert ("0.41\u00b10.02" if encoding == "utf-8" else "0.41+-0.02") in text
    assert "rollout 8.7s" in text
    assert out.text() == "held-out pass@1: 0.18 -> 0.61 (+0.43, n=200)\n"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_one_live_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    err, out = Stream(encoding, tty=True), Stream(encoding)
    display = Terminal(err, out, {})
    play(display)
    text = err.text()
    assert "step 41/41" in text
    assert "\\x1b[31m" in text  # the note's own escape was made harmless
    assert "\x1b[31m" not in text
    assert out.text().startswith("held-out")


def test_json_and_quiet() -> None:
    out = Stream()
    play(JsonLines(out))
    assert [json.loads(line) for line in out.text().splitlines()] == [RECORD]
    out = Stream()
    play(LastLine(out))
    assert out.text() == "held-out pass@1: 0.18 -> 0.61 (+0.43, n=200)\n"


def test_an_error_takes_the_bar_off(monkeypatch: pytest.MonkeyPatch) -> None:
    err = Stream(tty=True)
    monkeypatch.setattr("sys.stderr", err)
    with pytest.raises(ZeroDivisionError), open_display(False, False, {}) as display:
        display.start(RunConfig(name="a"), 3, [])
        assert isinstance(display, Terminal)
        raise ZeroDivisionError
    assert display._bar is not None
    assert not display._bar.live.is_started


def test_a_closed_pipe_silences_the_display_only() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        output = Output(stream)
        output.line("x")
        output.line("y")


def test_harmless_and_printable() -> None:
    assert harmless("a\x1b[2J\tb\n\x00\x9b") == "a\\x1b[2J\tb\n\\x00\\x9b"
    assert printable("\u00b1 \u4f60", "ascii") == "+- \\u4f60"
    assert printable("\u00b1 \u4f60", "utf-8") == "\u00b1 \u4f60"


def test_columns() -> None:
    assert columns(["name", "n"], [["a", "1"], ["bcdef", "10"]]) == [
        "name    n",
        "a       1",
        "bcdef  10",
    ]

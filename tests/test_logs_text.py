"""Lines of named numbers: what hand-written training loops print."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl.errors import PawlError
from pawl.logs.log import Log
from pawl.logs.recognise import read_logs

SHARED = Path(__file__).resolve().parents[2] / "shared"


def log(tmp_path: Path, text: str) -> Log:
    path = tmp_path / "out"
    path.write_text(text, encoding="utf-8")
    (found,) = read_logs(path)
    return found


def columns(log: Log) -> dict[str, list[float]]:
    return {name: list(s.value_N) for name, s in (log.series | log.unknown).items()}


@pytest.mark.parametrize(
    "line",
    [
        "step {i}/100 | loss: {a} | Avg reward: {b} | 1.3s/it",
        "2025-01-01 12:00:00,123 - INFO - Step {i}: loss={a}, mean_reward={b}",
        "[Step {i}]  loss={a}  reward={b}\u00b10.07  note=fine",
        "iter {i} loss={a} reward={b} time=x",
        "Step {i}\nAverage Loss: {a}\nAverage Reward: **{b}**\n",
        "\rtrain: {{step: {i}, loss: {a}, reward: {b}}}",
    ],
)
def test_lines_and_blocks(line: str, tmp_path: Path) -> None:
    rows = [(i, 1 - i / 10, i / 20) for i in range(1, 6)]
    text = "loading the model, lr: 1e-5\n"
    text += "\n".join(line.format(i=i, a=a, b=b) for i, a, b in rows) + "\ndone in 5 s\n"
    found = log(tmp_path, text)
    assert list(found.step_N) == [1, 2, 3, 4, 5]
    seen = columns(found)
    assert seen["loss/total"] == [a for _, a, _ in rows]
    assert seen["reward/mean"] == [b for _, _, b in rows]


def test_ranges_are_no_values(tmp_path: Path) -> None:
    text = "".join(f"Epoch {i} loss=0.{i} reward={i}e-1 kl=nan\n" for i in range(1, 5))
    found = log(tmp_path, text + "Epoch 0.3-0.6: Rewards: 0.05 - 0.15, Loss: 3\n")
    assert columns(found)["reward/mean"] == [0.1, 0.2, 0.3, 0.4]
    assert list(found.step_N) == [1, 2, 3, 4]


def test_a_line_in_between_replaces_nothing(tmp_path: Path) -> None:
    text = "".join(
        f"step={i} loss=0.{i} reward={i}\n 10%|## | {i}/9 [00:10, loss=9.5, eval_loss=0.5]\n"
        for i in range(1, 5)
    )
    seen = columns(log(tmp_path, text))
    assert seen["loss/total"] == [0.1, 0.2, 0.3, 0.4]
    assert seen["eval/loss"] == [0.5] * 4


@pytest.mark.parametrize(
    "text", ["reward: 1, loss: 2\n", "a=1 b=2\n" * 9, "see step 3: loss of keys\n" * 9, "x\n" * 99]
)
def test_other_texts_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(PawlError):
        log(tmp_path, text)


@given(st.text(alphabet="step 1=:.,|loss-\n[]e%", max_size=120))
def test_any_text_is_read(text: str) -> None:
    from pawl.logs.read_text import _rows

    for row in _rows(text.splitlines()):
        assert all(isinstance(value, float) for value in row.values())


@pytest.mark.skipif(not (SHARED / "ancestors").is_dir(), reason="needs ../shared/ancestors")
def test_log_lines_within_a_page() -> None:
    (found,) = read_logs(SHARED / "ancestors" / "ocaml-grpo-epoch-0.28.md")
    seen = columns(found)
    assert seen["reward/mean"] == [0.102, 0.066, 0.115, 0.084, 0.073, 0.113]
    assert seen["group/zero_std_frac"] == [0.0, 0.0, 0.25, 0.25, 0.5, 0.25]

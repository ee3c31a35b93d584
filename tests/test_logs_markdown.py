"""Tables of metrics on a page of Markdown: both directions, marks in cells, several tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl.doctor.diagnose import diagnose
from pawl.errors import PawlError
from pawl.logs.log import Log
from pawl.logs.read_markdown import parts, value
from pawl.logs.recognise import read_logs

SHARED = Path(__file__).resolve().parents[2] / "shared"
BY_ROWS = """\
# Training

| Epoch | Avg Reward | Best-of-N | Loss | Time | Remark |
|:-----:|-----------:|:----------|------|------|--------|
| 1 | 0.2604 | **0.53** \u2191 | ~0.198 | 52.0 min | first |
| 2 | 0.2662 | 56% | `0.385` | 46.9 minutes | - |
| **3** | 0.2804 \u00b1 0.02 | 0.557 | 0.355 (up) | 47 min | good |
"""
BY_COLUMNS = """\
| Metric | Epoch 1 | Epoch 2 | Epoch 3 | Trend |
|---|---|---|---|---|
| **Average Reward** | 0.2604 | 0.2662 | 0.2804 | \u2705 Improving |
| **Best-of-N Reward** | 0.53 | 56% | 0.557 | up |
| Average Loss | 0.198 | 0.385 | 0.355 | \u26a0\ufe0f **INCREASING** |
| Time per Epoch | 52.0 min | 46.9 min | 47 min | Stable |
"""


def page(tmp_path: Path, text: str, name: str = "page.md") -> Log:
    """The log of a page."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    (found,) = read_logs(path)
    return found


@pytest.mark.parametrize("name", ["page.md", "001.json", "x"])
@pytest.mark.parametrize("text", [BY_ROWS, BY_COLUMNS, BY_COLUMNS.replace("|\n", "\n")])
def test_both_directions_say_the_same(text: str, name: str, tmp_path: Path) -> None:
    found = page(tmp_path, text, name)
    assert list(found.step_N) == [1, 2, 3]
    assert list(found.series["reward/mean"].value_N) == [0.2604, 0.2662, 0.2804]
    assert list(found.series["reward/best_of_n"].value_N) == [0.53, 0.56, 0.557]
    assert list(found.series["loss/total"].value_N) == [0.198, 0.385, 0.355]
    (minutes,) = found.unknown.values()
    assert list(minutes.value_N) == [52.0, 46.9, 47.0]
    assert diagnose(found).verdict == "CANNOT TELL"


def test_epochs_may_stand_alone_in_the_header() -> None:
    text = "| Epoch | 1 | 2 |\n|---|---|---|\n| Reward | 0.1 | 0.2 |\n| Loss | 3 | n/a |\n"
    (part,) = parts(text)
    assert part.rows == {1.0: {"Reward": 0.1, "Loss": 3.0}, 2.0: {"Reward": 0.2}}


def test_places_are_read_from_the_rows_too() -> None:
    text = "| | Reward |\n|---|---|\n| Step 1,000 | 0.1 |\n| step 2k | 0.2 |\n| Mean | 0.15 |\n"
    (part,) = parts(text)
    assert (part.axis, part.rows) == ("step", {1000.0: {"Reward": 0.1}, 2000.0: {"Reward": 0.2}})


def test_steps_come_before_epochs() -> None:
    text = "| Epoch | Step | Reward |\n|---|---|---|\n| 1 | 10 | 0.1 |\n| 1 | 20 | 0.2 |\n"
    (part,) = parts(text)
    assert part.axis == "step"
    assert part.rows == {10.0: {"Epoch": 1, "Reward": 0.1}, 20.0: {"Epoch": 1, "Reward": 0.2}}


@pytest.mark.parametrize(
    "text",
    [
        "# No table\n\nReward 0.3 at epoch 2.\n",
        "| Phase | Current | After A |\n|---|---|---|\n| Accuracy | 30% | 55% |\n",
        "| Metric | Range | Expected |\n|---|---|---|\n| Loss | -0.19 to 0.12 | any |\n",
        "| Setting | Value |\n|---|---|\n| lr | 1e-5 |\n| epochs | 4 |\n",
        "| Epoch | What |\n|---|---|\n| 1 | started |\n",
    ],
)
def test_other_tables_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(PawlError) as e:
        page(tmp_path, text)
    assert e.value.what == "no table of metrics by epoch or step"


def test_tables_along_one_axis_are_joined_unless_they_contradict(tmp_path: Path) -> None:
    more = "\n| Epoch | Entropy |\n|---|---|\n| 1 | 0.5 |\n| 4 | 0.4 |\n"
    other = "\n| Epoch | Loss |\n|---|---|\n| 1 | 9 |\n| 2 | 8 |\n"
    steps = "\n| Step | KL |\n|---|---|\n| 1 | 9 |\n"
    plan = "\n| Task | Effort |\n|---|---|\n| Epochs | 3 |\n"
    found = page(tmp_path, BY_ROWS + more + other + steps + plan)
    assert list(found.step_N) == [1, 2, 3, 4]
    assert list(found.series["policy/entropy"].row_N) == [0, 3]
    assert list(found.series["loss/total"].value_N) == [0.198, 0.385, 0.355]
    assert found.notes == ["2 other tables by epoch or step are of other runs and were left out"]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("**0.26**", 0.26),
        ("\u2248 0.3", 0.3),
        ("\u2191 0.56", 0.56),
        ("\u22120.5", -0.5),
        ("+12.3%", 0.123),
        ("30 %", 0.3),
        ("0.26 +/- 0.02", 0.26),
        ("1,234.5", 1234.5),
        ("0,26", 0.26),
        ("6/20", 0.3),
        ("12k", 12000.0),
        ("10ms", 10.0),
        ("5e-6 (target)", 5e-6),
        ("<b>0.5</b>", 0.5),
        ("0.066 - 0.115", None),
        ("0.5 \u2192 0.6", None),
        ("2025-12-10", None),
        ("3h 20m", None),
        ("< 0.01", None),
        ("> 0.3", None),
        ("1/0", None),
        ("N/A", None),
        ("epoch 3", None),
        ("", None),
    ],
)
def test_cells(cell: str, expected: float | None) -> None:
    assert value(cell) == (None if expected is None else pytest.approx(expected))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_as_written(number: float) -> None:
    assert value(f"**{number!r}**") == number


@given(st.text(alphabet="|-: \n1aE.*%\\", max_size=80))
def test_any_page_is_read(text: str) -> None:
    for part in parts(f"| Epoch | x |\n|--|--|\n{text}"):
        assert part.rows


@pytest.mark.skipif(not (SHARED / "ancestors").is_dir(), reason="needs ../shared/ancestors")
def test_the_ancestors_pages() -> None:
    (found,) = read_logs(SHARED / "ancestors" / "teacher-scored-epochs-1-4.md")
    assert list(found.series["reward/mean"].value_N) == [0.2604, 0.2662, 0.2804, 0.2553]
    assert diagnose(found).verdict == "CANNOT TELL"
    for name in ("rlhf-ppo-improvement-plan", "README"):
        with pytest.raises(PawlError, match="no table of metrics"):
            read_logs(SHARED / "ancestors" / f"{name}.md")

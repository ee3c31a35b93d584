"""pawl explain and docs/metrics.md: complete, plain, current, and without heavy libraries."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli_commands import run

from pawl.checks import CAUSES, described
from pawl.cli.explain import WIDTH, find, lines, page
from pawl.errors import Exit
from pawl.metrics import CATALOGUE, healthy_runs


def test_every_metric_has_its_words() -> None:
    for name, told in CATALOGUE.items():
        for text in (told.tells, told.trap):
            assert text.isascii(), name
            assert text.endswith("."), f"{name}: {text}"
            assert len(text) < 260, f"{name}: a screen, not an essay"
        assert told.tells != told.trap


def test_words_name_metrics_that_exist() -> None:
    groups = {name.split("/")[0] for name in CATALOGUE if "/" in name}
    for name, told in CATALOGUE.items():
        for word in f"{told.tells} {told.trap}".replace(",", " ").split():
            word = word.strip("().:;`^2")
            if "/" in word and word.split("/")[0] in groups:
                assert word in CATALOGUE, f"{name}: {word}"


def test_values_of_healthy_runs_are_of_catalogued_metrics() -> None:
    assert set(healthy_runs()) <= set(CATALOGUE)
    for name, rows in healthy_runs().items():
        for row in rows:
            assert row.low <= min(row.first, row.last), name
            assert max(row.first, row.last) <= row.high, name
            low, high = CATALOGUE[name].low, CATALOGUE[name].high
            assert low is None or row.low >= low, name
            assert high is None or row.high <= high, name
            assert row.source.isascii()


def test_the_page_is_current(root: Path) -> None:
    text = (root / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert text == page(), "run: python -m pawl.cli.explain > docs/metrics.md"
    for name in CATALOGUE:
        assert text.count(f"### `{name}`\n") == 1, name


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_metric_is_explained_on_less_than_a_screen(name: str) -> None:
    text = list(lines(CATALOGUE[name]))
    assert len(text) < 40
    assert all(len(line) <= WIDTH for line in text)
    assert any(line.startswith("  seen ") for line in text)


def test_explain_prints_what_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "explain", "policy/entropy")
    assert (code, err) == (Exit.OK, "")
    assert out.startswith("policy/entropy\n")
    for word in ("nat", "at least 0", "neither way is better", "tells", "beware", "terrense/"):
        assert word in out
    code, out, _ = run(capsys, "explain", "time/step_s")
    assert "host: depends on machine and clock" in out
    assert "none measured" in out


def test_explain_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "explain", "group/zero_std_frac", "--json")
    row = json.loads(out)
    assert code == Exit.OK
    assert (row["unit"], row["low"], row["high"], row["host"]) == ("share", 0.0, 1.0, False)
    assert row["direction"] == "down"
    assert row["tells"] and row["trap"]
    assert {"source", "first", "last", "low", "high"} == set(row["seen"][0])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("entropy", "`policy/entropy`"),
        ("policy/entrpy", "`policy/entropy`"),
        ("reward/zero_std_frac", "`group/zero_std_frac`"),
        ("qqqqqq", "docs/metrics.md"),
    ],
)
def test_a_miss_names_the_nearest(
    capsys: pytest.CaptureFixture[str], name: str, meant: str
) -> None:
    code, out, err = run(capsys, "explain", name)
    assert (code, out) == (Exit.USER, "")
    assert f"no metric is called {name}" in err
    assert meant in err


def test_a_mistyped_code_names_the_nearest_rule(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "explain", "D4O1")
    assert (code, out) == (Exit.USER, "")
    assert "no rule is called D4O1" in err and "did you mean D4" in err


def test_causes_and_checks_are_explained_and_all_names_are_listed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for cause in CAUSES:
        assert CAUSES[cause].split()[0] in run(capsys, "explain", cause)[1]
    for check, row in described().items():
        out = run(capsys, "explain", check)[1]
        assert f"train.override=[{check}]" in out
        assert set(row["causes"]) <= set(CAUSES) and all(cause in out for cause in row["causes"])
    both = json.loads(run(capsys, "explain", "leakage", "--json")[1])
    assert [meaning["kind"] for meaning in both["meanings"]] == ["cause", "check"]
    names = json.loads(run(capsys, "explain", "--json")[1])
    assert set(names["causes"]) == set(CAUSES) and set(names["metrics"]) == set(CATALOGUE)
    assert "D401 kl-at-start" in run(capsys, "explain")[1]


def test_the_page_of_the_preflight_has_the_same_checks(root: Path) -> None:
    page = (root / "docs" / "preflight.md").read_text()
    for name, row in described().items():
        cells = [row[key] for key in ("holds", "warns", "refuses") if key in row]
        causes = ", ".join(f"`{cause}`" for cause in row["causes"])
        told = " | ".join([f"| `{name}`", *cells, causes])
        assert f"{told} |" in page or name in ("memory", "calibration"), name


def test_components_of_the_user_are_one_family() -> None:
    assert find("component/brevity").name == "component/*"


def test_explain_is_light_and_plain_ascii(root: Path) -> None:
    code = (
        "import sys\nfrom pawl.cli.main import main\n"
        "try: main(['explain', 'policy/nll_minus_entropy_z'])\n"
        "except SystemExit as e: assert e.code == 0, e.code\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'transformers', 'scipy', 'pyarrow'}\n"
        "assert not heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True)
    assert (
        io.TextIOWrapper(io.BytesIO(done.stdout), "ascii")
        .read()
        .startswith("policy/nll_minus_entropy_z")
    )

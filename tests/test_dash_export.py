"""The one-file report: hostile text stays text, extremes stay, and a real browser shows it.

The browser tests run headless Chromium from a file with the network off and skip where it is not
installed. Left out: beauty.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import browser
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl.dash.export import SCRIPTS, STYLES, embedded, page, policy, write_html
from pawl.dash.page import run_data
from pawl.dash.sampling import extremes
from pawl.doctor.diagnose import diagnose
from pawl.errors import PawlError
from pawl.logs.log import Event, Log, Raw, canonical
from pawl.logs.table import Table

HOSTILE = "</script><img src=x onerror=alert(1)>"
RIGHT_TO_LEFT = chr(0x202E)


def log_of(path: str, n: int = 120, metric: str = "extra", samples: bool = True) -> Log:
    """A log of a rising reward, with a spike, a nan, an unknown column and two samples."""
    rng = np.random.default_rng(5)
    table = Table()
    for i in range(n):
        table.add(
            {
                "step": i + 1,
                "reward": 0.2 + 0.004 * i + 0.02 * rng.normal(),
                "loss": 50.0 if i == 77 else float(rng.normal()) * 0.01,
                "grad_norm": float("nan") if i == 30 else 1.0 + rng.random(),
                "flat": 1.0,
                metric: float(rng.random()),
            }
        )
    rows = (
        {"prompt": f"add {HOSTILE}", "completion": f"{HOSTILE} {RIGHT_TO_LEFT}", "reward": 0.5},
        {"prompt": [{"role": "user", "content": "hi"}], "completion": "", "reward": 1, "step": 3},
    )
    events = [Event(60.0, "resume", HOSTILE)]
    raw = Raw(Path(path), "CSV", "any", table, config={"lr": HOSTILE}, events=events)
    raw.samples = rows if samples else ()
    return canonical(raw)


def data_of(text: str) -> dict:
    found = re.search(r'(?s)<script type="application/json" id="data">(.*?)</script>', text)
    assert found
    return json.loads(found[1])


@given(
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=400),
    st.integers(6, 60),
)
def test_sampling_keeps_ends_order_and_extremes(values: list[float], most: int) -> None:
    y_N = np.array(values)
    x, y = extremes(np.arange(len(y_N), dtype=float), y_N, most)
    assert len(x) <= max(most, 6)
    assert (np.diff(x) > 0).all()
    assert x[0] == 0 and x[-1] == len(y_N) - 1
    assert y.min() == y_N.min() and y.max() == y_N.max()
    assert (y_N[x.astype(int)] == y).all()


def test_every_spike_of_one_point_survives() -> None:
    y_N = np.zeros(100_000)
    for place in range(3, 100_000, 977):
        y_N[place] = -1.0 if place % 2 else 1.0
    _, y = extremes(np.arange(100_000.0), y_N)
    assert len(y) <= 2_000
    assert (y != 0).sum() == (y_N != 0).sum()


@given(st.text(), st.text())
def test_embedded_json_holds_no_markup_and_comes_back(key: str, value: str) -> None:
    text = embedded({key: [value, 1.5, None]})
    assert not set("<>&") & set(text)
    assert text.isascii()
    assert json.loads(text) == {key: [value, 1.5, None]}


def test_embedded_json_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError):
        embedded({"x": float("nan")})


def test_data_are_strict_and_hold_the_diagnosis() -> None:
    d = diagnose(log_of("run.csv"))
    body = data_of(page({"version": 1, "runs": [run_data(d)]}, "t"))
    run = body["runs"][0]
    assert run["verdict"] == d.verdict and run["reason"] == d.reason
    charts = {c["name"]: c for c in run["charts"]}
    assert max(charts["loss/total"]["y"]) == 50.0
    assert charts["optim/grad_norm"]["bad"] == [31]
    assert charts["optim/grad_norm"]["of"] == 119
    assert run["charts"][0]["name"] == "reward/mean"
    rows = {m["name"]: m for m in run["metrics"]}
    assert rows["reward/mean"]["source"] == "reward" and rows["reward/mean"]["direction"] == "up"
    assert rows["extra"]["known"] is False
    assert [s["reward"] for s in run["samples"]] == [0.5, 1.0]
    assert run["samples"][1]["prompt"] == "[user] hi"


def test_files_are_quoted_whole_and_the_policy_fetches_nothing(tmp_path: Path) -> None:
    write_html([diagnose(log_of("run.csv"))], tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "{{" not in re.sub(r"(?s)<script>.*?</script>", "", text)
    assert "uPlot (v1.6" in text
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert found and found[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in found[1] and "http" not in found[1]
    assert policy(["a"], ["b"]) != policy(["a "], ["b"])
    static = Path(__file__).parents[1] / "pawl" / "dash" / "static"
    for name in (*SCRIPTS, *STYLES):
        assert "</s" not in (static / name).read_text("utf-8").lower(), name
    ours = "".join((static / n).read_text("utf-8") for n in ("charts.js", "report.js"))
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", ours)


def test_a_folder_that_is_not_there_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(PawlError) as caught:
        write_html([diagnose(log_of("run.csv"))], tmp_path / "no" / "r.html")
    assert caught.value.code == 2


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """The browser, started once."""
    if browser.program() is None:
        pytest.skip("no chromium here")
    one = browser.start(tmp_path_factory.mktemp("profile"))
    yield one
    one.close()


DRAWN = """pawlCharts.plots.map(u => {
  const c = u.ctx.canvas, d = u.ctx.getImageData(0, 0, c.width, c.height).data;
  const want = getComputedStyle(document.documentElement).getPropertyValue('--curve').trim();
  const rgb = [1, 3, 5].map(i => parseInt(want.slice(i, i + 2), 16));
  let n = 0;
  for (let i = 0; i < d.length; i += 4)
    if (d[i + 3] > 200 && rgb.every((v, k) => Math.abs(d[i + k] - v) < 12)) n++;
  return n;
})"""
ALL = """new Promise(done => {
  const next = i => {
    if (i >= pawlCharts.live.length) return done(pawlCharts.plots.length);
    pawlCharts.live[i].plot.scrollIntoView();
    const wait = () => pawlCharts.live[i].u ? next(i + 1) : requestAnimationFrame(wait);
    wait();
  };
  next(0);
})"""


SAID = """new Promise(done => {
  const wait = () => {
    const text = document.querySelector('.value').textContent;
    text.startsWith('step') ? done(text) : requestAnimationFrame(wait);
  };
  wait();
})"""


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1600, True), (400, False)])
def test_the_page_opens_offline_and_draws_every_chart(
    chromium, tmp_path: Path, width: int, dark: bool
) -> None:
    write_html([diagnose(log_of("run.csv"))], tmp_path / "r.html")
    chromium.open(tmp_path / "r.html", width, 900, dark)
    assert chromium.js(ALL) == 5
    drawn = chromium.js(DRAWN)
    assert len(drawn) == 5 and min(drawn) > 50, drawn
    assert chromium.js("document.documentElement.scrollWidth") <= width
    assert chromium.said == []
    assert chromium.requests == [(tmp_path / "r.html").resolve().as_uri()]


def test_hostile_text_stays_text(chromium, tmp_path: Path) -> None:
    log = log_of(f"a/{HOSTILE}/run.csv", metric=HOSTILE)
    write_html([diagnose(log), diagnose(log)], tmp_path / "r.html")
    chromium.open(tmp_path / "r.html")
    chromium.js("document.querySelectorAll('details').forEach(d => d.open = true)")
    chromium.js(ALL)
    assert chromium.js("document.querySelectorAll('img, iframe, object').length") == 0
    assert chromium.js("document.querySelectorAll('body script').length") == 4
    text = chromium.js("document.body.innerText")
    assert text.count(HOSTILE) > 6
    assert RIGHT_TO_LEFT not in text and "\\u202e" in text
    assert HOSTILE in chromium.js("document.querySelector('.sample pre').textContent")
    assert chromium.said == []


def test_a_foreign_script_is_refused_by_the_policy(chromium, tmp_path: Path) -> None:
    write_html([diagnose(log_of("run.csv"))], tmp_path / "r.html")
    file = tmp_path / "r.html"
    text = file.read_text("utf-8")
    file.write_text(text.replace("</main>", "</main><script>window.got = 1</script>"), "utf-8")
    chromium.open(file)
    assert chromium.js("window.got === undefined")
    assert any("Content Security Policy" in line for line in chromium.said)


def test_charts_answer_to_the_keyboard(chromium, tmp_path: Path) -> None:
    write_html([diagnose(log_of("run.csv"))], tmp_path / "r.html")
    chromium.open(tmp_path / "r.html")
    chromium.js("document.querySelector('.plot').focus()")
    chromium.press("ArrowLeft")
    assert chromium.js(SAID).startswith("step 119:")
    focusable = chromium.js(
        "[...document.querySelectorAll('.plot, .wide, pre')].every(e => e.tabIndex === 0)"
    )
    assert focusable
    label = chromium.js("document.querySelector('.plot').getAttribute('aria-label')")
    assert label.startswith("reward/mean: 120 points, first ")


def test_odd_numbers_are_shown_without_an_error(chromium, tmp_path: Path) -> None:
    table = Table()
    odd = [1e308, -1e308, 5e-324, float("inf"), float("nan"), 0.0, 1.0, 1e308, -1e308, 3.0]
    for i, value in enumerate(odd):
        row = {"step": i * 10**12, "reward": value, "loss": 2.0, "kl": float("nan")}
        table.add(row | ({"entropy": 1.0} if i == 4 else {}))
    log = canonical(Raw(Path("odd.json"), "JSON", "any", table))
    write_html([diagnose(log)], tmp_path / "r.html")
    chromium.open(tmp_path / "r.html")
    assert chromium.js(ALL) == 2
    assert chromium.said == []
    rows = data_of((tmp_path / "r.html").read_text("utf-8"))["runs"][0]["metrics"]
    assert {r["name"]: r["bad"] for r in rows}["policy/kl_ref"] == 10


def test_a_run_without_anything_still_has_a_page(chromium, tmp_path: Path) -> None:
    table = Table()
    table.add({"x": 1.0})
    log = canonical(Raw(Path("one.json"), "JSON", "any", table))
    write_html([diagnose(log)], tmp_path / "r.html")
    chromium.open(tmp_path / "r.html")
    assert chromium.js("document.querySelector('h1').textContent") == "CANNOT TELL"
    assert chromium.said == []

"""Reports of the doctor: the same diagnosis as text, strict JSON and Markdown; rules explained."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.checks import CAUSES
from pawl.doctor import report_json, report_markdown, report_text
from pawl.doctor.against import against
from pawl.doctor.diagnose import Diagnosis, Unchecked, diagnose
from pawl.doctor.markdown import escaped
from pawl.logs.log import Event, Log, Raw, canonical
from pawl.logs.recognise import read_logs
from pawl.logs.table import Table
from pawl.metrics import CATALOGUE
from pawl.rules import page
from pawl.rules.catalogue import RULES
from pawl.rules.finding import Finding, Prescription
from pawl.rules.rule import SECTIONS
from pawl.rules.signals import Signals

SHARED = Path(__file__).resolve().parents[2] / "shared" / "runs"
HOSTILE = "<script>alert(1)</script>|`x`\x1b[2J\n# [a](javascript:b) @me https://a.b www.c.d"
FIX = Prescription("optim.lr", "learning_rate", "1", "0.5", "why", "effect", "risk", "verify")
SECTION_ORDER = [
    "Summary",
    "Configuration and what changed",
    "Metrics",
    "What works",
    "Issues",
    "Causes",
    "Prescriptions",
    "If they do not help",
    "Expected trajectory",
    "What to watch",
    "Stop and continue",
    "Next steps",
    "What could not be checked",
    "Glossary",
]


def log(path: str = "run.json", n: int = 60, kl: float = 0.0, rise: float = 0.0) -> Log:
    """A log of a policy: noise in the reward, a rise, and a KL that starts where it is told."""
    rng, table = np.random.default_rng(0), Table()
    for i in range(n):
        reward = 0.4 + rise * i / n + 0.05 * float(rng.normal())
        row = {"reward": reward, "kl": kl + 0.001 * i, "loss": float(rng.normal())}
        table.add({"step": i + 1, **row})
    return canonical(Raw(Path(path), "a list", "any", table))


def made(*findings: Finding, **changed: Any) -> Diagnosis:
    """A diagnosis with these findings."""
    d = diagnose(log())
    return replace(d, findings=list(findings), **changed)


def finding(**changed: Any) -> Finding:
    """A warning about steps 12 to 50 with a cause and a fix."""
    body: dict[str, Any] = {
        "code": "D999",
        "name": "made-up",
        "severity": "warning",
        "supports": "fault",
        "place": "reward/mean, steps 12-50",
        "summary": "it is made up",
        "evidence": ("one number",),
        "causes": (("lr-too-high", 0.6, "because"),),
        "prescription": FIX,
    }
    return Finding(**(body | changed))


def strictly(text: str) -> dict[str, Any]:
    """The object of a JSON text without NaN or Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    body = json.loads(text, parse_constant=refuse)
    assert isinstance(body, dict)
    return body


def test_a_finding_reads_like_a_linters() -> None:
    lines = list(report_text.lines(made(finding())))
    at = lines.index("run.json:steps 12-50: D999 made-up [*] it is made up")
    labels = [line.split()[0] for line in lines[at + 1 : at + 7]]
    assert labels == ["where", "evidence", "cause", "help", "expect", "verify"]
    assert "learning_rate: 1 -> 0.5; why" in lines[at + 4]
    assert lines[0].startswith("run.json: a list")
    assert lines[-1] == "Found 1 finding (1 warning). [*] 1 with a change of an option."


def test_advice_without_an_option_gets_no_mark() -> None:
    text = "\n".join(report_text.lines(made(finding(prescription=replace(FIX, option="")))))
    assert "[*]" not in text
    assert "help     why" in text


@pytest.mark.parametrize(
    ("place", "steps", "rest"),
    [
        ("policy/kl_ref, step 1", "step 1", "policy/kl_ref"),
        ("step 1", "step 1", ""),
        ("a, steps 3-9, b", "steps 3-9", "a, b"),
        ("steps 3 to 9", "steps 3 to 9", ""),
        ("a, step 1.5e+06", "step 1.5e+06", "a"),
        ("reward/mean", "", "reward/mean"),
        ("", "", ""),
    ],
)
def test_steps_are_taken_out_of_a_place(place: str, steps: str, rest: str) -> None:
    assert report_text.steps_of(place) == (steps, rest)


def test_a_finding_without_steps_is_about_the_whole_log() -> None:
    lines = list(report_text.lines(made(finding(place="reward/mean"))))
    assert any(line.startswith("run.json:steps 1-60: D999") for line in lines)


def test_the_verdict_says_what_could_have_been_seen() -> None:
    d = diagnose(log())
    text = " ".join(" ".join(report_text.lines(d)).split())
    assert d.verdict == "CANNOT TELL"
    assert d.trend is not None
    assert f"verdict: CANNOT TELL: {d.reason}" in text
    assert f"smallest change that would have been seen: {d.trend.detectable:.3g}" in text
    assert f"points to see a tenth of its level: {d.needed}" in text
    assert "forecast: no evidence that reward/mean will move" in text
    assert re.search(r"continue if reward/mean >= \S+ by step 90 \(mean of 15 points\)", text)


def test_styles_are_known_and_lines_are_ascii_unless_the_log_is_not() -> None:
    known = {"", "bold", "dim", "red", "yellow", "green", "cyan"}
    for line in report_text.styled(made(finding()), verbose=True):
        assert {style for _, style in line} <= known
        assert "".join(text for text, _ in line).isascii()


def test_what_could_not_be_checked_is_grouped_and_shown_whole_when_asked() -> None:
    rows = [Unchecked(f"D{i:03}", f"rule-{i}", f"the log has no m{i // 3}") for i in range(30)]
    d = made(not_checked=rows)
    brief, whole = ("\n".join(report_text.lines(d, verbose)) for verbose in (False, True))
    assert "could not be checked: 30 rules, because" in brief
    assert "    3        the log has no m0: D000, D001, D002\n" in brief
    assert "and 15 more (--verbose)" in brief
    assert "D029 rule-29" in whole and "--verbose" not in whole


def test_rules_with_several_needs_stand_under_the_first() -> None:
    rows = [
        Unchecked("D001", "a", "the log has no x and no y"),
        Unchecked("D002", "b", "the log has no x"),
    ]
    assert [(k, len(v)) for k, v in report_text.grouped(rows)] == [("the log has no x", 2)]
    assert len(report_text.grouped(rows, whole=True)) == 2


def test_options_that_a_library_lacks_get_no_mark() -> None:
    p = replace(FIX, name="(no name known in trl) algo.std_floor")
    assert not report_text.fixable(finding(prescription=p))
    assert report_text.fixable(finding())


def test_what_lies_ahead_for_a_page() -> None:
    d = diagnose(log())
    rows = report_text.ahead(d)
    assert d.forecast is not None and rows[0] == d.forecast.text
    assert len(rows) == 1 + len(d.criteria)
    assert report_text.ahead(diagnose(log(kl=0.5))) == []


def test_causes_show_both_sides() -> None:
    d = diagnose(log(kl=0.5))
    assert d.verdict == "INVALID RUN"
    text = "\n".join(report_text.lines(d))
    assert "cause: sampler-mismatch" in text
    assert "    for      D401" in text
    assert "forecast: none from a measurement that is broken" in text


def test_against_names_rules_that_were_quiet() -> None:
    d = diagnose(log(rise=0.5))
    quiet = {rule.code for rule in d.quiet}
    assert quiet and not quiet & {f.code for f in d.findings}
    assert not quiet & {row.code for row in d.not_checked}
    codes = [rule.code for rule in d.quiet if "lr-too-high" in rule.causes]
    first, *_, told = against(Signals(d.log), "lr-too-high", d.quiet)
    assert first.startswith("the reward rises") and told.startswith(f"{len(codes)} more rules can ")
    assert set(re.findall(r"D\d{3}", told)) == set(codes[:8])


def test_invalid_runs_get_no_prescription_from_metrics() -> None:
    d = diagnose(log(kl=0.5))
    assert d.verdict == "INVALID RUN" and not d.criteria and d.forecast is None
    assert all(f.prescription is None for f in d.findings if f.supports != "invalid")
    body = strictly(report_json.text([d]))
    for row in body["findings"]:
        assert row["prescription"] is None or row["supports"] == "invalid"
    page = report_markdown.page(d)
    assert "what they say is no reason to change an option" in page
    assert "Change no option: repair the measurement" in page
    shown = "\n".join(report_text.lines(d))
    assert "[*]" not in shown


@pytest.mark.parametrize(("n", "changes"), [(20, False), (60, True)])
def test_few_points_suggest_no_change(n: int, changes: bool) -> None:
    table = Table()
    for i in range(n):
        row = {"step": i, "reward": 0.1 * (i % 3), "completions/clipped_ratio": 0.9}
        table.add({**row, "completions/mean_length": 250.0})
    d = diagnose(canonical(Raw(Path("x"), "x", "trl", table)))
    assert "D501" in {f.code for f in d.findings}
    assert any(map(report_text.fixable, d.findings)) == changes
    assert d.verdict == ("FAULT" if changes else "CANNOT TELL")


def test_json_holds_what_its_schema_says() -> None:
    body = strictly(report_json.text([made(finding())]))
    assert body["schema"] == 1
    assert set(body) == {
        *("schema", "verdict", "reason", "findings", "causes", "experiment", "goal", "trend"),
        *("needed_points", "forecast", "target", "criteria", "before", "not_checked"),
        *("nothing_found", "log"),
    }
    (row,) = body["findings"]
    assert {"code", "name", "severity", "supports", "place", "summary"} <= set(row)
    assert row["causes"] == [{"id": "lr-too-high", "weight": 0.6, "why": "because"}]
    assert row["prescription"]["option"] == "optim.lr"
    facts = body["log"]
    assert isinstance(facts, dict)
    assert (facts["rows"], facts["first_step"], facts["last_step"]) == (60, 1, 60)
    names = {m["canonical"]: m for m in facts["metrics"]}
    assert names["reward/mean"]["source"] == "reward"
    assert {"unit", "aggregation", "note", "values"} <= set(names["reward/mean"])


def test_json_is_strict_whatever_the_log_holds() -> None:
    d = diagnose(log())
    d.log.config |= {"a": float("nan"), "b": [float("inf"), {"c": b"x"}], "d": np.float32(2.5)}
    body = strictly(report_json.text([d]))
    config = body["log"]["config"]
    assert config["a"] is None and config["b"][0] is None and config["d"] == 2.5
    assert strictly(report_json.text([diagnose(log(n=1))]))["trend"] is not None


def test_several_logs_are_one_object() -> None:
    body = strictly(report_json.text([diagnose(log("a")), diagnose(log("b"))]))
    assert [r["log"]["path"] for r in body["reports"]] == ["a", "b"]


def test_page_has_its_sections_in_order() -> None:
    for d in (diagnose(log()), diagnose(log(kl=0.5)), diagnose(log(rise=1.0)), made(finding())):
        page = report_markdown.page(d)
        assert re.findall(r"(?m)^## (.*)$", page) == SECTION_ORDER
        assert page.count("**Recommendation.**") == 1
        assert f"**{d.verdict}**: " in page
        assert page.isascii()


def test_page_gives_expected_ranges_with_their_source() -> None:
    page = report_markdown.page(diagnose(log(rise=1.0)))
    page = page[: page.index("Where the values come from")]
    rows = {line.split(" | ")[0][2:]: line for line in page.splitlines() if line.startswith("| ")}
    assert "none known" in rows["reward/mean"], "the scale of a reward is the task's own"
    assert " to " in rows["policy/kl_ref"].split(" | ")[6]


def test_prescriptions_stand_by_effect_per_cost() -> None:
    cheap = replace(FIX, option="a", cost="20 steps")
    dear = replace(FIX, option="b", cost="a new start: the weights cannot be saved")
    live = replace(FIX, option="c", cost="20 steps", live=True)
    d = made(*(finding(prescription=p) for p in (dear, cheap, live, cheap)))
    assert [p.option for _, p in report_markdown.prescriptions(d)] == ["c", "a", "b"]
    page = report_markdown.page(d)
    assert page.count("cost of trying: 20 steps") == 2


def hostile_log() -> Log:
    """A log whose every text is hostile."""
    rows = Table()
    for i in range(40):
        rows.add({"step": i + 1, "reward": 0.1 * (i % 3), f"rewards/{HOSTILE}/mean": 0.0})
        rows.add({"step": i + 1, HOSTILE: 1.0})
    raw = Raw(Path(HOSTILE), HOSTILE, "trl", rows, notes=[HOSTILE], config={HOSTILE: HOSTILE})
    raw.events = [Event(3.0, HOSTILE, HOSTILE)]
    made = canonical(raw)
    made.version = HOSTILE
    return made


def test_nothing_foreign_becomes_markup() -> None:
    page = report_markdown.page(diagnose(hostile_log()))
    bare = re.sub(r"\\[^\w\s]", "", page)  # what is escaped stays text
    assert "<" not in page and "javascript:b" in page
    assert not re.search(r"\[[^\]]*\]\(", bare)
    assert "`" not in bare and "://" not in page and "www." not in page and "@" not in page
    assert "\x1b" not in page
    widths = []
    for line in bare.splitlines():
        if line.startswith("|"):
            widths.append(line.count("|"))
        else:
            assert len(set(widths)) <= 1, "a table's rows have one width"
            widths = []
    headings = re.findall(r"(?m)^## (.*)$", page)
    assert headings == SECTION_ORDER


@given(st.text())
def test_escaped_text_is_one_harmless_line(text: str) -> None:
    line = escaped(text)
    bare = re.sub(r"\\[^\w\s]", "", line)
    assert "\n" not in line and "\r" not in line
    assert not set("<>`*[]|") & set(bare)
    assert not re.match(r"[#+=-]|\d+[.)](\s|$)", line)
    assert line.encode("utf-8").decode("utf-8") == line


@settings(deadline=None)
@given(st.lists(st.floats(), max_size=50), st.lists(st.floats(), max_size=50))
def test_any_numbers_get_every_report(rewards: list[float], lengths: list[float]) -> None:
    table = Table()
    for name, values in (("reward", rewards), ("completions/mean_length", lengths)):
        for i, value in enumerate(values):
            table.add({"step": i, name: value})
    if table.n:
        d = diagnose(canonical(Raw(Path("any"), "any", "trl", table)))
        strictly(report_json.text([d]))
        with np.errstate(all="ignore"):
            assert report_markdown.page(d).count("\n## ") == len(SECTION_ORDER)
        assert list(report_text.lines(d))
        assert all(np.isfinite([c.value, c.step, c.since]).all() for c in d.criteria)


def test_own_words_stay_readable() -> None:
    assert escaped("group/zero_std_frac is 0.5 (12 - 14)") == "group/zero_std_frac is 0.5 (12 - 14)"
    assert escaped("0.0004") == "0.0004"
    assert escaped("- a") == "\\- a" and escaped("1. b") == "1\\. b"


def test_folder_lines_name_verdict_cause_and_path() -> None:
    d = diagnose(log("some/run.json", kl=0.5))
    line = "".join(text for text, _ in report_text.short(d))
    assert line.split() == ["INVALID", "RUN", d.causes[0].id, "some/run.json"]
    total = "".join(text for text, _ in report_text.totals([d, diagnose(log()), d]))
    assert total == "3 logs: 2 INVALID RUN, 1 CANNOT TELL."


def test_rules_are_documented_and_their_codes_unique() -> None:
    codes = [rule.code for rule in RULES]
    names = [rule.name for rule in RULES]
    assert len(set(codes)) == len(codes) and len(set(names)) == len(names)
    for rule in RULES:
        assert re.fullmatch(r"D[1-9]\d\d", rule.code), rule.code
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.name), rule.name
        parts = rule.sections()
        assert set(rule.causes) <= set(CAUSES), rule.code
        assert parts["Summary"] and set(parts) == {"Summary", *SECTIONS}, rule.code
        assert all(parts.values()), rule.code
        for need in rule.needs:
            for name in need.split("|"):
                family = f"{name.split('/')[0]}/*"
                known = name in CATALOGUE or family in CATALOGUE or name.endswith("*")
                known = known or name in ("events", "samples", "checks")  # parts of a log
                assert known, f"{rule.code} needs {name}"


def test_causes_in_rules_are_in_the_vocabulary(root: Path) -> None:
    for path in sorted((root / "pawl" / "rules").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.keyword) or node.arg != "causes":
                continue
            for row in ast.walk(node.value):
                if isinstance(row, ast.Tuple) and len(row.elts) == 3:
                    first = row.elts[0]
                    if isinstance(first, ast.Constant):
                        assert first.value in CAUSES, f"{path.name}:{row.lineno}"


def test_the_page_of_rules_is_current(root: Path) -> None:
    text = (root / "docs" / "rules.md").read_text(encoding="utf-8")
    assert text == page.page(), "run: python -m pawl.rules.page > docs/rules.md"
    for rule in RULES:
        assert text.count(f"### {rule.code} {rule.name}\n") == 1


def test_rules_are_explained_on_a_screen() -> None:
    for rule in RULES:
        lines = list(page.lines(rule))
        assert all(len(line) <= page.WIDTH for line in lines), rule.code
        proof = "unproven: seen in generated runs only"
        assert (proof in lines[-1]) == (rule.proof == "unproven")
    for name in ("D401", "d401", "kl-at-start", "KL-at-start"):
        rule_found = page.find(name)
        assert rule_found is not None and rule_found.code == "D401"
    assert page.find("D000") is None


@pytest.mark.skipif(not SHARED.is_dir(), reason="the labelled public logs are not here")
def test_every_public_log_gets_every_report() -> None:
    for path in sorted(SHARED.glob("*.json*")):
        if path.name == "labels.json":
            continue
        for read in read_logs(path):
            d = diagnose(read)
            body = strictly(report_json.text([d]))
            assert {c["id"] for c in body["causes"]} <= set(CAUSES)
            page = report_markdown.page(d)
            assert re.findall(r"(?m)^## (.*)$", page) == SECTION_ORDER
            text = list(report_text.lines(d, verbose=True))
            assert any(line.startswith(f"verdict: {d.verdict}: ") for line in text)

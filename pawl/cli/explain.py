"""What is known of a metric, as text for a terminal, as JSON, and as the page docs/metrics.md.

All of it comes from the catalogue (`pawl.metrics`). Beside metrics, a rule of the doctor is
explained by its own docstring (`pawl.rules.page`), a cause and a check of the preflight by
`pawl.checks` and by what points to them. Left out: values of the user's own runs.

Run: `python -m pawl.cli.explain > docs/metrics.md` writes the page.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from pawl import renamed
from pawl.checks import CAUSES, described
from pawl.errors import PawlError
from pawl.metrics import CATALOGUE, HealthyRun, Metric, catalogued, healthy_runs

WIDTH, PAGE_WIDTH = 88, 100
DIRECTIONS = {"up": "higher is better", "down": "lower is better", "none": "neither way is better"}
HEAD = """# Metrics

Generated from the catalogue by `python -m pawl.cli.explain > docs/metrics.md`;
`pawl explain METRIC` prints the same of one metric.

A step record in [`steps.jsonl`](run-folder.md#stepsjsonl) holds these names; `null`: not measured.
*Seen* gives values of healthy runs: the medians of the first and of the last values (a quarter of
them, ten at most), and the extremes between which all lay. They describe those runs and are no
limits. Metrics marked *host* depend on machine and clock and never take part in a comparison of two
runs.
"""
TITLES = {
    "": "Counters",
    "component": "Components of your own reward",
    "eval": "Held-out evaluation",
    "optim": "Optimiser",
}


def explanation(name: str) -> tuple[list[str], dict[str, object]]:
    """What is known by a name, as lines and for programs: a metric; a rule, by code or name; a
    cause; a check of the preflight. One that is several of these is explained as each.
    """
    metric = catalogued(name)
    if metric is not None:
        return list(lines(metric)), as_dict(metric)
    from pawl.rules import page as rules_page

    text: list[str] = []
    bodies: list[dict[str, object]] = []
    rule = rules_page.find(name)
    if rule is not None:
        text, bodies = list(rules_page.lines(rule)), [rules_page.as_dict(rule)]
    for kind, of in (("cause", _of_cause), ("check", _of_check)):
        facts = of(name.lower())
        if facts:
            text += [*([""] if text else []), f"{name.lower()}  ({kind})"]
            for label, words in facts.items():
                text += _block(label, words)
            bodies.append({"kind": kind, "name": name.lower(), **facts})
    if bodies:
        return text, bodies[0] if len(bodies) == 1 else {"meanings": bodies}
    kinds = {"rule": rules_page.names(), "cause": CAUSES, "check": described()}
    near = {other: kind for kind, names in kinds.items() for other in _near(name, names)}
    best = _near(name, near)
    leaves = {metric.split("/")[-1] for metric in CATALOGUE}
    if not best or "/" in name or name in leaves:  # which raises
        return list(lines(find(name))), {}
    hint = f"did you mean {' or '.join(best)}?"
    raise PawlError(f"no {near[best[0]]} is called {name}", hint=hint)


def _near(name: str, names: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, names, n=3, cutoff=0.5)


def _of_cause(name: str) -> dict[str, str]:
    """What is known of a cause, by label; nothing for another name."""
    from pawl.doctor.causes import PROBES
    from pawl.rules.catalogue import RULES

    if name not in CAUSES:
        return {}
    rules = ", ".join(f"{rule.code} {rule.name}" for rule in RULES if name in rule.causes)
    checks = ", ".join(check for check, row in described().items() if name in row["causes"])
    facts = {"is": CAUSES[name], "rules": rules, "checks": checks, "test": PROBES.get(name, "")}
    return {label: words for label, words in facts.items() if words}


def _of_check(name: str) -> dict[str, str]:
    """What is known of a check of the preflight, by label; nothing for another name."""
    row = described().get(name, {})
    labels: list[str] = ["holds", "warns", "refuses"]
    facts: dict[str, str] = {label: row[label] for label in labels if label in row}
    causes = "; ".join(f"{cause}: {CAUSES[cause]}" for cause in row.get("causes", ()))
    facts |= {"causes": causes} if causes else {}
    return facts | {"override": f"train.override=[{name}]"} if facts else {}


def everything() -> tuple[list[str], dict[str, object]]:
    """All names that can be explained, as lines and for programs."""
    from pawl.rules.catalogue import RULES

    rules = [f"{rule.code} {rule.name}" for rule in RULES]
    kinds = {"rules": rules, "causes": [*CAUSES], "checks": [*described()], "metrics": [*CATALOGUE]}
    text = [line for kind, names in kinds.items() for line in _block(kind, ", ".join(names))]
    return text, {kind: list(names) for kind, names in kinds.items()}


def find(name: str) -> Metric:
    """The catalogued metric of that name; raises PawlError with the nearest names."""
    known = catalogued(name)
    if known is not None:
        return known
    if name in renamed.METRICS:
        hint = f"it is `{renamed.METRICS[name]}` now"
        raise PawlError(f"metric {name} has a new name", hint=hint)
    ends = [known for known in CATALOGUE if known.split("/")[-1] == name.split("/")[-1]]
    near = ends + difflib.get_close_matches(name, CATALOGUE, n=3, cutoff=0.5)
    meant = " or ".join(f"`{n}`" for n in list(dict.fromkeys(near))[:3])
    hint = f"did you mean {meant}?" if meant else "docs/metrics.md lists all metrics"
    raise PawlError(f"no metric is called {name}", hint=hint)


def span(metric: Metric) -> str:
    """The range of a metric in words: "0 to 1", "at least 0", "any number"."""
    if metric.low is not None and metric.high is not None:
        return f"{metric.low:g} to {metric.high:g}"
    return "any number" if metric.low is None else f"at least {metric.low:g}"


def values(row: HealthyRun) -> str:
    """`0.41 -> 0.83 (0.35 .. 0.9)`."""
    return f"{row.first:g} -> {row.last:g} ({row.low:g} .. {row.high:g})"


def lines(metric: Metric) -> Iterator[str]:
    """What is known of a metric, for a terminal."""
    yield metric.name + ("  (host: depends on machine and clock)" if metric.host else "")
    facts = {
        "is": metric.formula,
        "unit": metric.unit,
        "range": span(metric),
        "direction": DIRECTIONS[metric.direction],
        "tells": metric.tells,
        "beware": metric.trap,
    }
    for label, text in facts.items():
        yield from _block(label, text)
    rows = healthy_runs().get(metric.name, ())
    for row in rows:
        yield from _block("seen", f"{values(row)}  {row.source}")
    if rows:
        yield from _block("", "medians of the first and the last, ten at most (least .. greatest)")
    else:
        yield from _block("seen", "none measured")


def _block(label: str, text: str) -> list[str]:
    start = f"  {label:<11}"
    wrap = textwrap.TextWrapper(WIDTH, start, " " * len(start), break_on_hyphens=False)
    return wrap.wrap(text)


def as_dict(metric: Metric) -> dict[str, object]:
    """The same for programs."""
    rows = [asdict(row) for row in healthy_runs().get(metric.name, ())]
    return asdict(metric) | {"seen": rows}


def page() -> str:
    """docs/metrics.md."""
    out = [HEAD]
    for group in dict.fromkeys(_group(metric) for metric in CATALOGUE.values()):
        out.append(f"## {TITLES.get(group, group.replace('_', ' ').capitalize())}\n")
        members = [metric for metric in CATALOGUE.values() if _group(metric) == group]
        out += ["\n".join(_entry(metric)) + "\n" for metric in members]
    return "\n".join(out)


def _group(metric: Metric) -> str:
    return metric.name.split("/")[0] if "/" in metric.name else ""


def _entry(metric: Metric) -> list[str]:
    facts = [metric.unit, span(metric), DIRECTIONS[metric.direction]]
    facts += ["*host*"] if metric.host else []
    rows = [f"`{values(row)}` ({row.source})" for row in healthy_runs().get(metric.name, ())]
    points = [f"- Tells: {metric.tells}", f"- Beware: {metric.trap}"]
    points.append(f"- Seen: {'; '.join(rows) or 'none measured'}.")
    wrap = textwrap.TextWrapper(PAGE_WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    formula = textwrap.wrap(f"{metric.formula} ({', '.join(facts)})", PAGE_WIDTH)
    return [
        *(f"### `{metric.name}`", "", *formula, ""),
        *(line for point in points for line in wrap.wrap(point)),
    ]


if __name__ == "__main__":
    print(page(), end="")

"""A comparison of two runs as lines for a person. Left out: comparing (`pawl.store.compare`)."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pawl.cli.show import columns, harmless, shortened
from pawl.store.compare import Comparison, Difference, MetricDifference


def diff_lines(result: Comparison) -> list[str]:
    """Options, versions, metrics, first divergence."""
    lines = [f"A = {result.a}", f"B = {result.b}"]
    lines += [*([result.lineage] if result.lineage else []), ""]
    lines += _facts("options", result.config) + _facts("versions", result.versions)
    if result.held_out is not None:
        head = ["newest evaluation", "A", "B", "B - A", "95% interval, paired", "problems"]
        lines += [*columns(head, [_metric(result.held_out)]), ""]
    if result.metrics:
        since = "" if result.shared_until is None else f" after step {result.shared_until}"
        steps = f"{result.common_steps} common steps{since}"
        lines.append(f"metrics, mean over the last quarter of {steps}:")
        rows = [_metric(m) for m in result.metrics]
        lines += columns(["metric", "A", "B", "B - A", "95% interval", "steps"], rows)
    else:
        lines.append("metrics: the runs have no step in common")
    lines.append("")
    if result.divergence is None:
        lines.append("divergence: none; every common step is equal, host facts aside")
    else:
        first = result.divergence
        lines.append(f"divergence: first at step {first.step} in {', '.join(first.names[:8])}")
        if first.sample:
            lines.append(f"  first differing completion: {harmless(first.sample)}")
    return lines


def _facts(title: str, rows: Sequence[Difference]) -> list[str]:
    if not rows:
        return [f"{title}: the same", ""]
    table = columns([title, "A", "B"], [[d.path, _short(d.a), _short(d.b)] for d in rows])
    return [*table, ""]


def _short(value: object) -> str:
    return shortened(harmless(json.dumps(value)), 60)


def _metric(m: MetricDifference) -> list[str]:
    interval = "" if m.low is None else f"[{m.low:+.3g}, {m.high:+.3g}]"
    return [m.name, f"{m.a:.4g}", f"{m.b:.4g}", f"{m.difference:+.3g}", interval, str(m.n)]

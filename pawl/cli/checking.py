"""`pawl check`: a config rehearsed in a throw-away folder, or a problem set audited.

Left out: the checks themselves (`pawl.preflight.rehearse`, `pawl.rewards`, `pawl.problems`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from pawl.cli.display import Notes
from pawl.cli.line import seconds
from pawl.cli.show import harmless
from pawl.errors import Exit

if TYPE_CHECKING:
    from pawl.preflight.rehearse import Rehearsal


def check_config(
    config: str, overrides: Sequence[str], as_json: bool, price: float | None = None
) -> int:
    """Exit code of `pawl check CONFIG`: 0, or 2 when the run would be refused."""
    from pawl import api

    result = api.check(config, overrides=overrides, price_per_hour=price, display=Notes(sys.stderr))
    from pawl.preflight.rehearse import Rehearsal

    assert isinstance(result, Rehearsal), "a config is rehearsed"
    rows = [dict(row) for row in result.rows]
    rows += [asdict(check) for check in result.unchecked]
    if as_json:
        made = asdict(result.estimate) if result.estimate else None
        body: dict[str, object] = {"checks": rows, "plan": asdict(result.plan)}
        body |= {"advice": result.advice, "estimate": made, "refused": result.refusal is not None}
        click.echo(json.dumps(body, indent=1))
    else:
        _show(result, rows)
    if result.refusal is not None:
        click.echo(harmless(result.refusal.block()), err=True)
    return int(Exit.USER if result.refusal else Exit.OK)


def _show(result: Rehearsal, rows: Sequence[dict[str, Any]]) -> None:
    """The table of checks, then plan and estimate."""
    from pawl.checks import Check
    from pawl.rewards.calibrate import summary, table

    checks = [Check(**{k: v for k, v in row.items() if k != "step"}) for row in rows]
    known = [c for c in checks if c.passed is not None]
    probes = [c for c in checks if c.problem]
    others = [c for c in checks if not c.problem]
    click.echo(harmless(table(summary(probes))))
    click.echo(harmless(table(others)))
    click.echo(f"{sum(c.passed is True for c in known)} of {len(known)} checks hold")
    click.echo(result.plan.text())
    click.echo(result.plan.memory_text() or "memory: no formula for this family")
    made = result.estimate
    if made is not None:
        price = "" if made.cost is None else f", {made.cost:.2f} at the given price"
        click.echo(
            f"estimate: {seconds(made.seconds)} ({result.plan.steps} steps of "
            f"{seconds(made.step_s)}, evaluations {seconds(made.eval_s)}){price}; "
            f"{made.peak_mb:.0f} MiB at the peak, {made.disk_mb:.0f} MiB on disk"
        )


def check_problems(name: str, overrides: Sequence[str], as_json: bool) -> int:
    """Exit code of `pawl check PROBLEMS`: 1 when a problem had to be left out."""
    from pawl import api
    from pawl.rewards.audit import AuditReport

    report = api.check(name, overrides=overrides, display=Notes(sys.stderr))
    assert isinstance(report, AuditReport), "a problem set is audited"
    click.echo(json.dumps(report.json(), indent=1) if as_json else harmless(report.text()))
    return int(Exit.FINDINGS if report.bad else Exit.OK)

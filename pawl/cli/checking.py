"""`pawl check`: a config rehearsed in a throw-away folder, or a problem set audited.

Left out: the checks themselves (`pawl.train.rehearse`, `pawl.rewards`, `pawl.problems`).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from typing import Any

import click

from pawl.cli.display import Notes
from pawl.cli.line import seconds
from pawl.cli.show import harmless
from pawl.errors import Exit


def check_config(config: str, overrides: Sequence[str], as_json: bool) -> int:
    """Exit code of `pawl check CONFIG`: 0, or 2 when the run would be refused."""
    from pawl.config.load import load_run
    from pawl.rewards.calibrate import Check, summary, table
    from pawl.store.files import read_lines
    from pawl.store.run import RunFolder
    from pawl.store.warned import library_warnings

    cfg, places = load_run(config, overrides)
    with tempfile.TemporaryDirectory(prefix="pawl-check-") as folder:
        trial = cfg.model_copy(update={"runs_dir": folder})
        with RunFolder.create(trial, places) as run, library_warnings(run):
            from pawl.train.rehearse import rehearse

            result = rehearse(trial, run, Notes())
            rows: list[dict[str, Any]] = list(read_lines(run.path / "preflight.jsonl"))
            rows += [check.as_dict() for check in result.checks]
    total_s = result.steps * result.step_s
    if as_json:
        body = {"checks": rows, "steps": result.steps, "step_s": result.step_s}
        body |= {"estimate_s": total_s, "peak_mb": result.peak_mb}
        click.echo(json.dumps(body, indent=1))
    else:
        checks = [Check(**row) for row in rows]
        known = [c for c in checks if c.passed is not None]
        click.echo(harmless(table(summary(checks))))
        click.echo(f"{sum(c.passed is True for c in known)} of {len(known)} checks hold")
        click.echo(
            f"estimate: {result.steps} steps of {seconds(result.step_s)} are {seconds(total_s)}, "
            f"evaluation aside; {result.peak_mb:.0f} MiB at the peak of one step"
        )
    return int(Exit.USER if result.failed else Exit.OK)


def check_problems(name: str, overrides: Sequence[str], as_json: bool) -> int:
    """Exit code of `pawl check PROBLEMS`: 1 when a problem had to be left out."""
    from pawl.config.load import overridden
    from pawl.config.options import RunConfig
    from pawl.rewards import audit

    cfg = overridden(RunConfig(), overrides)
    report = audit.check_problems(name, cfg.problems.lang, cfg, Notes().note)
    click.echo(json.dumps(report.json(), indent=1) if as_json else harmless(report.text()))
    return int(Exit.FINDINGS if report.bad else Exit.OK)

"""Commands that only read: samples, runs, diff, explain, schema.

Each takes --json; imports stand inside (see `work`). Left out: how to choose and compare
(`pawl.store`), how text is made safe for a terminal (`show`).
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from pawl.cli.state import debug_option, json_option


@click.command(short_help="Completions of a run, with their scores.")
@click.argument("run")
@click.option("--step", type=int, help="Only this step.")
@click.option("--problem", help="Only this problem id.")
@click.option("--stage", help="Only this stage, verdict or branch (types, wrong, pass, ...).")
@click.option("--best", type=click.IntRange(1), metavar="N", help="The N highest totals.")
@click.option("--worst", type=click.IntRange(1), metavar="N", help="The N lowest totals.")
@click.option("--failures", is_flag=True, help="Group failures by stage, message, difficulty.")
@click.option("--eval", "held_out", is_flag=True, help="Held-out samples, not training's.")
@click.option("--limit", type=click.IntRange(0), default=10, help="Show this many; 0 shows all.")
@json_option
@debug_option
def samples(
    run: str,
    step: int | None,
    problem: str | None,
    stage: str | None,
    best: int | None,
    worst: int | None,
    failures: bool,
    held_out: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Completions of RUN with prompt, reward breakdown and advantage."""
    from pawl.cli.sample_text import failure_lines, sample_lines
    from pawl.store import samples as choose
    from pawl.store.read import find_run, read_samples

    rows = choose.matching(
        read_samples(find_run(run), step, "eval" if held_out else "step"), problem, stage
    )
    if failures:
        groups = choose.failures(rows)
        if as_json:
            _echo_json([asdict(group) for group in groups])
        else:
            _echo(failure_lines(groups, len(rows), limit))
        return
    if best is not None or worst is not None:
        rows = choose.ranked(rows, best or worst or 0, best is not None)
        limit = 0
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    else:
        _echo(sample_lines(rows, limit))


@click.command(short_help="List the runs of a folder.")
@click.argument("folder", default="runs", type=click.Path(path_type=Path))
@json_option
@debug_option
def runs(folder: Path, as_json: bool) -> None:
    """The runs in FOLDER (default: runs), newest first."""
    from pawl.cli.show import columns
    from pawl.store.read import list_runs

    found = list_runs(folder)
    if as_json:
        _echo_json([asdict(run) for run in found])
        return
    head = [
        "run",
        "state",
        "step",
        "reward",
        "success first",
        "last",
        "model",
        "problems",
        "created",
    ]
    _echo(
        columns(
            head,
            [
                [
                    f"{run.name} (from {run.parent})" if run.parent else run.name,
                    run.state,
                    "-" if run.step is None else str(run.step),
                    _figure(run.reward),
                    _figure(run.success_first),
                    _figure(run.success_last),
                    run.model,
                    run.problems,
                    run.created,
                ]
                for run in found
            ],
        )
    )


@click.command(short_help="Compare two runs.")
@click.argument("a")
@click.argument("b")
@json_option
@debug_option
def diff(a: str, b: str, as_json: bool) -> None:
    """Compare runs A and B: options, versions, metrics with intervals, first divergence."""
    from pawl.cli.diff_text import diff_lines
    from pawl.store.compare import compare
    from pawl.store.read import find_run

    result = compare(find_run(a), find_run(b))
    if as_json:
        _echo_json(asdict(result))
    else:
        _echo(diff_lines(result))


@click.command(short_help="What a metric or a rule of the doctor means.")
@click.argument("name", metavar="CODE|METRIC")
@json_option
@debug_option
def explain(name: str, as_json: bool) -> None:
    """What a metric or a rule is, what it tells and what it does not.

    CODE is a code such as D401 or a rule's name, METRIC a canonical name such as policy/entropy.
    """
    from pawl.cli.explain import explanation
    from pawl.cli.show import printable

    text, body = explanation(name)
    if as_json:
        _echo_json(body)
    else:
        _echo([printable(line, sys.stdout.encoding) for line in text])


@click.command(short_help="JSON Schema of the config file.")
@click.option("--sft", is_flag=True, help="The schema of `pawl sft` configs.")
@debug_option
def schema(sft: bool) -> None:
    """JSON Schema of the config file, for completion and checks in editors."""
    from pawl.config.options import RunConfig, SftConfig
    from pawl.config.schema import json_schema

    _echo_json(json_schema(SftConfig if sft else RunConfig))


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _echo(lines: list[str]) -> None:
    for line in lines:
        click.echo(line)


def _echo_json(value: object) -> None:
    click.echo(json.dumps(value, indent=1))


COMMANDS = (samples, runs, diff, explain, schema)

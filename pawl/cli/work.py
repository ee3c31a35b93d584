"""Commands that do work: train, check, score, eval, sft, export.

Each reads its options and calls one function; imports stand inside, because `pawl --help` must
load neither torch nor numpy nor pydantic. Left out: commands that only read (`look`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pawl.cli.state import State, debug_option, json_option, need_training
from pawl.errors import PawlError

if TYPE_CHECKING:
    from pawl.store.run import RunFolder

SPLITS = ("held_out", "train")
TIERS = ("auto", "bubblewrap", "landlock", "unsafe")


@click.command(short_help="Train a model as a config says, or resume or fork a run.")
@click.argument("config", required=False)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--resume", metavar="RUN", help="Continue this run exactly where it stopped.")
@click.option(
    "--from", "source", metavar="RUN[@STEP]", help="Start as this run stood, options changed."
)
@click.option("--quiet", is_flag=True, help="Print the last line only.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per step on stdout.")
@debug_option
@click.pass_obj
def train(
    state: State,
    config: str | None,
    overrides: tuple[str, ...],
    resume: str | None,
    source: str | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Train as CONFIG says; options are overridden by section.option=value.

    With --from there is no CONFIG: the fork has the options of RUN, and what is overridden.
    """
    from pawl.cli.display import open_display
    from pawl.store.warned import library_warnings

    need_training()
    if source is None:
        run, places = _open_run(config, overrides, resume)
    else:
        run, places = _open_fork(source, config, overrides, resume)
    state.run = run.path
    with run, open_display(quiet, as_json, places) as display, library_warnings(run):
        cfg = run.config()
        from pawl.preflight.prove import prove
        from pawl.train.loop import train as train_loop

        result = train_loop(cfg, run, display, resume is not None, prove)
        display.close(result.summary)
    return int(result.exit_code)


def _open_fork(
    source: str, config: str | None, overrides: tuple[str, ...], resume: str | None
) -> tuple[RunFolder, dict[str, str]]:
    """The new run folder of a fork; with --from the first argument is an override as well."""
    from pawl.train.fork import open_fork

    if resume is not None:
        hint = "--from makes a new run, --resume goes on with one; use the one you mean"
        raise PawlError("--from and --resume exclude each other", "command line", hint)
    if config is not None and "=" not in config:
        hint = "a fork has the options of its run; change them with section.option=value"
        raise PawlError(f"--from takes no config (`{config}`)", "command line", hint)
    return open_fork(source, overrides if config is None else (config, *overrides))


def _open_run(
    config: str | None, overrides: tuple[str, ...], resume: str | None
) -> tuple[RunFolder, dict[str, str]]:
    """A new run folder from a config, or the one to resume; and where its options were set."""
    from pawl.config.load import load_run
    from pawl.store.manifest import require_same
    from pawl.store.read import find_run
    from pawl.store.run import RunFolder

    if resume is None:
        if config is None:
            raise PawlError("no config given", hint="pawl train CONFIG, or pawl train --resume RUN")
        cfg, places = load_run(config, overrides)
        return RunFolder.create(cfg, places), places
    run = RunFolder.open(find_run(resume))
    if config is not None and "=" in config:
        run.close()
        hint = f"resume keeps the config; for another one: pawl train --from {run.path} {config}"
        raise PawlError("options cannot change on resume", f"command line `{config}`", hint)
    if config is not None:
        try:
            require_same(run.path, run.config(), load_run(config, overrides)[0])
        except PawlError:
            run.close()
            raise
    return run, run.places()


@click.command(short_help="Check a config, or audit a problem set.")
@click.argument("target", metavar="CONFIG|PROBLEMS")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--price-per-hour", type=float, help="Of this machine, to estimate the run's cost.")
@json_option
@debug_option
def check(
    target: str, overrides: tuple[str, ...], price_per_hour: float | None, as_json: bool
) -> int:
    """Find out before training: config, data, reward, wiring, cost; or audit a problem set."""
    from pawl.cli.checking import check_config, check_problems

    if Path(target).suffix in (".yaml", ".yml"):
        need_training()
        return check_config(target, overrides, as_json, price_per_hour)
    return check_problems(target, overrides, as_json)


@click.command(short_help="Score completions of a problem set.")
@click.argument("completions", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--problems", required=True, help="Problem set: a file or a starter set's name.")
@click.option("--tier", type=click.Choice(TIERS), help="Force a sandbox tier.")
@click.option("--allow-unsafe", is_flag=True, help="Run candidates with resource limits only.")
@debug_option
def score(
    completions: Path,
    overrides: tuple[str, ...],
    problems: str,
    tier: str | None,
    allow_unsafe: bool,
) -> int:
    """Score COMPLETIONS (JSONL with problem_id and completion); one JSON line each on stdout.

    Options of the sections reward and sandbox apply: sandbox.cpu_s=2 problems.lang=python
    """
    from pawl.config.load import overridden
    from pawl.config.options import RunConfig
    from pawl.rewards.score_file import score_file

    cfg = overridden(RunConfig(), overrides)
    return score_file(
        problems,
        completions,
        tier or cfg.sandbox.tier,
        allow_unsafe or cfg.sandbox.allow_unsafe,
        click.echo,
        cfg.reward,
        cfg.sandbox,
        cfg.problems.lang,
    )


@click.command(name="eval", short_help="Pass@k of a model on held-out problems.")
@click.argument("model", metavar="MODEL|RUN")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--config", help="Config with problems, sampling and sandbox (default: the run's).")
@click.option("--split", type=click.Choice(SPLITS), default="held_out", show_default=True)
@click.option(
    "--pass-rates",
    type=click.Path(path_type=Path),
    help="Write the problems with their measured pass rates to this JSONL file.",
)
@json_option
@debug_option
def evaluate(
    model: str,
    overrides: tuple[str, ...],
    config: str | None,
    split: str,
    pass_rates: Path | None,
    as_json: bool,
) -> None:
    """Pass@1 and pass@k with intervals: a base-capability test, or a run's checkpoint.

    MODEL is bundled, a model folder or hub name, or a run as `pawl export` takes it. Options of
    the sections problems, eval, rollout and sandbox apply: pawl eval bundled eval.samples=8
    """
    from pawl.cli.display import Notes
    from pawl.config.load import load_run, overridden
    from pawl.config.options import RunConfig
    from pawl.store.read import is_run, run_and_steps, saved_config

    if config is not None:
        cfg, _ = load_run(config, overrides)
    else:
        run, _ = run_and_steps(model)
        base = saved_config(run) if is_run(run) else RunConfig()
        cfg = overridden(base, overrides)
    need_training()
    from pawl.train.eval_model import evaluate_model

    report = evaluate_model(model, cfg, split, Notes(), pass_rates)
    click.echo(json.dumps(report.as_dict(), indent=1) if as_json else report.text())


@click.command(short_help="Fine-tune on completions (warm start).")
@click.argument("config")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--quiet", is_flag=True, help="Print the last line only.")
@debug_option
def sft(config: str, overrides: tuple[str, ...], quiet: bool) -> int:
    """Fine-tune on completions as CONFIG says (warm start for RL)."""
    from pawl.config.load import load_sft

    cfg, _ = load_sft(config, overrides)
    need_training()
    from pawl.sft.run import run_sft

    folder = run_sft(cfg, (lambda line: None) if quiet else _to_stderr)
    click.echo(f"model written to {folder}")
    return 0


@click.command(short_help="Write a run's model as a Hugging Face folder.")
@click.argument("source", metavar="SOURCE")
@click.argument("out", type=click.Path(path_type=Path))
@debug_option
def export(source: str, out: Path) -> int:
    """Write a model as a plain Hugging Face folder OUT, adapter merged.

    SOURCE is a run (its best checkpoint), RUN@STEP, RUN@STEP,STEP,... (the average of these
    checkpoints), an adapter folder or a model folder.
    """
    need_training()
    from pawl.models.export import export as export_model

    click.echo(f"model written to {export_model(source, out)}")
    return 0


def _to_stderr(line: str) -> None:
    click.echo(line, err=True)


COMMANDS = (train, check, score, evaluate, sft, export)

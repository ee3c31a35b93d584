"""What may stop or steer a running trainer: signals and the run folder's control.jsonl.

Both are looked at only between steps, so that a step is done wholly or not at all. Left out:
writing commands (a person, the dashboard or another process appends lines).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from pawl.config.options import OptimConfig, RuleConfig
from pawl.config.tree import live_options
from pawl.errors import PawlError
from pawl.store.display import Display
from pawl.store.read import count
from pawl.store.run import RunFolder

LIVE = {f"optim.{name}": name for name in live_options(OptimConfig)}
MOST = 10.0  # times the config's value, or that part of it: how far a rule may take an option
POLL_S = 0.5


class Interrupts:
    """Counts Ctrl-C and SIGTERM; the second Ctrl-C ends the process at once."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Catch SIGINT and SIGTERM inside the block; the old handlers come back after it."""
    seen = Interrupts()
    old = {n: signal.signal(n, seen) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def patched(optim: OptimConfig, command: Mapping[str, object]) -> OptimConfig:
    """`optim` with the command's live options changed; raises PawlError when one may not be."""
    changes = command["set"]
    assert isinstance(changes, dict)
    values = optim.model_dump()
    for option, value in changes.items():
        if option not in LIVE:
            raise PawlError(
                f"`{option}` cannot be changed while the run goes on",
                "control.jsonl",
                f"live options are {', '.join(LIVE)}; for others use a new run",
            )
        values[LIVE[option]] = value
    try:
        return OptimConfig.model_validate(values)
    except ValueError as e:
        raise PawlError(f"{changes} is not allowed", "control.jsonl") from e


def rule_patch(rule: RuleConfig, optim: OptimConfig, first: OptimConfig) -> dict[str, float]:
    """What a rule sets, factors applied to `optim`; raises PawlError where it goes too far.

    first: the options that the run began with.
    """
    values = dict[str, float]()
    for option, given in rule.set.items():
        now, start = (float(getattr(o, LIVE[option])) for o in (optim, first))
        value = now * float(given[1:]) if isinstance(given, str) else given
        if not start / MOST <= value <= start * MOST:
            what = f"a rule may not set `{option}` to {value:g}: the run began with {start:g}"
            raise PawlError(what, "rules", f"stay within a factor of {MOST:g}, or fork the run")
        values[option] = value
    return values


def replayed(
    optim: OptimConfig, events: Sequence[Mapping[str, object]], step: int
) -> tuple[OptimConfig, list[dict[str, object]]]:
    """`optim` with what commands and rules changed up to `step`, and the commands that came later.

    Rules that came later are judged again.
    """
    done = list[Mapping[str, object]]()
    for event in events:
        if event.get("kind") == "cut":  # what rules did after it belongs to no run any more
            kept = count(event, "after_step")
            done = [e for e in done if e["kind"] == "command" or count(e, "step") <= kept]
        elif event.get("kind") in ("command", "patch") and event.get("outcome") == "done":
            if "set" in event and not isinstance(event.get("step"), int):
                raise PawlError(f"a command has no step: {event}", "events.jsonl")
            done += [event] if "set" in event else []
    # within a step rules are judged before commands are carried out
    done.sort(key=lambda event: (count(event, "step"), event["kind"] == "command"))
    for event in done:
        if count(event, "step") <= step:
            optim = patched(optim, event)
    later = (e for e in done if e["kind"] == "command" and count(e, "step") > step)
    return optim, [dict(e) for e in later]


def wait_while_paused(run: RunFolder, step: int, display: Display, seen: Interrupts) -> str:
    """Block until control.jsonl says continue or stop, or a signal comes; returns which."""
    display.note(f'paused; append {{"command": "continue"}} or "stop" to {run.path}/control.jsonl')
    while not seen.asked:
        for command in run.commands():
            name = str(command["command"])
            if name in ("continue", "stop"):
                run.acknowledge(command, step)
                return name
            run.acknowledge(command, step, "refused: the run is paused")
        time.sleep(POLL_S)
    return "interrupt"

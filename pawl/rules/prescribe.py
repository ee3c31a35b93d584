"""One change of one option, within its range, in the words of the run's own library.

A prescription that says "lower" can only lower: a value that would not move, or that the option's
range does not allow, gives none. Data, reward and evaluation are never changed, only advised on
(`found`). Why a change is made says the rule. Left out: trying it (a measured fork decides).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pawl.logs.log import option_name
from pawl.rules.finding import Prescription
from pawl.rules.signals import Signals

NO_OPTION = "(no name known in"  # before the name of an option that only Pawl is known to have
NOT_LOWER = "reward not below that of an unchanged fork"


@cache
def _options() -> dict[str, tuple[list[Any], bool]]:
    """Of every option of a run what bounds its value, and whether a running trainer takes it."""
    from pawl.config.options import RunConfig
    from pawl.config.tree import extra, options

    return {path: (info.metadata, bool(extra(info, "live"))) for path, info in options(RunConfig)}


def scaled(s: Signals, option: str, factor: float, **words: str) -> Prescription | None:
    """Multiply an option. factor < 1 lowers and > 1 raises, or there is no prescription.

    Where the present value is unknown the change is given as a factor.
    """
    now = s.option(option)
    if now is None:
        after = f"{'x' if factor > 1 else '/'} {factor if factor > 1 else 1.0 / factor:g}"
        return _made(s, option, "", after, words)
    return at(s, option, now * factor, "up" if factor > 1 else "down", **words)


def at(s: Signals, option: str, value: float, way: str, **words: str) -> Prescription | None:
    """Set an option to a value in range, on the named side of the present one."""
    now = s.option(option)
    for bound in _options()[option][0]:
        value = max(value, getattr(bound, "ge", getattr(bound, "gt", value)))
        value = min(value, getattr(bound, "le", getattr(bound, "lt", value)))
    if now is not None and (value <= now if way == "up" else value >= now):
        return None
    return _made(s, option, "" if now is None else f"{now:g}", f"{value:.4g}", words)


def slower(
    s: Signals, why: str, expected: str, factor: float = 1 / 3, **words: str
) -> Prescription | None:
    """Lower the learning rate."""
    words = {"why": why, "expected": expected, "risk": "slower learning"} | words
    return scaled(s, "optim.lr", factor, **words)


def _made(s: Signals, option: str, before: str, after: str, words: dict[str, str]) -> Prescription:
    own = option_name(s.log.library, option)
    name = s.log.config_names.get(option) or own or f"{NO_OPTION} {s.log.library}) {option}"
    words = {"verify": NOT_LOWER} | words
    return Prescription(option, name, before, after, **words, live=_options()[option][1])

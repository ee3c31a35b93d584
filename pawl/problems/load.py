"""From a config to the problems of a run: open, split, filter, limit, and what each removed.

The split is the set's own `split` column; a set without one is split by specification (by the
normalised prompt where there is none), independent of seed and order. The filter applies to
training and held-out problems alike, the limit to training alone, each to every set of a mix. Left
out: the audits, and in which proportion a mix is drawn (`pawl.train.data`).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from pawl.config.sources import ProblemsConfig
from pawl.errors import PawlError
from pawl.problems.filter import PrepareReport, filtered, limited
from pawl.problems.problem_set import ProblemSet, copies, join, open_problems
from pawl.problems.sources import SUFFIXES, Unreachable

__all__ = ["PrepareReport", "Prepared", "ProblemSet", "labels", "open_problems", "prepare"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """The problems of a run. Held-out families are reported apart from the other held-out ones.

    The origins of `train` are the sets of the mix in its order; `train.origin_of(i)` names one.
    """

    train: ProblemSet
    held_out: ProblemSet
    held_out_families: ProblemSet
    report: PrepareReport


def set_names(cfg: ProblemsConfig) -> list[str]:
    """The training sets: those of the mix, which replaces `train`, else that one."""
    return [row.set for row in cfg.mix] or [cfg.train]


def labels(names: Sequence[str]) -> list[str]:
    """A short name for each set, of [a-z0-9_] and distinct: what stands in metrics and ids."""
    made: list[str] = []
    for name in names:
        path = Path(name)
        text = path.stem if path.suffix in SUFFIXES else path.name
        base = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "set"
        tries = chain([base], (f"{base}_{n}" for n in count(2)))
        made.append(next(label for label in tries if label not in made))
    return made


def prepare(cfg: ProblemsConfig, seed: int, tested: bool = True) -> Prepared:
    """Open, split, filter and limit. Raises PawlError when a set has no training problem left.

    tested: leave out problems without tests, which only a reward of the user's can judge.
    """
    report = PrepareReport()
    names = set_names(cfg)
    fields = cfg.fields.given()
    option = "problems.mix" if cfg.mix else "problems.train"
    opened = [_opened(name, option, cfg.lang, tested, fields) for name in names]
    report.bad += chain.from_iterable(o.bad for o in opened)
    prefixes = _prefixes(opened, labels(names))
    parts = [_split(o, cfg.held_out_frac, keep_all=bool(cfg.held_out)) for o in opened]
    held, families = (join([p[k] for p in parts], prefixes) for k in (1, 2))
    if cfg.held_out:
        given = _opened(cfg.held_out, "problems.held_out", cfg.lang, tested, fields)
        report.bad += given.bad
        _, held, families = _split(given, 0.0, keep_all=False)
        if not held and not families:
            held = given
    held = filtered(held, cfg.filter, "held-out", report)
    families = filtered(families, cfg.filter, "held-out families", report)
    known = join([held, families], ["", ""])
    trains = []
    for part, name, label in zip(parts, names, labels(names), strict=True):
        where = f"train of {label}" if cfg.mix else "train"
        train = filtered(part[0], cfg.filter, where, report)
        if cfg.mix and known:
            train = _unseen(train, known, where, report)
        train = limited(train, cfg.limit, seed, where, report)
        if not train:
            what = "no training problem is left; " + "; ".join(report)
            raise PawlError(what, name, "loosen problems.filter")
        trains.append(train)
    return Prepared(join(trains, prefixes), held, families, report)


def _opened(
    name: str, option: str, lang: str, tested: bool, fields: Mapping[str, str]
) -> ProblemSet:
    """The set that an option names; what is wrong with the name is wrong with the option."""
    try:
        return open_problems(name, lang, tested, fields)
    except PawlError as e:
        if e.where == name and not isinstance(e, Unreachable):
            e.what, e.where = f"{name}: {e.what}", option
        raise


def _prefixes(opened: Sequence[ProblemSet], names: Sequence[str]) -> list[str]:
    """What makes ids unique across sets: `NAME::` before all ids of a set that shares one."""
    sets = Counter(p.id for problems in opened for p in problems)  # in which an id stands
    return [
        f"{name}::" if any(sets[p.id] > 1 for p in problems) else ""
        for name, problems in zip(names, opened, strict=True)
    ]


def _unseen(
    problems: ProblemSet, held_out: ProblemSet, part: str, report: PrepareReport
) -> ProblemSet:
    """Without the problems that stand among the held-out ones, of this or of another set."""
    seen = {p.id for p, _, _ in copies(problems, held_out)}
    kept = [i for i, p in enumerate(problems) if p.id not in seen]
    report.removed(part, "also held out", len(problems), len(kept))
    return problems.select(kept)


def _split(
    opened: ProblemSet, frac: float, keep_all: bool
) -> tuple[ProblemSet, ProblemSet, ProblemSet]:
    """(train, held out, held-out families)."""
    parts: dict[str, list[int]] = {"": [], "train": [], "held_out": [], "held_out_family": []}
    for i, member in enumerate(opened.members):
        parts[member.split].append(i)
    unnamed, train = parts[""], parts["train"]
    if len(unnamed) == len(opened) and frac > 0 and not keep_all:
        said = (
            (m.problem.spec or m.wording).encode("utf-8", "surrogatepass") for m in opened.members
        )
        keys = [hashlib.blake2b(text, digest_size=12).digest() for text in said]
        held = set(sorted(set(keys))[: round(frac * len(set(keys)))])
        parts["held_out"] = [i for i, k in enumerate(keys) if k in held]
        unnamed = [i for i, k in enumerate(keys) if k not in held]
    chosen = (sorted(train + unnamed), parts["held_out"], parts["held_out_family"])
    train_set, held_out, families = map(opened.select, chosen)
    return train_set, held_out, families

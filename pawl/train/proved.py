"""What was proved of a run's problems and reward, kept in its folder: a resume proves no more anew
than what changed.

`proved.json` holds, for the audit and for the calibration, hashes of all that it depends on, by
name, and what was found. A file that is missing or damaged proves nothing: all is proved again.
Left out: a reward whose files cannot be hashed (a callable, an entry point) is proved at every
start; the preflight always runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import pawl
from pawl.checks import Check
from pawl.config.options import RunConfig
from pawl.problems.load import Prepared
from pawl.problems.problem_set import ProblemSet
from pawl.rewards.audit import audit_prepared
from pawl.rewards.cache import toolchain_facts
from pawl.rewards.calibrate import CALIBRATION, Calibration, calibrate, template
from pawl.rewards.grader import Grader, has_judge
from pawl.store.digests import seal
from pawl.store.display import Display
from pawl.store.facts import data_version, reward_version
from pawl.store.files import write_atomic
from pawl.store.manifest import pretty
from pawl.store.run import RunFolder
from pawl.types import Score

FILE = "proved.json"
CODE = ("problems", "rewards", "sandbox")  # parts of Pawl that decide what is found
Basis = dict[str, str]  # what a proof depends on: hashes and facts, by name


class Proved:
    """The proofs of one run folder; lines and events say why one is made again."""

    def __init__(self, run: RunFolder, display: Display) -> None:
        self._run, self._display, self._kept = run, display, dict[str, Any]()
        try:
            kept = json.loads((run.path / FILE).read_text(encoding="utf-8"))
            self._kept = kept if kept["digest"] == seal(kept) else {}
        except (OSError, ValueError, KeyError, TypeError):  # missing or damaged: nothing is proved
            return

    def find(self, what: str, basis: Basis | None) -> Any:
        """What was found on this very basis, or None."""
        kept = self._kept.get(what)
        return kept["found"] if kept and basis is not None and kept["basis"] == basis else None

    def keep(self, what: str, basis: Basis | None, found: object) -> None:
        """Keep what was just found; says what had changed if it had been found before."""
        kept = self._kept.get(what)
        if kept is not None:
            old, new = kept["basis"], basis or {}
            changed = sorted(name for name in {**old, **new} if old.get(name) != new.get(name))
            self._run.event("proved_again", what=what, changed=changed)
            self._display.note(f"{what} made again: {', '.join(changed)} changed")
        if basis is not None:
            self._kept |= {what: {"basis": basis, "found": found}}
            text = pretty({**self._kept, "digest": seal(self._kept)})
            write_atomic(self._run.path / FILE, text)


def audited(
    data: Prepared, cfg: RunConfig, run: RunFolder, display: Display, own: Proved
) -> Prepared:
    """The problems without those that the audit found bad; names each in the events, once."""
    display.phase("audit")
    parts = (data.train, data.held_out, data.held_out_families)
    basis = _facts(chain(*parts), cfg)
    bad = own.find("audit", basis)
    if bad is not None:
        train, held_out, families = map(_without, parts, bad)
        return Prepared(train, held_out, families, data.report)
    left, reports = audit_prepared(data, cfg.sandbox, display.note)
    for report in reports:
        run.event("audit", **report.json())
        for line in report.text().splitlines():
            display.note(line)
    pairs = zip(parts, (left.train, left.held_out, left.held_out_families), strict=True)
    own.keep("audit", basis, [sorted(_ids(all_) - _ids(kept)) for all_, kept in pairs])
    return left


def _ids(problems: ProblemSet) -> set[str]:
    return {p.id for p in problems}


def _without(problems: ProblemSet, bad: Iterable[str]) -> ProblemSet:
    gone = set(bad)
    return problems.select([i for i, p in enumerate(problems) if p.id not in gone])


def _facts(problems: Iterable[Any], cfg: RunConfig) -> Basis:
    """What audit and calibration both depend on."""
    code = hashlib.sha256()
    for part in CODE:
        for path in sorted((Path(pawl.__file__).parent / part).glob("*.py")):
            code.update(path.read_bytes())
    return {
        "problems": str(data_version(problems)["hash"]),
        "sandbox options": cfg.sandbox.model_dump_json(exclude={"workers"}),
        "toolchain": toolchain_facts(),
        "code": f"pawl {pawl.__version__} {code.hexdigest()[:16]}",
    }


def calibration_basis(data: Prepared, cfg: RunConfig, grader: Grader) -> Basis | None:
    """What a calibration depends on; None for a reward that cannot be told apart by its files, and
    for a judge, which may change under its name and keeps its own verdicts.
    """
    rewards = grader.user_rewards.values()
    if has_judge(cfg.reward) or any(reward.folder is None for reward in rewards):
        return None
    return _facts(data.train, cfg) | {
        "reward": json.dumps([reward_version(cfg.reward), *(r.fingerprint() for r in rewards)]),
        "prompt template": hashlib.sha256(template(cfg.prompt.template).encode()).hexdigest()[:16],
        "sandbox tier": grader.tier,
    }


def calibrated(
    grader: Grader, data: Prepared, cfg: RunConfig, own: Proved
) -> tuple[Calibration, Basis | None, bool]:
    """The calibration, what it depends on, and whether it was made anew; writes nothing."""
    basis = calibration_basis(data, cfg, grader)
    found = own.find(CALIBRATION, basis)
    if found is None:
        return calibrate(grader, data.train, cfg), basis, True
    checks = [Check(**row) for row in found["checks"]]
    scores = ([Score(**row) for row in found[name]] for name in ("right", "wrong", "swapped"))
    return Calibration(checks, *scores), basis, False

"""Steps that teach nothing, and what is said about them: filters that empty a batch, shaping terms
that cancel, groups without a difference.

What is said is a pure function of the records, so a resumed run says what an uninterrupted one
would have said. Left out: deciding that a run ends (`after_step.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from pawl.config.options import AlgoConfig, RunConfig
from pawl.store.read import column
from pawl.train.batch import Selection
from pawl.train.record import Record
from pawl.train.session import Session

MAX_EMPTY = 10  # steps in a row without anything to train on; then the run stops, resumable
OVER = 10  # steps in a row in which a shaping term had no effect before a person is shown
ACROSS = ("reinforce_pp",)  # advantages without a baseline of the group


Notice = tuple[str, str, dict[str, object]]  # kind of the event, a line for a person, further facts


def filter_metrics(rule: str, selection: Selection) -> Record:
    """filter/* of one step; nothing without a filter."""
    if not rule:
        return {}
    left, scored = int(selection.trained_PG.sum()), selection.scored
    return {
        "filter/kept_frac": left / scored if scored else None,
        "filter/emptied": int(scored > 0 and not left),
    }


def nothing_to_learn(rule: str, records: Sequence[Record]) -> str:
    """Why the run must stop: MAX_EMPTY steps in a row trained on nothing. Else ""."""
    recent = records[-MAX_EMPTY:]
    if len(recent) < MAX_EMPTY or any(r.get("group/trained") != 0 for r in recent):
        return ""
    if any(r.get("filter/emptied") for r in recent):
        return f"{MAX_EMPTY} steps in a row had no sample that passes algo.filter = {rule}"
    return f"{MAX_EMPTY} steps in a row had no group whose rewards differ: nothing to learn from"


def tell(s: Session, records: Sequence[Record], epoch: Sequence[Record], shown: set[str]) -> None:
    """Show and record the notices of the newest record; adds to `shown`."""
    for kind, text, facts in notices(s.cfg, records, epoch, shown):
        s.run.event(kind, step=records[-1]["step"], text=text, **facts)
        s.display.note(text)
        if kind == "shaping_cancels":
            shown.add(str(facts["component"]))


def notices(
    cfg: RunConfig, records: Sequence[Record], epoch: Sequence[Record], shown: set[str]
) -> list[Notice]:
    """What the newest record gives reason to say.

    epoch: the records of the epoch that ends with it, else none. shown: components that a person
    was shown of before.
    """
    found, last = list[Notice](), records[-1]
    if last.get("filter/emptied"):
        text = f"step {last['step']}: no sample passes algo.filter = {cfg.algo.filter}; "
        found.append(("filter_emptied", text + "nothing was trained", {}))
    if epoch and all(r.get("filter/emptied") for r in epoch):
        text = f"the whole epoch ({len(epoch)} steps) trained on nothing: "
        text += f"no sample of it passes algo.filter = {cfg.algo.filter}"
        found.append(("epoch_emptied", text, {"steps": len(epoch)}))
    for name in shaping_terms(cfg):
        if name not in shown and cancels(name, records):
            text = f"component {name!r} had one value in each group for {OVER} steps and differed "
            text += f"only between problems: it cancels in algo.advantage = {cfg.algo.advantage}"
            found.append(("shaping_cancels", text, {"component": name}))
    return found


def shaping_terms(cfg: RunConfig) -> list[str]:
    """The user's components that add to every sample's reward under a baseline of its group.

    A gated component pays some members of a group and not others, whatever its value is; a clip
    may cut what it adds for some of them.
    """
    if cfg.algo.advantage in ACROSS or cfg.reward.clip:
        return []
    terms = [c for c in cfg.reward.components if c.use != "code" and c.gate == "none"]
    return [c.name for c in terms if c.weight > 0 and c.cap > 0]


def cancels(name: str, records: Sequence[Record]) -> bool:
    """True when a component was a function of the problem alone over the last OVER records.

    The baseline of a group takes away what all of its members got: a potential of the prompt
    changes no advantage (the case of one step of Ng, Harada and Russell, Policy invariance under
    reward transformations, 1999). A component that never differs at all is not meant.
    """
    recent = records[-OVER:]
    if len(recent) < OVER or any(r.get(f"within/{name}") != 0 for r in recent):
        return False
    if any(r.get(f"between/{name}") for r in recent):
        return True
    means = column(recent, f"component/{name}")
    return bool(means) and max(means) - min(means) > 1e-9  # more than the rounding of a mean


def emptied_steps(algo: AlgoConfig, records: Sequence[Record]) -> Record:
    """epoch/emptied_steps over the step records of one epoch; nothing without a filter."""
    if not algo.filter:
        return {}
    return {"epoch/emptied_steps": sum(bool(r.get("filter/emptied")) for r in records)}

"""A rule explained: for a terminal, for programs, and all of them as the page docs/rules.md.

Everything comes from the rules' own docstrings and what they state (needs, kinds, proof). Left out:
the rules themselves (the other files here).

Run: `python -m pawl.rules.page > docs/rules.md` writes the page.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from pawl.rules.catalogue import RULES
from pawl.rules.rule import SECTIONS, Rule

WIDTH, PAGE_WIDTH = 88, 100
PROOFS = {"real": "seen in real runs", "unproven": "unproven: seen in generated runs only"}
GROUPS = {
    "D1": "The log itself",
    "D2": "Reward",
    "D3": "Groups and signal",
    "D4": "Policy",
    "D5": "Length",
    "D6": "Optimiser",
    "D7": "Critic",
    "D8": "Preferences and reward models",
    "D9": "Data, evaluation and machine",
}
HEAD = """# Rules

Generated from the rules by `python -m pawl.rules.page > docs/rules.md`; `pawl explain D401`
prints the same of one rule, and so does its name. [doctor.md](doctor.md) says how findings become a
verdict. *Needs* are canonical [metrics](metrics.md); without them a rule is listed under "could not
be checked". A rule is *unproven* while only generated runs have shown what it looks for.
"""


def find(name: str) -> Rule | None:
    """The rule of that code, in any case, or name; None when there is none."""
    return next((r for r in RULES if name.upper() == r.code or name.lower() == r.name), None)


def names() -> list[str]:
    """Codes and names of all rules."""
    return [*(rule.code for rule in RULES), *(rule.name for rule in RULES)]


def needs(rule: Rule) -> str:
    """The metrics that a rule needs, in words."""
    found = " and ".join(name.replace("|", " or ") for name in rule.needs) or "nothing but a log"
    return found + (f"; for {' and '.join(rule.kinds)} training only" if rule.kinds else "")


def lines(rule: Rule) -> Iterator[str]:
    """What is known of a rule, for a terminal."""
    yield f"{rule.code} {rule.name}"
    parts = rule.sections()
    yield from textwrap.wrap(parts["Summary"], WIDTH, initial_indent="  ", subsequent_indent="  ")
    for title in SECTIONS:
        yield from _block(title, parts[title])
    yield from _block("Metrics", needs(rule))
    yield from _block("Proof", PROOFS[rule.proof])


def _block(label: str, text: str) -> list[str]:
    start = f"  {label:<17}"
    wrap = textwrap.TextWrapper(WIDTH, start, " " * len(start), break_on_hyphens=False)
    return wrap.wrap(text)


def as_dict(rule: Rule) -> dict[str, object]:
    """The same for programs."""
    return {
        "code": rule.code,
        "name": rule.name,
        "needs": list(rule.needs),
        "kinds": list(rule.kinds),
        "causes": sorted(rule.causes),
        "proof": rule.proof,
        "sections": rule.sections(),
    }


def page() -> str:
    """docs/rules.md."""
    out = [HEAD]
    for start, title in GROUPS.items():
        members = [rule for rule in RULES if rule.code.startswith(start)]
        if members:
            out.append(f"## {title}\n")
            out += map(_entry, members)
    return "\n".join(out)


def _entry(rule: Rule) -> str:
    parts = rule.sections()
    wrap = textwrap.TextWrapper(PAGE_WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    facts = {title: parts[title] for title in SECTIONS}
    facts |= {"Needs": f"{needs(rule)}.", "Proof": f"{PROOFS[rule.proof]}."}
    rows = [wrap.fill(f"- {title}: {_plain(text)}") for title, text in facts.items()]
    head = textwrap.fill(_plain(parts["Summary"]), PAGE_WIDTH, break_on_hyphens=False)
    return "\n".join([f"### {rule.code} {rule.name}", "", head, "", *rows, ""])


def _plain(text: str) -> str:
    """Docstring text in Markdown: marks that would become layout are escaped, code spans stay."""
    pieces = text.split("`")
    pieces[::2] = [re.sub(r"(?<!\w)_|_(?!\w)|[\\*<\[]", r"\\\g<0>", piece) for piece in pieces[::2]]
    return "`".join(pieces)


if __name__ == "__main__":
    print(page(), end="")

"""Names that other libraries have for options: what to write instead.

The names stand in `foreign.toml`, by library, with their sources. Left out: names of Pawl's own
that changed (`pawl.renamed`), and misspelt ones (`tree.nearest`).
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources


@cache
def names() -> dict[str, tuple[str, str]]:
    """Foreign name -> (library, what it is here); the first library that has a name is named."""
    text = resources.files("pawl.config").joinpath("foreign.toml").read_text(encoding="utf-8")
    found: dict[str, tuple[str, str]] = {}
    for library, table in tomllib.loads(text).items():
        for name, ours in table.items():
            found.setdefault(name, (library, ours))
    return found


def advice(path: str, options: set[str]) -> str:
    """What to write for a path of another library, "" for a name that none has.

    options: the paths that may be set; a run's option that a supervised run has at its top is found
    too ("train.steps" as "steps").
    """
    words = path.split(".")
    ends = (".".join(words[i:]) for i in range(len(words)))
    name = next((end for end in ends if end in names()), "")
    if not name:
        return ""
    library, ours = names()[name]
    option, _, note = ours.partition(": ")
    if " " in option:
        return ours
    meant = next((o for o in (option, option.rpartition(".")[2]) if o in options), "")
    if not meant and any(o.startswith(f"{option}.") for o in options):
        meant = option
    note = f", {note}" if note else ""
    return f"write `{meant}`{note} ({library} calls it `{name}`)" if meant else ""

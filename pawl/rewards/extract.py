"""From a completion to the programs it may mean: a body, a whole definition, a fenced block.

Every reading is kept, in order of likelihood, and the language's own parser inside the sandbox
picks the first that defines the entry point; so a fence or an end marker inside a string never
costs a correct program. Left out: any judgement of the text. Standard library only.
"""

from __future__ import annotations

import re
import textwrap

_FENCE = re.compile(r"^[ \t]*```[^\n`]*$", re.MULTILINE)
MAX_VARIANTS = 8


def variants(text: str, head: str, end_marker: str, indent: bool) -> list[str]:
    """Candidate sources, most likely first; at most MAX_VARIANTS, no two alike.

    head: the opening that a bare body continues. indent: a body must be indented (Python).
    """
    out: list[str] = []
    cut = text.split(end_marker)[0] if end_marker else text
    for whole in dict.fromkeys((cut, text)):
        blocks = _FENCE.split(whole)
        fenced = blocks[1::2] if len(blocks) > 1 else []
        for piece in [whole, *fenced, *(blocks[:1] if fenced else [])]:
            out += _readings(piece, head, indent)
    return list(dict.fromkeys(out))[:MAX_VARIANTS]


def _readings(piece: str, head: str, indent: bool) -> list[str]:
    """As a whole program, behind what precedes the definition in `head`, and as its body."""
    if not piece.strip():
        return []
    out = [piece]
    if not head:
        return out
    opening = head.rstrip("\n")
    if indent:
        above = _before_definition(opening)
        if above.strip():
            out.insert(0, f"{above}\n{piece}")
        body = piece if piece[:1] in " \t\n" else textwrap.indent(piece, "    ")
        out.append(f"{opening}\n{body}")
        if piece[:1] not in " \t\n":  # the first line continues the head's own line
            out.append(f"{opening} {piece}")
            out.append(f"{opening}\n    {piece}")
    else:
        out.append(f"{opening}\n{piece}")
    return out


def _before_definition(head: str) -> str:
    """Imports and helpers that stand before the last `def` of a head."""
    starts = [m.start() for m in re.finditer(r"^(?:async )?def ", head, re.MULTILINE)]
    return head[: starts[-1]] if starts else ""


def ends_with(text: str, end_marker: str) -> bool:
    """True when the end marker is the last thing said, a closing fence aside."""
    said = text.rstrip()
    if said.endswith("```") and not said.endswith(end_marker):
        said = said[:-3].rstrip()
    return bool(end_marker) and said.endswith(end_marker)

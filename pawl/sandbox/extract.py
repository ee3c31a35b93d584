"""From a completion to the programs it may mean: a body, a whole definition, a fenced block.

Every variant is kept, in order of likelihood, and the language's own parser inside the sandbox
picks the best that defines the entry point; so a fence or an end marker inside a string never
costs a correct program. Left out: any judgement of the text. Standard library only.
"""

from __future__ import annotations

import re
import textwrap

_FENCE = re.compile(r"^[ \t]*```[^\n`]*$", re.MULTILINE)
MAX_VARIANTS = 8


def variants(text: str, head: str, end_marker: str, indent: bool) -> dict[str, str]:
    """Candidate sources, most likely first, each with its kind; at most MAX_VARIANTS.

    head: the opening that a bare body continues. indent: a body must be indented (Python). Kinds:
    "whole" (the text as it is), "part" (a fenced block or what stands before one), "body".
    """
    out: dict[str, str] = {}
    cut = text.split(end_marker)[0] if end_marker else text
    for whole in dict.fromkeys((cut, text)):
        blocks = _FENCE.split(whole)
        fenced = blocks[1::2] if len(blocks) > 1 else []
        for piece in [whole, *fenced, *(blocks[:1] if fenced else [])]:
            for variant, body in _variants(piece, head, indent):
                kind = "body" if body else "whole" if piece is whole else "part"
                out.setdefault(variant, kind)
    return dict(list(out.items())[:MAX_VARIANTS])


def _variants(piece: str, head: str, indent: bool) -> list[tuple[str, bool]]:
    """(source, is a body): as a program, behind what precedes `head`'s definition, as its body."""
    if not piece.strip():
        return []
    out = [(piece, False)]
    if not head:
        return out
    opening = head.rstrip("\n")
    if indent:
        above = _before_definition(opening)
        if above.strip():
            out.insert(0, (f"{above}\n{piece}", False))
        body = piece if piece[:1] in " \t\n" else textwrap.indent(piece, "    ")
        out.append((f"{opening}\n{body}", True))
        if piece[:1] not in " \t\n":  # the first line continues the head's own line
            out.append((f"{opening} {piece}", True))
            out.append((f"{opening}\n    {piece}", True))
    else:
        out.append((f"{opening}\n{piece}", True))
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

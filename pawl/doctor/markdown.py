"""Pieces of Markdown: foreign text that stays text, tables, lists.

A log's names, notes and messages may hold anything; nothing of it becomes markup, a link or a
mention. Left out: what a report says (`report_markdown`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# What can become layout: some marks at the start of a line alone, _ not within a word.
MARKS = re.compile(r"[\\`*{}\[\]|~$]|^[-+=#]|#(?=\d)|(?<![^\W_])_|_(?![^\W_])")
LONG = 300  # characters of one foreign text that are shown


def escaped(text: object, most: int = LONG) -> str:
    """Any text as one line of Markdown that shows it as it is; longer than `most` is cut."""
    plain = " ".join(str(text).split())
    plain = plain if len(plain) <= most else plain[: most - 3] + "..."
    plain = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in plain)
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    plain = MARKS.sub(r"\\\g<0>", plain)
    # What forges would link by themselves: addresses, hosts, mentions.
    plain = plain.replace("://", ":&#47;&#47;").replace("@", "&#64;")
    plain = re.sub(r"(?i)\b(www)\.", r"\1&#46;", plain)
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", plain)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are escaped already."""
    lines = [f"| {' | '.join(cell or '-' for cell in row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], f"|{'---|' * len(head)}", *lines[1:]])


def listed(rows: Sequence[str], most: int = LONG, numbered: bool = False) -> str:
    """A list of foreign texts, "" for none; each is cut as `escaped` does."""
    marks = (f"{i}." if numbered else "-" for i in range(1, len(rows) + 1))
    return "\n".join(f"{mark} {escaped(row, most)}" for mark, row in zip(marks, rows, strict=True))

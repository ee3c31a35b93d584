"""Text for a terminal: what a model wrote made harmless, columns that line up, styles as colours.

Completions are hostile text: control characters are shown as escapes, so that a completion cannot
move the cursor or change the title of a terminal. Left out: progress (`display`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

import click

FALLBACKS = {"\u00b1": "+-", "\u2026": "...", "\u2192": "->"}


def harmless(text: str) -> str:
    """The text with control characters (newline and tab aside) as escapes."""
    return "".join(c if c in "\n\t" or c.isprintable() else _escaped(c) for c in text)


def _escaped(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"


def printable(text: str, encoding: str | None) -> str:
    """The text for a stream of this encoding: harmless, and ASCII stand-ins where needed."""
    text = harmless(text)
    try:
        text.encode(encoding or "ascii")
    except UnicodeEncodeError:
        for char, plain in FALLBACKS.items():
            text = text.replace(char, plain)
        text = text.encode(encoding or "ascii", "backslashreplace").decode(encoding or "ascii")
    return text


def shortened(text: str, length: int = 72) -> str:
    """The text, cut to `length` characters with three dots where it is longer."""
    return text if len(text) <= length else text[: length - 3] + "..."


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose columns line up; cells that look like numbers stand to the right."""
    table = [list(head), *[list(map(str, row)) for row in rows]]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    right = [all(_numeric(row[i]) for row in table[1:]) for i in range(len(head))]
    return [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in table
    ]


def _numeric(cell: str) -> bool:
    return cell in ("", "-") or cell.lstrip("+-")[:1].isdigit()


def indented(text: str) -> str:
    """A text as a block, each line behind four spaces."""
    return "\n".join(f"    {line}" for line in harmless(text).split("\n"))


def print_styled(lines: Iterable[Sequence[tuple[str, str]]]) -> None:
    """Lines of (text, style) on standard output.

    Styles ("", bold, dim, or a colour) show on a terminal alone, unless NO_COLOR is set.
    """
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    colours = sys.stdout.isatty() and not plain
    for line in lines:
        # A line break in a name must not forge a line of the report.
        parts = [(text.replace("\n", "\\n"), style) for text, style in line]
        parts = [(printable(text, sys.stdout.encoding), style) for text, style in parts]
        whole = "".join(coloured(*part) if colours else part[0] for part in parts)
        click.echo(whole if colours else whole.rstrip())


def coloured(text: str, style: str) -> str:
    """The text as a terminal shows that style."""
    if not text or not style:
        return text
    if style == "bold":
        return click.style(text, bold=True)
    return click.style(text, dim=True) if style == "dim" else click.style(text, fg=style, bold=True)

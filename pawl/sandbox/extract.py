"""From a completion to the programs that it may mean: the text, a block of it, the body of a head.

Graded is the final answer: what follows the last thinking section, the content of the last answer
tag where there is one, and of several blocks the last that defines the asked name, with what other
blocks import and define (in OCaml, those before it). Every reading is kept, most likely first, and
the language's own parser inside the sandbox picks the first best; so a fence or an end marker
inside a string never costs a correct program. Left out: any judgement of the text. Standard library
only. Source: CommonMark 0.31, section 4.5, for fences.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

MAX_READINGS = 24
LABELS = {
    "python": {"", "python", "python3", "py", "py3"},
    "ocaml": {"", "ocaml", "ml", "caml"},
}
_FENCE = re.compile(r"([ \t]*)(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)?(`{3,}|~{3,})[ \t]*([^`\n]*?)[ \t]*")
_THINKS = "|".join("think thinking thought thoughts reason reasoning reflection scratchpad".split())
_OPENS = re.compile(
    rf"<(?:{_THINKS})(?:\s[^<>\n]*)?>|<\|begin_of_thought\|>|\[THINK\]|\u25c1think\u25b7"
    r"|<\|channel\|>analysis",
    re.IGNORECASE,
)
_CLOSES = re.compile(
    rf"</(?:{_THINKS})>|<\|end_of_thought\|>|\[/THINK\]|\u25c1/think\u25b7"
    r"|<\|channel\|>final<\|message\|>",
    re.IGNORECASE,
)
# What may stand before a section that opens within a line: nothing, a word, a sentence.
_PROSE = re.compile(r" {0,3}(?:\w+\W{0,3}|[^#=;{}]*[.!?:] *)?")
_ENDS = r"</s>|<eos>|<end_of_turn>|<\|(?:im_end|endoftext|eot_id|eom_id|end_of_text|end|return"
_ENDS += r"|EOT|user|end_of_turn)\|>|<\uff5cend\u2581of\u2581sentence\uff5c>|\[EOS\]"
_END_TOKENS = re.compile(rf"(?:\s*(?:{_ENDS}))+\s*$")
_NEXT_TURN = re.compile(r"(?:<\|eot_id\|>|<\|im_end\|>)\s*<\|(?:start_header_id|im_start)\|>")
_ITEMS = re.compile(r"\s*(?:open|type|module|exception|external|include|let)\s+(?!\(\)|_\b)")
_ANSWERS = [
    (re.compile(r"<answer>", re.IGNORECASE), re.compile(r"</answer>", re.IGNORECASE)),
    (re.compile(r"<solution>", re.IGNORECASE), re.compile(r"</solution>", re.IGNORECASE)),
    (re.compile(r"<\|begin_of_solution\|>"), re.compile(r"<\|end_of_solution\|>")),
    (re.compile(r"\[PYTHON\]"), re.compile(r"\[/PYTHON\]")),
]


@dataclass(frozen=True, slots=True)
class Reading:
    """A program that a completion may mean. kind: "whole" is the text, "part" a block of it, "body"
    either behind the head. before: other blocks, of which imports and definitions count.

    name: for a person, such as "block 2 of 3".
    """

    source: str
    kind: Literal["whole", "part", "body"]
    name: str
    before: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of the text that may be code."""

    text: str
    name: str
    before: tuple[str, ...] = ()


def final_answer(text: str, defines: Callable[[str], bool] | None = None) -> str:
    """The text without thinking, end tokens and the tags around an answer.

    A thinking section that does not end leaves nothing. Tags in strings, comments and prose about
    them are none. defines: whether a text defines the asked name; where given, an answer
    in tags counts if it holds one or a block, or if nothing around it does.
    """
    said = text.replace("\r\n", "\n").lstrip("\ufeff")
    said = _without_thinking(_NEXT_TURN.split(said)[0])
    said = _END_TOKENS.sub("", said)
    found = [answer for answer in _answers(said) if answer.strip()]
    if defines is not None:
        whole = [a for a in found if defines(a) or "```" in a or "~~~" in a]
        found = whole or ([] if defines(said) else found)
    return found[-1] if found else said


def _without_thinking(said: str) -> str:
    """What follows the last thinking section; its opening may stand in the prompt."""
    while True:
        places = [t for t in _tags(_OPENS, said) if not t.fenced and _PROSE.fullmatch(t.before)]
        if not places:
            break
        opened = places[0]
        closes = _tags(_CLOSES, said[opened.end :], quoted=True)
        closed = next((t for t in closes if not t.quoted), closes[0] if closes else None)
        if closed is None:
            return said[: opened.start - len(opened.before) * (not opened.before.strip())]
        said = said[opened.end + closed.end :]
    ends = [t for t in _tags(_CLOSES, said) if not t.fenced or not t.before.strip(" \t`~")]
    ends = [t for t in ends if not _OPENS.search(t.before)]
    return said[ends[-1].end :] if ends else said


def _answers(said: str) -> list[str]:
    """What stands between the tags of an answer, of the first kind of tags that there are."""
    for opens, closes in _ANSWERS:
        found, after = list[str](), 0
        for opened in _tags(opens, said):
            if opened.start < after or opened.fenced:
                continue
            rest = said[opened.end :]
            closed = next((t for t in _tags(closes, rest) if not t.fenced), None)
            closed = closed or next(iter(_tags(closes, rest, quoted=True)[::-1]), None)
            found.append(rest[: closed.start] if closed else rest)  # else cut at the limit
            after = opened.end + (closed.end if closed else len(rest))
        if found:
            return found
    return []


@dataclass(frozen=True, slots=True)
class _Tag:
    """Where a tag stands, what precedes it on its line, and whether a block or quotes hold it."""

    start: int
    end: int
    before: str
    fenced: bool
    quoted: bool


def _tags(pattern: re.Pattern[str], text: str, quoted: bool = False) -> list[_Tag]:
    """The tags in a text, in order; quoted: also those in strings and comments."""
    found: list[_Tag] = []
    if pattern.search(text) is None:
        return found
    at, fence = 0, ""
    for line in text.split("\n"):
        mark = _FENCE.fullmatch(line)
        if mark and (not fence or (not mark[3] and mark[2].startswith(fence))):
            fence = "" if fence else mark[2]
        for tag in pattern.finditer(line):
            before = line[: tag.start()]
            held = _is_quoted(before)
            if quoted or not held:
                found.append(_Tag(at + tag.start(), at + tag.end(), before, bool(fence), held))
        at += len(line) + 1
    return found


def _is_quoted(before: str) -> bool:
    """Whether what precedes on the line opens a string or a comment."""
    before = re.sub(r"`{3,}|~{3,}", "", before)  # a fence is no quote
    if before.count('"') % 2 or before.count("`") % 2 or re.match(r"\s*(?:#|\(\*)", before):
        return True
    if re.search(r"\s#\s|\(\*", before):
        return True
    return before.count("'") % 2 == 1 and re.search(r"'[^' ]*$", before) is not None


def programs_in(text: str, head: str, end_marker: str, entry: str, lang: str) -> list[Reading]:
    """Candidate programs, most likely first, at most MAX_READINGS.

    head: the opening that a bare body continues; entry: the asked name; lang: python or ocaml.
    """
    said = final_answer(text, partial(defines_name, entry, lang))
    out: dict[str, Reading] = {}
    bodies: dict[str, Reading] = {}
    for whole in dict.fromkeys((said.split(end_marker)[0] if end_marker else said, said)):
        pieces = _pieces(whole, entry, lang)
        for piece in pieces:
            kind: Literal["whole", "part"] = "part" if piece is not pieces[0] else "whole"
            for source, body in _programs(piece.text, head, lang):
                if body:
                    name = f"{piece.name}, as a body"
                    bodies.setdefault(source, Reading(source, "body", name, piece.before))
                else:
                    out.setdefault(source, Reading(source, kind, piece.name, piece.before))
    # Half of the places are for bodies, unless they need fewer.
    most = max(MAX_READINGS // 2, MAX_READINGS - len(bodies))
    chosen = list(out.values())[:most]
    return [*chosen, *list(bodies.values())[: MAX_READINGS - len(chosen)]]


def _pieces(whole: str, entry: str, lang: str) -> list[_Piece]:
    """The text, its blocks, and what stands before the first: most likely first, the text ahead.

    Of earlier blocks of OCaml those count that begin with a definition; Python's, and those behind,
    are sorted out where they are parsed.

    Blocks that seem to define the name come first, then the others, the last one before earlier
    ones; those labelled as something else come at the end.
    """
    blocks, lead = _blocks(whole)
    defines = partial(defines_name, entry, lang)
    own, foreign = list[_Piece](), list[_Piece]()
    before: list[str] = []
    for i, (label, content) in enumerate(blocks, 1):
        piece = _Piece(content, f"block {i} of {len(blocks)}", tuple(before))
        if label not in LABELS[lang]:
            foreign.append(piece)
            continue
        own.append(piece)
        if not defines(content) and (lang == "python" or _ITEMS.match(content)):
            before.append(content)
    if lang == "python":  # a helper may follow; what stands before counts more
        behind = [[b for b in before if b not in p.before and b != p.text] for p in own]
        own = [replace(p, before=(*b, *p.before)) for p, b in zip(own, behind, strict=True)]
    own.sort(key=lambda piece: defines(piece.text))
    rest = [_Piece(lead, "the text before the first block")] if blocks and lead.strip() else []
    return [_Piece(whole, "the text"), *own[::-1], *rest, *foreign[::-1]]


_DEFINED = {
    "ocaml": re.compile(r"^[ \t]*(?:let|and|external)\s+(?:rec\s+)?([\w']+)", re.MULTILINE),
    "python": re.compile(
        r"^[ \t]*(?:async[ \t]+def|def|class)[ \t]+(\w+)|^[ \t]*([^\W\d]\w*)[ \t]*[:=]",
        re.MULTILINE,
    ),
}


def defines_name(entry: str, lang: str, text: str) -> bool:
    """Whether a line of a text begins like a definition of a name."""
    return entry in text and any(entry in m.groups() for m in _DEFINED[lang].finditer(text))


def _blocks(text: str) -> tuple[list[tuple[str, str]], str]:
    """(label, content) of each fenced block, and what stands before the first."""
    if "```" not in text and "~~~" not in text:
        return [], text
    blocks: list[tuple[str, str]] = []
    lead: list[str] = []
    opened: tuple[int, str, str] | None = None  # indentation, fence, label
    content: list[str] = []
    for line in text.split("\n"):
        fence = _FENCE.fullmatch(line)
        if opened is None:
            if fence is None:
                lead += [] if blocks else [line]
                continue
            words = fence[3].strip("{}. ").lower().split()
            opened, content = (len(fence[1]), fence[2], words[0] if words else ""), []
        elif fence and _closes(fence, opened):
            blocks.append((opened[2], "\n".join(content) + "\n"))
            opened = None
        else:
            content.append(line[min(opened[0], len(line) - len(line.lstrip(" \t"))) :])
    if opened is not None:
        blocks.append((opened[2], "\n".join(content) + "\n"))
    return blocks, "\n".join(lead)


def _closes(fence: re.Match[str], opened: tuple[int, str, str]) -> bool:
    """Whether a fence ends the block: as long, without a label, and no deeper than 3 columns."""
    width, mark, _ = opened
    return not fence[3] and fence[2].startswith(mark) and len(fence[1]) <= width + 3


def _programs(piece: str, head: str, lang: str) -> list[tuple[str, bool]]:
    """(source, is a body): as a program, behind what precedes `head`'s definition, as its body."""
    if not piece.strip():
        return []
    out = [(piece, False)]
    if lang == "python" and re.match(r"\n*[ \t]+(?:async\s+def|def|class|import|from)\b", piece):
        out.append((textwrap.dedent(piece), False))  # a whole definition in an indented block
    if not head:
        return out
    opening = head.rstrip("\n")
    if lang == "python":  # a body must be indented
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
    """Imports and helpers that stand before the last definition of a head."""
    starts = [m.start() for m in re.finditer(r"^(?:(?:async )?def|class) ", head, re.MULTILINE)]
    return head[: starts[-1]] if starts else ""


def ends_with(text: str, end_marker: str) -> bool:
    """True when the end marker is the last thing said, a closing fence and end tokens aside."""
    said = _END_TOKENS.sub("", text).rstrip()
    if said.endswith("```") and not said.endswith(end_marker):
        said = said[:-3].rstrip()
    return bool(end_marker) and said.endswith(end_marker)

"""Which tests does the prompt itself display?

A case is shown when the prompt holds a call with the same arguments (`f([1, 2], 3)`, `f [1; 2] 3`)
or an `Input: a = .., b = ..` line with the same values. The printed result is not compared: a
displayed input with a missing or different result is no hidden test either.
"""

from __future__ import annotations

import ast
import re
from dataclasses import replace

from pawl.problems.python_text import calls_in, parse_expression
from pawl.problems.python_values import constant, literal
from pawl.types import Case, Lang

_LAX = re.compile(r'"(?:[^"\\\n]|\\.)*"|[A-Za-z_][\w\']*|[0-9][\w.]*|\S')
_INPUT = re.compile(r"\binputs?\b\**\s*[:=]\s*(.+?)\s*(?=\boutputs?\b|\n\n|\Z)", re.I | re.S)


def mark_shown(
    cases: list[Case], prompt: str, entry_point: str, params: tuple[str, ...], lang: Lang
) -> tuple[Case, ...]:
    """The cases, with `shown` set where the prompt displays them (one already set stays set).

    Of printed text the output must follow its input, a label of a few words between them.
    """
    if not entry_point:
        said = " ".join(prompt.split())
        displayed = [_prints(said, c) for c in cases]
    elif lang == "python":  # inputs are written by `python_values.literal`, so equal ones are alike
        calls = calls_in(prompt, entry_point) + _INPUT.findall(prompt)
        inputs = {_call_args(args, params) for args in calls}
        displayed = [c.input in inputs for c in cases]
    else:
        text = " " + " ".join(_LAX.findall(prompt)) + " "
        displayed = [f" {' '.join(_LAX.findall(c.input))} " in text for c in cases]
    pairs = zip(cases, displayed, strict=True)
    return tuple(replace(c, shown=True) if now else c for c, now in pairs)


def _prints(said: str, case: Case) -> bool:
    """Whether a prompt on one line displays a text and what is printed for it."""
    given, wanted = (" ".join(text.split()) for text in (case.input, case.expected))
    if not wanted or len(given) + len(wanted) > len(said):
        return False
    both = rf"(?<!\S){re.escape(given)}(?: \S+){{0,4}}? {re.escape(wanted)}(?!\S)"
    return re.search(both, said) is not None


def _call_args(args: str, params: tuple[str, ...]) -> str:
    """Positional values of `1, k = 2`; "" when they are no constants."""
    flat = re.sub(r"\s*\n\s*", " ", args.strip().strip("`*"))
    try:
        node = parse_expression(f"f({flat})")
        if not isinstance(node, ast.Call):
            return ""
        named = {k.arg: k.value for k in node.keywords}
        order = [*node.args, *[named[p] for p in params if p in named]]
        if len(order) < len(node.args) + len(named):  # names differ from ours: keep their order
            order = [*node.args, *named.values()]
        return literal([constant(a, {}) for a in order])
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return ""

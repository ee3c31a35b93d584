"""Writes Python for a task: literals, the prompt, and a program in one of several plain styles.

Comprehensions, loops, map and filter, bindings, local functions; all of them are correct. An
option is a value or None. No torch, no I/O.
"""

from __future__ import annotations

import random
from typing import Any

from starter.families import Task
from starter.ops import EVERY, SOME, TOTALS, Op

STYLES = ("direct", "lets", "loop", "mapped", "helper")
END = "# END"
LISTS = ("ys", "zs", "out", "kept", "res", "r")
VALUES = ("a", "b", "v", "y", "k", "m")
FUNCTIONS = ("f", "g", "h", "change", "conv")
TESTS = ("p", "ok", "keep", "good", "test")


def literal(value: Any, kind: str = "", atom: bool = False) -> str:
    """A value as a Python literal."""
    return repr(float(value) if kind == "float" else value)


def call(task: Task, args: tuple[Any, ...]) -> str:
    """`solve([1, 2])`."""
    kinds = [k for _, k in task.family.params]
    return "solve(" + ", ".join(literal(a, k) for a, k in zip(args, kinds, strict=True)) + ")"


def head(task: Task) -> str:
    """The opening of the definition, which the completion continues."""
    return f"def solve({', '.join(n for n, _ in task.family.params)}):"


def prompt(task: Task, words: str, shown: list[tuple[tuple[Any, ...], Any]]) -> str:
    """The comment with its examples, then the head and a newline."""
    result = task.family.result
    examples = [f"# {call(task, a)} == {literal(r, result)}" for a, r in shown]
    return "\n".join([f"# {words}", *examples, head(task)]) + "\n"


def _apply(op: Op | None, operand: str) -> str:
    return op.code("python", operand) if op else operand


def body(task: Task, rng: random.Random, style: str) -> str:
    """The lines that continue the head, indented by four spaces, the end marker aside."""
    name, slots, second = task.family.name, task.slots, task.second
    if name in ("fold", "select", "join", "words", "range", "quantify", "flags", "table"):
        lines = _lists(task, rng, style)
    elif name == "real" and second:
        one, two = slots["one"], slots["two"]
        assert one and two
        lines = ["return " + two.py.replace("{x}", one.py.replace("{x}", "x"))]
    elif name in ("text", "real"):
        ops = [o for o in slots.values() if o]
        lines = _chain(task.family.params[0][0], ops[::-1] if second else ops, rng, style)
    else:
        lines = {
            "choose": _choose,
            "branch": _choose,
            "compare": _compare,
            "search": _search,
            "maybe": _maybe,
            "pair": _pair,
            "split": _split,
            "word": _nth,
            "place": _nth,
        }[name](task, rng, style)
    return "\n".join("    " + line for line in lines)


def _chain(x: str, ops: list[Op], rng: random.Random, style: str) -> list[str]:
    lines: list[str] = []
    value = x
    if style == "helper":
        names = rng.sample(FUNCTIONS, len(ops))
        for op, name in zip(ops, names, strict=True):
            arg = rng.choice(VALUES)
            lines.append(f"{name} = lambda {arg}: {op.code('python', arg)}")
            value = f"{name}({value})"
        return [*lines, f"return {value}"]
    if style in ("lets", "loop"):
        for op in ops[:-1]:
            name = x if style == "loop" else rng.choice(VALUES)
            lines.append(f"{name} = {op.code('python', value)}")
            value = name
        return [*lines, f"return {ops[-1].code('python', value)}"]
    for op in ops:
        value = op.code("python", value)
    return [f"return {value}"]


def _choose(task: Task, rng: random.Random, style: str) -> list[str]:
    slots, lines = task.slots, list[str]()
    given = slots["yes"] if task.second else slots.get("map")
    subject = _apply(given, "x")
    yes, no = _apply(slots["yes"], "x"), _apply(slots["no"], "x")
    if given and style in ("lets", "loop"):
        name = rng.choice(VALUES)
        lines, subject = [f"{name} = {subject}"], name
        yes = name if task.second else yes
    test = _apply(slots["test"], subject)
    if style == "loop":
        return [*lines, f"if {test}:", f"    return {yes}", f"return {no}"]
    if style == "helper":
        return [*lines, f"if {test}:", f"    r = {yes}", "else:", f"    r = {no}", "return r"]
    return [*lines, f"return {yes} if {test} else {no}"]


def _compare(task: Task, rng: random.Random, style: str) -> list[str]:
    slots = task.slots
    value, name = _apply(slots["map"], "x"), rng.choice(VALUES)
    if style in ("lets", "loop"):
        return [f"{name} = {value}", f"return {_apply(slots['test'], name)}"]
    if style == "helper":
        return [f"if {_apply(slots['test'], value)}:", "    return True", "return False"]
    return [f"return {_apply(slots['test'], value)}"]


def _search(task: Task, rng: random.Random, style: str) -> list[str]:
    value = _apply(task.slots["map"], "x")
    test = _apply(task.slots["test"], value if task.second else "x")
    if style == "lets":
        name = rng.choice(LISTS)
        first = f"{name} = [{value} for x in xs if {test}]"
        return [first, f"return {name}[0] if {name} else None"]
    if style in ("loop", "helper"):
        return ["for x in xs:", f"    if {test}:", f"        return {value}", "return None"]
    return [f"return next(({value} for x in xs if {test}), None)"]


def _maybe(task: Task, rng: random.Random, style: str) -> list[str]:
    value = _apply(task.slots["map"], "o")
    test = _apply(task.slots["test"], value if task.second else "o") if task.slots["test"] else ""
    both = f"o is not None and {test}" if test else "o is not None"
    if style == "loop":
        none = f"o is None or not ({test})" if test else "o is None"
        return [f"if {none}:", "    return None", f"return {value}"]
    if style in ("lets", "helper"):
        return [f"if {both}:", f"    return {value}", "return None"]
    return [f"return {value} if {both} else None"]


def _pair(task: Task, rng: random.Random, style: str) -> list[str]:
    slots = task.slots
    first, second = _apply(slots["first"], "x"), _apply(slots["second"], "y")
    lines: list[str] = []
    if style in ("lets", "loop"):
        a, b = rng.sample([v for v in VALUES if v != "y"], 2)
        lines = [f"{a} = {first}", f"{b} = {second}"]
        first, second = a, b
    swapped = slots["swap"] and not task.second
    pair = (second, first) if swapped else (first, second)
    return [*lines, f"return ({pair[0]}, {pair[1]})"]


def _split(task: Task, rng: random.Random, style: str) -> list[str]:
    slots = task.slots
    test, value = _apply(slots["test"], "x"), _apply(slots["map"], "x")
    lines: list[str] = []
    if task.second:
        parts = [f"[{value} for x in xs if {t}]" for t in (test, f"not ({test})")]
        return [f"return {parts[0]}, {parts[1]}"]
    source = "xs"
    if slots["map"] and style != "loop":
        source = rng.choice(LISTS)
        lines = [f"{source} = [{value} for x in xs]"]
    if style == "loop":
        a, b = rng.sample(LISTS, 2)
        rebind = [f"    x = {value}"] if slots["map"] else []
        add = f"    ({a} if {test} else {b}).append(x)"
        return [f"{a}, {b} = [], []", "for x in xs:", *rebind, add, f"return {a}, {b}"]
    yes, no = f"[x for x in {source} if {test}]", f"[x for x in {source} if not ({test})]"
    return [*lines, f"return {yes}, {no}"]


def _nth(task: Task, rng: random.Random, style: str) -> list[str]:
    """An element by its place; the second reading is for lists that are long enough."""
    place, op, name = task.slots["place"], task.slots["map"], task.family.params[0][0]
    assert place and op
    empty, taken = '""' if task.family.name == "word" else "0.0", _apply(place, name)
    v, enough = rng.choice(VALUES), f"len({name}) > {place.py[-2]}"
    if task.second and style in ("direct", "mapped"):
        return [f"return {op.py.replace('{x}', taken)}"]
    if task.second:
        return [f"{v} = {taken}", f"return {_apply(op, v)}"]
    if style in ("loop", "helper"):
        rows = [f"{v} = {empty}", f"if {enough}:", f"    {v} = {taken}"]
        return [*rows, f"return {_apply(op, v)}"]
    return [f"{v} = {taken} if {enough} else {empty}", f"return {_apply(op, v)}"]


def _lists(task: Task, rng: random.Random, style: str) -> list[str]:
    name, slots = task.family.name, task.slots
    words = name in ("join", "words")
    var = "w" if words else rng.choice(("x", "x", "n", "e")) if name != "range" else "i"
    source = "ws" if words else "range(1, n + 1)" if name == "range" else "xs"
    keep, end = slots.get("keep"), slots.get("end")
    if name == "quantify":
        end = SOME if task.second else EVERY
    test, value = _apply(keep, var), _apply(slots["map"], var)
    if name in ("quantify", "flags"):
        value = _apply(slots["test"], value)
    if name == "table":
        value = f"({var}, {value})"
    inner = _apply(keep, value) if task.second else test
    condition = f" if {inner}" if keep else ""
    imports = ["import math"] if end and end.py.startswith("math") and style != "loop" else []
    if style == "loop":
        return _loop(end, rng, var, inner if keep else "", value, source, name == "quantify")
    if style == "mapped" and (not task.second or not keep):
        items = source
        if keep:
            items = f"filter(lambda {var}: {test}, {items})"
        if value != var:
            items = f"map(lambda {var}: {value}, {items})"
        items = f"list({items})"
    elif style == "lets" and keep and value != var and not task.second:
        listed = rng.choice(LISTS)
        imports.append(f"{listed} = [{var} for {var} in {source}{condition}]")
        items = f"[{value} for {var} in {listed}]"
    else:
        items = f"[{value} for {var} in {source}{condition}]"
    if style in ("lets", "helper") and end:
        listed = rng.choice(LISTS)
        imports.append(f"{listed} = {items}")
        items = listed
    return [*imports, f"return {_finish(end, items)}"]


def _finish(end: Op | None, items: str) -> str:
    if end is None:
        return items
    template = end.py if "{x}" in end.py else end.py + "({x})"
    return template.replace("{x}", items)


def _loop(
    end: Op | None, rng: random.Random, var: str, test: str, value: str, source: str, boolean: bool
) -> list[str]:
    if boolean:
        assert end
        stop = value if end.key == "some" else f"not ({value})"
        early, late = ("True", "False") if end.key == "some" else ("False", "True")
        row = [f"for {var} in {source}:", f"    if {stop}:", f"        return {early}"]
        return [*row, f"return {late}"]
    name = rng.choice(LISTS)
    total = end is not None and end in TOTALS
    if total and end is not None:
        init = end.init
        step = end.step_py.replace("{acc}", name).replace("{v}", value)
    else:
        init, step = "[]", f"{name}.append({value})"
    inner = [f"    if {test}:", f"        {step}"] if test else [f"    {step}"]
    result = name if total else _finish(end, name)
    return [f"{name} = {init}", f"for {var} in {source}:", *inner, f"return {result}"]

"""Writes OCaml for a task: literals, the prompt, and a program in one of several plain styles.

The styles are those that people write (nested calls, pipes, bindings, local functions, folds,
recursion); all of them are correct. No torch, no I/O.
"""

from __future__ import annotations

import random
from typing import Any

from starter.families import Task
from starter.ops import EVERY, SOME, TOTALS, Op, fill

BASIC = ("pipe", "nested", "lets", "helper", "fold", "rec")
STYLES = (*BASIC, *BASIC, "helper")  # drawn uniformly
END = "(* END *)"
LISTS = ("ys", "zs", "l", "kept", "r", "out")
VALUES = ("a", "b", "v", "y", "k", "m")
FUNCTIONS = ("f", "g", "h", "change", "conv")
TESTS = ("p", "ok", "keep", "good", "test")
LOOPS = ("go", "loop", "aux")
RESTS = ("rest", "t", "tl")


def literal(value: Any, kind: str, atom: bool = False) -> str:
    """A value of an OCaml type as source; `atom` adds parentheses where an argument needs them."""
    if kind.endswith(" list") and (" * " not in kind or kind.startswith("(")):
        inner = kind.removesuffix(" list").removeprefix("(").removesuffix(")")
        return "[" + "; ".join(literal(v, inner) for v in value) + "]"
    if kind.endswith(" option"):
        text = "None" if value is None else f"Some {literal(value, kind.split()[0], True)}"
        return f"({text})" if atom and value is not None else text
    if " * " in kind:
        parts = zip(value, kind.split(" * "), strict=True)
        return "(" + ", ".join(literal(v, k) for v, k in parts) + ")"
    if kind == "bool":
        return "true" if value else "false"
    if kind == "string":
        return f'"{value}"'
    if kind == "char":
        return f"'{value}'"
    text = repr(float(value)) if kind == "float" else str(value)
    return f"({text})" if atom and text.startswith("-") else text


def call(task: Task, args: tuple[Any, ...]) -> str:
    """`solve [1; 2]`."""
    kinds = [k for _, k in task.family.params]
    return " ".join(["solve", *(literal(a, k, True) for a, k in zip(args, kinds, strict=True))])


def signature(task: Task) -> str:
    """`val solve : int list -> int`."""
    return "val solve : " + " -> ".join([*(k for _, k in task.family.params), task.family.result])


def head(task: Task) -> str:
    """The opening of the definition, which the completion continues."""
    params = " ".join(f"({n} : {k})" for n, k in task.family.params)
    return f"let solve {params} : {task.family.result} ="


def prompt(task: Task, words: str, shown: list[tuple[tuple[Any, ...], Any]]) -> str:
    """The comment with its examples, then the head and a newline."""
    result = task.family.result
    examples = [f"   {call(task, a)} = {literal(r, result)}" for a, r in shown]
    return "\n".join([f"(* {words}", *examples]) + f" *)\n{head(task)}\n"


def _apply(op: Op | None, operand: str) -> str:
    return op.code("ocaml", operand) if op else operand


def _atom(text: str) -> str:
    return fill("{x}", text)


def body(task: Task, rng: random.Random, style: str) -> str:
    """The lines that continue the head, indented by two spaces, the end marker aside."""
    name, slots, second = task.family.name, task.slots, task.second
    if name in ("fold", "select", "join", "words", "range", "quantify", "flags", "table"):
        return _lists(task, rng, style)
    if name == "real" and second:
        one, two = slots["one"], slots["two"]
        assert one and two
        return "  " + two.ml.replace("{x}", one.ml.replace("{x}", "x"))
    if name in ("text", "real"):
        ops = [op for op in slots.values() if op]
        return _chain(task.family.params[0][0], ops[::-1] if second else ops, rng, style)
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
    return "\n".join("  " + line for line in lines)


def _chain(x: str, ops: list[Op], rng: random.Random, style: str) -> str:
    lines: list[str] = []
    if style == "pipe":
        inner = rng.choice((x, rng.choice(VALUES)))
        parts = [x, *(f"(fun {inner} -> {op.code('ocaml', inner)})" for op in ops)]
        return "  " + "\n  |> ".join(parts)
    names = iter(rng.sample(VALUES if style != "helper" else FUNCTIONS, len(ops)))
    value = x
    if style in ("lets", "fold", "rec"):
        for op in ops[:-1]:
            name = x if style == "rec" else next(names)
            lines.append(f"let {name} = {op.code('ocaml', value)} in")
            value = name
        lines.append(ops[-1].code("ocaml", value))
    elif style == "helper":
        for op in ops:
            name, arg = next(names), rng.choice(VALUES)
            lines.append(f"let {name} {arg} = {op.code('ocaml', arg)} in")
            value = f"{name} {_atom(value)}"
        lines.append(value)
    else:
        for op in ops:
            value = op.code("ocaml", value)
        lines.append(value)
    return "\n".join("  " + line for line in lines)


def _choose(task: Task, rng: random.Random, style: str) -> list[str]:
    slots, lines = task.slots, list[str]()
    given = slots["yes"] if task.second else slots.get("map")
    subject = _apply(given, "x")
    yes, no = _apply(slots["yes"], "x"), _apply(slots["no"], "x")
    if given and style in ("lets", "fold", "rec"):
        name = rng.choice(VALUES)
        lines, subject = [f"let {name} = {subject} in"], name
        yes = name if task.second else yes
    test = _apply(slots["test"], subject)
    if style == "helper":
        name, arg = rng.choice(TESTS), rng.choice(VALUES)
        inner = _apply(slots["test"], _apply(given, arg))
        return [f"let {name} {arg} = {inner} in", f"if {name} x then {yes} else {no}"]
    if style == "pipe":
        return [*lines, f"match {test} with", f"| true -> {yes}", f"| false -> {no}"]
    if style == "rec":
        return [*lines, "match x with", f"| _ when {test} -> {yes}", f"| _ -> {no}"]
    if style == "fold":
        return [*lines, f"if not ({test}) then {no}", f"else {yes}"]
    return [*lines, f"if {test} then {yes} else {no}"]


def _compare(task: Task, rng: random.Random, style: str) -> list[str]:
    slots = task.slots
    value, name = _apply(slots["map"], "x"), rng.choice(VALUES)
    if style in ("lets", "fold"):
        return [f"let {name} = {value} in", _apply(slots["test"], name)]
    if style == "helper":
        f, p = rng.choice(FUNCTIONS), rng.choice(TESTS)
        first = f"let {f} {name} = {_apply(slots['map'], name)} in"
        return [first, f"let {p} {name} = {_apply(slots['test'], name)} in", f"{p} ({f} x)"]
    if style == "pipe":
        return [f"if {_apply(slots['test'], value)} then true else false"]
    if style == "rec":
        test = _apply(slots["test"], name)
        return [f"match {value} with", f"| {name} when {test} -> true", "| _ -> false"]
    return [_apply(slots["test"], value)]


def _search(task: Task, rng: random.Random, style: str) -> list[str]:
    slots = task.slots
    mapped = _apply(slots["map"], "x")
    test, value = _apply(slots["test"], mapped if task.second else "x"), f"Some {_atom(mapped)}"
    if style == "rec":
        go, rest = rng.choice(LOOPS), rng.choice(RESTS)
        rows = [f"let rec {go} = function", "  | [] -> None"]
        row = f"  | x :: {rest} -> if {test} then {value} else {go} {rest}"
        return [*rows, row, "in", f"{go} xs"]
    if style == "fold":
        some = f"if {test} then {value} else acc"
        return [f"List.fold_right (fun x acc -> {some}) xs None"]
    if style == "lets":
        name = rng.choice(LISTS)
        rows = [f"let {name} = List.filter (fun x -> {test}) xs in", f"match {name} with"]
        return [*rows, "| [] -> None", f"| x :: _ -> {value}"]
    if slots["map"] is None:
        return [f"List.find_opt (fun x -> {test}) xs"]
    found, change = f"List.find_opt (fun x -> {test})", f"(fun x -> {mapped})"
    if task.second and style != "helper":
        plain = f"List.find_opt (fun x -> {_apply(slots['test'], 'x')})"
        if style == "pipe":
            return ["xs", f"|> List.map {change}", f"|> {plain}"]
        return [f"{plain} (List.map {change} xs)"]
    if style == "pipe":
        return ["xs", f"|> {found}", f"|> Option.map {change}"]
    if style == "helper":
        return [f"match {found} xs with", f"| Some x -> {value}", "| None -> None"]
    return [f"Option.map {change} ({found} xs)"]


def _maybe(task: Task, rng: random.Random, style: str) -> list[str]:
    slots, v = task.slots, rng.choice(("x", *VALUES))
    mapped = _apply(slots["map"], v)
    value = f"Some {_atom(mapped)}"
    if slots["test"] is None:
        if style in ("pipe", "nested", "helper"):
            return [f"Option.map (fun {v} -> {mapped}) o"]
        return ["match o with", f"| Some {v} -> {value}", "| None -> None"]
    test = _apply(slots["test"], mapped if task.second else v)
    if style in ("pipe", "nested"):
        return [f"Option.bind o (fun {v} -> if {test} then {value} else None)"]
    if style in ("lets", "helper"):
        rows = ["match o with", "| None -> None"]
        return [*rows, f"| Some {v} -> if {test} then {value} else None"]
    return ["match o with", f"| Some {v} when {test} -> {value}", "| _ -> None"]


def _pair(task: Task, rng: random.Random, style: str) -> list[str]:
    slots = task.slots
    first, second = _apply(slots["first"], "x"), _apply(slots["second"], "y")
    lines: list[str] = []
    if style in ("lets", "fold", "rec"):
        a, b = rng.sample([v for v in VALUES if v != "y"], 2)
        lines = [f"let {a} = {first} in", f"let {b} = {second} in"]
        first, second = a, b
    if style == "helper":
        f, v = rng.choice(FUNCTIONS), rng.choice(VALUES)
        lines, first = [f"let {f} {v} = {_apply(slots['first'], v)} in"], f"{f} x"
    swapped = slots["swap"] and not task.second
    pair = (second, first) if swapped else (first, second)
    return [*lines, f"({pair[0]}, {pair[1]})"]


def _split(task: Task, rng: random.Random, style: str) -> list[str]:
    slots = task.slots
    test, mapped = _apply(slots["test"], "x"), _apply(slots["map"], "x")
    if task.second:
        a, b = rng.sample(LISTS, 2)
        change = f"List.map (fun x -> {mapped})"
        rows = [f"let {a}, {b} = List.partition (fun x -> {test}) xs in"]
        return [*rows, f"({change} {a}, {change} {b})"]
    source = f"List.map (fun x -> {mapped}) xs" if slots["map"] else "xs"
    if style == "pipe" and slots["map"]:
        return ["xs", f"|> List.map (fun x -> {mapped})", f"|> List.partition (fun x -> {test})"]
    if style == "helper":
        p = rng.choice(TESTS)
        return [f"let {p} x = {test} in", f"List.partition {p} {_atom(source)}"]
    if style in ("lets", "fold"):
        name = rng.choice(LISTS) if slots["map"] else "xs"
        lines = [f"let {name} = {source} in"] if slots["map"] else []
        yes, no = f"List.filter (fun x -> {test})", f"List.filter (fun x -> not ({test}))"
        return [*lines, f"({yes} {name}, {no} {name})"]
    return [f"List.partition (fun x -> {test}) {_atom(source)}"]


def _nth(task: Task, rng: random.Random, style: str) -> list[str]:
    """An element by its place; the second reading is for lists that are long enough."""
    place, op = task.slots["place"], task.slots["map"]
    assert place and op
    name, v = task.family.params[0][0], rng.choice(("x", *VALUES))
    index, taken = int(place.py[-2]), _apply(place, name)
    empty = '""' if task.family.name == "word" else "0.0"
    pattern, value = "_ :: " * index + f"{v} :: _", _apply(op, v)
    if style in ("pipe", "rec"):
        short = 'failwith "short"' if task.second else _apply(op, empty)
        return [f"match {name} with", f"| {pattern} -> {value}", f"| _ -> {short}"]
    if task.second:
        return [f"let {v} = {taken} in", value] if style == "lets" else [_apply(op, taken)]
    if style in ("lets", "helper"):
        found = f"Option.value (List.nth_opt {name} {index}) ~default:{empty}"
    else:
        found = f"if List.length {name} > {index} then {taken} else {empty}"
    return [f"let {v} = {found} in", value]


def _lists(task: Task, rng: random.Random, style: str) -> str:
    """Pipelines over a list: source, filter, map, end."""
    name, slots = task.family.name, task.slots
    words = name in ("join", "words")
    var = "w" if words else rng.choice(("x", "x", "n", "e")) if name != "range" else "i"
    source = "ws" if words else "List.init n (fun i -> i + 1)" if name == "range" else "xs"
    keep, end = slots.get("keep"), slots.get("end")
    test, value = _apply(keep, var), _apply(slots["map"], var)
    if name in ("quantify", "flags"):
        value = _apply(slots["test"], value)
    if name == "table":
        value = f"({var}, {value})"
    some = (SOME if task.second else EVERY) if name == "quantify" else None
    if style in ("fold", "rec") and name != "range":
        inner = _apply(keep, value) if task.second else test
        return _loop(end or some, rng, style, var, inner if keep else "", value, source)
    if style in ("fold", "rec"):
        style = "nested"
    steps, lines = [], []
    if keep:
        steps.append(("List.filter", test))
    if some:
        steps.append((some.ml, value))
    elif slots["map"] or value != var:
        steps.append(("List.map", value))
    if task.second and not some:
        steps.reverse()
    calls = []
    for function, text in steps:
        if style == "helper":
            f = rng.choice(TESTS if function == "List.filter" or some else FUNCTIONS)
            lines.append(f"  let {f} {var} = {text} in")
            calls.append(f"{function} {f}")
        else:
            calls.append(f"{function} (fun {var} -> {text})")
    if end:
        calls.append(end.ml.removesuffix(" {x}"))
    return "\n".join([*lines, *_compose(source, calls, rng, style)])


def _compose(source: str, calls: list[str], rng: random.Random, style: str) -> list[str]:
    if style == "pipe" and calls:
        return [f"  {source}", *(f"  |> {c}" for c in calls)]
    lines: list[str] = []
    names = iter(rng.sample(LISTS, len(calls) + 1))
    value = source
    if style == "lets" and calls:
        for step in calls[:-1]:
            name = next(names)
            lines.append(f"  let {name} = {step} {_atom(value)} in")
            value = name
        return [*lines, f"  {calls[-1]} {_atom(value)}"]
    for step in calls:
        value = f"{step} {_atom(value)}"
    return [f"  {value}"]


def _loop(
    end: Op | None, rng: random.Random, style: str, var: str, test: str, value: str, source: str
) -> str:
    """The pipeline as one fold or one recursive function."""
    built = end is None or end.post
    init = "[]" if end is None or end.post else end.init
    step = "{v} :: {acc}" if end is None or end.post else end.step_ml
    wrap = end.ml if end is not None and end.post else "{x}"
    plain = end in TOTALS or built
    operand = _atom(value) if plain and not value.startswith(f"({var}, ") else value

    def combine(acc: str) -> str:
        call_acc = _atom(acc) if step.startswith("max") else acc
        return step.replace("{v}", operand).replace("{acc}", call_acc)

    if style == "fold":
        inner = f"if {test} then {combine('acc')} else acc" if test else combine("acc")
        if built:
            folded = f"List.fold_right (fun {var} acc -> {inner}) {source} []"
        else:
            folded = f"List.fold_left (fun acc {var} -> {inner}) {init} {source}"
        return "  " + (fill(wrap, folded) if wrap != "{x}" else folded)
    go, rest = rng.choice(LOOPS), rng.choice(RESTS)
    again = f"{go} {rest}"
    inner = f"if {test} then {combine(again)} else {again}" if test else combine(again)
    rows = [f"let rec {go} = function", f"  | [] -> {init}", f"  | {var} :: {rest} -> {inner}"]
    final = f"{go} {source}"
    final = fill(wrap, final) if wrap != "{x}" else final
    return "\n".join("  " + r for r in [*rows, "in", final])

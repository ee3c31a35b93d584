"""Trusted driver inside the sandbox: loads a Python candidate, calls it, prints what it returns.

Or runs it as a script on a text: then all that follows H and V is what the script prints. It sees
inputs and never an expected value. Values leave as JSON by exact builtin type, with limits; a
subclass or an object of the candidate's own has no form and is unserialisable. Lines: H (started),
V k b (reading k was taken, b: its text binds the name), L (loaded), E kind message, R i value, X i
kind message, D (done). Left out: judging (`python.py`, `stdin.py`), isolation
(`candidate_process.py`). Runs alone under any Python 3.8+; imports nothing but builtins, so that a
candidate starts after 6 ms.
"""

# ruff: noqa: BLE001 - a candidate may raise anything, and the driver must say so and go on
from __future__ import annotations

import marshal
import os
import sys

MYPY = False  # typing is slow to import; its names are needed by the type checker alone
if MYPY:
    from collections.abc import Callable
    from typing import Any

NODES, DEPTH, BITS, TEXT = 100_000, 60, 14_000, 300


class Unserialisable(BaseException):
    """A value without a plain form; not an Exception, so that no candidate code catches it."""


def quote(text: str) -> str:
    """A JSON string; surrogates and controls as escapes of UTF-16 units."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return '"' + text + '"'
    units = text.encode("utf-16-be", "surrogatepass")
    step = range(0, len(units), 2)
    return '"' + "".join([f"\\u{units[k]:02x}{units[k + 1]:02x}" for k in step]) + '"'


def many(tag: str, values: Any, depth: int, left: list[int]) -> str:
    """A tagged list of values."""
    return '{"' + tag + '":[' + ",".join([form(v, depth + 1, left) for v in values]) + "]}"


def pairs(value: Any, depth: int, left: list[int]) -> str:
    """A JSON list of [key, value]."""
    items = [f"[{form(k, depth + 1, left)},{form(v, depth + 1, left)}]" for k, v in value.items()]
    return "[" + ",".join(items) + "]"


def form(value: Any, depth: int, left: list[int]) -> str:
    """`value` as JSON text; raises Unserialisable. left: [nodes that may still be written]."""
    left[0] -= 1
    if depth > DEPTH or left[0] < 0:
        raise Unserialisable
    kind = type(value)
    if value is None or value is True or value is False:
        return "null" if value is None else "true" if value else "false"
    if kind is int:
        if value.bit_length() > BITS:
            raise Unserialisable
        return int.__repr__(value)
    if kind is float:
        return float.__repr__(value).replace("inf", "Infinity").replace("nan", "NaN")
    if kind is str:
        left[0] -= len(value) >> 6
        if left[0] < 0:
            raise Unserialisable
        return quote(value)
    if kind is list:
        return "[" + ",".join([form(v, depth + 1, left) for v in value]) + "]"
    if kind is tuple:
        return many("t", value, depth, left)
    if kind is dict:
        return '{"d":' + pairs(value, depth, left) + "}"
    if kind is set or kind is frozenset:
        return many("s" if kind is set else "z", value, depth, left)
    if kind is bytes or kind is bytearray:
        left[0] -= len(value) >> 6
        return '{"' + ("b" if kind is bytes else "a") + '":"' + bytes(value).hex() + '"}'
    if kind is complex:
        return many("c", (value.real, value.imag), depth, left)
    if kind is range:
        return many("r", (value.start, value.stop, value.step), depth, left)
    return rich(value, kind, depth, left)


def rich(value: Any, kind: type, depth: int, left: list[int]) -> str:
    """Exact standard-library types that a candidate has imported."""
    if kind.__name__ == "ListNode":
        return form(linked(value, left), depth, left)
    if kind.__name__ == "TreeNode":
        return form(levels(value, left), depth, left)
    found = sys.modules.get(str(getattr(kind, "__module__", "")))
    if found is None or getattr(found, kind.__name__, None) is not kind:
        raise Unserialisable
    where = (found.__name__, kind.__name__)
    if where[0] == "numpy" and hasattr(kind, "tolist"):  # an array or one of its numbers
        if value.size > left[0]:
            raise Unserialisable
        return form(value.tolist(), depth + 1, left)
    if where in (("collections", "Counter"), ("collections", "OrderedDict")):
        return '{"' + where[1] + '":' + pairs(value, depth, left) + "}"
    if where == ("collections", "defaultdict"):
        return '{"d":' + pairs(value, depth, left) + "}"
    if where == ("collections", "deque"):
        return many("deque", value, depth, left)
    if where == ("decimal", "Decimal"):
        return '{"Decimal":' + quote(str(value)) + "}"
    if where == ("fractions", "Fraction"):
        return many("Fraction", (value.numerator, value.denominator), depth, left)
    if where in (("datetime", "datetime"), ("datetime", "date"), ("datetime", "time")):
        return '{"' + where[1] + '":' + quote(value.isoformat()) + "}"
    if where == ("datetime", "timedelta"):
        return many("timedelta", (value.days, value.seconds, value.microseconds), depth, left)
    raise Unserialisable


def linked(node: Any, left: list[int]) -> list[Any]:
    """The values of a linked list as its tasks define it."""
    values: list[Any] = []
    while node is not None and len(values) <= left[0]:
        values.append(node.val)
        node = node.next
    return values


def levels(root: Any, left: list[int]) -> list[Any]:
    """The values of a binary tree level by level, None for a child that is not there."""
    row: list[Any] = [root]
    values: list[Any] = []
    for node in row:  # grows
        values.append(None if node is None else node.val)
        if len(row) > left[0]:
            raise Unserialisable
        row += [] if node is None else [node.left, node.right]
    while values and values[-1] is None:
        values.pop()
    return values


def bound_names(tree: Any) -> set[str]:
    """Names that the top level of a module binds, also inside its ifs, tries, withs and loops."""
    names: set[str] = set()
    todo = list(tree.body)
    while todo:
        node = todo.pop()
        for child in getattr(node, "names", ()):
            if hasattr(child, "name"):  # import x as y
                names.add((child.asname or child.name).split(".")[0])
        if hasattr(node, "name") and hasattr(node, "body"):  # def, class
            names.add(node.name)
            continue
        for field in ("body", "orelse", "finalbody", "handlers"):
            todo += getattr(node, field, None) or []
        targets = list(getattr(node, "targets", ())) + [getattr(node, "target", None)]
        while targets:
            target = targets.pop()
            if hasattr(target, "id"):
                names.add(target.id)
            targets += getattr(target, "elts", None) or []
    return names


CONSTRUCTORS = "int float str list dict set tuple frozenset range len bytes complex TypeVar"
CONSTRUCTORS += " namedtuple defaultdict Counter OrderedDict deque compile Decimal Fraction"


def has_call(node: Any) -> bool:
    """Whether evaluating an expression may run something other than making a value."""
    kind = type(node).__name__
    if kind in ("Await", "Yield", "YieldFrom", "NamedExpr"):
        return True
    if kind == "Call":
        called = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if called not in CONSTRUCTORS.split():
            return True
    for field in getattr(node, "_fields", ()):
        value = getattr(node, field)
        for child in value if type(value) is list else [value]:
            if has_call(child):
                return True
    return False


def idle(body: list[Any]) -> bool:
    """Whether statements do nothing, such as a number, a word, or definitions that nobody calls."""
    for node in body:
        kind = type(node).__name__
        if kind == "Expr" and has_call(node):
            return False
        if kind not in ("Expr", "Pass", "ClassDef", "FunctionDef", "Import", "ImportFrom"):
            return False
    return True


def quiet(texts: list[str]) -> list[Any]:
    """Imports, definitions and plain assignments of the texts that parse."""
    kept = []
    for text in texts:
        try:
            tree: Any = compile(text, "solution.py", "exec", 0x400)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in tree.body:
            kind = type(node).__name__
            if kind in ("Import", "ImportFrom", "FunctionDef", "AsyncFunctionDef", "ClassDef"):
                kept.append(node)
            elif kind in ("Assign", "AnnAssign") and not has_call(node):
                kept.append(node)
    return kept


def choose(
    candidates: list[tuple[str, str, list[str]]], entry: str
) -> tuple[int, int, Any, list[Any]]:
    """(index, whether it binds `entry`, code, what other blocks define) of the best that parses.

    Raises the first one's error when none does.

    candidates: (source, kind, blocks before). A program that binds `entry` comes first; then the
    text as it is (it may bind in ways that only running shows, and a body that parses alone returns
    nothing); then the text as a body; then any block that parses.
    """
    best: tuple[int, int, Any, Any, list[str]] | None = None
    first: BaseException | None = None
    entry, _, method = entry.partition("().")
    for k, (text, kind, before) in enumerate(candidates):
        try:
            tree: Any = compile(text, "solution.py", "exec", 0x400)  # PyCF_ONLY_AST
            code = compile(tree, "solution.py", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            first = first or error
            continue
        rank = {"whole": 1, "part": 3, "body": 2}[kind]
        own = [node for node in tree.body if getattr(node, "name", "") == entry]
        if kind == "body" and own and idle(own[-1].body):
            rank = 4
        if kind != "body" and bound_names(tree) & {entry, method or entry}:
            rank = 0
        if not entry and idle(tree.body):  # a script that does nothing: a sample of the output
            rank = 5
        if best is None or rank < best[0]:
            best = (rank, k, tree, code, before)
        if rank == 0:
            break
    if best is None:
        raise first or SyntaxError("nothing to run")
    rank, k, tree, code, before = best
    binds = rank == 0 or (rank < 4 and entry in bound_names(tree))
    return k, int(binds), code, quiet(before)


def alone(node: Any) -> Any:
    """One statement as a program."""
    tree: Any = compile("", "solution.py", "exec", 0x400)
    tree.body = [node]
    return compile(tree, "solution.py", "exec", dont_inherit=True)


def describe(error: BaseException) -> str:
    """Kind of failure and one short line about it; the candidate's own __str__ may misbehave."""
    kind = "memory" if type(error) is MemoryError else "exception"
    try:
        text = str(error)
    except BaseException:
        text = ""
    name = type(error).__name__
    if BUILTINS.get(name) is not type(error):  # the candidate's own, or a library's
        known = [base.__name__ for base in type.mro(type(error)) if is_built_in(base)]
        name += f" ({known[0]})" if known else ""
    return kind + " " + " ".join((name + (": " + text[:TEXT]) * bool(text)).split())


BUILTINS = dict(sys.modules["builtins"].__dict__)


def is_built_in(kind: type) -> bool:
    """Whether the name of a class means that class, and no module's of the candidate."""
    return BUILTINS.get(kind.__name__) is kind


def views_of(cases: list[tuple[Any, str]]) -> list[Any]:
    """What each case compares, compiled before the candidate runs."""
    return [compile(view, "view", "eval") if view else None for _, view in cases]


def asked(view: Any, result: Any, args: Any) -> Any:
    """What is compared of a result, an expression of it and of the arguments after the call."""
    if view is None:
        return result
    scope = {"__builtins__": BUILTINS, "result": result, "args": args}
    for name in view.co_names:
        if name in ("math", "collections"):
            scope[name] = __import__(name)
    return eval(view, scope)


def called(scope: Any, entry: str) -> Any:
    """The function of that name, or the method of a new `Solution`; None where there is neither."""
    owner, _, name = entry.rpartition("().")
    if not owner and name in scope:
        return scope[name]
    kind = scope.get(owner or "Solution")
    return scope.get(name) if kind is None else getattr(kind(), name, None)


def serve(request: Any, put: Callable[[str], None]) -> None:
    """Answer one request on `put`; never raises for what the candidate does."""
    candidates, entry, cases, folders = request
    sys.path += folders
    views = views_of(cases)
    try:
        index, binds, code, others = choose(candidates, entry)
    except BaseException as error:
        put("E syntax " + describe(error).split(" ", 1)[1] + "\n")
        return
    put(f"V {index} {binds}\n")
    module = type(sys)("solution")
    sys.modules["solution"] = module
    for node in others:  # they may be tests or examples: what fails is not missed
        try:
            exec(alone(node), module.__dict__)
        except BaseException:
            continue
    try:
        exec(code, module.__dict__)
    except BaseException as error:
        put("E load " + describe(error) + "\n")
        return
    try:
        function = called(module.__dict__, entry)
    except BaseException as error:
        put("E load " + describe(error) + "\n")
        return
    if not callable(function):
        put("E missing no " + entry + " after loading\n")
        return
    put("L\n")
    for i, (given, _) in enumerate(cases):
        try:
            literal = type(given) is not str  # else of what the head defines: list_node([1, 2])
            args = marshal.loads(given) if literal else eval(given, {**module.__dict__, **SCOPE})
            function = called(module.__dict__, entry)
            value = asked(views[i], function(*args), args)
            put(f"R {i} {form(value, 0, [NODES])}\n")
        except Unserialisable:
            put(f"X {i} unserialisable\n")
        except BaseException as error:
            put(f"X {i} {describe(error)}\n")


SCOPE = {"inf": float("inf"), "nan": float("nan")}


def channel() -> Callable[[str], None]:
    """Keep the result channel for ourselves and give the candidate /dev/null; returns `put`."""
    fd = os.dup(1)
    null = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
    write, encode = os.write, str.encode

    def put(text: str) -> None:
        data = encode(text, "utf-8", "backslashreplace")
        while data:
            data = data[write(fd, data) :]

    return put


def rewrite(text: bytes) -> None:
    """Make standard input a file that holds this text alone; it held the request."""
    os.ftruncate(0, 0)
    os.lseek(0, 0, 0)
    while text:
        text = text[os.write(0, text) :]
    os.lseek(0, 0, 0)


def leave(code: Any = None) -> None:
    """What `exit` and `quit` do."""
    raise SystemExit(code)


def script(request: Any) -> int:
    """Run one program as a script on a text, to the end of its threads; the exit status.

    Its standard output is the channel. What it raised stands alone on standard error.
    """
    candidates, text, folders = request
    sys.path += folders
    write = os.write
    try:
        index, _, code, others = choose(candidates, "")
    except BaseException as error:
        write(1, ("E " + describe(error).split(" ", 1)[1] + "\n").encode("utf-8", "replace"))
        return 0
    write(1, f"V {index}\n".encode())
    rewrite(text)
    told, null = os.dup(2), os.open("/dev/null", os.O_WRONLY)
    os.dup2(null, 2)
    module = type(sys)("__main__")
    module.__file__ = "solution.py"
    sys.modules["__main__"], sys.argv = module, ["solution.py"]
    sys.stdin = open(0, encoding="utf-8", closefd=False)
    sys.stdout = out = open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", errors="replace", closefd=False)
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, f"__{name}__", getattr(sys, name))
    sys.modules["builtins"].__dict__.update(exit=leave, quit=leave)  # as `site` has them
    status = 0
    try:
        for node in others:
            try:
                exec(alone(node), module.__dict__)
            except BaseException:
                continue
        exec(code, module.__dict__)
    except BaseException as error:
        status = ended_with(error, told)
    try:  # what the interpreter does at its end
        for name, function in (("threading", "_shutdown"), ("atexit", "_run_exitfuncs")):
            if name in sys.modules or name == "atexit":
                getattr(__import__(name), function)()
        for stream in (sys.stdout, out):
            if stream is not None and not stream.closed:
                stream.flush()
    except BaseException as error:
        status = ended_with(error, told) or 1
    return status


def ended_with(error: BaseException, told: int) -> int:
    """The exit status of a script that raised; what it raised is written to `told`."""
    if type(error) is SystemExit and (error.code is None or type(error.code) is int):
        return (error.code or 0) & 255
    os.write(told, describe(error).encode("utf-8", "replace"))
    return 1


def answer(data: bytes) -> int:
    """Whatever a request asks for; the exit status."""
    request = marshal.loads(data)
    if len(request) == 3:
        os.write(1, b"H\n")
        return script(request)
    put = channel()
    put("H\n")
    serve(request, put)
    put("D\n")
    return 0


def main() -> None:
    """One candidate for this process."""
    data = sys.stdin.buffer.read()
    finish = os._exit
    del sys.path[0]
    finish(answer(data))


if __name__ == "__main__":
    main()

"""YAML text to a flat table of options, each value with the place it came from.

YAML 1.2 through ruamel.yaml's node tree, because nodes know their lines: duplicate keys, unknown
and renamed options and misplaced sections are all found in one pass. Left out: types and ranges
(`check`), merge keys (`<<`) and tags of YAML's own making.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from pawl import renamed
from pawl.config.foreign import advice
from pawl.config.tree import fields, is_map, item_of, nearest, options, section_of
from pawl.errors import PawlError

Place = Callable[[Node], str]
CLOSE = 0.8  # likeness of a name that is misspelt rather than another library's
SHOWN = 6  # names of another library's section that a message translates
TIMESTAMP = "tag:yaml.org,2002:timestamp"
DEPTH = 12  # deeper nesting than any option has, aliases followed
LONGEST = 1 << 17  # characters of a config: seconds for the YAML reader, ten times what one needs
VALUES = 3_000  # with every alias written out; as many of them unknown are told in seconds


@dataclass(slots=True)
class Table:
    """Options that were given: value and place by path, and what was wrong on the way.

    `places` also holds the fields of list items ("rules.0.metric") and sections ("optim").
    """

    root: type[BaseModel]
    values: dict[str, object] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    errors: list[PawlError] = field(default_factory=list)

    def put(self, path: str, value: object, place: str) -> None:
        """Set one option; it replaces what was set for its section or for parts of it."""
        for old in list(self.values):
            if old.startswith(f"{path}.") or path.startswith(f"{old}."):
                del self.values[old]
        for old in list(self.places):
            if old.startswith(f"{path}."):
                del self.places[old]
        self.values[path] = value
        self.places[path] = place

    def unknown(
        self, path: str, model: type[BaseModel], place: str, below: Sequence[str] = ()
    ) -> None:
        """Note an unknown name: its new name, what another library means by it, or the nearest one.

        below: the paths that stand in it, where it is a section.
        """
        if path in renamed.OPTIONS:
            what, new = f"`{path}` has a new name", renamed.OPTIONS[path]
            values = ", ".join(f"{a} -> {b}" for a, b in renamed.VALUES.get(new, {}).items())
            hint = f"write `{new}`" + (f" ({values})" if values else "")
            self.errors.append(PawlError(what, place, hint))
            return
        section, _, name = path.rpartition(".")
        everything = [p for p, _ in options(self.root)]
        inside = [p for p in everything if p.startswith(f"{section}.") and p.endswith(f".{name}")]
        close = difflib.get_close_matches(name, list(fields(model)), n=1, cutoff=CLOSE)
        told = [advice(p, set(everything)) for p in below or [path]]
        told = [] if close or inside else list(dict.fromkeys(filter(None, told)))
        meant = inside[0] if inside else nearest(name, list(fields(model)), everything)
        if meant in fields(model) and section:
            meant = f"{section}.{meant}"
        hint = f"did you mean `{meant}`?" if meant else "`pawl schema` lists every option"
        hint = "; ".join(told[:SHOWN]) or hint
        if path in everything:  # as on the command line
            hint = f"write it in its section: {section}: {{{name}: ...}}"
        self.errors.append(PawlError(f"unknown option `{path}`", place, hint))


def put_yaml(table: Table, path: str, text: str, origin: str, lines: bool = False) -> None:
    """Set `path` ("" is the whole config) from one YAML document; PawlError where unreadable.

    origin: what the text came from, which is the place of its values; `lines` adds the line.
    """
    try:
        require_modest(text, origin)
        node: Node | None = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        where = f"{origin}:{mark.line + 1}" if mark is not None and lines else origin
        what = " ".join(str(part) for part in (e.context, e.problem) if part)
        hint = "check indentation, quotes and brackets on this line and the one before"
        hint = "YAML is indented with spaces; this text contains tabs" if "\t" in text else hint
        raise PawlError(f"unreadable YAML: {what}", where, hint) from e
    except YAMLError as e:
        at = getattr(e, "position", None)  # of a character that no YAML may hold
        line = f":{text.count(chr(10), 0, at) + 1}" if lines and isinstance(at, int) else ""
        raise PawlError(f"unreadable YAML: {str(e).splitlines()[0]}", f"{origin}{line}") from e
    if path and node is None:
        node = ScalarNode("tag:yaml.org,2002:null", "")
    if node is not None and _values(node, {}) > VALUES:
        what = f"the YAML stands for more than {VALUES:,} values, or for itself"
        table.errors.append(PawlError(what, origin, "a config has no use for aliases of aliases"))
        return
    if node is not None:
        _put_node(
            table, path, node, lambda n: f"{origin}:{n.start_mark.line + 1}" if lines else origin
        )


def require_modest(text: str, origin: str) -> None:
    """Raise PawlError for more text, or deeper nesting, than a config has.

    Before the reader recurses into it: the events of a parse come one by one.
    """
    if len(text) > LONGEST:
        what = f"longer than {LONGEST:,} characters, which no config is"
        raise PawlError(what, origin, "is this a file of data?")
    depth = 0
    for n, event in enumerate(YAML(typ="safe", pure=True).parse(text)):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > DEPTH + 1 or n > VALUES:
            what = f"nested deeper than {DEPTH} levels, which no option is"
            what = what if n <= VALUES else f"more than {VALUES:,} values, which no config has"
            raise PawlError(what, f"{origin}:{event.start_mark.line + 1}")


def _values(node: Node, counted: dict[int, int]) -> int:
    """How many values a node stands for with its aliases written out; beyond VALUES for a cycle."""
    if id(node) not in counted:
        counted[id(node)] = VALUES + 1  # which stands while it is being counted
        parts = node.value if isinstance(node, MappingNode | SequenceNode) else ()
        inner = (x for part in parts for x in (part if isinstance(part, tuple) else (part,)))
        counted[id(node)] = 1 + sum(_values(x, counted) for x in inner)
    return counted[id(node)]


def _put_node(table: Table, path: str, node: Node, place: Place) -> None:
    """Set `path` from a node; errors go to the table."""
    at: object = table.root
    names = path.split(".") if path else []
    for depth, name in enumerate(names):
        model, above = section_of(at), ".".join(names[:depth])
        if is_map(at) and depth + 1 == len(names):
            old = table.values.get(above)
            value = _value(table, path, node, place, None, 0)
            table.put(above, (old if isinstance(old, dict) else {}) | {name: value}, place(node))
            return
        if model is None:
            table.errors.append(PawlError(f"`{above}` is an option, not a section", place(node)))
            return
        if name not in fields(model):
            foreign = advice(path, {p for p, _ in options(table.root)})
            wrong = path if foreign else ".".join(names[: depth + 1])
            table.unknown(wrong, model, place(node), _paths(node, path))
            return
        at = fields(model)[name].annotation
    _put(table, path, at, node, place)


def _put(table: Table, path: str, at: object, node: Node, place: Place) -> None:
    """Set an option or a section, which is annotated `at`, from its node."""
    model = section_of(at)
    if model is None:
        table.put(path, None, place(node))
        table.values[path] = _value(table, path, node, place, item_of(at), 0)
    elif isinstance(node, MappingNode):
        table.places.setdefault(path, place(node))
        for below, name, child in _pairs(table, path, node, place, model):
            _put(table, below, fields(model)[name].annotation, child, place)
    else:
        value = _value(table, path, node, place, None, 0)
        if value is None and at is not model:  # X | None
            table.put(path, None, place(node))
        elif isinstance(value, str) and "use" in fields(model):  # reward: path/file.py:function
            table.put(f"{path}.use", value, place(node))
        elif value is not None:  # an empty section leaves the defaults
            shown = "a list" if isinstance(value, list) else repr(value)
            what = f"`{path}` is a section of options, got {shown}"
            table.errors.append(
                PawlError(what if path else "not a mapping of options", place(node))
            )


def _pairs(
    table: Table, path: str, node: MappingNode, place: Place, model: type[BaseModel] | None
) -> Iterator[tuple[str, str, Node]]:
    """(path, name, value) of a mapping's keys; duplicates, and names that a model lacks, are
    noted."""
    seen: dict[str, str] = {}
    for key, child in node.value:
        name = str(key.value) if isinstance(key, ScalarNode) else "?"
        below = f"{path}.{name}" if path else name
        if name in seen:
            what = f"`{below}` is given twice (first at {seen[name]})"
            table.errors.append(PawlError(what, place(key), "keep one of the two"))
        elif model is not None and name not in fields(model):
            table.unknown(below, model, place(key), _paths(child, below))
        else:
            yield below, name, child
        seen.setdefault(name, place(key))


def _paths(node: Node, path: str) -> list[str]:
    """The paths of the plain values below a node, each node taken once: aliases may be circles."""
    found: list[str] = []
    seen: set[int] = set()
    waiting = [(node, path)]
    while waiting:
        at, name = waiting.pop()
        if id(at) in seen:
            continue
        seen.add(id(at))
        if isinstance(at, MappingNode):
            waiting += [(child, f"{name}.{key.value}") for key, child in reversed(at.value)]
        else:
            found.append(name)
    return found


def _value(
    table: Table, path: str, node: Node, place: Place, item: type[BaseModel] | None, depth: int
) -> object:
    """The plain value of a node; unknown and duplicate keys in list items are noted."""
    table.places[path] = place(node)
    if depth > DEPTH:
        table.errors.append(PawlError(f"`{path}` is nested too deeply", place(node)))
        return None
    if isinstance(node, SequenceNode):
        return [
            _value(table, f"{path}.{i}", child, place, item, depth + 1)
            for i, child in enumerate(node.value)
        ]
    if isinstance(node, MappingNode):
        result = {}
        for below, name, child in _pairs(table, path, node, place, item):
            at = fields(item)[name].annotation if item is not None else None
            inner = item_of(at) or section_of(at)
            result[name] = _value(table, below, child, place, inner, depth + 1)
        return result
    if str(node.tag) == TIMESTAMP:  # no option is a time; a date is text
        return str(node.value)
    try:
        return YAML(typ="safe", pure=True).constructor.construct_object(node, deep=True)
    except (YAMLError, ValueError) as e:
        what = f"unreadable value of `{path}`: {str(e).splitlines()[0]}"
        table.errors.append(PawlError(what, place(node)))
        return None

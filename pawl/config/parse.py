"""YAML text to a flat table of options, each value with the place it came from.

YAML 1.2 through ruamel.yaml's node tree, because nodes know their lines: duplicate keys, unknown
names and misplaced sections are all found in one pass. Left out: types and ranges (pydantic, in
`load`), merge keys (`<<`) and tags of YAML's own making.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from pawl import renamed
from pawl.config.tree import fields, item_of, nearest, options, section_of
from pawl.errors import PawlError

Place = Callable[[Node], str]
DEPTH = 12  # deeper nesting than any option has: stops aliases that contain themselves


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

    def unknown(self, path: str, model: type[BaseModel], place: str) -> None:
        """Note an unknown name, with its new name or the nearest known one."""
        if path in renamed.OPTIONS:
            what, new = f"`{path}` has a new name", renamed.OPTIONS[path]
            values = ", ".join(f"{a} -> {b}" for a, b in renamed.VALUES.get(new, {}).items())
            hint = f"write `{new}`" + (f" ({values})" if values else "")
            self.errors.append(PawlError(what, place, hint))
            return
        section, _, name = path.rpartition(".")
        meant = nearest(name, list(fields(model)), [p for p, _ in options(self.root)])
        if meant in fields(model) and section:
            meant = f"{section}.{meant}"
        hint = f"did you mean `{meant}`?" if meant else "`pawl schema` lists every option"
        self.errors.append(PawlError(f"unknown option `{path}`", place, hint))


def compose(text: str, place: str, lines: bool) -> Node | None:
    """The node tree of one YAML document, None when it is empty; PawlError where unreadable.

    place: what the text came from; `lines` adds the line to it in errors.
    """
    try:
        node: Node | None = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        where = f"{place}:{mark.line + 1}" if mark is not None and lines else place
        what = " ".join(str(part) for part in (e.context, e.problem) if part)
        raise PawlError(f"unreadable YAML: {what}", where, _yaml_hint(text)) from e
    except YAMLError as e:
        raise PawlError(f"unreadable YAML: {str(e).splitlines()[0]}", place) from e
    return node


def _yaml_hint(text: str) -> str:
    if "\t" in text:
        return "YAML is indented with spaces; this text contains tabs"
    return "check indentation, quotes and brackets on this line and the one before"


def put_node(table: Table, path: str, node: Node, place: Place) -> None:
    """Set `path` ("" is the whole config) from a node; errors go to the table."""
    model: type[BaseModel] | None = table.root
    optional = False
    for depth, name in enumerate(path.split(".") if path else ()):
        assert model is not None
        info = fields(model).get(name)
        if info is None:
            table.unknown(".".join(path.split(".")[: depth + 1]), model, place(node))
            return
        model, annotation = section_of(info.annotation), info.annotation
        optional = model is not None and annotation is not model
        if model is None:
            rest = path.split(".")[depth + 1 :]
            if rest:
                what = f"`{'.'.join(path.split('.')[: depth + 1])}` is an option, not a section"
                table.errors.append(PawlError(what, place(node)))
                return
            item = item_of(annotation)
            table.put(path, None, place(node))
            table.values[path] = _value(table, path, node, place, item, 0)
            return
    assert model is not None
    _put_section(table, path, model, optional, node, place)


def _put_section(
    table: Table, path: str, model: type[BaseModel], optional: bool, node: Node, place: Place
) -> None:
    if isinstance(node, ScalarNode):
        value = _value(table, path, node, place, None, 0)
        if value is None and optional:
            table.put(path, None, place(node))
        elif isinstance(value, str) and "use" in fields(model):  # reward: path/file.py:function
            table.put(f"{path}.use", value, place(node))
        elif value is not None:  # an empty section leaves the defaults
            what = f"`{path}` is a section of options, got {value!r}"
            table.errors.append(
                PawlError(what if path else "not a mapping of options", place(node))
            )
        return
    if not isinstance(node, MappingNode):
        what = f"`{path}` is a section of options, got a list"
        table.errors.append(PawlError(what if path else "not a mapping of options", place(node)))
        return
    table.places.setdefault(path, place(node))
    for name, key, child in _pairs(table, path, node, place):
        below = f"{path}.{name}" if path else name
        if name in fields(model):
            put_node(table, below, child, place)
        else:
            table.unknown(below, model, place(key))


def _pairs(
    table: Table, path: str, node: MappingNode, place: Place
) -> list[tuple[str, Node, Node]]:
    seen: dict[str, str] = {}
    pairs = []
    for key, child in node.value:
        name = str(key.value) if isinstance(key, ScalarNode) else "?"
        shown = f"{path}.{name}" if path else name
        if name in seen:
            what = f"`{shown}` is given twice (first at {seen[name]})"
            table.errors.append(PawlError(what, place(key), "keep one of the two"))
            continue
        seen[name] = place(key)
        pairs.append((name, key, child))
    return pairs


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
        for name, key, child in _pairs(table, path, node, place):
            if item is not None and name not in fields(item):
                table.unknown(f"{path}.{name}", item, place(key))
                continue
            sub = fields(item)[name].annotation if item is not None else None
            below = item_of(sub) or section_of(sub)
            result[name] = _value(table, f"{path}.{name}", child, place, below, depth + 1)
        return result
    try:
        return YAML(typ="safe", pure=True).constructor.construct_object(node, deep=True)
    except (YAMLError, ValueError) as e:
        what = f"unreadable value of `{path}`: {str(e).splitlines()[0]}"
        table.errors.append(PawlError(what, place(node)))
        return None

"""JavaScript scripts as syntax trees: parsing, decorators, and rewriting for Node.js without moving a line.

No JavaScript engine parses `@actor({...})` in front of a function, so a file is parsed twice: once to find the
decorators, which tree-sitter recognises anywhere (in front of a function, inside an ERROR node), and once with
blanks in their place, which gives a tree of plain JavaScript with every position unchanged. Errors in that second
tree are the script's own.

This module decides which text Node.js is given. What the decorators say is read in `metadata_javascript`.
"""

from __future__ import annotations

import bisect
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs
import tree_sitter
import tree_sitter_javascript
from tree_sitter import Node

_LANGUAGE = tree_sitter.Language(tree_sitter_javascript.language())
_DECORATORS = tree_sitter.Query(_LANGUAGE, "(decorator) @decorator")
_MODULE = "reflow"
_PARSE_SECONDS = 3.0
"""Error recovery takes quadratic time on some garbage; a script that people write takes milliseconds."""

FUNCTIONS = frozenset(
    {
        "function_declaration",
        "generator_function_declaration",
        "function_expression",
        "generator_function",
        "arrow_function",
    }
)
CLASSES = frozenset({"class_declaration", "class"})


class TooComplex(Exception):
    """The parser did not finish in time."""


@attrs.frozen
class Decorator:
    """One `@…` of a script. `callee` and `arguments` are those of its call, `arguments` None where it is none.

    `statement` is the top-level statement that it stands in front of, in the tree without decorators; None where
    it stands in front of none.
    """

    node: Node
    callee: Node
    arguments: Node | None
    statement: Node | None

    @property
    def target(self) -> Node | None:
        """The function, class or value that it decorates."""
        return exported(self.statement) if self.statement else None

    @property
    def target_name(self) -> str:
        """The name by which the script exports its target: "default" where `export default` has no other. Empty
        where there is none."""
        if self.statement is None or self.target is None:
            return ""
        name = bound_name(self.target)
        return name or ("default" if any(child.type == "default" for child in self.statement.children) else "")


@attrs.frozen
class Module:
    """A parsed script. `root` is the tree of its plain JavaScript, with blanks for decorators."""

    data: bytes
    root: Node
    decorators: tuple[Decorator, ...]
    actor_names: frozenset[str]
    """The names under which the script has Reflow's `actor`."""

    def is_actor(self, callee: Node) -> bool:
        """Whether this names Reflow's `actor`."""
        if callee.type == "identifier":
            return text(callee) in self.actor_names
        property_ = callee.child_by_field_name("property")
        return callee.type == "member_expression" and property_ is not None and text(property_) == "actor"


def parse(source: str, *, clock: Callable[[], float] = time.monotonic) -> Module:
    """
    Raises:
        TooComplex: this text takes too long to parse.
    """
    data = source.encode()
    deadline = clock() + _PARSE_SECONDS
    original = _tree(data, clock, deadline)
    nodes = tree_sitter.QueryCursor(_DECORATORS).captures(original).get("decorator", [])
    if not nodes:
        return Module(data, original, (), _actor_names(original))
    plain = bytearray(data)
    for node in nodes:
        plain[node.start_byte : node.end_byte] = re.sub(rb"[^\r\n]", b" ", plain[node.start_byte : node.end_byte])
    root = _tree(bytes(plain), clock, deadline)
    statements = [child for child in root.children if child.is_named and not child.is_extra]
    decorators = tuple(_decorator(node, statements) for node in nodes)
    return Module(data, root, decorators, _actor_names(root))


def _tree(data: bytes, clock: Callable[[], float], deadline: float) -> Node:
    def read(offset: int, _point: object) -> bytes:
        return data[offset : offset + 65536]

    def is_late(_offset: int, _has_error: bool) -> bool:
        return clock() > deadline

    try:
        return tree_sitter.Parser(_LANGUAGE).parse(read, progress_callback=is_late).root_node
    except ValueError:
        raise TooComplex from None


def _decorator(node: Node, statements: Sequence[Node]) -> Decorator:
    expression = node.named_children[-1]
    callee, arguments = expression, None
    if expression.type == "call_expression":
        callee = _field(expression, "function")
        arguments = _field(expression, "arguments")
    index = bisect.bisect_right(statements, node.end_byte, key=lambda each: each.end_byte)
    statement = statements[index] if index < len(statements) else None
    if statement and statement.start_byte < node.end_byte:
        # `export @actor() class`: the export begins before the decorator. Anything else is a nested decorator.
        inner = exported(statement)
        if statement.type != "export_statement" or inner is None or inner.start_byte < node.end_byte:
            statement = None
    return Decorator(node, callee, arguments, statement)


def _actor_names(root: Node) -> frozenset[str]:
    """A script that uses `actor` without importing it is taken to mean Reflow's, unless it is another module's."""
    names = {"actor"}
    for statement in root.children:
        for imported, local, module in _imports(statement):
            if imported == "actor" and module == _MODULE:
                names.add(local)
            elif module != _MODULE:
                names.discard(local)
    return frozenset(names)


def _imports(statement: Node) -> Iterator[tuple[str, str, str]]:
    """What a statement takes out of modules, by `import {…}` or `const {…} = require(…)`: name, local name, module."""
    if statement.type == "import_statement":
        module = _string(_field(statement, "source"))
        for node in descendants(statement):
            if node.type == "import_specifier":
                name = _field(node, "name")
                yield text(name), text(node.child_by_field_name("alias") or name), module
    elif statement.type in {"lexical_declaration", "variable_declaration"}:
        for declarator in statement.named_children:
            pattern, value = declarator.child_by_field_name("name"), declarator.child_by_field_name("value")
            module = _required(value) if value else None
            if pattern is None or module is None:
                continue
            for node in pattern.named_children:
                if node.type == "shorthand_property_identifier_pattern":
                    yield text(node), text(node), module
                elif node.type == "pair_pattern":
                    yield text(_field(node, "key")), text(_field(node, "value")), module


def _required(node: Node) -> str | None:
    """The module's name in `require("name")`."""
    if node.type != "call_expression" or text(_field(node, "function")) != "require":
        return None
    arguments = _field(node, "arguments").named_children
    return _string(arguments[0]) if len(arguments) == 1 and arguments[0].type == "string" else None


# ── Nodes ────────────────────────────────────────────────────────────────────────────────────────────────────


def text(node: Node) -> str:
    return (node.text or b"").decode()


def _string(node: Node) -> str:
    """What stands between the quotes; escapes as they are written."""
    return text(node)[1:-1]


def _field(node: Node, name: str) -> Node:
    found = node.child_by_field_name(name)
    assert found is not None, f"{node.type} without {name}"
    return found


def descendants(root: Node, *, into: Callable[[Node], bool] = lambda node: True) -> Iterator[Node]:
    """The node and all below it, in the order of the source. Not by recursion: hostile files nest deeply.

    Args:
        root: where to begin.
        into: whether to go on below a node.
    """
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        if into(node):
            waiting.extend(reversed(node.children))


def exported(statement: Node) -> Node | None:
    """What a statement is about: the declaration or value behind `export`, or the statement itself."""
    if statement.type != "export_statement":
        return statement
    return statement.child_by_field_name("declaration") or statement.child_by_field_name("value")


def bound_name(node: Node) -> str:
    """The name that a function, a class or a declaration of one variable binds; empty where there is none."""
    if node.type in {"lexical_declaration", "variable_declaration"} and len(node.named_children) == 1:
        node = node.named_children[0]
    if node.type not in FUNCTIONS | CLASSES | {"variable_declarator"}:
        return ""
    name = node.child_by_field_name("name")
    return text(name) if name is not None and name.type == "identifier" else ""


def _declared_names(declaration: Node) -> list[str]:
    """The names that a declaration binds."""
    if name := bound_name(declaration):
        return [name]
    patterns = [declarator.child_by_field_name("name") for declarator in declaration.named_children]
    return [
        text(node)
        for pattern in patterns
        if pattern is not None
        for node in descendants(pattern)
        if node.type in {"identifier", "shorthand_property_identifier_pattern"}
    ]


# ── Rewriting ────────────────────────────────────────────────────────────────────────────────────────────────


_DEFAULT = "__reflow_default__"


def transform(source: str) -> str:
    """The script as Node.js can load it as a CommonJS module, with every line where it was.

    `@actor({...})` in front of a declaration becomes, in its place,
    `;__reflow_decorate__(actor({...}), () => NAME, "NAME");`: a thunk, since a class has no value yet there. The
    agent provides that function. Static `import` and `export` become `require` and properties of `exports`; what
    is exported is assigned in a line after the last one. A script with nothing of all this comes back
    unchanged.

    A decorator that stands in front of nothing that it could decorate stays, for Node.js to complain about it;
    discovery has by then.

    Raises:
        TooComplex: this text takes too long to parse.
    """
    module = parse(source)
    edits: list[tuple[int, int, str]] = []
    exports: list[str] = []
    for decorator in module.decorators:
        name = decorator.target_name
        if name and module.is_actor(decorator.callee):
            node, local = decorator.node, _DEFAULT if name == "default" else name
            edits.append((node.start_byte, node.start_byte + 1, ";__reflow_decorate__("))
            edits.append((node.end_byte, node.end_byte, f", () => {local}, {json.dumps(name)});"))
    for statement in module.root.children:
        if statement.has_error:
            continue  # Node.js explains it better than half of a rewrite would
        if statement.type == "import_statement":
            edits.append((statement.start_byte, statement.end_byte, _as_require(statement)))
        elif statement.type == "export_statement":
            edits += _without_export(statement, exports)
    tail = f"\nObject.assign(exports, {{ {', '.join(exports)} }});" if exports else ""
    return _edited(module.data, edits) + tail


def _edited(data: bytes, edits: Iterable[tuple[int, int, str]]) -> str:
    """The text with its edits made; an edit of several lines keeps their number."""
    parts: list[str] = []
    position = 0
    for start, end, new in sorted(edits, key=lambda edit: edit[:2]):
        parts.append(data[position:start].decode())
        parts.append(new + "\n" * (data.count(b"\n", start, end) - new.count("\n")))
        position = end
    parts.append(data[position:].decode())
    return "".join(parts)


def _as_require(statement: Node) -> str:
    """`import` as Node.js means it for a CommonJS module: the default is all that the module exports."""
    module = f"require({text(_field(statement, 'source'))})"
    clause = next((child for child in statement.named_children if child.type == "import_clause"), None)
    if clause is None:
        return f"{module};"
    bindings: list[str] = []
    for part in clause.named_children:
        if part.type == "identifier":
            bindings.append(text(part))
        elif part.type == "namespace_import":
            bindings.append(text(part.named_children[0]))
        elif part.type == "named_imports":
            bindings.append(f"{{ {', '.join(_renamed(each) for each in part.named_children if not each.is_extra)} }}")
    return f"const {', '.join(f'{binding} = {module}' for binding in bindings)};"


def _renamed(specifier: Node) -> str:
    name, alias = _field(specifier, "name"), specifier.child_by_field_name("alias")
    return f"{text(name)}: {text(alias)}" if alias else text(name)


def _without_export(statement: Node, exports: list[str]) -> list[tuple[int, int, str]]:
    """The edits that make an `export` plain; what it exports is added to `exports`."""
    source = statement.child_by_field_name("source")
    clause = next((child for child in statement.named_children if child.type == "export_clause"), None)
    module = f"require({text(source)})" if source else ""
    if clause is not None:
        for specifier in clause.named_children:
            if specifier.type == "export_specifier":
                name = text(_field(specifier, "name"))
                alias = text(specifier.child_by_field_name("alias") or _field(specifier, "name"))
                exports.append(f"{alias}: {module}.{name}" if module else f"{alias}: {name}")
        return [(statement.start_byte, statement.end_byte, ";")]
    inner = exported(statement)
    if inner is None:  # export * from "…", export * as name from "…"
        namespace = next((child for child in statement.named_children if child.type == "namespace_export"), None)
        exports.append(f"{text(namespace.named_children[0])}: {module}" if namespace else f"...{module}")
        return [(statement.start_byte, statement.end_byte, ";")]
    keywords = [child for child in statement.children if child.type in {"export", "default"}]
    blanks = [(child.start_byte, child.end_byte, "") for child in keywords]
    if len(keywords) == 1:
        exports += _declared_names(inner)
        return blanks
    if name := bound_name(inner):
        exports.append(f"default: {name}")
        return blanks
    exports.append(f"default: {_DEFAULT}")
    begin, end = inner.start_byte, inner.end_byte
    return [*blanks, (begin, begin, f"const {_DEFAULT} = "), (end, end, ";")]

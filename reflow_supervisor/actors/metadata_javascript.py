"""What a JavaScript script declares, read from its syntax tree: the script is never run.

Forms, in the order in which they are looked for:

- `@actor({...})` in front of a function, a class or a `const` with a function, exported or not, under whatever name
  the script imports `actor`; the older `@actor` without arguments;
- calls: `actor({...}, fn)` and `actor({...})(fn)`, wherever the result goes (`const x =`, `module.exports =`,
  `exports.x =`, an object that is exported);
- a class with `inports` or `outports` and a method `run` (fields, or assignments to `this` in its constructor);
- `actorMetadata = {...}` (a variable, or a property of `exports`), for a script without any of those. Its function
  is, as for the agent, `process`, `main` or `run`, else the only one that there is.

Only what stands at the top level counts. Values must be literals, or constants (`const`) that are given one. This
module decides what the script says; what may be said, and how, is decided in `declaration`.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping

from tree_sitter import Node

from reflow_supervisor.actors.declaration import (
    FIELDS,
    JAVASCRIPT,
    MAX_DEPTH,
    UNREAD_FIELDS,
    Collector,
    Declaration,
    Entry,
    Literal,
    Metadata,
    Table,
    Unfit,
    field_of,
    scalar,
)
from reflow_supervisor.actors.javascript_syntax import (
    CLASSES,
    FUNCTIONS,
    Decorator,
    Module,
    TooComplex,
    bound_name,
    descendants,
    exported,
    parse,
    text,
)
from reflow_supervisor.actors.script import Script
from reflow_supervisor.errors import Location, Problem, Severity

_METADATA_NAME = "actorMetadata"
_CLASS_FORM = "a class without @actor"


def read_javascript(script: Script, *, clock: Callable[[], float] = time.monotonic) -> Metadata:
    """The actors of a JavaScript script, and what is wrong with them.

    A text that tree-sitter cannot read is an error where it hides an actor, and else a warning: Node.js decides,
    when the script is loaded, and it may know syntax that tree-sitter does not.
    """
    collector = Collector(script, JAVASCRIPT)
    try:
        module = parse(script.text, clock=clock)
    except TooComplex:
        collector.report(Problem("too-complex", "takes too long to be parsed", Location(script.file)))
        return collector.result()
    _Reader(script, module, collector).read()
    return collector.result()


class _Reader:
    def __init__(self, script: Script, module: Module, collector: Collector) -> None:
        self._file = script.file
        self._lines = module.data.split(b"\n")
        self._module = module
        self._collector = collector
        self._statements = [child for child in module.root.children if child.is_named and not child.is_extra]
        self._constants = _constants(self._statements)
        self._taken: set[int] = set()  # where the functions and classes stand whose declaration is read

    def read(self) -> None:
        for decorator in self._module.decorators:
            self._decorator(decorator)
        for statement in self._statements:
            for node in descendants(statement, into=lambda node: node.type not in FUNCTIONS | CLASSES):
                if node.type == "call_expression":
                    self._call(node)
                elif node.type in CLASSES and node.is_named and node.start_byte not in self._taken:
                    self._class(node)
        value = self._module_metadata()
        if value is not None and self._collector.found:
            self._collector.report(
                Problem(
                    "ignored",
                    f"{_METADATA_NAME} has no effect beside the actors that are declared otherwise",
                    self._place(value),
                    hint="remove it, or give the decorator what it says",
                    severity=Severity.WARNING,
                )
            )
        elif value is not None:
            self._bare_metadata(value)
        self._syntax()

    # ── Forms ────────────────────────────────────────────────────────────────────────────────────────────────

    def _decorator(self, decorator: Decorator) -> None:
        place = self._place(decorator.node)
        if not self._module.is_actor(decorator.callee):
            message = f"@{text(decorator.callee)}: Node.js has no decorators, and only @actor is read here"
            self._collector.report(Problem("bad-decorator", message, place, hint="call it as a function"))
            return
        target = decorator.target
        if target is None:
            self._collector.report(
                Problem(
                    "bad-decorator",
                    "@actor stands in front of nothing that it could decorate",
                    place,
                    hint="put it in front of a function or class at the top level",
                )
            )
            return
        name = decorator.target_name
        if not name:
            hint = "put it in front of a function, a class, or const NAME = a function"
            self._collector.report(
                Problem("bad-decorator", "@actor decorates something without a name", place, hint=hint)
            )
            return
        if target.start_byte in self._taken:
            hint = "one actor, one function: give the other one a function of its own"
            self._collector.report(Problem("bad-decorator", f"a second @actor on {name}", place, hint=hint))
            return
        self._taken.add(target.start_byte)
        problems: list[Problem] = []
        entries: list[Entry] = []
        old_forms: list[str] = []
        if decorator.arguments is None:
            old_forms.append("@actor without arguments")
        elif arguments := _arguments(decorator.arguments):
            entries = self._declared(arguments[0], problems)
        given = {field_of(entry.key) for entry in entries}
        if target.type in CLASSES:
            own = {key: value for key, value in _class_fields(target).items() if field_of(key) not in given}
            entries += self._entries(((key, value, value) for key, value in own.items()), problems)
        self._add(entries, place, name, name, target, problems, old_forms)

    def _call(self, node: Node) -> None:
        """`actor({...}, fn)` and `actor({...})(fn)`."""
        callee, arguments = node.child_by_field_name("function"), node.child_by_field_name("arguments")
        if callee is None or arguments is None or not self._module.is_actor(callee):
            return
        values = _arguments(arguments)
        function = values[1] if len(values) > 1 else None
        parent = node.parent
        if function is None and parent is not None and parent.type == "call_expression":
            inner = _arguments(parent.child_by_field_name("arguments"))
            function = inner[0] if inner else None
        if not values or (function is None and values[0].type != "object"):
            return  # some other function of that name
        problems: list[Problem] = []
        entries = self._declared(values[0], problems)
        export = name = _destination(node)
        if function is not None:
            self._taken.add(function.start_byte)
            name = text(function) if function.type == "identifier" else bound_name(function) or export
        self._add(entries, self._place(node), export, name, function, problems, [])

    def _class(self, node: Node) -> None:
        fields = _class_fields(node)
        if not {"inports", "outports"} & fields.keys() or "run" not in _methods(node):
            return
        problems: list[Problem] = []
        entries = self._entries(((key, value, value) for key, value in fields.items()), problems)
        name = bound_name(node) or _destination(node)
        self._add(entries, self._place(node), name, name, node, problems, [_CLASS_FORM])

    def _module_metadata(self) -> Node | None:
        """The value of `actorMetadata`, in whichever of its forms."""
        if _METADATA_NAME.encode() not in self._module.data:
            return None
        if _METADATA_NAME in self._constants:
            return self._constants[_METADATA_NAME]
        for statement in self._statements:
            for node in descendants(statement, into=lambda node: node.type not in FUNCTIONS | CLASSES):
                match node.type:
                    case "assignment_expression":
                        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
                        if left and right and text(left).rpartition(".")[2] == _METADATA_NAME:
                            return right
                    case "pair":
                        key, value = node.child_by_field_name("key"), node.child_by_field_name("value")
                        if key and value and text(key) == _METADATA_NAME:
                            return value
                    case _:
                        pass
        return None

    def _bare_metadata(self, value: Node) -> None:
        problems: list[Problem] = []
        entries = self._object_entries(value, problems)
        functions = {
            bound_name(function): function
            for function in map(exported, self._statements)
            if function is not None and function.type in FUNCTIONS
        }
        chosen = next((name for name in ("process", "main", "run") if name in functions), None)
        if chosen is None and len(functions) == 1:
            chosen = next(iter(functions))
        if not functions and b"exports" not in self._module.data:
            message = f"{_METADATA_NAME} needs a function that it speaks of"
            hint = "add a function process, main or run, or put @actor({...}) in front of one"
            problems.append(Problem("no-function", message, self._place(value), hint=hint))
        name = chosen or ""
        self._add(entries, self._place(value), name, name, functions.get(name), problems, [_METADATA_NAME])

    def _add(
        self,
        entries: list[Entry],
        location: Location,
        export: str,
        name: str,
        body: Node | None,
        problems: list[Problem],
        old_forms: list[str],
    ) -> None:
        forms = (*old_forms, *(_old_calls(body) if body else ()))
        name = "" if name == "default" else name  # of `export default` of something without a name
        declaration = Declaration(Table(tuple(entries)), location, export, name, _leading_comment(body), forms)
        self._collector.add(declaration, problems)

    # ── Syntax ───────────────────────────────────────────────────────────────────────────────────────────────

    def _syntax(self) -> None:
        """Reports the first place that tree-sitter cannot read; the others mostly follow from it."""
        root = self._module.root
        if not root.has_error:
            return
        places = (
            node for node in descendants(root, into=lambda node: node.has_error) if node.is_error or node.is_missing
        )
        node = next(places, root)
        # Plain JavaScript has no @: there a decorator was not recognised, and with it an actor.
        hides = any(inner.type == "@" for inner in descendants(node)) or not self._collector.found
        if node.is_missing:
            message = f"expected {node.type}"
        else:
            start = text(node).split("\n", 1)[0][:40]
            message = f"cannot read: {start}" if start else "cannot read this"
        self._collector.report(
            Problem(
                "syntax-error",
                message,
                self._place(node),
                hint="" if hides else "Node.js decides when the script is loaded",
                severity=Severity.ERROR if hides else Severity.WARNING,
            )
        )

    # ── Literals ─────────────────────────────────────────────────────────────────────────────────────────────

    def _declared(self, argument: Node, problems: list[Problem]) -> list[Entry]:
        """What the first argument of `actor` says: an object, or the name alone."""
        if argument.type in {"string", "template_string"}:
            return self._entries([("name", argument, argument)], problems)
        return self._object_entries(argument, problems)

    def _object_entries(self, node: Node, problems: list[Problem]) -> list[Entry]:
        node = self._resolved(node)
        if node.type != "object":
            problems.append(self._not_literal(node).problem)
            return []
        pairs: list[tuple[str, Node, Node]] = []
        for child in _items(node):
            try:
                pairs.append(self._pair(child))
            except Unfit as error:
                problems.append(error.problem)
        return self._entries(pairs, problems)

    def _entries(self, pairs: Iterable[tuple[str, Node, Node]], problems: list[Problem]) -> list[Entry]:
        """The values that are literals; for each other one a problem. Takes key, where it stands, and value."""
        entries: list[Entry] = []
        for key, at, value in pairs:
            if field_of(key) in UNREAD_FIELDS:
                continue
            try:
                entries.append(Entry(key, self._place(at), self._literal(value)))
            except Unfit as error:
                problems.append(error.within(key).problem)
        return entries

    def _pair(self, node: Node) -> tuple[str, Node, Node]:
        """The key of an object's property, its node, and the property's value.

        Raises:
            Unfit: it has no key or value that could be read.
        """
        if node.type == "shorthand_property_identifier":
            return text(node), node, node
        key, value = node.child_by_field_name("key"), node.child_by_field_name("value")
        if node.type != "pair" or key is None or value is None:
            raise self._not_literal(node)
        match key.type:
            case "property_identifier":
                return text(key), key, value
            case "string" | "number":
                return str(self._literal(key).content), key, value
            case _:
                raise self._not_literal(key)

    def _literal(self, node: Node, depth: int = 0) -> Literal:
        """
        Raises:
            Unfit: it is no literal.
        """
        place = self._place(node)
        if depth > MAX_DEPTH:
            raise Unfit("too-complex", f"is nested deeper than {MAX_DEPTH} levels", place)
        match node.type:
            case "identifier" | "shorthand_property_identifier":
                value = self._resolved(node)
                if value is node:
                    raise self._not_literal(node)
                return self._literal(value, depth + 1)
            case "parenthesized_expression":
                return self._literal(_items(node)[0], depth + 1)
            case "string":
                return scalar(self._string(node), place)
            case "template_string" if all(child.type != "template_substitution" for child in node.children):
                return scalar(self._string(node).replace("\r\n", "\n"), place)
            case "number":
                return scalar(self._number(node), place)
            case "unary_expression" if (operand := node.child_by_field_name("argument")) and operand.type == "number":
                sign = text(node)[0]
                if sign in "+-":
                    number = self._number(operand)
                    return scalar(-number if sign == "-" else number, place)
                raise self._not_literal(node)
            case "true" | "false":
                return Literal(node.type == "true", place)
            case "null" | "undefined":
                return Literal(None, place)
            case "array":
                return Literal(tuple(self._literal(item, depth + 1) for item in _items(node)), place)
            case "object":
                entries: dict[str, Entry] = {}
                for child in _items(node):
                    name, at, value = self._pair(child)
                    try:
                        entries[name] = Entry(name, self._place(at), self._literal(value, depth + 1))
                    except Unfit as error:
                        raise error.within(name) from None
                return Literal(Table(tuple(entries.values())), place)
            case _:
                raise self._not_literal(node)

    def _string(self, node: Node) -> str:
        """The text between the quotes, with its escapes resolved."""
        parts: list[str] = []
        for child in node.named_children:
            written = text(child)
            if child.type != "escape_sequence":
                parts.append(written)
            elif written[1] in "xu":
                code = int(written[2:].strip("{}"), 16)
                if code > sys.maxunicode:
                    raise Unfit("bad-value", f"{written} is no character", self._place(child))
                parts.append(chr(code))
            elif written[1] in "01234567":
                parts.append(chr(int(written[1:], 8)))
            elif written[1] not in "\r\n\u2028\u2029":
                parts.append(_ESCAPES.get(written[1], written[1]))
        # Two escapes may write one character outside the basic plane.
        return "".join(parts).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")

    def _number(self, node: Node) -> int | float:
        written = text(node).replace("_", "").lower()
        if re.fullmatch(r"0[xob][0-9a-f]+n?", written):
            return int(written.rstrip("n"), 0)
        if re.fullmatch(r"(0|[1-9][0-9]{0,20})n?", written):
            return int(written.rstrip("n"))
        if re.fullmatch(r"((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?", written):
            number = float(written)
            return int(number) if number.is_integer() and abs(number) < 2**53 else number
        raise self._not_literal(node)

    def _resolved(self, node: Node) -> Node:
        """What a name stands for, where the script has a constant of that name."""
        if node.type not in {"identifier", "shorthand_property_identifier"}:
            return node
        return self._constants.get(text(node), node)

    def _not_literal(self, node: Node) -> Unfit:
        simple = node.type in {"identifier", "shorthand_property_identifier", "member_expression"}
        what = text(node) if simple else "this expression"
        return Unfit(
            "not-literal",
            f"metadata is read without running the script, and {what} has a value only when it runs",
            self._place(node),
            hint="write the value itself here, or a const of the top level that is given a literal",
        )

    def _place(self, node: Node) -> Location:
        row, column = node.start_point
        before = self._lines[row][:column]
        return Location(self._file, row + 1, len(before.decode()) + 1)


_ESCAPES: Mapping[str, str] = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v"}


def _items(node: Node) -> list[Node]:
    return [child for child in node.named_children if not child.is_extra]


def _arguments(node: Node | None) -> list[Node]:
    return _items(node) if node is not None and node.type == "arguments" else []


def _constants(statements: Iterable[Node]) -> Mapping[str, Node]:
    """What the names that `const` gives at the top level stand for."""
    values: dict[str, Node] = {}
    for statement in map(exported, statements):
        if statement is None or statement.type != "lexical_declaration" or text(statement.children[0]) != "const":
            continue
        for declarator in _items(statement):
            name, value = declarator.child_by_field_name("name"), declarator.child_by_field_name("value")
            if name is not None and value is not None and name.type == "identifier":
                values[text(name)] = value
    return values


def _destination(node: Node) -> str:
    """The name under which a value can be had: `x` for `const x = …`, `exports.x = …` and `module.exports = {x: …}`.
    Empty for `module.exports = …` itself and where there is none; "default" for `export default`."""
    parent = node.parent
    while parent is not None:
        match parent.type:
            case "variable_declarator":
                name = parent.child_by_field_name("name")
                return text(name) if name is not None and name.type == "identifier" else ""
            case "assignment_expression":
                left = parent.child_by_field_name("left")
                name = text(left) if left is not None else ""
                return "" if name in {"module.exports", "exports"} else name.rpartition(".")[2]
            case "pair":
                key = parent.child_by_field_name("key")
                return text(key) if key is not None and key.type == "property_identifier" else ""
            case "export_statement":
                return "default"
            case _:
                parent = parent.parent
    return ""


def _class_fields(node: Node) -> dict[str, Node]:
    """The fields of a declaration that a class gives: as fields, or to `this` in its constructor."""
    fields: dict[str, Node] = {}
    body = node.child_by_field_name("body")
    for member in _items(body) if body else []:
        if member.type == "field_definition":
            name, value = member.child_by_field_name("property"), member.child_by_field_name("value")
            if name is not None and value is not None:
                fields[text(name)] = value
        elif member.type == "method_definition" and _method_name(member) == "constructor":
            block = member.child_by_field_name("body")
            for statement in _items(block) if block else []:
                assignment = _items(statement)[0] if _items(statement) else statement
                left, right = assignment.child_by_field_name("left"), assignment.child_by_field_name("right")
                if assignment.type == "assignment_expression" and left and right and text(left).startswith("this."):
                    fields[text(left)[5:]] = right
    # A class has fields of its own besides; they are no misspelled metadata.
    return {name: value for name, value in fields.items() if field_of(name) in FIELDS}


def _method_name(node: Node) -> str:
    name = node.child_by_field_name("name")
    return text(name) if name is not None else ""


def _methods(node: Node) -> set[str]:
    body = node.child_by_field_name("body")
    return {_method_name(member) for member in _items(body) if member.type == "method_definition"} if body else set()


def _leading_comment(node: Node | None) -> str:
    """The first paragraph of a `/** … */` right in front of what is declared, as Python has docstrings."""
    while node is not None and node.parent is not None and node.parent.type != "program":
        node = node.parent
    before = node.prev_sibling if node is not None else None
    if before is None or before.type != "comment" or not text(before).startswith("/**"):
        return ""
    lines = [line.strip().removeprefix("*").strip() for line in text(before)[3:-2].strip().splitlines()]
    paragraph: list[str] = []
    for line in lines:
        if line.startswith("@") or (not line and paragraph):
            break
        paragraph.append(line)
    return " ".join(paragraph).strip()


# Walking every function would take longer than all the rest; most have nothing that looks like an older call.
_OLD_CALLS = re.compile(rb"setState|getState\s*\(\s*[^)\s]|\.\s*(?:timestamp|actorId)\b(?!\s*\()")


def _old_calls(node: Node) -> tuple[str, ...]:
    """The older calls on the context that an actor's own code makes."""
    if not _OLD_CALLS.search(node.text or b""):
        return ()
    found: set[str] = set()
    for inner in descendants(node):
        if inner.type == "call_expression":
            callee = inner.child_by_field_name("function")
            name = callee.child_by_field_name("property") if callee else None
            arguments = _arguments(inner.child_by_field_name("arguments"))
            if name is not None and text(name) == "setState":
                found.add("context.setState(key, value)")
            elif name is not None and text(name) == "getState" and arguments:
                found.add("context.getState(key, default)")
        elif inner.type == "member_expression" and text(inner) in {
            f"{context}.{name}" for context in ("context", "ctx") for name in ("timestamp", "actorId")
        }:
            called = inner.parent is not None and inner.parent.type == "call_expression"
            if not called or inner.parent is None or inner.parent.child_by_field_name("function") != inner:
                found.add(f"context.{text(inner).partition('.')[2]} without ()")
    return tuple(sorted(found))

"""What a Python script declares, read from its syntax tree: the script is never run.

Forms, in the order in which they are looked for:

- `@actor(name=..., ...)` on a function or class, under whatever name the script imports it (`@reflow.actor`, aliases);
- the older `@actor` without arguments and `@actor({...})` with a dict;
- a class with `inports` or `outports` and a method `run` (attributes, or assignments to `self` in `__init__`);
- a module-level `__actor_metadata__ = {...}`, for a script without any of those. Its function is, as for the agent,
  `process`, `main` or `run`, else the only public function there is.

Only what stands at the top level counts (`if` and `try` included). Values must be literals, or names that are
assigned once, at the top level, to a literal. This module decides what the script says; what may be said, and
how, is decided in `declaration`.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping

import attrs

from reflow_supervisor.actors.declaration import (
    FIELDS,
    MAX_DEPTH,
    PYTHON,
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
from reflow_supervisor.actors.script import Script
from reflow_supervisor.errors import Location, Problem, Severity

_METADATA_NAME = "__actor_metadata__"
_METADATA_FUNCTIONS = ("process", "main", "run")
_MODULE = "reflow"

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def read_python(script: Script) -> Metadata:
    """The actors of a Python script, and what is wrong with them."""
    collector = Collector(script, PYTHON)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a script's invalid escape sequence is not the supervisor's warning
            tree = ast.parse(script.text, filename=script.file)
    except SyntaxError as error:
        place = Location(script.file, error.lineno or 0, error.offset or 0)
        collector.report(Problem("syntax-error", error.msg, place))
        return collector.result()
    except (RecursionError, MemoryError, ValueError):
        collector.report(Problem("too-complex", "is nested too deeply to be read", Location(script.file)))
        return collector.result()
    _Reader(script, tree, collector).read()
    return collector.result()


class _Reader:
    def __init__(self, script: Script, tree: ast.Module, collector: Collector) -> None:
        self._file = script.file
        self._lines = re.split(r"\r\n|\r|\n", script.text)
        self._statements = list(_top_level(tree.body))
        self._constants = _constants(self._statements)
        self._decorators, self._modules = _reflow_names(self._statements)
        self._collector = collector

    def read(self) -> None:
        for statement in self._statements:
            if isinstance(statement, _Function | ast.ClassDef):
                self._definition(statement)
        value = self._constants.get(_METADATA_NAME)
        if value is None:
            return
        if self._collector.found:
            self._collector.report(
                Problem(
                    "ignored",
                    f"{_METADATA_NAME} has no effect beside the actors that are declared otherwise",
                    self._place(value),
                    hint="remove it, or give the decorator what it says",
                    severity=Severity.WARNING,
                )
            )
        else:
            self._module_metadata(value)

    # ── Forms ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _definition(self, node: _Function | ast.ClassDef) -> None:
        attributes = _class_attributes(node) if isinstance(node, ast.ClassDef) else {}
        decorators = [decorator for decorator in node.decorator_list if self._is_actor(decorator)]
        for decorator in decorators:
            problems: list[Problem] = []
            old_forms: list[str] = []
            entries = self._decorator(decorator, problems, old_forms)
            given = {field_of(entry.key) for entry in entries}
            own = {key: value for key, value in attributes.items() if field_of(key) not in given}
            entries += self._entries(own.items(), problems)
            at = self._place(decorator)
            self._add(node, entries, attrs.evolve(at, column=max(at.column - 1, 1)), problems, old_forms)
        if not decorators and {"inports", "outports"} & attributes.keys() and _has_run(node):
            problems = []
            entries = self._entries(attributes.items(), problems)
            self._add(node, entries, self._place(node), problems, ["a class without @actor"])

    def _add(
        self,
        node: _Function | ast.ClassDef,
        entries: list[Entry],
        location: Location,
        problems: list[Problem],
        old_forms: Iterable[str],
    ) -> None:
        declaration = Declaration(
            Table(tuple(entries)),
            location,
            export=node.name,
            default_name=node.name,
            default_description=ast.get_docstring(node) or "",
            old_forms=(*old_forms, *self._old_calls(node)),
        )
        self._collector.add(declaration, problems)

    def _decorator(self, node: ast.expr, problems: list[Problem], old_forms: list[str]) -> list[Entry]:
        if not isinstance(node, ast.Call):
            old_forms.append("@actor without arguments")
            return []
        entries: list[Entry] = []
        for position, argument in enumerate(node.args):
            if position:
                message = "@actor takes one argument without a name: the actor's name, or a dict"
                hint = "write inports=…, outports=…"
                problems.append(Problem("wrong-type", message, self._place(argument), hint=hint))
            elif isinstance(self._resolved(argument), ast.Dict):
                old_forms.append("@actor({...}) with a dict")
                entries += self._dict_entries(argument, problems)
            else:
                entries += self._entries([("name", argument)], problems)
        for keyword in node.keywords:
            if keyword.arg is None:
                problems.append(
                    Problem(
                        "not-literal",
                        "metadata is read without running the script, and ** takes it from elsewhere",
                        self._place(keyword.value),
                        hint="write the arguments out",
                    )
                )
            else:
                entries += self._entries([(keyword.arg, keyword.value)], problems, self._place(keyword))
        return entries

    def _module_metadata(self, value: ast.expr) -> None:
        problems: list[Problem] = []
        functions = {node.name: node for node in self._statements if isinstance(node, _Function)}
        public = [name for name in functions if not name.startswith("_")]
        chosen = next((name for name in _METADATA_FUNCTIONS if name in functions), None)
        if chosen is None and len(public) == 1:
            chosen = public[0]
        if chosen is None:
            problems.append(
                Problem(
                    "no-function",
                    f"{_METADATA_NAME} needs a function that it speaks of",
                    self._place(value),
                    hint=f"name the function {', '.join(_METADATA_FUNCTIONS[:-1])} or {_METADATA_FUNCTIONS[-1]}, "
                    "or put @actor(...) in front of it",
                )
            )
        function = functions.get(chosen or "")
        declaration = Declaration(
            Table(tuple(self._dict_entries(value, problems))),
            self._place(value),
            export=chosen or "",
            default_name=chosen or "",
            default_description=(ast.get_docstring(function) or "") if function else "",
            old_forms=(_METADATA_NAME, *(self._old_calls(function) if function else ())),
        )
        self._collector.add(declaration, problems)

    def _is_actor(self, node: ast.expr) -> bool:
        target = node.func if isinstance(node, ast.Call) else node
        match target:
            case ast.Name(name):
                return name in self._decorators
            case ast.Attribute(ast.Name(module), "actor"):
                return module in self._modules
            case _:
                return False

    def _old_calls(self, node: _Function | ast.ClassDef) -> tuple[str, ...]:
        source = "\n".join(self._lines[node.lineno - 1 : node.end_lineno])
        return _old_calls(node) if _OLD_CALLS.search(source) else ()

    # ── Literals ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _entries(
        self, pairs: Iterable[tuple[str, ast.expr]], problems: list[Problem], location: Location | None = None
    ) -> list[Entry]:
        """The values that are literals; for each other one a problem."""
        entries: list[Entry] = []
        for key, value in pairs:
            at = location or self._place(value)
            if field_of(key) in UNREAD_FIELDS:
                continue
            try:
                entries.append(Entry(key, at, self._literal(value)))
            except Unfit as error:
                problems.append(error.within(key).problem)
        return entries

    def _dict_entries(self, node: ast.expr, problems: list[Problem]) -> list[Entry]:
        node = self._resolved(node)
        if not isinstance(node, ast.Dict):
            problems.append(self._not_literal(node).problem)
            return []
        entries: list[Entry] = []
        for key, value in zip(node.keys, node.values, strict=True):
            try:
                name, at = self._key(key, node)
            except Unfit as error:
                problems.append(error.problem)
                continue
            entries += self._entries([(name, value)], problems, at)
        return entries

    def _key(self, node: ast.expr | None, owner: ast.Dict) -> tuple[str, Location]:
        if node is None:
            raise Unfit("not-literal", "** takes values from elsewhere", self._place(owner), hint="write them out")
        literal = self._literal(node)
        if not isinstance(literal.content, str):
            raise Unfit("wrong-type", "a key must be text", literal.location, hint="put it in quotes")
        return literal.content, literal.location

    def _literal(self, node: ast.expr, depth: int = 0) -> Literal:
        """
        Raises:
            Unfit: it is no literal.
        """
        place = self._place(node)
        if depth > MAX_DEPTH:
            raise Unfit("too-complex", f"is nested deeper than {MAX_DEPTH} levels", place)
        match node:
            case ast.Name():
                value = self._resolved(node)
                if value is node:
                    raise self._not_literal(node)
                return self._literal(value, depth + 1)
            case ast.Constant(None | bool() | int() | float() | str() as value):
                return scalar(value, place)
            case ast.UnaryOp(ast.USub() | ast.UAdd() as sign, ast.Constant(int() | float() as value)):
                return scalar(-value if isinstance(sign, ast.USub) else +value, place)
            case ast.List(items) | ast.Tuple(items) | ast.Set(items):
                return Literal(tuple(self._literal(item, depth + 1) for item in items), place)
            case ast.Dict(keys, values):
                entries: dict[str, Entry] = {}
                for key, value in zip(keys, values, strict=True):
                    name, at = self._key(key, node)
                    try:
                        entries[name] = Entry(name, at, self._literal(value, depth + 1))
                    except Unfit as error:
                        raise error.within(name) from None
                return Literal(Table(tuple(entries.values())), place)
            case _:
                raise self._not_literal(node)

    def _resolved(self, node: ast.expr) -> ast.expr:
        """What a name stands for, where the script assigns it once."""
        return self._constants.get(node.id, node) if isinstance(node, ast.Name) else node

    def _not_literal(self, node: ast.expr) -> Unfit:
        source = ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else "this expression"
        return Unfit(
            "not-literal",
            f"metadata is read without running the script, and {source} has a value only when it runs",
            self._place(node),
            hint="write the value itself here, or a name that is assigned once, at the top level, to a literal",
        )

    def _place(self, node: ast.expr | ast.stmt | ast.keyword) -> Location:
        # ast counts columns in bytes of UTF-8
        line = self._lines[node.lineno - 1].encode()
        return Location(self._file, node.lineno, len(line[: node.col_offset].decode()) + 1)


def _top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those inside its `if`, `try` and `with` blocks included."""
    waiting = list(body)[::-1]
    while waiting:
        statement = waiting.pop()
        yield statement
        inner: list[ast.stmt] = []
        match statement:
            case ast.If():
                inner = [*statement.body, *statement.orelse]
            case ast.Try() | ast.TryStar():
                handlers = [each for handler in statement.handlers for each in handler.body]
                inner = [*statement.body, *handlers, *statement.orelse, *statement.finalbody]
            case ast.With():
                inner = statement.body
            case _:
                pass
        waiting += reversed(inner)


def _constants(statements: Iterable[ast.stmt]) -> Mapping[str, ast.expr]:
    """What the names that are assigned exactly once stand for."""
    values: dict[str, ast.expr] = {}
    bound: dict[str, int] = {}
    for statement in statements:
        match statement:
            case ast.Assign([ast.Name(name)], value) | ast.AnnAssign(ast.Name(name), value=ast.expr() as value):
                values[name] = value
                bound[name] = bound.get(name, 0) + 1
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
                bound[name] = bound.get(name, 0) + 1
            case ast.If() | ast.Try() | ast.TryStar() | ast.With():
                pass  # what is inside comes as statements of its own
            case _:
                # loops, augmented and tuple assignments, imports: whatever they bind is not constant
                for node in ast.walk(statement):
                    match node:
                        case ast.Name(name, ast.Store() | ast.Del()):
                            bound[name] = 2
                        case ast.alias(name, asname):
                            bound[asname or name] = 2
                        case _:
                            pass
    return {name: value for name, value in values.items() if bound[name] == 1}


def _reflow_names(statements: Iterable[ast.stmt]) -> tuple[frozenset[str], frozenset[str]]:
    """The names under which the script has Reflow's `actor`, and those under which it has the module.

    A script that uses `actor` without importing it is taken to mean Reflow's, unless it is another module's.
    """
    decorators, modules = {"actor"}, {_MODULE}
    for statement in statements:
        match statement:
            case ast.ImportFrom(module=module, names=names, level=0):
                ours = module is not None and module.split(".")[0] == _MODULE
                for alias in names:
                    if ours and alias.name == "actor":
                        decorators.add(alias.asname or alias.name)
                    elif not ours:
                        decorators.discard(alias.asname or alias.name)
            case ast.Import(names):
                for alias in names:
                    if alias.name == _MODULE and alias.asname:
                        modules.add(alias.asname)
            case _:
                pass
    return frozenset(decorators), frozenset(modules)


def _class_attributes(node: ast.ClassDef) -> dict[str, ast.expr]:
    """The fields of a declaration that a class gives: as attributes, or to `self` in its `__init__`."""
    attributes: dict[str, ast.expr] = {}
    for statement in node.body:
        match statement:
            case ast.Assign([ast.Name(name)], value) | ast.AnnAssign(ast.Name(name), value=ast.expr() as value):
                attributes[name] = value
            case ast.FunctionDef("__init__"):
                for inner in statement.body:
                    match inner:
                        case ast.Assign([ast.Attribute(ast.Name("self"), name)], value) | ast.AnnAssign(
                            ast.Attribute(ast.Name("self"), name), value=ast.expr() as value
                        ):
                            attributes[name] = value
                        case _:
                            pass
            case _:
                pass
    # A class has attributes of its own besides; they are no misspelled metadata.
    return {name: value for name, value in attributes.items() if name in FIELDS}


def _has_run(node: _Function | ast.ClassDef) -> bool:
    return any(isinstance(statement, _Function) and statement.name == "run" for statement in node.body)


# Walking every function would take longer than all the rest; most have nothing that looks like an older call.
_OLD_CALLS = re.compile(r"set_state|get_state\s*\(\s*[^)\s]|\.\s*(?:timestamp|actor_id)\b(?!\s*\()")


def _old_calls(node: ast.AST) -> tuple[str, ...]:
    """The older calls on the context that an actor's own code makes."""
    found: set[str] = set()
    called: set[int] = set()
    for inner in ast.walk(node):
        match inner:
            case ast.Call(ast.Attribute(_, "set_state")):
                found.add("context.set_state(key, value)")
            case ast.Call(ast.Attribute(_, "get_state"), args=[_, *_]):
                found.add("context.get_state(key, default)")
            case _:
                pass
        match inner:
            case ast.Call(ast.Attribute() as function):
                called.add(id(function))
            case ast.Attribute(ast.Name("context" | "ctx"), "timestamp" | "actor_id" as name) if (
                id(inner) not in called
            ):
                found.add(f"context.{name} without ()")  # ast.walk gives a call before the function it calls
            case _:
                pass
    return tuple(sorted(found))

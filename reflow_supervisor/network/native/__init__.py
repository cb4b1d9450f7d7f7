"""The built-in components: trusted Trio code in the supervisor, in the same registry as the scripts.

Each module here is one component: its declaration and its body. A body is a supervisor's child like a script's
instance: it says when it is ready, and fails with an exception that says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from reflow_supervisor.errors import Problem
from reflow_supervisor.network.component import Component
from reflow_supervisor.network.graph import Graph, Node

from . import file, log, stdin, stdout, timer
from .body import Body, Native, NativeError
from .source import check_delimiter

BODIES: Mapping[str, Body] = {
    file.COMPONENT.name: file.run,
    log.COMPONENT.name: log.run,
    stdin.COMPONENT.name: stdin.run,
    stdout.COMPONENT.name: stdout.run,
    timer.COMPONENT.name: timer.run,
}

NATIVES: tuple[Component, ...] = (
    file.COMPONENT,
    log.COMPONENT,
    stdin.COMPONENT,
    stdout.COMPONENT,
    timer.COMPONENT,
)


def check_settings(node: Node, graph: Graph) -> Iterator[Problem]:
    """What is wrong with the settings of a node of a built-in component, beyond what its schema says."""
    match node.component:
        case "file":
            ends = {end for end in (*graph.inports.values(), *(e.target for e in graph.edges)) if end.node == node.id}
            starts = {
                end for end in (*graph.outports.values(), *(e.source for e in graph.edges)) if end.node == node.id
            }
            found = file.check(node.config, bool(ends), bool(starts))
        case "timer":
            found = timer.check(node.config)
        case "stdin" | "stdout":
            found = check_delimiter(node.config)
        case _:
            return
    for path, message in found:
        yield node.origin.problem("bad-config", message, (*node.config_path, *path))


def check_files(node: Node, directory: Path, roots: tuple[Path, ...]) -> Iterator[Problem]:
    """What keeps a node of a built-in component from the file that it names. See `body.Native` for the directories."""
    if node.component == "file" and (complaint := file.check_file(node.config, directory, roots)):
        yield node.origin.problem("bad-file", complaint, (*node.config_path, "path"))


__all__ = ["BODIES", "NATIVES", "Body", "Native", "NativeError", "check_files", "check_settings"]

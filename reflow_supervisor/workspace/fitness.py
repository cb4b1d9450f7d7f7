"""Whether what a network needs besides itself will be there: sandboxes enough and of the right kind, the files that
scripts take along, the files that it reads and writes.

Everything is found without starting anything. What a machine lacks for a backend, only trying tells: that is said by
`doctor`, and by a run before it starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from reflow_supervisor.actors.modules import ModuleFinder
from reflow_supervisor.actors.registry import Registry
from reflow_supervisor.config import Config
from reflow_supervisor.documents import KeyPath
from reflow_supervisor.errors import EnvironmentError_, Problem, Severity
from reflow_supervisor.network.component import Runtime
from reflow_supervisor.network.graph import Graph
from reflow_supervisor.network.native import check_files
from reflow_supervisor.sandbox import interpreters
from reflow_supervisor.sandbox.backend import Isolation
from reflow_supervisor.sandbox.select import unfit

SANDBOX: KeyPath = ("workspace", "sandbox")


def findings(config: Config, graph: Graph, registry: Registry) -> Iterator[Problem]:
    """All of them. The network is one that `network.check` has nothing against."""
    scripts = [
        component
        for node in graph.nodes.values()
        if (component := registry.lookup(node.component)).runtime is not Runtime.NATIVE
    ]
    if scripts:
        yield from _backend(config)
        if short := too_few_sandboxes(config, graph, registry):
            yield attrs.evolve(short, severity=Severity.WARNING)  # there is nothing wrong with the network
        yield from _images(config, {component.runtime for component in scripts})
    finder = ModuleFinder(config.directory, config.workspace.sandbox.include)
    yield from (
        placed(config, problem)
        for problem in dict.fromkeys(problem for component in scripts for problem in finder.find(component).problems)
    )
    readers = [node for node in graph.nodes.values() if node.component == "stdin"]
    for node in readers[1:]:
        message = f"{readers[0].id} reads standard input already, and each line would go to one of them"
        yield node.origin.problem("shared-stdin", message, node.config_path[:-1])
    roots = tuple(config.directory / root for root in config.workspace.file_roots)
    for node in graph.nodes.values():
        yield from check_files(node, config.directory, roots)


def too_few_sandboxes(config: Config, graph: Graph, registry: Registry) -> Problem | None:
    """Why a network cannot be run with the pool that is configured."""
    scripts = [n for n in graph.nodes.values() if registry.lookup(n.component).runtime is not Runtime.NATIVE]
    most = config.workspace.sandbox.max_pool_size
    if len(scripts) <= most:
        return None
    return config.source.problem(
        "pool-too-small",
        f"{len(scripts)} script nodes need as many sandboxes, and max_pool_size is {most}",
        (*SANDBOX, "max_pool_size"),
        hint="raise workspace.sandbox.max_pool_size",
    )


def _backend(config: Config) -> Iterator[Problem]:
    sandbox = config.workspace.sandbox
    minimum = Isolation[sandbox.minimum_isolation.upper()]
    if problem := unfit(sandbox.backend, minimum=minimum, unsafe=sandbox.unsafe):
        yield config.source.problem(problem.code, problem.message, (*SANDBOX, "backend"), hint=problem.hint)


def _images(config: Config, runtimes: set[Runtime]) -> Iterator[Problem]:
    """Where no image is used, one that promises another version than there is misleads."""
    sandbox = config.workspace.sandbox
    for runtime, key, image in (
        (Runtime.PYTHON, "python_image", sandbox.python_image),
        (Runtime.JAVASCRIPT, "javascript_image", sandbox.javascript_image),
    ):
        if runtime not in runtimes:
            continue
        try:
            found = (interpreters.python() if runtime is Runtime.PYTHON else interpreters.node()).version
        except EnvironmentError_:
            continue  # which a run says
        wanted = re.match(r"(\d+(?:\.\d+)*)", image.rpartition(":")[2]) if ":" in image else None
        parts = wanted[1].split(".") if wanted else []
        if parts and found.split(".")[: len(parts)] != parts:
            yield config.source.problem(
                "other-version",
                f"{image} is not used: without microVMs scripts run with this machine's {found}",
                (*SANDBOX, key),
                severity=Severity.WARNING,
            )


def placed(config: Config, problem: Problem) -> Problem:
    """The same finding with its place in reflow.yaml, where it is about a key of that."""
    if problem.location is not None or not problem.path:
        return problem
    steps = re.findall(r"([\w-]+)|\[(\d+)\]", problem.path)
    path = [name or int(index) for name, index in steps]
    return attrs.evolve(problem, location=config.source.locate(path))

"""Which backend a run uses. It never is weaker than what the workspace asks for, and never silently none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from reflow_supervisor.errors import EnvironmentError_, Problem, UserError
from reflow_supervisor.sandbox.backend import Finding, FindingLevel, Isolation, Noticing, SandboxBackend
from reflow_supervisor.sandbox.bubblewrap import BubblewrapBackend
from reflow_supervisor.sandbox.process import ProcessBackend

AUTO = "auto"

_ISOLATION_NAMES: Mapping[Isolation, str] = {
    Isolation.NONE: "none",
    Isolation.NAMESPACES: "namespaces",
    Isolation.MICROVM: "microvm",
}


@attrs.frozen
class Candidate:
    """A backend that can be named in reflow.yaml."""

    name: str
    isolation: Isolation
    make: Callable[[], SandboxBackend]


CANDIDATES: Sequence[Candidate] = (
    Candidate("bubblewrap", Isolation.NAMESPACES, BubblewrapBackend),
    Candidate("process", Isolation.NONE, ProcessBackend),
)
"""The strongest first: the order in which `auto` tries them."""


def _ignore(notice: str) -> None:
    pass


def choose_backend(
    name: str = AUTO,
    *,
    minimum: Isolation = Isolation.NAMESPACES,
    unsafe: bool = False,
    candidates: Sequence[Candidate] = CANDIDATES,
    on_notice: Callable[[str], None] = _ignore,
) -> SandboxBackend:
    """The backend to use. Blocking: it tries out what the machine can do.

    Args:
        name: a backend's name, or "auto" for the strongest that works here.
        minimum: refuses everything weaker.
        unsafe: allows a backend without isolation, if it is also named.
        on_notice: told by the backend, while it runs, when it comes to do with less.

    Raises:
        UserError: the name or the combination makes no sense.
        EnvironmentError_: the machine lacks what is needed.
    """
    if problem := unfit(name, minimum=minimum, unsafe=unsafe, candidates=candidates):
        raise UserError(problem)
    backend = _choose(name, minimum, candidates)
    if isinstance(backend, Noticing):
        backend.on_notice = on_notice
    return backend


def _choose(name: str, minimum: Isolation, candidates: Sequence[Candidate]) -> SandboxBackend:
    if name == AUTO:
        return _strongest(minimum, candidates)
    candidate = next(each for each in candidates if each.name == name)
    backend = candidate.make()
    missing = _missing(backend.probe())
    if missing:
        raise EnvironmentError_([_problem(name, finding) for finding in missing])
    return backend


def unfit(
    name: str,
    *,
    minimum: Isolation = Isolation.NAMESPACES,
    unsafe: bool = False,
    candidates: Sequence[Candidate] = CANDIDATES,
) -> Problem | None:
    """Why a backend makes no sense, whatever the machine; None where it does."""
    if name == AUTO:
        if any(candidate.isolation >= minimum for candidate in candidates):
            return None
        return Problem(
            "no-backend",
            f"no sandbox backend isolates by {_ISOLATION_NAMES[minimum]}",
            hint="lower minimum_isolation",
        )
    candidate = next((each for each in candidates if each.name == name), None)
    if candidate is None:
        known = ", ".join([AUTO, *(each.name for each in candidates)])
        return Problem("unknown-backend", f"there is no sandbox backend {name!r}", hint=f"one of: {known}")
    if candidate.isolation == Isolation.NONE and not unsafe:
        return Problem(
            "unsafe-backend",
            f"the {name} backend isolates nothing: a script can do all that you can",
            hint="if you trust every script, say so: --unsafe, or unsafe: true",
        )
    # Naming it together with `unsafe` is as explicit as lowering the minimum.
    if candidate.isolation < minimum and candidate.isolation != Isolation.NONE:
        return Problem(
            "weak-backend",
            f"the {name} backend isolates by {_ISOLATION_NAMES[candidate.isolation]}, "
            f"less than the {_ISOLATION_NAMES[minimum]} that are asked for",
            hint="lower minimum_isolation, or choose a stronger backend",
        )
    return None


def _strongest(minimum: Isolation, candidates: Sequence[Candidate]) -> SandboxBackend:
    problems: list[Problem] = []
    # A backend without isolation must be named.
    floor = max(minimum, Isolation.NAMESPACES)
    for candidate in candidates:
        if candidate.isolation < floor:
            continue
        backend = candidate.make()
        missing = _missing(backend.probe())
        if not missing:
            return backend
        problems += [_problem(candidate.name, finding) for finding in missing]
    raise EnvironmentError_(problems)


def _missing(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level == FindingLevel.MISSING]


def _problem(backend: str, finding: Finding) -> Problem:
    return Problem("sandbox-unavailable", f"{backend}: {finding.what}: {finding.detail}", hint=finding.fix)

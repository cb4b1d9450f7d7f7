"""What `reflow-supervise doctor` says about sandboxes: which boundary is active here, and what each lacks.

Everything is found out by trying it. Blocking, about a second: call it in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from reflow_supervisor.errors import EnvironmentError_
from reflow_supervisor.sandbox import interpreters
from reflow_supervisor.sandbox.backend import Finding, FindingLevel, Isolation
from reflow_supervisor.sandbox.bubblewrap import BubblewrapBackend, zygote_finding
from reflow_supervisor.sandbox.select import CANDIDATES, Candidate

KVM = Path("/dev/kvm")


def findings(candidates: Sequence[Candidate] = CANDIDATES) -> list[Finding]:
    """All findings, the boundary that `auto` would choose first."""
    probed = [
        (candidate, list(candidate.make().probe())) for candidate in candidates if candidate.isolation != Isolation.NONE
    ]
    active = next(
        (candidate for candidate, found in probed if all(finding.level != FindingLevel.MISSING for finding in found)),
        None,
    )
    return [
        _boundary(active),
        *(finding for _, found in probed for finding in found),
        *([zygote_finding()] if active is not None and active.name == BubblewrapBackend.name else []),
        _user(),
        _python(),
        _node(),
        kvm_finding(KVM),
    ]


def _boundary(active: Candidate | None) -> Finding:
    if active is None:
        return Finding(
            FindingLevel.MISSING, "boundary", "no backend can isolate scripts on this machine", "see the lines below"
        )
    return Finding(FindingLevel.OK, "boundary", f"{active.isolation.name.lower()}, by {active.name}")


def _user() -> Finding:
    if os.geteuid() == 0:
        return Finding(FindingLevel.OK, "user", "root: sandboxes switch to user ids of their own before they start")
    return Finding(FindingLevel.OK, "user", f"uid {os.geteuid()}: sandboxes share it, apart by namespaces")


def _python() -> Finding:
    found = interpreters.python()
    return Finding(FindingLevel.OK, "python", f"{found.version}, {found.executable}")


def _node() -> Finding:
    try:
        found = interpreters.node()
    except EnvironmentError_ as error:
        (problem,) = error.problems
        # Python actors run without it.
        return Finding(FindingLevel.WARNING, "node", problem.message, problem.hint)
    return Finding(FindingLevel.OK, "node", f"{found.version}, {found.executable}")


def kvm_finding(device: Path) -> Finding:
    """Whether virtual machines could be made here."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        detail = f"there is no {device}"
        fix = "run on hardware, or in a virtual machine with nested virtualization"
    except OSError as error:
        detail, fix = f"{device}: {error.strerror}", "add your user to the group kvm"
    else:
        return Finding(FindingLevel.OK, "kvm", "microVMs are possible")
    return Finding(FindingLevel.WARNING, "kvm", f"{detail}: no microVMs", fix)

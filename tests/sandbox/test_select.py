from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import attrs
import pytest

from reflow_supervisor.errors import EnvironmentError_, UserError
from reflow_supervisor.sandbox.backend import Finding, FindingLevel, Isolation, SandboxBackend
from reflow_supervisor.sandbox.select import CANDIDATES, Candidate, choose_backend

OK = Finding(FindingLevel.OK, "all")
WARNING = Finding(FindingLevel.WARNING, "control groups", "none")
MISSING = Finding(FindingLevel.MISSING, "namespaces", "refused", "allow them")


@attrs.define
class Probed:
    name: str
    findings: tuple[Finding, ...]

    def probe(self) -> Sequence[Finding]:
        return self.findings


def candidates(microvm: Finding = OK, namespaces: Finding = OK) -> list[Candidate]:
    def one(name: str, isolation: Isolation, finding: Finding) -> Candidate:
        return Candidate(name, isolation, lambda: cast("SandboxBackend", Probed(name, (OK, finding))))

    return [
        one("vm", Isolation.MICROVM, microvm),
        one("ns", Isolation.NAMESPACES, namespaces),
        one("process", Isolation.NONE, OK),
    ]


def test_auto_takes_the_strongest_that_works() -> None:
    assert choose_backend(candidates=candidates()).name == "vm"
    assert choose_backend(candidates=candidates(microvm=MISSING)).name == "ns"
    assert choose_backend(candidates=candidates(microvm=WARNING)).name == "vm"


@pytest.mark.parametrize("minimum", [Isolation.NAMESPACES, Isolation.NONE])
@pytest.mark.parametrize("unsafe", [True, False])
def test_auto_never_takes_none(minimum: Isolation, unsafe: bool) -> None:
    with pytest.raises(EnvironmentError_, match=r"ns: namespaces: refused.*allow them"):
        choose_backend(minimum=minimum, unsafe=unsafe, candidates=candidates(MISSING, MISSING))


def test_auto_never_goes_below_the_minimum() -> None:
    with pytest.raises(EnvironmentError_) as caught:
        choose_backend(minimum=Isolation.MICROVM, candidates=candidates(microvm=MISSING))
    assert "ns" not in str(caught.value)
    with pytest.raises(UserError, match="microvm"):
        choose_backend(minimum=Isolation.MICROVM, candidates=candidates()[1:])


def test_named() -> None:
    assert choose_backend("ns", candidates=candidates()).name == "ns"
    with pytest.raises(EnvironmentError_, match="refused"):
        choose_backend("ns", candidates=candidates(namespaces=MISSING))
    with pytest.raises(UserError, match="one of: auto, vm, ns, process"):
        choose_backend("docker", candidates=candidates())
    with pytest.raises(UserError, match="less than the microvm"):
        choose_backend("ns", minimum=Isolation.MICROVM, candidates=candidates())


def test_process_only_when_named_and_called_unsafe() -> None:
    assert choose_backend("process", unsafe=True, candidates=candidates()).name == "process"
    with pytest.raises(UserError, match="--unsafe"):
        choose_backend("process", candidates=candidates())


def test_what_there_is() -> None:
    strengths = [candidate.isolation for candidate in CANDIDATES]
    assert strengths == sorted(strengths, reverse=True)
    for candidate in CANDIDATES:
        backend = candidate.make()
        assert (backend.name, backend.isolation) == (candidate.name, candidate.isolation)


@attrs.define
class Talkative(Probed):
    on_notice: Callable[[str], None] = print


def test_a_backend_that_says_things_says_them_to_who_chose_it() -> None:
    heard: list[str] = []
    candidate = Candidate("ns", Isolation.NAMESPACES, lambda: cast("SandboxBackend", Talkative("ns", (OK,))))
    backend = choose_backend(candidates=[candidate], on_notice=heard.append)
    cast("Talkative", backend).on_notice("slower")
    assert heard == ["slower"]

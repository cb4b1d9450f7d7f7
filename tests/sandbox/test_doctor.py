from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from reflow_supervisor.sandbox import bubblewrap, doctor
from reflow_supervisor.sandbox.agents import ForkedAgent
from reflow_supervisor.sandbox.backend import Finding, FindingLevel, Isolation, SandboxBackend
from reflow_supervisor.sandbox.select import Candidate


class Broken:
    def probe(self) -> list[Finding]:
        return [Finding(FindingLevel.MISSING, "namespaces", "refused", "allow them")]


@pytest.mark.slow
def test_this_machine() -> None:
    found = doctor.findings()
    assert found[0].what == "boundary"
    assert [finding.what for finding in found][1:] == [
        *("bubblewrap", "namespaces", "seccomp", "control groups"),
        *("zygote", "user", "python", "node", "kvm"),
    ]
    assert [finding.level for finding in found if finding.what == "zygote"] == [FindingLevel.OK]
    assert all(finding.fix for finding in found if finding.level is FindingLevel.MISSING)


def test_no_boundary() -> None:
    candidate = Candidate("ns", Isolation.NAMESPACES, lambda: cast("SandboxBackend", Broken()))
    found = doctor.findings([candidate])
    assert (found[0].level, found[0].what) == (FindingLevel.MISSING, "boundary")
    assert found[1] == Finding(FindingLevel.MISSING, "namespaces", "refused", "allow them")


@pytest.mark.slow
def test_why_there_is_no_zygote(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "FORKED_AGENT", ForkedAgent("", "raise RuntimeError('none here')"))
    found = bubblewrap.zygote_finding(cache)
    assert (found.level, found.what) == (FindingLevel.WARNING, "zygote")
    assert "RuntimeError: none here" in found.detail
    assert found.fix


def test_kvm(tmp_path: Path) -> None:
    assert doctor.kvm_finding(tmp_path / "kvm").level is FindingLevel.WARNING
    (tmp_path / "kvm").write_text("")
    assert doctor.kvm_finding(tmp_path / "kvm").level is FindingLevel.OK

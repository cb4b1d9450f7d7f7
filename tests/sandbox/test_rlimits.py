from __future__ import annotations

import resource
import subprocess

import pytest

from reflow_supervisor.sandbox.backend import Limits
from reflow_supervisor.sandbox.rlimits import NODE_BASELINE, Rlimits, limited, resource_limits, rlimits_for

LIMITS = Limits(memory=256 << 20, pids=50, tmp=8 << 20, open_files=128)


def test_with_a_control_group_memory_and_processes_are_its_business() -> None:
    found = rlimits_for("python", LIMITS, control_group=True, own_uid=True, max_open_files=1000)
    assert found == Rlimits(128, 256 << 20)


def test_without_one_python_is_limited_by_address_space_and_node_by_data() -> None:
    python = rlimits_for("python", LIMITS, control_group=False, own_uid=True, max_open_files=1000)
    assert python == Rlimits(128, 8 << 20, address_space=256 << 20, processes=50)
    node = rlimits_for("javascript", LIMITS, control_group=False, own_uid=False, max_open_files=1000)
    assert node == Rlimits(128, 8 << 20, data=NODE_BASELINE + (256 << 20))


def test_unlimited_memory() -> None:
    limits = Limits(memory=None, tmp=1 << 20)
    for runtime in ("python", "javascript"):
        found = rlimits_for(runtime, limits, control_group=False, own_uid=False, max_open_files=1000)
        assert (found.address_space, found.data) == (None, None)
    assert rlimits_for("python", limits, control_group=True, own_uid=False, max_open_files=9).file_size == 1 << 20


def test_open_files_never_above_what_the_supervisor_has() -> None:
    assert rlimits_for("python", LIMITS, control_group=True, own_uid=False, max_open_files=100).open_files == 100


@pytest.mark.parametrize(
    ("rlimits", "expected"),
    [
        (Rlimits(100, 1 << 20), {}),
        (
            Rlimits(100, 1 << 20, address_space=1 << 30, data=1 << 29, processes=4000),
            {"Max address space": str(1 << 30), "Max data size": str(1 << 29), "Max processes": "4000"},
        ),
    ],
)
def test_the_kernel_has_them_soft_and_hard(rlimits: Rlimits, expected: dict[str, str]) -> None:
    text = subprocess.run(
        limited(["/bin/cat", "/proc/self/limits"], rlimits), capture_output=True, text=True, check=True
    ).stdout
    table = {line[:26].strip(): line[26:].split()[:2] for line in text.splitlines()}
    wanted = {"Max core file size": "0", "Max locked memory": "0", "Max open files": "100"}
    for name, value in {**wanted, "Max file size": str(1 << 20), **expected}.items():
        assert table[name] == [value, value]


def test_arguments_are_no_shell_code() -> None:
    done = subprocess.run(
        limited(["/bin/echo", "$(id)", "a b", "'"], Rlimits(100, 1 << 20)), capture_output=True, text=True, check=True
    )
    assert done.stdout == "$(id) a b '\n"


def test_as_a_process_sets_its_own() -> None:
    found = resource_limits(Rlimits(100, 2000, address_space=3000, processes=40))
    assert dict(found) == {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 100,
        resource.RLIMIT_FSIZE: 2000,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_AS: 3000,
        resource.RLIMIT_NPROC: 40,
    }

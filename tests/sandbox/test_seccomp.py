"""The filter, run by an interpreter of classic BPF: every system call of both architectures, and the arguments."""

from __future__ import annotations

import errno
import struct

import pytest

from reflow_supervisor.errors import EnvironmentError_
from reflow_supervisor.sandbox.seccomp import ALLOWED, ARCHITECTURES, REFUSED, filter_for

ALLOW, KILL = "allow", "kill"
DECIDED_BY_ARGUMENT = {"socket", "socketpair", "clone", "ioctl", "prctl"}


def judge(program: bytes, audit: int, number: int, *arguments: int) -> str:
    """What the kernel would do. Follows net/core/filter.c for the instructions that it knows, and fails on others."""
    padded = (*arguments, *(0,) * (6 - len(arguments)))
    data = struct.pack("<IIQ6Q", number, audit, 0, *padded)
    instructions = list(struct.iter_unpack("<HBBI", program))
    accumulator, position = 0, 0
    while True:
        code, if_true, if_false, value = instructions[position]
        position += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x06:
            break
        else:
            holds = {
                0x15: accumulator == value,
                0x35: accumulator >= value,
                0x25: accumulator > value,
                0x45: bool(accumulator & value),
            }[code]
            position += if_true if holds else if_false
    if value == 0x7FFF0000:
        return ALLOW
    if value == 0x80000000:
        return KILL
    assert value & 0xFFFF0000 == 0x00050000
    return errno.errorcode[value & 0xFFFF]


@pytest.fixture(params=sorted(ARCHITECTURES))
def machine(request: pytest.FixtureRequest) -> str:
    return request.param


def ask(machine: str, name: str, *arguments: int) -> str:
    architecture = ARCHITECTURES[machine]
    return judge(filter_for(machine), architecture.audit, architecture.numbers[name], *arguments)


def test_every_call_of_the_table_gets_what_the_policy_says(machine: str) -> None:
    wrong = {}
    for name in ARCHITECTURES[machine].numbers:
        if name in DECIDED_BY_ARGUMENT:
            continue
        expected = ALLOW if name in ALLOWED else "EPERM" if name in REFUSED else "ENOSYS"
        if (got := ask(machine, name)) != expected:
            wrong[name] = got
    assert wrong == {}


def test_numbers_beyond_the_table_do_not_exist(machine: str) -> None:
    architecture = ARCHITECTURES[machine]
    known = set(architecture.numbers.values())
    for number in (n for n in range(2000) if n not in known):
        assert judge(filter_for(machine), architecture.audit, number) == "ENOSYS"


def test_policy_names_only_calls_that_exist() -> None:
    known = {name for architecture in ARCHITECTURES.values() for name in architecture.numbers}
    assert known >= ALLOWED | REFUSED
    assert not ALLOWED & REFUSED
    assert not DECIDED_BY_ARGUMENT & (ALLOWED | REFUSED)


@pytest.mark.parametrize("name", ["socket", "socketpair"])
def test_sockets_are_unix_only(machine: str, name: str) -> None:
    for family in range(48):
        assert ask(machine, name, family) == (ALLOW if family == 1 else "EAFNOSUPPORT")
    # The kernel takes the family as an int: what is in the upper half must not matter to the filter either.
    assert ask(machine, name, 1 << 32 | 2) == "EAFNOSUPPORT"


def test_clone_makes_threads_and_processes_but_no_namespaces(machine: str) -> None:
    assert ask(machine, "clone", 17) == ALLOW  # fork: SIGCHLD
    assert ask(machine, "clone", 0x3D0F00) == ALLOW  # pthread_create
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert ask(machine, "clone", flag | 17) == "EPERM"
    assert ask(machine, "clone3") == "ENOSYS"


def test_ioctl_cannot_type_into_a_terminal(machine: str) -> None:
    assert ask(machine, "ioctl", 0, 0x5401) == ALLOW  # TCGETS
    for request in (0x5412, 0x541C, 0xFFFFFFFF_00005412):
        assert ask(machine, "ioctl", 0, request) == "EPERM"


def test_prctl(machine: str) -> None:
    assert ask(machine, "prctl", 15) == ALLOW  # PR_SET_NAME
    for option in (35, 47, 0x59616D61):
        assert ask(machine, "prctl", option) == "EPERM"


def test_another_architecture_is_killed(machine: str) -> None:
    read = ARCHITECTURES[machine].numbers["read"]
    for audit in (0x40000003, 0x40000028, 0):  # i386, arm
        assert judge(filter_for(machine), audit, read) == KILL


def test_x32_is_killed() -> None:
    for number in (0x40000000, 0x40000000 | 59, 0xFFFFFFFF):
        assert judge(filter_for("x86_64"), ARCHITECTURES["x86_64"].audit, number) == KILL


def test_jumps_stay_inside_the_program(machine: str) -> None:
    instructions = list(struct.iter_unpack("<HBBI", filter_for(machine)))
    assert len(instructions) < 4096  # BPF_MAXINSNS
    for position, (code, if_true, if_false, _) in enumerate(instructions):
        if code not in (0x20, 0x06):
            assert position + 1 + max(if_true, if_false) < len(instructions)
    assert instructions[-1][0] == 0x06


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(EnvironmentError_, match="riscv64"):
        filter_for("riscv64")

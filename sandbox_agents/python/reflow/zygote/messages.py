"""What is said between the supervisor, a zygote and the processes that it forks, and through what.

    control   SOCK_SEQPACKET, supervisor ↔ zygote     Begin →, ← Ready; then Fork →, with FORK_DESCRIPTORS
    channel   SOCK_SEQPACKET, supervisor ↔ one fork   ← Forked with its pidfd, ← Confined or ConfinementFailed, Go →
    reins     a pipe, zygote → supervisor             one REPORT, in the end: how that fork ended

A fork closes control and every sibling's reins before anything else, and its channel before it runs a script: no script
ever holds one of them. The zygote kills what its supervisor has let go of, by closing the reins. What makes a fork this
sandbox and no other (its token) is in Go, so that the zygote never has it.

This module decides the form of messages and the places of the outer sandbox; what is done about a message, others
decide.
"""

from __future__ import annotations

import struct
from typing import Annotated, Final

import msgspec

TEMPLATE: Final = "/tmp/root"
"""In the outer sandbox: what a fork makes its root, with nothing mounted where each has something of its own."""

SANDBOXES: Final = "/tmp/sandboxes"
"""In the outer sandbox: the directory with a directory for each sandbox."""

LINK_DIRECTORY: Final = "/run/reflow"
"""In a sandbox: its own of these."""

GUEST_ID: Final = 65534
"""User and group id inside: "nobody", who owns nothing."""

HOSTNAME: Final = "sandbox"

MAX_CONTROL: Final = 64 * 1024
MAX_CHANNEL: Final = 16 * 1024
MAX_TEXT: Final = 1000

FORK_DESCRIPTORS: Final = ("reins", "channel", "stdout", "stderr")
"""What comes with Fork, in this order; after these, the `cgroup.procs` of each group that the fork is to join."""
MAX_GROUPS: Final = 8

Size = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Begin(_Message, frozen=True):
    """`prelude` is Python code that the zygote runs once; `code` is what every fork runs as its main program; `rules`
    is its seccomp filter."""

    prelude: str
    code: str
    rules: bytes


class Ready(_Message, frozen=True):
    pass


class Fork(_Message, frozen=True):
    """What one sandbox is to be. Sizes in bytes.

    `directory` is its directory's name in SANDBOXES; `uid` its user and group id as the zygote's user namespace numbers
    them, None where it has the zygote's own; `limits` are pairs of a resource (`resource.RLIMIT_*`) and its value.
    """

    directory: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")]
    uid: Annotated[int, msgspec.Meta(ge=1, le=2**32 - 2)] | None
    tmp: Size
    shared_memory: Size
    limits: list[tuple[int, Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]]]


class Forked(_Message, frozen=True, tag=True):
    """The first thing that a fork says. Comes with its pidfd."""


class Confined(_Message, frozen=True, tag=True):
    pass


class ConfinementFailed(_Message, frozen=True, tag=True):
    """`step` says what could not be done, `reason` why."""

    step: str
    reason: str


Progress = Forked | Confined | ConfinementFailed


class Go(_Message, frozen=True):
    """All environment variables that the sandbox gets."""

    environment: dict[str, str]


encode = msgspec.msgpack.Encoder().encode
# Made once: in a fork, making one would be most of its work.
decode_begin = msgspec.msgpack.Decoder(Begin).decode
decode_ready = msgspec.msgpack.Decoder(Ready).decode
decode_fork = msgspec.msgpack.Decoder(Fork).decode
decode_progress = msgspec.msgpack.Decoder(Progress).decode
decode_go = msgspec.msgpack.Decoder(Go).decode

REPORT: Final = struct.Struct("=Bi")
"""How a fork ended: EXITED and the code, as `Popen.returncode` has it; or NOT_FORKED and the number of the error."""
EXITED: Final = 1
NOT_FORKED: Final = 2

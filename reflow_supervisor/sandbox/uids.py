"""User ids for the sandboxes of a supervisor that runs as root: one each, none of them anybody's.

Root itself must never start a sandbox: inside it, the host's root would still own the files of /proc/sys.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

from reflow_supervisor.errors import EnvironmentError_, SandboxError

RANGES = (
    range(1_879_100_000, 1_879_104_096),
    # Above every range that systemd, shadow-utils (subuids) and container managers give out by default.
    range(55_000, 59_096),
    # For a root inside a container whose user namespace maps 65536 ids.
)


def mapped(ids: range, id_map: str) -> bool:
    """Whether a user namespace with this /proc/self/uid_map knows all of the ids."""
    for line in id_map.splitlines():
        first, _, count = (int(field) for field in line.split())
        if first <= ids.start and ids.stop <= first + count:
            return True
    return False


def choose_range(uid_map: str, gid_map: str) -> range:
    """The first of RANGES that this user namespace can switch to.

    Raises:
        EnvironmentError_: it maps too few ids.
    """
    for ids in RANGES:
        if mapped(ids, uid_map) and mapped(ids, gid_map):
            return ids
    raise EnvironmentError_(
        "this user namespace maps too few user ids to give each sandbox its own",
        hint="run reflow-supervise as an ordinary user",
    )


class UidPool:
    """Hands out ids, the longest unused first, so that a stray process of a dead sandbox meets no
    successor."""

    def __init__(self, ids: range, offset: int = 0) -> None:
        """`offset`: where to begin, so that two supervisors on one machine seldom use the same ids."""
        self.ids = ids
        start = offset % len(ids)
        self._free = deque([*ids[start:], *ids[:start]])

    @classmethod
    def for_this_process(cls, offset: int) -> UidPool:
        return cls(
            choose_range(Path("/proc/self/uid_map").read_text(), Path("/proc/self/gid_map").read_text()),
            offset,
        )

    def take(self) -> int:
        if not self._free:
            raise SandboxError("there are more sandboxes than user ids for them: lower max_pool_size")
        return self._free.popleft()

    def give_back(self, uid: int) -> None:
        self._free.append(uid)

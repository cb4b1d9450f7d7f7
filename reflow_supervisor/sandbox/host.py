"""What a backend has of this machine for one run, and what one sandbox has of that: directories, a control group, a
user id. Where they come from is decided here; what runs in them is not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import attrs
import trio

from reflow_supervisor.errors import SandboxError
from reflow_supervisor.sandbox.backend import Finding, FindingLevel, Limits
from reflow_supervisor.sandbox.cgroups import Cgroup, Cgroups, CgroupsUnavailableError, open_cgroups
from reflow_supervisor.sandbox.rundir import RunDirectory, SandboxDirectory
from reflow_supervisor.sandbox.runtime_tree import RuntimeTrees, default_cache
from reflow_supervisor.sandbox.uids import UidPool

CGROUP_TIMEOUT = 5.0
CGROUP_RETRY = 0.005


@attrs.frozen
class Slot:
    """What one sandbox has of the host, apart from its processes.

    `uid` is its user and group id, None where that is the supervisor's own; `cgroup` is None where there are none.
    """

    id: str
    uid: int | None
    directory: SandboxDirectory
    cgroup: Cgroup | None
    _uids: UidPool | None

    async def aclose(self) -> None:
        """Removes it all. The sandbox's processes are gone by then."""
        with trio.CancelScope(shield=True):
            if self.cgroup is not None:
                with trio.move_on_after(CGROUP_TIMEOUT):
                    while not self.cgroup.remove():  # noqa: ASYNC110  (the kernel has no event for it)
                        await trio.sleep(CGROUP_RETRY)
            await self.directory.aclose()
        if self._uids is not None and self.uid is not None:
            self._uids.give_back(self.uid)


@attrs.frozen
class Host:
    """Opening, preparing and closing block: do it in a thread."""

    rundir: RunDirectory
    cgroups: Cgroups | None
    trees: RuntimeTrees
    uids: UidPool | None

    @classmethod
    def open(cls, *, base: Path | None, cache: Path | None, use_cgroups: bool, own_uids: bool) -> Host:
        """
        Args:
            base: where the run directory is made; None: where this machine has such things.
            cache: where the trees are kept, likewise. Sandboxes must not be able to write to it.
            use_cgroups: False does without control groups even where there are some.
            own_uids: gives each sandbox its own user id, where the supervisor may do that (as root).

        Raises:
            EnvironmentError_: there is no place for what is needed.
        """
        uids = UidPool.for_this_process(os.getpid() * 64) if own_uids and os.geteuid() == 0 else None
        rundir = RunDirectory.create(base)
        cgroups = None
        if use_cgroups:
            with contextlib.suppress(CgroupsUnavailableError):
                cgroups = open_cgroups()
        return cls(rundir, cgroups, RuntimeTrees(cache or default_cache(rundir.path / "runtimes")), uids)

    async def slot(self, sandbox_id: str, limits: Limits) -> Slot:
        """
        Raises:
            SandboxError: it cannot be made. Nothing is left of it.
        """
        uid = self.uids.take() if self.uids is not None else None
        try:
            cgroup = self.cgroups.create(sandbox_id, limits) if self.cgroups is not None else None
            try:
                return Slot(sandbox_id, uid, await self.rundir.sandbox(sandbox_id, uid), cgroup, self.uids)
            except BaseException:
                if cgroup is not None:
                    cgroup.remove()
                raise
        except BaseException as error:
            if self.uids is not None and uid is not None:
                self.uids.give_back(uid)
            if isinstance(error, OSError):
                raise SandboxError(f"cannot make sandbox {sandbox_id}: {error}") from error
            raise

    def close(self) -> None:
        self.trees.close()
        if self.cgroups is not None:
            self.cgroups.close()
        self.rundir.remove()


def cgroup_findings(*, use_cgroups: bool = True) -> Sequence[Finding]:
    """Whether sandboxes can be limited as a whole, found out by trying."""
    what = "control groups"
    if not use_cgroups:
        return (Finding(FindingLevel.WARNING, what, "switched off: memory is limited per process, by rlimits"),)
    try:
        cgroups = open_cgroups()
    except CgroupsUnavailableError as error:
        return (
            Finding(
                FindingLevel.WARNING,
                what,
                f"{error}; memory is limited per process, by rlimits, processor time is not limited",
                error.fix,
            ),
        )
    try:
        detail = f"{cgroups.version}: {', '.join(sorted(cgroups.controllers))}"
        if "cpu" not in cgroups.controllers:
            return (Finding(FindingLevel.WARNING, what, f"{detail}; processor time is not limited"),)
        return (Finding(FindingLevel.OK, what, detail),)
    finally:
        cgroups.close()

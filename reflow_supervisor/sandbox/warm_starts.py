"""Python sandboxes from a zygote: when there is one, when there is none, and what is forked ahead.

A zygote that ends takes its sandboxes with it. The next start brings up another one and, like those that follow until
it is ready, does without: it is bwrap's then, slower and no less confined. A zygote that does not last, or whose forks
cannot shut themselves in, is tried again ever more seldom. Whoever runs this is told once about each change.

Behind a start, one fork is made ahead for the next one: in its control group already, where the kernel takes long to
put a process, and shut in. It knows no secret until it is taken.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio

from reflow_supervisor.errors import SandboxError
from reflow_supervisor.sandbox.backend import Limits
from reflow_supervisor.sandbox.forks import CannotForkError, HeldFork, ZygoteLostError
from reflow_supervisor.sandbox.host import Slot
from reflow_supervisor.sandbox.unix_sandbox import UnixSandbox
from reflow_supervisor.sandbox.zygote import Zygote

LASTING = 60.0
"""Seconds after which a zygote's end is its first one again."""
LONGEST_REST = 60.0
MOST_AHEAD = 2
"""Forks made ahead, each for other limits."""


@attrs.define
class Attempts:
    """When to try again: at once after the first failure, then after a second, two, four, at most LONGEST_REST. Times
    are of one monotonic clock."""

    failures: int = 0
    not_before: float = float("-inf")
    since: float | None = None
    """When it last came up."""

    def due(self, now: float) -> bool:
        return now >= self.not_before

    def succeeded(self, now: float) -> None:
        if self.since is None:
            self.since = now

    def failed(self, now: float) -> None:
        if self.since is not None and now - self.since >= LASTING:
            self.failures = 0
        self.since = None
        rest = 0.0 if not self.failures else min(LONGEST_REST, 2.0 ** (self.failures - 1))
        self.not_before = now + rest
        self.failures = min(self.failures + 1, 32)


class WarmStarts:
    """
    Args:
        launch: starts a zygote.
        make_slot: makes what a sandbox has of the host.
        notice: told in words when starts become slow or quick again.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        launch: Callable[[], Awaitable[Zygote]],
        make_slot: Callable[[Limits], Awaitable[Slot]],
        *,
        notice: Callable[[str], None],
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._launch = launch
        self._make_slot = make_slot
        self._notice = notice
        self._clock = clock
        self._attempts = Attempts()
        self._zygote: Zygote | None = None
        self._settled = False
        """Whether the first zygote has come up or failed: only that one is waited for."""
        self.trouble = ""
        """Why sandboxes have to be made in another way now; empty while they have not."""
        self._ahead: dict[Limits, HeldFork] = {}
        self._lock = trio.Lock()

    @property
    def zygote(self) -> Zygote | None:
        return self._zygote

    async def prepare(self) -> None:
        """Starts the first zygote; `start` waits until it is ready."""
        async with self._lock:
            await self._begin()

    async def start(self, limits: Limits) -> UnixSandbox | None:
        """A sandbox with these limits, its agent told to go; None where it has to be made in another way now.

        Raises:
            SandboxError: it could not be made, and would not be in another way.
        """
        zygote = await self._ready()
        if zygote is None or zygote.full:
            return None
        try:
            held = await self._take(limits) or await self._fork(zygote, limits)
            sandbox = await self._let_go(held)
        except ZygoteLostError as error:
            await self._lost(zygote, str(error))
            return None
        except CannotForkError as error:
            self._failed(f"a fork of the zygote could not be made a sandbox: {error}")
            return None
        self._well()
        try:
            await self._fork_ahead(zygote, limits)
        except BaseException:
            await sandbox.aclose()
            raise
        return sandbox

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True):
            await self._drop_ahead()
            if self._zygote is not None:
                zygote, self._zygote = self._zygote, None
                await zygote.aclose()

    # -- the zygote ---------------------------------------------------------------------------------------------

    async def _ready(self) -> Zygote | None:
        async with self._lock:
            if self._zygote is not None and not self._zygote.alive:
                await self._lose(self._zygote, "it ended")
            await self._begin()
            zygote = self._zygote
            if zygote is None or not self._attempts.due(self._clock()):
                return None
            try:
                if not self._settled:
                    await zygote.ready()
                elif not zygote.try_ready():
                    return None
            except ZygoteLostError as error:
                await self._lose(zygote, str(error))
                return None
            self._settled = True
            return zygote

    async def _begin(self) -> None:
        if self._zygote is None and self._attempts.due(self._clock()):
            try:
                self._zygote = await self._launch()
            except (ZygoteLostError, SandboxError) as error:
                self._settled = True
                self._failed(f"there is no zygote: {error}")

    async def _lost(self, zygote: Zygote, why: str) -> None:
        async with self._lock:
            if self._zygote is zygote:
                await self._lose(zygote, why)
                await self._begin()

    async def _lose(self, zygote: Zygote, why: str) -> None:
        self._settled = True
        self._zygote = None
        words = await zygote.last_words()  # which it may be about to say: only then is it killed
        await self._drop_ahead()
        await zygote.aclose()
        self._failed(f"the zygote was lost: {why} ({words})")

    def _failed(self, why: str) -> None:
        self._attempts.failed(self._clock())
        told, self.trouble = self.trouble, why
        if not told:
            self._notice(f"{why}; until there is another one, Python sandboxes start more slowly")

    def _well(self) -> None:
        self._attempts.succeeded(self._clock())
        if self.trouble:
            self.trouble = ""
            self._notice("Python sandboxes start from a zygote again")

    # -- forks --------------------------------------------------------------------------------------------------

    async def _fork(self, zygote: Zygote, limits: Limits) -> HeldFork:
        slot = await self._make_slot(limits)
        try:
            return zygote.fork(slot, limits)
        except BaseException as error:
            await slot.aclose()
            if isinstance(error, OSError):
                raise SandboxError(f"cannot make sandbox {slot.id}: {error}") from error
            raise

    async def _let_go(self, held: HeldFork) -> UnixSandbox:
        try:
            await held.confined()
            return held.go()
        except BaseException:
            await held.aclose()
            raise

    async def _take(self, limits: Limits) -> HeldFork | None:
        """The fork made ahead for these limits, if it is still well."""
        held = self._ahead.pop(limits, None)
        if held is None or held.alive:
            return held
        await held.aclose()
        return None

    async def _fork_ahead(self, zygote: Zygote, limits: Limits) -> None:
        if limits in self._ahead or len(self._ahead) >= MOST_AHEAD or zygote.full:
            return
        try:
            held = await self._fork(zygote, limits)
        except (SandboxError, ZygoteLostError):
            return  # the next start will see for itself
        if limits in self._ahead or self._zygote is not zygote:
            await held.aclose()
        else:
            self._ahead[limits] = held

    async def _drop_ahead(self) -> None:
        while self._ahead:
            _, held = self._ahead.popitem()
            await held.aclose()

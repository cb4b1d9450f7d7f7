"""A real control endpoint in a thread of its own, for tests of what connects to it."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

import trio
from control.fake_provider import FakeProvider
from reflow_tui import sample

from reflow_supervisor.control.protocol import Snapshot
from reflow_supervisor.control.server import serve_control


class ThreadedSupervisor:
    """Serves `provider` on `path` from `start` to `stop`; may be started again."""

    def __init__(self, path: Path, snapshot: Snapshot | None = None) -> None:
        self.path = path
        self.provider = FakeProvider(snapshot or sample.snapshot())
        self._thread: threading.Thread | None = None

    def __enter__(self) -> ThreadedSupervisor:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main, ready))
        self._thread.start()
        assert ready.wait(5)

    def stop(self) -> None:
        if self._thread is not None:
            self._token.run_sync_soon(self._scope.cancel)
            self._thread.join(5)
            assert not self._thread.is_alive()
            self._thread = None

    async def _main(self, ready: threading.Event) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._scope = trio.CancelScope()
        with self._scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(serve, self.path, self.provider)
                ready.set()
                await trio.sleep_forever()


async def serve(
    path: Path, provider: FakeProvider, *, task_status: trio.TaskStatus[Path] = trio.TASK_STATUS_IGNORED
) -> None:
    await serve_control(path, provider, task_status=task_status)

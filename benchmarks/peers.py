"""Other ways to have a function in another process called, from the standard library, none of them isolated."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from types import TracebackType
from typing import Any, Self

from benchmarks.lines import row


def same(value: Any) -> Any:
    return value


def _echo(inbox: Any, outbox: Any) -> None:
    while (value := inbox.get()) is not None:
        outbox.put(value)


class QueuePair:
    """A process with a multiprocessing.Queue to it and one back."""

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        self._inbox, self._outbox = context.Queue(), context.Queue()
        self._process = context.Process(target=_echo, args=(self._inbox, self._outbox))
        self._process.start()
        self.round_trips(5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._inbox.put(None)
        self._process.join()
        for queue in (self._inbox, self._outbox):
            queue.close()
            queue.join_thread()

    def round_trips(self, count: int) -> list[float]:
        times: list[float] = []
        for i in range(count):
            start = time.perf_counter()
            self._inbox.put(row(i))
            self._outbox.get()
            times.append(time.perf_counter() - start)
        return times

    def stream(self, count: int) -> float:
        start = time.perf_counter()
        for i in range(count):
            self._inbox.put(row(i))
        for _ in range(count):
            self._outbox.get()
        return count / (time.perf_counter() - start)


class Executor:
    """A ProcessPoolExecutor with one worker."""

    def __enter__(self) -> Self:
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        self.round_trips(5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def round_trips(self, count: int) -> list[float]:
        times: list[float] = []
        for i in range(count):
            start = time.perf_counter()
            self._pool.submit(same, row(i)).result()
            times.append(time.perf_counter() - start)
        return times

    def stream(self, count: int) -> float:
        start = time.perf_counter()
        for _ in self._pool.map(same, (row(i) for i in range(count))):
            pass
        return count / (time.perf_counter() - start)

"""Runs activations, one at a time, on the main thread.

Decides in which order requests are served, what an activation amounts to (a commit, a failure, a skip) and what belongs
to it: its outputs, its state changes, and the tasks it left running, which are cancelled before the commit. It does no
I/O: the link carries, the loader loads.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from ..context import ActorContext
from ..message import Message
from ..state import ActorState
from ..wire import values
from ..wire.limits import WireLimits
from ..wire.messages import Activate, Code, Commit, Load, Log, Milliseconds, Send, StateFetch, StateKeys
from ..wire.session import ProtocolViolationError, RequestReceived
from ..wire.values import MalformedMessageError, NotAMessageError
from .failure import describe
from .interrupt import Interrupter, Reason, boundary
from .link import Busy, Job, Link, RequestFailedError
from .loader import LoadedActor, Loader, awaitable
from .outputs import check_port, check_size, collect, encode

if TYPE_CHECKING:
    import asyncio

REAP_TIMEOUT: Final = 1.0
"""Seconds that tasks which a script left behind get to end after they were cancelled."""

LARGE_ANSWER: Final = 256 * 1024
"""Bytes of an answer that leaves before the next activation begins: a few of the largest would fill the sandbox."""

INPUT_DEPTH: Final = 3
"""How deep the value of an input stands: request, params, inputs."""
LOG_DEPTH: Final = 3
"""How deep a record's fields stand: batch, notification, params."""

Stored = tuple[Literal["value", "list"], str | list[str], Milliseconds | None]
"""A key as `state.fetch` answers."""

_CODES: Final = {Reason.TIMEOUT: Code.DEADLINE_EXCEEDED, Reason.CANCELLED: Code.CANCELLED}
_SECOND_LOAD: Final = "this agent has been given a script already"
_LEVELS: Final = frozenset(("debug", "info", "warning", "error"))


class StateUnavailableError(Exception):
    """The state could not be fetched; the activation may be tried again."""


class Epochs:
    """Which activations are skipped: after a failure, those of the same epoch, so that order is kept when the failed
    one comes again in a higher one."""

    def __init__(self) -> None:
        self._failed = 0

    def failed(self, epoch: int) -> None:
        self._failed = max(self._failed, epoch)

    def skips(self, epoch: int) -> bool:
        return epoch <= self._failed


class Runner:
    """One agent's work, from `load` to `stop`."""

    def __init__(self, link: Link, loader: Loader, interrupter: Interrupter) -> None:
        self._link = link
        self._loader = loader
        self._interrupter = interrupter
        self._epochs = Epochs()
        self._actor: LoadedActor | None = None
        self._has_run = False
        """A script was run, even if it could not be loaded: there is no second."""
        self._state: ActorState | None = None
        self._load: Load | None = None
        self._loop_runner: asyncio.Runner | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        """Tasks that the script started in this activation."""

    def cancel(self, id_: int | str) -> None:
        """A `cancel` came for that request. Called on the link's thread."""
        if id_ in self._link.unanswered:
            self._interrupter.cancel(id_)

    def run(self) -> None:
        """Serves requests until `stop`, which it answers."""
        for job in self._requests():
            self._load_script(job.request)
            if self._actor is not None:
                break
        if self._actor is not None and self._actor.asynchronous:
            self._runner().run(self._serve_async(self._actor))
        elif self._actor is not None:
            self._serve(self._actor)
        self._link.close()

    # -- requests -----------------------------------------------------------------------------------------------

    def _requests(self) -> Iterator[Job]:
        """`load` and `activate` requests, in order, until `stop`."""
        link = self._link
        while True:
            if link.jobs.empty():
                # Nothing else is ready: what was answered leaves at once, without a change of threads.
                link.flush()
            else:
                link.flush_soon()
            job = link.jobs.get()
            if job.request.method == "stop":
                link.respond(job.request.id, {})
                return
            yield job

    def _activations(self) -> Iterator[_Activation]:
        """Activations to run. What is to be skipped or refused is answered on the way."""
        link = self._link
        for job in self._requests():
            request = job.request
            if request.method == "load":
                link.fail(request.id, Code.INVALID_REQUEST, _SECOND_LOAD)
                continue
            try:
                params = request.params.decode(Activate)
                depth = link.limits.max_depth - INPUT_DEPTH
                payload = {port: Message.decode(raw, depth) for port, raw in params.inputs.items()}
            except (ProtocolViolationError, MalformedMessageError) as e:
                self._refuse(request, e)
                continue
            if link.stopping or self._epochs.skips(params.epoch):
                self._interrupter.take_cancelled(request.id)
                link.fail(request.id, Code.SKIPPED, "skipped")
            elif self._interrupter.take_cancelled(request.id):
                self._epochs.failed(params.epoch)
                link.fail(request.id, Code.CANCELLED, "cancelled")
            elif (timeout := _time_left(params, job.received)) is not None and timeout <= 0:
                self._epochs.failed(params.epoch)
                link.fail(request.id, Code.DEADLINE_EXCEEDED, "its deadline was over before it could start")
            else:
                yield _Activation(self, request.id, params, payload, timeout)

    def _refuse(self, request: RequestReceived, error: Exception) -> None:
        """Answers a request whose params are not what its method takes. The link ends where they cannot be read."""
        try:
            request.params.check()
        except ProtocolViolationError as e:
            self._link.violated(e)
        self._interrupter.take_cancelled(request.id)
        self._link.fail(request.id, Code.INVALID_PARAMS, str(error))

    def _load_script(self, request: RequestReceived) -> None:
        link = self._link
        if request.method != "load":
            link.fail(request.id, Code.INVALID_REQUEST, "no script is loaded")
            return
        if self._has_run:
            link.fail(request.id, Code.INVALID_REQUEST, _SECOND_LOAD)
            return
        try:
            load = request.params.decode(Load)
        except ProtocolViolationError as e:
            self._refuse(request, e)
            return
        self._has_run = True
        interrupter = self._interrupter
        error: BaseException | None = None
        interrupter.begin(request.id, None if load.deadline_ms is None else load.deadline_ms / 1000)
        link.busy = Busy(request.id, None, time.monotonic())
        try:
            self._actor = self._loader.load(load)
        except BaseException as e:
            error = e
        link.busy = None
        reason = interrupter.end()
        if error is None and reason is None:
            assert self._actor is not None
            self._load = load
            self._state = ActorState(self._fetch, self._fetch_keys, ttl_ms=load.state.ttl_ms)
            link.respond(request.id, self._actor.declared)
            return
        self._actor = None
        failure = None if error is None else describe(error, self._loader.files)
        if reason is not None:
            link.fail(request.id, _CODES[reason], f"loading: {reason.value}", failure)
        else:
            assert failure is not None
            link.fail(request.id, Code.LOAD_FAILED, f"{failure.type}: {failure.message}", failure)

    # -- running ------------------------------------------------------------------------------------------------

    @boundary
    def _serve(self, actor: LoadedActor) -> None:
        call = actor.call
        for activation in self._activations():
            with activation:
                result = call(activation.context)
                if hasattr(result, "__await__"):
                    result = self._runner().run(self._drive(result))
                activation.result = result

    @boundary
    async def _serve_async(self, actor: LoadedActor) -> None:
        # One task runs all activations: to make one for each would cost more than most activations do.
        task = self._adopt_loop()
        call = actor.call
        for activation in self._activations():
            with activation:
                try:
                    activation.result = await call(activation.context)
                finally:
                    if self._tasks:
                        await self._reap()
            if task.cancelling():
                await self._settle(task)

    @boundary
    async def _drive(self, result: Any) -> Any:
        """Awaits what a plain function returned."""
        self._adopt_loop()
        try:
            return await awaitable(result)
        finally:
            if self._tasks:
                await self._reap()

    def _runner(self) -> asyncio.Runner:
        if self._loop_runner is None:
            # Imported late: many actors are plain functions, and asyncio is the largest part of a start.
            import asyncio

            self._loop_runner = asyncio.Runner()
        return self._loop_runner

    def _adopt_loop(self) -> asyncio.Task[Any]:
        """Makes the current task the one in which the script runs."""
        import asyncio

        task = asyncio.current_task()
        assert task is not None
        self._interrupter.use_loop(task)
        task.get_loop().set_task_factory(self._make_task)
        return task

    def _make_task(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        import asyncio

        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **options)
        self._tasks.append(task)
        return task

    async def _reap(self) -> None:
        """Cancels the tasks that the script left running: what they did after the commit would belong to nothing."""
        import asyncio

        left = [task for task in self._tasks if not task.done()]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=REAP_TIMEOUT)
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.exception()  # looked at, so that asyncio does not complain about it later
        self._tasks.clear()

    async def _settle(self, task: asyncio.Task[Any]) -> None:
        """Takes back a cancellation that the activation did not see, so that the next one does not see it either."""
        import asyncio

        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        while task.cancelling():
            task.uncancel()

    # -- what an activation uses ---------------------------------------------------------------------------------

    def begin(self, activation: _Activation) -> ActorContext:
        assert self._state is not None
        assert self._load is not None
        context = ActorContext(
            activation.payload,
            self._state,
            actor_id=self._load.node,
            config=self._load.config,
            emit=activation.send,
            write_log=self._log,
        )
        self._link.busy = Busy(activation.id, activation.params.activation, time.monotonic())
        self._interrupter.begin(activation.id, activation.timeout)
        return context

    def end(self, activation: _Activation, error: BaseException | None) -> None:
        """Answers an activation: with its commit, or with why there is none."""
        reason = self._interrupter.end()
        self._link.busy = None
        assert self._state is not None
        assert self._load is not None
        if error is None and reason is None:
            try:
                outputs = collect(activation.result, self._load.outports, self.limits)
                commit = Commit(outputs=outputs, state=self._state.operations(), sent=activation.sent)
                size = check_size(commit, self.limits)
            except BaseException as e:
                error = e
            else:
                self._state.commit()
                self._link.respond(activation.id, commit)
                if size > LARGE_ANSWER:
                    self._link.flush_all()
                return
        self._state.rollback()
        self._epochs.failed(activation.params.epoch)
        failure = None if error is None else describe(error, self._loader.files)
        if reason is not None:
            self._link.fail(activation.id, _CODES[reason], reason.value, failure)
            return
        assert failure is not None
        code = Code.UNSENDABLE_RESULT if isinstance(error, NotAMessageError) else Code.SCRIPT_FAILED
        self._link.fail(activation.id, code, f"{failure.type}: {failure.message}", failure)

    def send(self, params: Send) -> None:
        self._link.notify("send", params)

    @property
    def limits(self) -> WireLimits:
        return self._link.limits

    def _log(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        if level not in _LEVELS:
            raise ValueError(f"context.log: the level is debug, info, warning or error, not {level!r}")
        longest = self.limits.max_message // 4
        try:
            plain = values.check_plain(dict(fields), "fields", self.limits.max_depth - LOG_DEPTH, typed=False)
            size = len(msgspec.msgpack.encode(plain))
        except (NotAMessageError, UnicodeEncodeError) as e:
            plain, size = {"unsendable": str(e)}, 0
        if size > longest:
            plain = {"unsendable": f"the fields have {size} bytes; {longest} is the most"}
        text = message[:longest].encode(errors="replace")[:longest].decode(errors="ignore")
        # A record of something that went wrong must not be what goes wrong.
        self._link.notify("log", Log(level=level, message=text, fields=plain))

    def _fetch(self, keys: Sequence[str]) -> Mapping[str, Sequence[Any]]:
        return self._ask("state.fetch", StateFetch(keys=list(keys)), dict[str, Stored])

    def _fetch_keys(self, pattern: str) -> Sequence[str]:
        return self._ask("state.keys", StateKeys(pattern=pattern), list[str])

    def _ask(self, method: str, params: Any, type_: Any) -> Any:
        try:
            return self._link.call(method, params, type_)
        except RequestFailedError as e:
            raise StateUnavailableError(str(e)) from None


class _Activation:
    """One activation, as a context manager around the call of the script: whatever comes out of it is answered."""

    __slots__ = ("_open", "_runner", "context", "id", "params", "payload", "result", "sent", "timeout")

    context: ActorContext

    def __init__(
        self, runner: Runner, id_: int | str, params: Activate, payload: dict[str, Message], timeout: float | None
    ) -> None:
        self._runner = runner
        self._open = True
        self.id = id_
        self.params = params
        self.payload = payload
        self.timeout = timeout
        """Seconds that it may take."""
        self.result: Any = None
        self.sent = 0
        """How many messages left before the end."""

    def __enter__(self) -> _Activation:
        self.context = self._runner.begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._open = False
        self._runner.end(self, error)
        # A context refers to its activation (`context.send`): what both hold would stay until the collector of cycles
        # runs, which counts objects and not bytes.
        self.result = None
        del self.context
        return True

    def send(self, port: str, message: Any) -> None:
        """`context.send` of this activation."""
        if not self._open:
            raise RuntimeError("context.send: the activation of this context has ended")
        if message is None:
            return
        raw = encode(message, f"send({check_port(port)!r})", self._runner.limits)
        params = self.params
        index, self.sent = self.sent, self.sent + 1
        self._runner.send(
            Send(activation=params.activation, attempt=params.attempt, index=index, port=port, message=raw)
        )


def _time_left(params: Activate, received: float) -> float | None:
    """Seconds that an activation which starts now may take, by its timeout and by its deadline."""
    # A timeout of 0 is over when the script has begun, and not before.
    timeout = None if params.timeout_ms is None else max(params.timeout_ms / 1000, 1e-6)
    if params.deadline_ms is None:
        return timeout
    left = received + params.deadline_ms / 1000 - time.monotonic()
    return left if timeout is None else min(left, timeout)

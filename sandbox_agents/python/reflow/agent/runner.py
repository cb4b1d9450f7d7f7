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
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..context import ActorContext
from ..message import Message
from ..state import ActorState
from ..wire import values
from ..wire.messages import Activate, Code, Commit, Load, Log, Send, StateFetch, StateKeys
from ..wire.session import ProtocolViolationError, RequestReceived
from ..wire.values import MalformedMessageError, NotAMessageError
from .failure import describe
from .interrupt import Interrupter, Reason, boundary
from .link import Busy, Link, RequestFailedError
from .loader import LoadedActor, Loader, awaitable
from .outputs import check_port, collect, encode

if TYPE_CHECKING:
    import asyncio

REAP_TIMEOUT: Final = 1.0
"""Seconds that tasks which a script left behind get to end after they were cancelled."""

_CODES: Final = {Reason.TIMEOUT: Code.DEADLINE_EXCEEDED, Reason.CANCELLED: Code.CANCELLED}
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
        self._state: ActorState | None = None
        self._load: Load | None = None
        self._loop_runner: asyncio.Runner | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        """Tasks that the script started in this activation."""
        self.cancelled: set[int | str] = set()
        """Requests that were cancelled before they began. Written by the link's thread."""

    def cancel(self, id_: int | str) -> None:
        """A `cancel` came for that request. Called on the link's thread."""
        if id_ in self._link.unanswered:
            self.cancelled.add(id_)
            self._interrupter.cancel(id_)

    def run(self) -> None:
        """Serves requests until `stop`, which it answers."""
        for request in self._requests():
            self._load_script(request)
            if self._actor is not None:
                break
        if self._actor is not None and self._actor.asynchronous:
            self._runner().run(self._serve_async(self._actor))
        elif self._actor is not None:
            self._serve(self._actor)
        self._link.close()

    # -- requests -----------------------------------------------------------------------------------------------

    def _requests(self) -> Iterator[RequestReceived]:
        """`load` and `activate` requests, in order, until `stop`."""
        link = self._link
        while True:
            if link.jobs.empty():
                # Nothing else is ready: what was answered leaves at once, without a change of threads.
                link.flush()
            else:
                link.flush_soon()
            request = link.jobs.get()
            if request.method == "stop":
                link.respond(request.id, {})
                return
            yield request

    def _activations(self) -> Iterator[_Activation]:
        """Activations to run. What is to be skipped or refused is answered on the way."""
        link = self._link
        for request in self._requests():
            if request.method == "load":
                link.fail(request.id, Code.INVALID_REQUEST, "an actor is loaded already")
                continue
            try:
                params = request.params.decode(Activate)
                payload = _decode_inputs(params.inputs, request.params.json)
            except (ProtocolViolationError, MalformedMessageError) as e:
                link.fail(request.id, Code.INVALID_PARAMS, str(e))
                continue
            if link.stopping or self._epochs.skips(params.epoch):
                self.cancelled.discard(request.id)
                link.fail(request.id, Code.SKIPPED, "skipped")
            elif request.id in self.cancelled:
                self.cancelled.discard(request.id)
                self._epochs.failed(params.epoch)
                link.fail(request.id, Code.CANCELLED, "cancelled")
            else:
                yield _Activation(self, request.id, params, payload)

    def _load_script(self, request: RequestReceived) -> None:
        link = self._link
        if request.method != "load":
            link.fail(request.id, Code.INVALID_REQUEST, "no actor is loaded")
            return
        try:
            load = request.params.decode(Load)
        except ProtocolViolationError as e:
            link.fail(request.id, Code.INVALID_PARAMS, str(e))
            return
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
        self.cancelled.discard(request.id)
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
        params = activation.params
        timeout = params.timeout_ms
        context = ActorContext(
            activation.payload,
            self._state,
            actor_id=self._load.node,
            config=self._load.config,
            emit=activation.send,
            write_log=self._log,
        )
        self._link.busy = Busy(activation.id, params.activation, time.monotonic())
        self._interrupter.begin(activation.id, None if timeout is None else timeout / 1000)
        return context

    def end(self, activation: _Activation, error: BaseException | None) -> None:
        """Answers an activation: with its commit, or with why there is none."""
        reason = self._interrupter.end()
        self._link.busy = None
        self.cancelled.discard(activation.id)
        assert self._state is not None
        assert self._load is not None
        if error is None and reason is None:
            try:
                outputs = collect(activation.result, self._load.outports, self._link.limits.max_message)
            except BaseException as e:
                error = e
            else:
                commit = Commit(outputs=outputs, state=self._state.commit(), sent=activation.sent)
                self._link.respond(activation.id, commit)
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
    def max_message(self) -> int:
        return self._link.limits.max_message

    def _log(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        if level not in _LEVELS:
            raise ValueError(f"context.log: the level is debug, info, warning or error, not {level!r}")
        plain = {name: values.check_plain(value, name) for name, value in fields.items()}
        self._link.notify("log", Log(level=level, message=message[: self.max_message // 4], fields=plain))

    def _fetch(self, keys: Sequence[str]) -> Mapping[str, Sequence[Any]]:
        return self._ask("state.fetch", StateFetch(keys=list(keys)), dict[str, list[Any]])

    def _fetch_keys(self, pattern: str) -> Sequence[str]:
        return self._ask("state.keys", StateKeys(pattern=pattern), list[str])

    def _ask(self, method: str, params: Any, type_: Any) -> Any:
        try:
            return self._link.call(method, params, type_)
        except RequestFailedError as e:
            raise StateUnavailableError(str(e)) from None


class _Activation:
    """One activation, as a context manager around the call of the script: whatever comes out of it is answered."""

    __slots__ = ("_open", "_runner", "context", "id", "params", "payload", "result", "sent")

    context: ActorContext

    def __init__(self, runner: Runner, id_: int | str, params: Activate, payload: dict[str, Message]) -> None:
        self._runner = runner
        self._open = True
        self.id = id_
        self.params = params
        self.payload = payload
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
        return True

    def send(self, port: str, message: Any) -> None:
        """`context.send` of this activation."""
        if not self._open:
            raise RuntimeError("context.send: the activation of this context has ended")
        if message is None:
            return
        raw = encode(message, f"send({check_port(port)!r})", self._runner.max_message)
        params = self.params
        index, self.sent = self.sent, self.sent + 1
        self._runner.send(
            Send(activation=params.activation, attempt=params.attempt, index=index, port=port, message=raw)
        )


def _decode_inputs(inputs: Mapping[str, msgspec.Raw], json: bool) -> dict[str, Message]:
    if json:
        return {port: _from_json(raw) for port, raw in inputs.items()}
    return {port: Message.decode(raw) for port, raw in inputs.items()}


def _from_json(raw: msgspec.Raw) -> Message:
    """A message of a text frame, where bytes are base64."""
    try:
        type_, value = msgspec.json.decode(raw, type=tuple[str, Any])
        if type_ == values.BYTES:
            value = msgspec.convert(value, bytes)
        return Message.decode(values.encode(type_, value))
    except (msgspec.DecodeError, msgspec.ValidationError, NotAMessageError) as e:
        raise MalformedMessageError(str(e)) from None

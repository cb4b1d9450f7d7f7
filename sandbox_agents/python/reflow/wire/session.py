"""The session of one link: JSON-RPC 2.0 without any I/O, after the manner of h11.

Feed it what arrives (`receive`) and send what it has (`data_to_send`). It decides framing and batching, correlates
answers with questions, and sees that every request has exactly one outcome. It does not know what the methods mean, nor
which side it is on. What the peer may not do raises `ProtocolViolationError`, after which the session is unusable;
what the local side may not do raises `LocalProtocolError` and changes nothing.

It outlives its connections: how frames are numbered and sent again is decided in `replay`. While there is no
connection, what is said is kept; with the next one the user calls `resume`.

Not thread-safe.
"""

from __future__ import annotations

from collections import deque
from typing import Annotated, Any, Final, Generic, TypeVar, cast

import msgspec

from .errors import FrameGapError, InvalidPayloadError, LocalProtocolError, ProtocolViolationError
from .limits import WireLimits
from .messages import Cancel
from .replay import MAX_NUMBER, Arrival, Replay, Window
from .text import from_text, to_text
from .values import DEFAULT_DEPTH, MalformedMessageError, NotAMessageError, UnfitMessageError, check, verify

__all__ = [
    "Event",
    "FrameGapError",
    "InvalidPayloadError",
    "LocalProtocolError",
    "NotificationReceived",
    "Outcome",
    "Payload",
    "ProtocolViolationError",
    "RequestReceived",
    "RpcError",
    "Session",
]

T = TypeVar("T")

JSONRPC: Final = "2.0"
MAX_ID_LENGTH: Final = 64
MAX_METHOD_LENGTH: Final = 64
FRAME_BYTES: Final = 40
"""What a frame takes around its messages, at most: an array and two numbers, also in text."""


class RpcError(msgspec.Struct, frozen=True):
    """The error of a response. `data` is still encoded; `decode_data` gives it a type."""

    code: int
    message: str
    data: msgspec.Raw = msgspec.Raw(b"")
    json: bool = False

    def decode_data(self, type_: type[T]) -> T | None:
        """`data` as that type; None where there is none, or where it is something else."""
        if not bytes(self.data):
            return None
        try:
            return _decode(self.data, type_, self.json)
        except ProtocolViolationError:
            return None


class _ErrorBody(msgspec.Struct, omit_defaults=True):
    code: Annotated[int, msgspec.Meta(ge=-(2**53) + 1, le=2**53 - 1)]
    message: str
    data: msgspec.Raw = msgspec.Raw(b"")


class _Envelope(msgspec.Struct):
    """Any of the three kinds of message. Raw members are looked at when it is known what they are."""

    jsonrpc: str
    id: int | str | msgspec.UnsetType | None = msgspec.UNSET
    method: str | msgspec.UnsetType = msgspec.UNSET
    params: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: _ErrorBody | msgspec.UnsetType = msgspec.UNSET


class Payload(msgspec.Struct, frozen=True):
    """Encoded params or a result, decoded into a type by whoever knows which.

    What is in it is looked at when it is decoded, and not before: most of it is messages, which are checked one by
    one. `depth` is how many arrays and maps may stand inside one another in it.
    """

    raw: msgspec.Raw
    json: bool = False
    depth: int = DEFAULT_DEPTH

    def decode(self, type_: type[T]) -> T:
        """
        Raises:
            InvalidPayloadError: the peer sent something that is not of that type.
            ProtocolViolationError: what it sent is malformed.
        """
        decoded = _decode(self.raw, type_, self.json)
        if self.json:
            try:
                return from_text(decoded, self.depth)
            except NotAMessageError as e:
                raise InvalidPayloadError(f"invalid: {e}") from None
        return decoded

    def plain(self) -> Any:
        """The whole of it as a plain value (specs/protocol.md §3).

        Raises:
            ProtocolViolationError: it is malformed, too deep, or no plain value.
        """
        value = _decode(self.raw, Any, self.json)
        try:
            verify(value, self.depth)
            if self.json:
                _encode(value)  # which an integer that came as text may not fit
        except (MalformedMessageError, OverflowError) as e:
            raise ProtocolViolationError(f"malformed: {e}") from None
        return value

    def check(self) -> None:
        """That all of it can be read, though it may not be what its method takes: plain values, and messages as its
        `inputs`.

        Raises:
            ProtocolViolationError: it is malformed.
        """
        members: dict[str, msgspec.Raw] = {} if self.json else _decode(self.raw, dict[str, msgspec.Raw], json=False)
        inputs = members.get("inputs")
        if inputs is None or not _is_map(inputs, json=False):
            self.plain()
            return
        for name, raw in members.items():
            if name != "inputs":
                Payload(raw, depth=self.depth - 1).plain()
        for raw in _decode(inputs, dict[str, msgspec.Raw], json=False).values():
            try:
                check(raw, self.depth - 2)
            except UnfitMessageError:
                pass
            except MalformedMessageError as e:
                raise ProtocolViolationError(f"malformed: {e}") from None


class RequestReceived(msgspec.Struct, frozen=True):
    id: int | str
    method: str
    params: Payload


class NotificationReceived(msgspec.Struct, frozen=True):
    method: str
    params: Payload


class Outcome(msgspec.Struct, frozen=True):
    """How a request of ours ended: `result` (ok), `error`, or neither: unknown, because the link went down first."""

    id: int | str
    method: str
    result: Payload | None = None
    error: RpcError | None = None

    @property
    def unknown(self) -> bool:
        return self.result is None and self.error is None


Event = RequestReceived | NotificationReceived | Outcome

_EMPTY_PARAMS: Final = msgspec.Raw(b"\x80")
_EMPTY_PARAMS_JSON: Final = msgspec.Raw(b"{}")


class _Decoders(Generic[T]):
    """msgspec decoders are made once a type: making one costs more than using it."""

    def __init__(self) -> None:
        self._msgpack: dict[Any, msgspec.msgpack.Decoder[Any]] = {}
        self._json: dict[Any, msgspec.json.Decoder[Any]] = {}

    def msgpack(self, type_: Any) -> msgspec.msgpack.Decoder[Any]:
        found = self._msgpack.get(type_)
        if found is None:
            found = self._msgpack[type_] = msgspec.msgpack.Decoder(type_, ext_hook=_no_extensions)
        return found

    def json(self, type_: Any) -> msgspec.json.Decoder[Any]:
        found = self._json.get(type_)
        if found is None:
            found = self._json[type_] = msgspec.json.Decoder(type_)
        return found


def _no_extensions(code: int, data: memoryview) -> Any:
    raise ProtocolViolationError(f"MessagePack extension type {code} is not allowed")


_encode: Final = msgspec.msgpack.Encoder().encode
_decoders: Final = _Decoders[Any]()


def _decode(raw: bytes | msgspec.Raw, type_: Any, json: bool) -> Any:
    return _decoded(raw, _decoders.json(type_) if json else _decoders.msgpack(type_))


def _decoded(raw: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[Any] | msgspec.msgpack.Decoder[Any]) -> Any:
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as e:
        raise InvalidPayloadError(f"invalid: {e}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError, ValueError) as e:
        raise ProtocolViolationError(f"malformed: {e}") from None


_NEW: Final = Arrival.NEW


class _Kept(msgspec.Struct, frozen=True, gc=False):
    """A frame as it was made: its messages begin at `start`, and it acknowledges `acknowledged`."""

    frame: bytes | str
    start: int
    messages: int
    acknowledged: int


# Numbers and messages are decoded together; looking this type up would take as long as decoding.
_frame: Final = _decoders.msgpack(list[int | _Envelope])
_text_frame: Final = _decoders.json(list[int | _Envelope])


class Session:
    """One link's session, on either side.

    Args:
        limits: what is accepted from the peer, and how large a batch grows. May be replaced after the handshake.
        window: how much may be unacknowledged.
        numbered: false for the opening of a connection, in which a frame is one message and no number.
    """

    def __init__(
        self, limits: WireLimits | None = None, *, window: Window | None = None, numbered: bool = True
    ) -> None:
        self.limits = limits or WireLimits()
        self.text = False
        """Whether what is sent is JSON: as the peer's last frame was."""
        self._next_id = 0
        self._asked: dict[int | str, str] = {}
        """Requests of ours without an answer: id → method."""
        self._answering: set[int | str] = set()
        """Requests of the peer that we have not answered."""
        self._out: deque[dict[str, Any]] = deque()
        self._replay: Replay[_Kept] | None = Replay(window) if numbered else None
        self._lost = False
        self._encode = msgspec.msgpack.Encoder().encode
        self._encode_json = msgspec.json.Encoder().encode

    @property
    def pending(self) -> int:
        """How many requests of ours have no outcome yet."""
        return len(self._asked)

    @property
    def queued(self) -> int:
        """How many messages are in no frame yet."""
        return len(self._out)

    @property
    def has_room(self) -> bool:
        """Whether a frame may be made of what waits. Where not, it waits for the peer's acknowledgements."""
        return self._replay is None or self._replay.has_room

    @property
    def has_unsent(self) -> bool:
        """Whether `data_to_send` has something, bare acknowledgements not counted."""
        return (self._replay is not None and self._replay.has_next) or (bool(self._out) and self.has_room)

    @property
    def received(self) -> int:
        """How many frames of the peer have come, as the other side is told when a connection is resumed."""
        return 0 if self._replay is None else self._replay.received

    @property
    def acknowledged(self) -> int:
        """How many of our frames the peer is known to have."""
        return 0 if self._replay is None else self._replay.acknowledged

    # -- what this side says ------------------------------------------------------------------------------------

    def request(self, method: str, params: Any = None, *, id: int | str | None = None) -> int | str:
        """Queues a request; its outcome comes out of `receive` or `lost`.

        Raises:
            LocalProtocolError: that id is in use, or the link is lost.
        """
        if self._lost:
            raise LocalProtocolError("the link is lost")
        if id is None:
            self._next_id += 1
            id = self._next_id
        if id in self._asked:
            raise LocalProtocolError(f"a request with id {id!r} has no outcome yet")
        self._asked[id] = method
        self._out.append({"jsonrpc": JSONRPC, "id": id, "method": method, "params": {} if params is None else params})
        return id

    def notify(self, method: str, params: Any = None) -> None:
        if not self._lost:
            self._out.append({"jsonrpc": JSONRPC, "method": method, "params": {} if params is None else params})

    def cancel(self, id: int | str) -> None:
        """Asks the peer to stop working on a request of ours. Its outcome still comes."""
        if id in self._asked:
            self.notify("cancel", Cancel(id=id))

    def respond(self, id: int | str, result: Any = None) -> None:
        """
        Raises:
            LocalProtocolError: the peer has no unanswered request with that id.
        """
        self._answer(id, {"jsonrpc": JSONRPC, "id": id, "result": {} if result is None else result})

    def fail(self, id: int | str, code: int, message: str, data: Any = None) -> None:
        """
        Raises:
            LocalProtocolError: the peer has no unanswered request with that id.
        """
        error: dict[str, Any] = {"code": int(code), "message": message}
        if data is not None:
            error["data"] = data
        self._answer(id, {"jsonrpc": JSONRPC, "id": id, "error": error})

    def _answer(self, id: int | str, message: dict[str, Any]) -> None:
        if self._lost:
            return
        if id not in self._answering:
            raise LocalProtocolError(f"the peer has no unanswered request with id {id!r}")
        self._answering.discard(id)
        self._out.append(message)

    # -- what the peer says -------------------------------------------------------------------------------------

    def receive(self, frame: bytes | bytearray | memoryview | str) -> list[Event]:
        """What one WebSocket message says: nothing, where it came before or only acknowledges.

        Raises:
            ProtocolViolationError: it says something that it may not.
            FrameGapError: one before it is missing: its connection must be replaced, and the session resumed.
        """
        json = isinstance(frame, str)
        data = self._checked(frame)
        self.text = json
        depth = self.limits.max_depth - 1
        if self._replay is None:
            return [self._event(_decode(data, _Envelope, json), json, depth)]
        envelopes = self._numbered(_decoded(data, _text_frame if json else _frame), len(data), self._replay)
        events: list[Event] = []
        try:
            for e in envelopes:
                events.append(self._event(e, json, depth))  # noqa: PERF401 (what came before an error counts)
        except ProtocolViolationError:
            # Nobody will hear of what came before it in the frame: these outcomes are unknown.
            self._asked.update((event.id, event.method) for event in events if isinstance(event, Outcome))
            raise
        return events

    def _checked(self, frame: bytes | bytearray | memoryview | str) -> bytes:
        try:
            data = frame.encode() if isinstance(frame, str) else bytes(frame)
        except UnicodeEncodeError:
            raise ProtocolViolationError("a text frame with half of a surrogate pair") from None
        if len(data) > self.limits.max_frame:
            raise ProtocolViolationError(f"a frame of {len(data)} bytes is over the limit of {self.limits.max_frame}")
        if not data:
            raise ProtocolViolationError("an empty frame")
        return data

    def _numbered(self, items: list[int | _Envelope], size: int, replay: Replay[_Kept]) -> list[_Envelope]:
        """The messages of a frame `[number, acknowledged, message…]`, where it is the next one."""
        if len(items) < 2:
            raise ProtocolViolationError("a frame begins with its number and the last number received")
        number, acknowledged, *envelopes = items
        if type(number) is not int or type(acknowledged) is not int:
            raise ProtocolViolationError("a frame begins with its number and the last number received")
        if not (0 <= number <= MAX_NUMBER and 0 <= acknowledged <= MAX_NUMBER):
            raise ProtocolViolationError("the numbers of frames are from 0 to 2^53-1")
        if (number == 0) is not (not envelopes):
            raise ProtocolViolationError("a frame without messages has the number 0, and no other has")
        if len(envelopes) > self.limits.max_batch:
            raise ProtocolViolationError(f"a batch of {len(envelopes)}; 1 to {self.limits.max_batch} are allowed")
        if int in map(type, envelopes):
            raise ProtocolViolationError("invalid: a number stands where a message is expected")
        arrival = replay.arrived(number, acknowledged, size)
        if arrival is _NEW:
            return cast("list[_Envelope]", envelopes)
        if arrival is Arrival.GAP:
            raise FrameGapError(f"frame {number} came after {replay.received}")
        return []

    def _event(self, e: _Envelope, json: bool, depth: int) -> Event:
        if e.jsonrpc != JSONRPC:
            raise ProtocolViolationError(f"jsonrpc is {e.jsonrpc[:10]!r}, not {JSONRPC!r}")
        if e.method is not msgspec.UNSET:
            return self._called(e, e.method, json, depth)
        return self._answered(e, json, depth)

    def _called(self, e: _Envelope, method: str, json: bool, depth: int) -> Event:
        if e.result is not msgspec.UNSET or e.error is not msgspec.UNSET:
            raise ProtocolViolationError("a message is both request and response")
        if not 1 <= len(method) <= MAX_METHOD_LENGTH:
            raise ProtocolViolationError("a method's name has 1 to 64 characters")
        raw = e.params
        if raw is msgspec.UNSET:
            raw = _EMPTY_PARAMS_JSON if json else _EMPTY_PARAMS
        elif not _is_map(raw, json):
            raise ProtocolViolationError(f"{method}: params must be a map")
        params = Payload(raw, json, depth)
        if e.id is msgspec.UNSET:
            return NotificationReceived(method, params)
        if e.id is None:
            raise ProtocolViolationError(f"{method}: an id is an integer or a string")
        if isinstance(e.id, str):
            if not 1 <= len(e.id.encode("utf-8", "surrogatepass")) <= MAX_ID_LENGTH:
                raise ProtocolViolationError("an id has 1 to 64 bytes")
        elif not -(2**63) <= e.id < 2**63:
            raise ProtocolViolationError("an id must fit 64 bits")
        if e.id in self._answering:
            raise ProtocolViolationError(f"a second request with id {e.id!r} before the first was answered")
        if len(self._answering) >= self.limits.max_pending:
            raise ProtocolViolationError(f"more than {self.limits.max_pending} requests without an answer")
        self._answering.add(e.id)
        return RequestReceived(e.id, method, params)

    def _answered(self, e: _Envelope, json: bool, depth: int) -> Outcome:
        if e.id is msgspec.UNSET or e.id is None:
            raise ProtocolViolationError("a message without method or id")
        method = self._asked.get(e.id)
        if method is None:
            raise ProtocolViolationError(f"a response to {e.id!r}, which was not asked or is answered already")
        if (e.result is msgspec.UNSET) == (e.error is msgspec.UNSET):
            raise ProtocolViolationError("a response has a result or an error, and not both")
        del self._asked[e.id]
        if e.error is not msgspec.UNSET:
            body = e.error
            return Outcome(e.id, method, error=RpcError(body.code, body.message, body.data, json))
        assert e.result is not msgspec.UNSET
        return Outcome(e.id, method, result=Payload(e.result, json, depth))

    # -- frames -------------------------------------------------------------------------------------------------

    def data_to_send(self) -> bytes | str | None:
        """The next frame, or None. What is ready together goes in one, up to `batch_bytes`. What was sent on an earlier
        connection and may not have come is first."""
        replay = self._replay
        if replay is None:
            return self._unnumbered()
        if replay.has_next:
            acknowledged = replay.received
            number, kept = replay.next()
            return kept.frame if kept.acknowledged == acknowledged else _again(kept, number, acknowledged)
        if self._out and replay.has_room:
            kept = self._framed(replay)
            replay.send(kept, len(kept.frame))
            return kept.frame
        if replay.is_due:
            replay.told()
            return f"[0,{replay.received}]" if self.text else b"\x92\x00" + _encode(replay.received)
        return None

    def pack(self) -> None:
        """Makes frames of what waits, as far as there is room, to be sent with a connection that is still to come. So
        what is said meanwhile is bounded by its size."""
        replay = self._replay
        while replay is not None and self._out and replay.has_room:
            kept = self._framed(replay)
            replay.keep(kept, len(kept.frame))

    def _unnumbered(self) -> bytes | str | None:
        if not self._out:
            return None
        message = self._out.popleft()
        return self._encode_text(message).decode() if self.text else self._encode(message)

    def _framed(self, replay: Replay[_Kept]) -> _Kept:
        """The next frame, of what is queued."""
        parts = self._batch()
        number, acknowledged = replay.following, replay.received
        if self.text:
            start = f"[{number},{acknowledged},"
            frame = start + ",".join(p.decode() for p in parts) + "]"
        else:
            start = _header(len(parts) + 2) + _encode(number) + _encode(acknowledged)
            frame = b"".join((start, *parts))
        return _Kept(frame, len(start), len(parts), acknowledged)

    def _batch(self) -> list[bytes]:
        """The encoded messages of the next frame, at least one."""
        limits = self.limits
        encode = self._encode_text if self.text else self._encode
        first = encode(self._out.popleft())
        parts, size = [first], len(first) + FRAME_BYTES
        while self._out and len(parts) < limits.max_batch and size < limits.batch_bytes:
            part = encode(self._out[0])
            if size + len(part) >= limits.max_frame:
                break
            self._out.popleft()
            parts.append(part)
            size += len(part) + 1  # a comma, in text
        return parts

    def _encode_text(self, message: dict[str, Any]) -> bytes:
        for body in ("params", "result"):
            if body in message:
                message = {**message, body: to_text(message[body])}
        return self._encode_json(message)

    # -- connections --------------------------------------------------------------------------------------------

    def acknowledge(self) -> None:
        """What came and was not acknowledged has waited for `replay.ACK_DELAY`: it is in the next `data_to_send`."""
        if self._replay is not None:
            self._replay.insist()

    @property
    def owes_acknowledgement(self) -> bool:
        """Whether something came that was not acknowledged."""
        return self._replay is not None and self._replay.owes

    @property
    def acknowledgement_is_due(self) -> bool:
        """Whether that is so much that `data_to_send` has it, even where nothing else is to be sent."""
        return self._replay is not None and self._replay.is_due

    def resume(self, received: int) -> None:
        """There is another connection, and the peer has said over it how many of our frames it has. What it has not is
        sent again.

        Raises:
            ProtocolViolationError: that cannot be.
        """
        assert self._replay is not None
        self._replay.resume(received)

    def lost(self) -> list[Outcome]:
        """The link is down, and stays so: every request of ours without an outcome is *unknown*, and nothing more is
        sent."""
        self._lost = True
        self._out.clear()
        if self._replay is not None:
            self._replay.clear()
        self._answering.clear()
        unknown = [Outcome(id_, method) for id_, method in self._asked.items()]
        self._asked.clear()
        return unknown


def _again(kept: _Kept, number: int, acknowledged: int) -> bytes | str:
    """A frame with what has been received since it was made."""
    if isinstance(kept.frame, str):
        return f"[{number},{acknowledged},{kept.frame[kept.start :]}"
    start = _header(kept.messages + 2) + _encode(number) + _encode(acknowledged)
    return b"".join((start, memoryview(kept.frame)[kept.start :]))


_HEADERS: Final = tuple(bytes((0x90 | n,)) for n in range(16))


def _header(n: int) -> bytes:
    """That of an array, in MessagePack."""
    return _HEADERS[n] if n < 16 else b"\xdc" + n.to_bytes(2, "big")


def _is_map(raw: msgspec.Raw, json: bool) -> bool:
    data = memoryview(raw)
    if json:
        return bytes(data[:1]) == b"{"
    return 0x80 <= data[0] <= 0x8F or data[0] in (0xDE, 0xDF)

"""The session of one link: JSON-RPC 2.0 without any I/O, after the manner of h11.

Feed it what arrives (`receive`) and send what it has (`data_to_send`). It decides framing and batching, correlates
answers with questions, and sees that every request has exactly one outcome. It does not know what the methods mean, nor
which side it is on. What the peer may not do raises `ProtocolViolationError`, after which the session is unusable;
what the local side may not do raises `LocalProtocolError` and changes nothing.

Not thread-safe.
"""

from __future__ import annotations

from collections import deque
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec

from .limits import WireLimits
from .messages import Cancel
from .values import DEFAULT_DEPTH, MalformedMessageError, verify

T = TypeVar("T")

JSONRPC: Final = "2.0"
MAX_ID_LENGTH: Final = 64
MAX_METHOD_LENGTH: Final = 64


class ProtocolViolationError(Exception):
    """The peer did what specs/protocol.md does not allow. The link must be closed with 4001."""


class InvalidPayloadError(ProtocolViolationError):
    """Params or a result that are well encoded, and not of the shape that their method has."""


class LocalProtocolError(Exception):
    """This side asked the session for something that the protocol does not allow: a bug here, not at the peer."""


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
        return _decode(self.raw, type_, self.json)

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
    try:
        decoder = _decoders.json(type_) if json else _decoders.msgpack(type_)
        return decoder.decode(raw)
    except msgspec.ValidationError as e:
        raise InvalidPayloadError(f"invalid: {e}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError, ValueError) as e:
        raise ProtocolViolationError(f"malformed: {e}") from None


class Session:
    """One link's session, on either side.

    Args:
        limits: what is accepted from the peer, and how large a batch grows. May be replaced after the handshake.
    """

    def __init__(self, limits: WireLimits | None = None) -> None:
        self.limits = limits or WireLimits()
        self._next_id = 0
        self._asked: dict[int | str, str] = {}
        """Requests of ours without an answer: id → method."""
        self._answering: set[int | str] = set()
        """Requests of the peer that we have not answered."""
        self._out: deque[dict[str, Any]] = deque()
        self._text = False
        self._lost = False
        self._encode = msgspec.msgpack.Encoder().encode
        self._encode_json = msgspec.json.Encoder().encode

    @property
    def pending(self) -> int:
        """How many requests of ours have no outcome yet."""
        return len(self._asked)

    @property
    def queued(self) -> int:
        """How many messages wait for `data_to_send`."""
        return len(self._out)

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
        """What one WebSocket message says.

        Raises:
            ProtocolViolationError: it says something that it may not.
        """
        limits = self.limits
        json = isinstance(frame, str)
        try:
            data = frame.encode() if isinstance(frame, str) else bytes(frame)
        except UnicodeEncodeError:
            raise ProtocolViolationError("a text frame with half of a surrogate pair") from None
        if len(data) > limits.max_frame:
            raise ProtocolViolationError(f"a frame of {len(data)} bytes is over the limit of {limits.max_frame}")
        if not data:
            raise ProtocolViolationError("an empty frame")
        self._text = json
        many = data.lstrip()[:1] == b"[" if json else (0x90 <= data[0] <= 0x9F or data[0] in (0xDC, 0xDD))
        if many:
            envelopes: list[_Envelope] = _decode(data, list[_Envelope], json)
            if not 1 <= len(envelopes) <= limits.max_batch:
                raise ProtocolViolationError(f"a batch of {len(envelopes)}; 1 to {limits.max_batch} are allowed")
        else:
            envelopes = [_decode(data, _Envelope, json)]
        depth = limits.max_depth - (2 if many else 1)
        events: list[Event] = []
        try:
            for e in envelopes:
                events.append(self._event(e, json, depth))  # noqa: PERF401 (what came before an error counts)
        except ProtocolViolationError:
            # Nobody will hear of what came before it in the frame: these outcomes are unknown.
            self._asked.update((event.id, event.method) for event in events if isinstance(event, Outcome))
            raise
        return events

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
        """The next frame, or None. What is ready together goes in one, up to `batch_bytes`."""
        if not self._out:
            return None
        limits = self.limits
        encode = self._encode_text if self._text else self._encode
        first = encode(self._out.popleft())
        if not self._out or len(first) >= limits.batch_bytes:
            return first.decode() if self._text else first
        parts, size = [first], len(first) + _BATCH_BYTES
        while self._out and len(parts) < limits.max_batch and size < limits.batch_bytes:
            part = encode(self._out[0])
            if size + len(part) >= limits.max_frame:
                break
            self._out.popleft()
            parts.append(part)
            size += len(part) + 1  # a comma, in text
        if len(parts) == 1:
            return first.decode() if self._text else first
        if self._text:
            return "[" + ",".join(p.decode() for p in parts) + "]"
        return _array_header(len(parts)) + b"".join(parts)

    def _encode_text(self, message: dict[str, Any]) -> bytes:
        # By way of MessagePack, in which the messages are that are already encoded.
        return self._encode_json(_decode(self._encode(message), Any, json=False))

    def lost(self) -> list[Outcome]:
        """The link is down: every request of ours without an outcome is *unknown*, and nothing more is sent."""
        self._lost = True
        self._out.clear()
        self._answering.clear()
        unknown = [Outcome(id_, method) for id_, method in self._asked.items()]
        self._asked.clear()
        return unknown


_BATCH_BYTES: Final = 3
"""What an array takes around its messages, at most."""


def _array_header(n: int) -> bytes:
    if n < 16:
        return bytes((0x90 | n,))
    return b"\xdc" + n.to_bytes(2, "big")


def _is_map(raw: msgspec.Raw, json: bool) -> bool:
    data = memoryview(raw)
    if json:
        return bytes(data[:1]) == b"{"
    return 0x80 <= data[0] <= 0x8F or data[0] in (0xDE, 0xDF)

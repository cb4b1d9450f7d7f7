"""What an actor's result means: which messages go to which ports.

Which ports exist is the supervisor's knowledge; a port that was not declared is sent all the same and reported there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from ..message import Message
from ..wire.limits import MESSAGE_DEPTH, WireLimits
from ..wire.messages import Commit
from ..wire.values import NotAMessageError

DEFAULT_PORT: Final = "output"
MAX_PORT_BYTES: Final = 256
ENVELOPE_BYTES: Final = 512
"""What a response needs besides its result, at most."""

_encode: Final = msgspec.msgpack.Encoder().encode


def collect(result: Any, outports: Sequence[str] | None, limits: WireLimits) -> list[tuple[str, msgspec.Raw]]:
    """The encoded outputs of one activation.

    A dict maps port to value; anything else goes to the only outport, or to `output`; None sends nothing.

    Raises:
        NotAMessageError: something in it cannot be sent.
    """
    if result is None:
        return []
    if not isinstance(result, Mapping):
        port = outports[0] if outports is not None and len(outports) == 1 else DEFAULT_PORT
        return [(port, encode(result, f"outputs.{port}", limits))]
    outputs: list[tuple[str, msgspec.Raw]] = []
    for port, value in cast("Mapping[Any, Any]", result).items():
        if value is not None:
            outputs.append((check_port(port), encode(value, f"outputs.{port}", limits)))
    return outputs


def check_port(port: object) -> str:
    """
    Raises:
        NotAMessageError: it is no port's name.
    """
    if not isinstance(port, str):
        raise NotAMessageError(f"outputs: a port's name is a str, not {type(port).__name__} ({port!r:.80})")
    if not 1 <= len(port.encode(errors="replace")) <= MAX_PORT_BYTES:
        raise NotAMessageError(f"outputs: a port's name has 1 to {MAX_PORT_BYTES} bytes, not {port[:40]!r}")
    return port


def encode(value: Any, path: str, limits: WireLimits) -> msgspec.Raw:
    """
    Raises:
        NotAMessageError: the value cannot be sent.
    """
    try:
        raw = Message.of(value, path).encode(path, limits.max_depth - MESSAGE_DEPTH)
    except UnicodeEncodeError:
        raise NotAMessageError(
            f"{path}: a text holds half of a surrogate pair, which is not valid Unicode; use .encode(…)"
        ) from None
    size = memoryview(raw).nbytes
    if size > limits.max_message:
        raise NotAMessageError(
            f"{path}: a message of {size} bytes is over the limit of {limits.max_message}; send it in pieces"
        )
    return raw


def check_size(commit: Commit, limits: WireLimits) -> int:
    """Its size in bytes, or nearly so.

    Raises:
        NotAMessageError: all of it together is over what fits a frame.
    """
    size = sum(memoryview(raw).nbytes + MAX_PORT_BYTES for _, raw in commit.outputs)
    if size < limits.max_frame // 2 and not commit.state:
        return size  # which spares most activations the look at everything
    size = len(_encode(commit)) + ENVELOPE_BYTES
    if size > limits.max_frame:
        raise NotAMessageError(
            f"outputs and state together have {size} bytes; {limits.max_frame} is the most (send it in pieces)"
        )
    return size

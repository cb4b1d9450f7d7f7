"""Orders are checked by the fork that they are for, and what forks say by the supervisor."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reflow.zygote.messages import (
    REPORT,
    Confined,
    ConfinementFailed,
    Fork,
    Forked,
    Go,
    decode_fork,
    decode_go,
    decode_progress,
    encode,
)

ORDER: dict[str, Any] = {"directory": "python-1", "uid": 1000, "tmp": 1, "shared_memory": 1, "limits": [(7, 64)]}


def test_what_is_said_arrives() -> None:
    for order in (Fork(**ORDER), Fork(**ORDER | {"uid": None, "limits": []})):
        assert decode_fork(encode(order)) == order
    for said in (Forked(), Confined(), ConfinementFailed("mounting", "no")):
        assert decode_progress(encode(said)) == said
    assert decode_go(encode(Go({"A": "b"}))) == Go({"A": "b"})
    assert REPORT.size == 5


@pytest.mark.parametrize(
    "change",
    [
        *({"directory": name} for name in ("", ".", "..", "a/b", "/a", "a\0", "-a", "a" * 65, "a\n", 1)),
        *({"uid": uid} for uid in (0, -1, 2**32, "1")),
        *({"tmp": size} for size in (0, -1, None, 1.5)),
        *({"limits": limits} for limits in (None, [(7,)], [(7, -1)], [("7", 1)])),
        {"more": 1},
    ],
)
def test_an_order_that_is_none(change: dict[str, Any]) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_fork(encode(ORDER | change))


@pytest.mark.parametrize("decode", [decode_fork, decode_progress, decode_go])
@given(st.binary(max_size=200))
def test_whatever_comes_is_a_message_or_an_error(decode: Any, data: bytes) -> None:
    try:
        message = decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    assert isinstance(message, msgspec.Struct)

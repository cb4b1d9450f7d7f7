from __future__ import annotations

import math
from typing import Any

import pytest
from reflow import Message
from reflow.agent.text import as_text, from_text
from reflow.wire import values
from reflow.wire.messages import Commit, Send
from reflow.wire.values import NotAMessageError

MESSAGES = [
    (Message.float(math.inf), ["float", "Infinity"]),
    (Message.float(-math.inf), ["float", "-Infinity"]),
    (Message.option(-math.inf), ["option", ["float", "-Infinity"]]),
    (Message.option(None), ["option", None]),
    (Message.float(2.5), ["float", 2.5]),
    (Message.string("NaN"), ["string", "NaN"]),
]


@pytest.mark.parametrize(("message", "text"), MESSAGES)
def test_what_goes_out_comes_back(message: Message, text: list[Any]) -> None:
    raw = message.encode()
    send = as_text(Send(activation=1, attempt=1, index=0, port="out", message=raw))
    assert send == {"activation": 1, "attempt": 1, "index": 0, "port": "out", "message": text}
    assert as_text(Commit(outputs=[("out", raw)], sent=2)) == {"outputs": [["out", text]], "state": [], "sent": 2}
    assert bytes(values.encode(*from_text(*text))) == bytes(raw)


def test_nan_and_bytes() -> None:
    assert as_text(Commit(outputs=[("out", Message.float(math.nan).encode())]))["outputs"] == [
        ["out", ["float", "NaN"]]
    ]
    assert math.isnan(from_text("float", "NaN")[1])
    assert from_text("bytes", "aGk=") == ("bytes", b"hi")
    assert from_text("option", ["bytes", "aGk="]) == ("option", ("bytes", b"hi"))


def test_other_params_stay_as_they_are() -> None:
    params = {"a": 1}
    assert as_text(params) is params


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("float", "nan"),
        ("float", "1"),
        ("bytes", "aGk"),
        ("bytes", "*"),
        ("bytes", 5),
        ("option", 5),
        ("option", [1, 2]),
    ],
)
def test_what_is_not_of_its_type_is_refused(type_: str, value: Any) -> None:
    with pytest.raises(NotAMessageError):
        from_text(type_, value)

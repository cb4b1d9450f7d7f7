from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from reflow import ActorContext, ActorState, Message


class Outside:
    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []
        self.logged: list[tuple[str, str, Mapping[str, Any]]] = []

    def context(self, payload: dict[str, Message] | None = None, **options: Any) -> ActorContext:
        return ActorContext(
            payload or {},
            ActorState(lambda keys: {}, lambda pattern: []),
            emit=lambda port, message: self.sent.append((port, message)),
            write_log=lambda level, message, fields: self.logged.append((level, message, fields)),
            now=lambda: 1700000000123,
            **options,
        )


@pytest.fixture
def outside() -> Outside:
    return Outside()


def test_inputs(outside: Outside) -> None:
    context = outside.context({"data": Message.integer(1)})
    assert context.payload is context.get_payload()
    assert context.payload.get("data") == 1
    assert context.payload.get("config", {}) == {}
    assert (context.has_input("data"), context.has_input("config")) == (True, False)
    assert context.get_input("data") == Message.integer(1)
    assert (context.get_input("config"), context.get_input("config", 5)) == (None, 5)


def test_config(outside: Outside) -> None:
    context = outside.context(config={"scale": 2})
    assert context.config is context.get_config()
    assert context.config["scale"] == 2
    assert outside.context().config == {}


def test_state_in_both_forms(outside: Outside) -> None:
    context = outside.context()
    assert context.get_state() is context.state
    assert context.get_state("count", 3) == 3
    assert context.get_state("count") is None
    context.set_state("count", 4)
    assert context.state.get("count") == 4
    assert context.get_state("count", 0) == 4


def test_time_and_name_as_attributes_and_as_calls(outside: Outside) -> None:
    context = outside.context(actor_id="agg-1")
    assert context.timestamp == context.timestamp() == 1700000000123
    assert type(context.timestamp()) is int
    assert context.timestamp + 1 == 1700000000124
    assert context.actor_id == context.actor_id() == "agg-1"
    assert type(context.actor_id()) is str
    assert Message.of({"at": context.timestamp, "by": context.actor_id}).encode()


def test_sending_and_logging(outside: Outside) -> None:
    context = outside.context()
    context.send("out", 1)
    context.send_output("out", Message.integer(2))
    context.log("info", KeyError("k"), row=3)
    assert outside.sent == [("out", 1), ("out", Message.integer(2))]
    assert outside.logged == [("info", "'k'", {"row": 3})]

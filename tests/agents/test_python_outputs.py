from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from reflow import Message
from reflow.agent.outputs import MESSAGE_DEPTH, check_size, collect
from reflow.wire.limits import WireLimits
from reflow.wire.messages import Commit
from reflow.wire.values import NotAMessageError

LIMIT = 10_000
LIMITS = WireLimits(max_message=LIMIT, max_frame=20_000, max_depth=8 + MESSAGE_DEPTH)


def outputs(result: Any, outports: list[str] | None = None) -> list[tuple[str, Message]]:
    return [(port, Message.decode(raw)) for port, raw in collect(result, outports, LIMITS)]


def test_nothing_is_sent_for_none() -> None:
    assert outputs(None) == []
    assert outputs({"a": None, "b": 1}) == [("b", Message.integer(1))]


def test_a_map_is_by_port() -> None:
    result = {"a": Message.float(1), "b": [1, 2], "surprise": False}
    expected = [("a", Message.float(1.0)), ("b", Message.array([1, 2])), ("surprise", Message.boolean(False))]
    assert outputs(result, ["a", "b"]) == expected
    assert outputs(MappingProxyType(result), ["a"]) == expected


@pytest.mark.parametrize(
    ("outports", "port"), [(["only"], "only"), (["a", "b"], "output"), ([], "output"), (None, "output")]
)
def test_anything_else_goes_to_the_only_port(outports: list[str] | None, port: str) -> None:
    assert outputs([1], outports) == [(port, Message.array([1]))]
    assert outputs(Message.object({"a": 1}), outports) == [(port, Message.object({"a": 1}))]
    assert outputs(np.arange(2), outports) == [(port, Message.array([0, 1]))]
    assert outputs(0, outports) == [(port, Message.integer(0))]


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ({"out": {"items": [1, {2}]}}, "outputs.out.items[1]: a set is not a message value; use a list"),
        ({"out": {1}}, "outputs.out: a set is not a message value"),
        ({"out": object()}, "outputs.out: a object is not a message value"),
        ({"out": 2**63}, "outputs.out: an integer must fit 64 bits"),
        ({"out": "\ud800"}, "outputs.out: a text holds half of a surrogate pair"),
        ({"out": ["\ud800"]}, "outputs.out: a text holds half of a surrogate pair"),
        ({"out": b"x" * LIMIT}, "outputs.out: a message of 100"),
        ({5: 1}, "outputs: a port's name is a str, not int (5)"),
        ({"": 1}, "outputs: a port's name has 1 to 256 bytes"),
        ({"p" * 257: 1}, "outputs: a port's name has 1 to 256 bytes"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_its_place(result: Any, says: str) -> None:
    with pytest.raises(NotAMessageError) as raised:
        collect(result, ["out"], LIMITS)
    assert str(raised.value).startswith(says)


def test_values_are_as_deep_as_the_link_allows() -> None:
    def nested(depth: int) -> Any:
        return 0 if depth == 0 else [nested(depth - 1)]

    assert outputs({"out": nested(8)})
    with pytest.raises(NotAMessageError, match=r"outputs\.out\[0\].*nested too deeply"):
        collect({"out": nested(9)}, None, LIMITS)


def test_a_commit_that_is_over_a_frame_is_refused() -> None:
    nine_thousand = dict.fromkeys(("a", "b", "c"), b"x" * 9000)
    two, three = collect(dict(list(nine_thousand.items())[:2]), None, LIMITS), collect(nine_thousand, None, LIMITS)
    check_size(Commit(outputs=two), LIMITS)
    for commit in (Commit(outputs=three), Commit(outputs=two, state=[["set", "k", '"' + "y" * 9_000 + '"', None]])):
        with pytest.raises(NotAMessageError, match="20000 is the most"):
            check_size(commit, LIMITS)

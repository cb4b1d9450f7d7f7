from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from reflow.wire.limits import WireLimits
from reflow.wire.messages import Commit, Failure, Pong, Send
from reflow.wire.replay import Window
from reflow.wire.session import (
    MAX_ID_LENGTH,
    MAX_METHOD_LENGTH,
    Event,
    FrameGapError,
    InvalidPayloadError,
    LocalProtocolError,
    NotificationReceived,
    Outcome,
    Payload,
    ProtocolViolationError,
    RequestReceived,
)
from reflow.wire.session import Session as WireSession
from reflow.wire.values import from_plain

pack = msgspec.msgpack.encode
unpack = msgspec.msgpack.decode

SMALL = WireLimits(max_message=400, max_frame=500, max_depth=6, max_batch=4, max_pending=3, batch_bytes=200)


def message(**members: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0"} | members


HEADER = 3
"""Bytes of the array and the two numbers around the messages of a first frame."""


def numbered(frame: bytes | str, number: int) -> bytes | str:
    """A message, or an array of them, as a frame. What is one already, or nothing that could be, stays as it is."""
    if isinstance(frame, str):
        text = frame.strip()
        if not text or re.match(r"\[\s*\d", text):
            return frame
        return f"[{number},0,{text[1:]}" if text.startswith("[") else f"[{number},0,{frame}]"
    if frame[:1] == b"\xdc":  # a batch of so many is none of these tests' own
        return frame
    if not frame or not 0x90 <= frame[0] <= 0x9F:
        return b"\x93" + pack(number) + b"\x00" + frame if frame else frame
    if len(frame) > 1 and frame[1] < 0x80:
        return frame
    return bytes((frame[0] + 2,)) + pack(number) + b"\x00" + frame[1:]


class Session(WireSession):
    """Takes frames without numbers too: as its peer's next ones, so that a test can say what it is about."""

    def receive(self, frame: Any) -> list[Event]:
        return super().receive(numbered(frame, self.received + 1))


def frames(session: WireSession) -> list[bytes | str]:
    found: list[bytes | str] = []
    while (frame := session.data_to_send()) is not None:
        found.append(frame)
    return found


def sent(session: Session) -> list[dict[str, Any]]:
    """The messages that a session has to send, whatever frames they are in."""
    found: list[dict[str, Any]] = []
    for frame in frames(session):
        found += (json.loads(frame) if isinstance(frame, str) else unpack(frame))[2:]
    return found


def requested(session: Session, frame: bytes | str) -> RequestReceived:
    (event,) = session.receive(frame)
    assert isinstance(event, RequestReceived)
    return event


def outcome_of(session: WireSession, frame: bytes | str) -> Outcome:
    (event,) = session.receive(frame)
    assert isinstance(event, Outcome)
    return event


# -- one message -------------------------------------------------------------------------------------------------


def test_a_request_and_its_answer() -> None:
    asking, answering = Session(), Session()
    id = asking.request("ping", {"a": [1]})
    assert asking.pending == asking.queued == 1
    (frame,) = frames(asking)
    request = requested(answering, frame)
    assert (request.id, request.method, request.params.plain()) == (id, "ping", {"a": [1]})
    answering.respond(request.id, Pong(busy=3, busy_ms=20))
    (frame,) = frames(answering)
    outcome = outcome_of(asking, frame)
    assert (outcome.id, outcome.method, outcome.unknown) == (id, "ping", False)
    assert outcome.result is not None
    assert outcome.result.decode(Pong) == Pong(busy=3, busy_ms=20)
    assert asking.pending == asking.queued == 0


def test_a_request_and_its_error() -> None:
    asking, answering = Session(), Session()
    id = asking.request("activate")
    answering.receive(frames(asking)[0])
    answering.fail(id, -32021, "it failed", Failure(type="ValueError", message="m"))
    outcome = outcome_of(asking, frames(answering)[0])
    assert outcome.result is None
    assert not outcome.unknown
    error = outcome.error
    assert error is not None
    assert (error.code, error.message) == (-32021, "it failed")
    assert error.decode_data(Failure) == Failure(type="ValueError", message="m")


@pytest.mark.parametrize("data", [None, 5, {"type": 5}, {"message": "m"}])
def test_the_data_of_an_error_may_be_anything(data: Any) -> None:
    session = Session()
    session.request("m")
    error: dict[str, Any] = {"code": 1, "message": "m"} | ({} if data is None else {"data": data})
    outcome = outcome_of(session, pack(message(id=1, error=error)))
    assert outcome.error is not None
    assert outcome.error.decode_data(Failure) is None


def test_results_and_params_that_are_left_out_are_empty_maps() -> None:
    session = Session()
    session.request("m")
    session.notify("n")
    request = requested(session, pack(message(id=9, method="m")))
    assert request.params.plain() == {}
    session.respond(request.id)
    assert [m.get("params", m.get("result")) for m in sent(session)] == [{}, {}, {}]
    (note,) = session.receive('{"jsonrpc": "2.0", "method": "n"}')
    assert isinstance(note, NotificationReceived)
    assert note.params.plain() == {}


def test_a_result_may_be_nil() -> None:
    session = Session()
    session.request("m")
    outcome = outcome_of(session, pack(message(id=1, result=None)))
    assert outcome.result is not None
    assert outcome.result.plain() is None


def test_one_and_the_text_one_are_two_ids() -> None:
    session = Session()
    first = requested(session, pack(message(id=1, method="m")))
    second = requested(session, pack(message(id="1", method="m")))
    session.respond(second.id, {"for": "text"})
    session.respond(first.id, {"for": "integer"})
    assert [(m["id"], m["result"]["for"]) for m in sent(session)] == [("1", "text"), (1, "integer")]

    session.request("a", id=7)
    session.request("b", id="7")
    assert outcome_of(session, pack(message(id="7", result={}))).method == "b"
    with pytest.raises(ProtocolViolationError, match="not asked"):
        session.receive(pack(message(id="7", result={})))


def test_unknown_members_are_ignored_whatever_they_hold() -> None:
    session = Session()
    request = requested(session, pack(message(id=1, method="m", params={"a": 1}, later={"deep": [[[]]]})))
    assert request.params.plain() == {"a": 1}


def test_answers_come_in_any_order_and_grouping() -> None:
    session = Session()
    ids = [session.request("m", {"n": n}) for n in range(5)]
    answers = [message(id=id, result={"n": n}) for n, id in enumerate(ids)]
    events = session.receive(pack([answers[3], answers[0]])) + session.receive(pack(answers[4]))
    events += session.receive(pack([answers[1], message(method="note"), answers[2]]))
    assert [e.id if isinstance(e, Outcome) else None for e in events] == [4, 1, 5, 2, None, 3]
    assert session.pending == 0


# -- what this side may not do -----------------------------------------------------------------------------------


def test_local_mistakes_change_nothing() -> None:
    session = Session()
    session.request("m", id=1)
    with pytest.raises(LocalProtocolError, match="id 1 has no outcome"):
        session.request("m", id=1)
    with pytest.raises(LocalProtocolError, match="no unanswered request"):
        session.respond(1)
    requested(session, pack(message(id=5, method="m")))
    session.respond(5)
    with pytest.raises(LocalProtocolError, match="no unanswered request"):
        session.fail(5, -32603, "twice")
    assert [m["id"] for m in sent(session)] == [1, 5]
    assert session.pending == 1


def test_an_id_may_be_used_again_after_its_answer() -> None:
    session = Session()
    for _ in range(2):
        assert requested(session, pack(message(id="x", method="m"))).id == "x"
        session.respond("x")
        session.request("m", id=3)
        assert outcome_of(session, pack(message(id=3, result={}))).id == 3


def test_ids_given_by_the_session_do_not_repeat() -> None:
    session = Session()
    ids = [session.request("m") for _ in range(100)]
    assert len(set(ids)) == 100


def test_cancel_is_sent_for_what_has_no_outcome_only() -> None:
    session = Session()
    id = session.request("m")
    session.cancel(id)
    assert [m["method"] for m in sent(session)] == ["m", "cancel"]
    session.receive(pack(message(id=id, error={"code": -32800, "message": "cancelled"})))
    session.cancel(id)
    session.cancel("never asked")
    assert sent(session) == []


# -- what the peer may not do ------------------------------------------------------------------------------------

CALL = message(method="m")
ANSWER = message(id=1, result={})


def raw_call(params: bytes) -> bytes:
    return pack(CALL)[:0] + b"\x83" + pack(CALL)[1:] + b"\xa6params" + params


VIOLATIONS: dict[str, bytes | str] = {
    "empty": b"",
    "empty text": "",
    "blank text": "  ",
    "nil": pack(None),
    "a number": pack(1),
    "a string": pack("m"),
    "an empty array": pack([]),
    "an empty array of text": "[]",
    "an array in an array": pack([[CALL]]),
    "no message in a batch": pack([CALL, 1]),
    "nothing in it": pack({}),
    "no jsonrpc": pack({"method": "m"}),
    "another jsonrpc": pack(CALL | {"jsonrpc": "1.0"}),
    "jsonrpc that is a number": pack(CALL | {"jsonrpc": 2.0}),
    "jsonrpc that is long": pack(CALL | {"jsonrpc": "2" * 100_000}),
    "method that is no string": pack(message(method=5)),
    "method that is nil": pack(message(method=None)),
    "method that is empty": pack(message(method="")),
    "method that is too long": pack(message(method="m" * (MAX_METHOD_LENGTH + 1))),
    "params that are an array": pack(message(method="m", params=[1])),
    "params that are nil": pack(message(method="m", params=None)),
    "params that are a string": pack(message(method="m", params="{}")),
    "params of text that are an array": '{"jsonrpc": "2.0", "method": "m", "params": [1]}',
    "id that is nil": pack(message(method="m", id=None)),
    "id that is a float": pack(message(method="m", id=1.0)),
    "id that is a boolean": pack(message(method="m", id=True)),
    "id that is bytes": pack(message(method="m", id=b"1")),
    "id that is empty": pack(message(method="m", id="")),
    "id that is too long": pack(message(method="m", id="i" * (MAX_ID_LENGTH + 1))),
    "id of too many bytes": pack(message(method="m", id="é" * (MAX_ID_LENGTH // 2 + 1))),
    "id over 64 bits": pack(message(method="m", id=2**63)),
    "id of text over 64 bits": '{"jsonrpc": "2.0", "method": "m", "id": -9223372036854775809}',
    "id of text with endless digits": '{"jsonrpc": "2.0", "method": "m", "id": ' + "9" * 10_000 + "}",
    "request and response": pack(message(method="m", id=1, result={})),
    "request and error": pack(message(method="m", error={"code": 1, "message": "m"})),
    "neither request nor response": pack(message(id=1)),
    "a response without an id": pack(message(result={})),
    "a response with a nil id": pack(message(id=None, result={})),
    "a response to nothing": pack(message(id=99, result={})),
    "a response to the text of an id": pack(message(id="1", result={})),
    "a result and an error": pack(message(id=1, result={}, error={"code": 1, "message": "m"})),
    "an error that is nil": pack(message(id=1, error=None)),
    "an error that is text": pack(message(id=1, error="m")),
    "an error without a code": pack(message(id=1, error={"message": "m"})),
    "an error without a message": pack(message(id=1, error={"code": 1})),
    "an error whose code is a float": pack(message(id=1, error={"code": 1.5, "message": "m"})),
    "an error whose code is over what is exact": pack(message(id=1, error={"code": 2**53, "message": "m"})),
    "an error whose message is a number": pack(message(id=1, error={"code": 1, "message": 5})),
    "bytes that trail": pack(CALL) + b"\xc0",
    "two messages": pack(CALL) + pack(CALL),
    "text that trails": json.dumps(CALL) + " 1",
    "text that is no JSON": "{jsonrpc}",
    "a number that JSON lacks": '{"jsonrpc": "2.0", "method": "m", "params": {"a": NaN}}',
    "half of a surrogate pair": '{"jsonrpc": "2.0", "method": "m", "later": "\ud800"}',
    "half of an escaped surrogate pair": r'{"jsonrpc": "2.0", "method": "\ud800"}',
    "a method that is not UTF-8": pack(message(method="m")).replace(b"\xa1m", b"\xa1\xff"),
    "an unused byte": raw_call(b"\xc1"),
    "an array longer than the frame": raw_call(b"\xdd\xff\xff\xff\xff"),
    "a batch longer than the frame": b"\xdd\xff\xff\xff\xff",
    "bytes longer than the frame": raw_call(b"\xc6\xff\xff\xff\xff"),
    "an extension for a message": b"\xd6\xff\x00\x00\x00\x00",
    "depth without end": raw_call(b"\x81\xa1a" + b"\x91" * 200_000),
    "depth without end of text": '{"jsonrpc": "2.0", "method": "m", "params": ' + '{"a":' * 200_000,
    "batches without end": b"\x91" * 200_000,
}


@pytest.mark.parametrize("frame", VIOLATIONS.values(), ids=VIOLATIONS)
def test_a_violation(frame: bytes | str) -> None:
    session = Session()
    session.request("m")
    with pytest.raises(ProtocolViolationError) as caught:
        session.receive(frame)
    assert 0 < len(str(caught.value)) < 300
    # Still one outcome: unknown.
    assert [(o.id, o.unknown) for o in session.lost()] == [(1, True)]


def test_a_broken_answer_leaves_no_second_outcome() -> None:
    session = Session()
    session.request("m")
    with pytest.raises(ProtocolViolationError):
        session.receive(pack(message(id=1, error={"code": 1})))
    assert [o.unknown for o in session.lost()] == [True]
    assert session.lost() == []


def test_what_came_before_a_violation_in_its_frame_is_unknown() -> None:
    """Once it was neither an outcome nor lost, and who asked waited for ever."""
    session = Session()
    ids = [session.request("m"), session.request("n")]
    with pytest.raises(ProtocolViolationError, match="jsonrpc"):
        session.receive(pack([ANSWER, ANSWER | {"jsonrpc": "1.0"}]))
    unknown = {o.id: o.method for o in session.lost() if o.unknown}
    assert unknown == dict(zip(ids, "mn", strict=True))


def test_a_second_response_is_a_violation() -> None:
    session = Session()
    session.request("m")
    session.receive(pack(ANSWER))
    with pytest.raises(ProtocolViolationError, match="not asked or is answered already"):
        session.receive(pack(ANSWER))


def test_a_second_request_with_an_id_before_the_first_is_answered_is_a_violation() -> None:
    session = Session()
    session.receive(pack(message(id=1, method="m")))
    with pytest.raises(ProtocolViolationError, match="before the first was answered"):
        session.receive(pack(message(id=1, method="m")))


INSIDE = {
    "an extension": b"\x81\xa1a\xd4\x00\x00",
    "a timestamp": b"\x81\xa1a\xd6\xff\x00\x00\x00\x00",
    "text that is not UTF-8": b"\x81\xa1a\xa1\xff",
    "a key that is not UTF-8": b"\x81\xa1\xff\x01",
    "a key that is an integer": b"\x81\x01\x01",
    "a key that is an array": b"\x81\x90\x01",
    "a key that is a map": b"\x81\x80\x01",
    "an integer over 64 bits": b"\x81\xa1a\xcf" + b"\xff" * 8,
}


@pytest.mark.parametrize("params", INSIDE.values(), ids=INSIDE)
def test_what_is_no_plain_value_is_a_violation_when_it_is_looked_at(params: bytes) -> None:
    (event,) = Session().receive(raw_call(params))
    assert isinstance(event, NotificationReceived)
    with pytest.raises(ProtocolViolationError, match=r"malformed|extension"):
        event.params.plain()


def test_a_payload_of_another_shape_is_told_from_a_malformed_one() -> None:
    session = Session()
    (wrong,) = session.receive(pack(message(method="m", params={"outputs": 5})))
    (malformed,) = session.receive(raw_call(b"\x81\xa5state\x91\x91\xd4\x00\x00"))
    assert isinstance(wrong, NotificationReceived)
    assert isinstance(malformed, NotificationReceived)
    with pytest.raises(InvalidPayloadError, match=r"outputs"):
        wrong.params.decode(Commit)
    with pytest.raises(ProtocolViolationError, match="extension") as caught:
        malformed.params.decode(Commit)
    assert not isinstance(caught.value, InvalidPayloadError)


# -- limits: at the edge, and one beyond -------------------------------------------------------------------------


def test_the_size_of_a_frame() -> None:
    # From 256 bytes on, a length takes one more.
    overhead = HEADER + len(pack(message(method="m", params={"a": b""}))) + 1
    frame = pack(message(method="m", params={"a": b"x" * (SMALL.max_frame - overhead)}))
    assert len(numbered(frame, 1)) == SMALL.max_frame
    assert len(Session(SMALL).receive(frame)) == 1
    frame = pack(message(method="m", params={"a": b"x" * (SMALL.max_frame - overhead + 1)}))
    with pytest.raises(ProtocolViolationError, match="a frame of 501 bytes is over the limit of 500"):
        Session(SMALL).receive(frame)


def test_the_size_of_a_text_frame_is_in_bytes() -> None:
    overhead = len('[1,0,{"jsonrpc":"2.0","method":"m","x":""}]')
    text = '{"jsonrpc":"2.0","method":"m","x":"%s"}'
    fits = text % ("é" * ((SMALL.max_frame - overhead) // 2))
    assert len(str(numbered(fits, 1)).encode()) in (SMALL.max_frame, SMALL.max_frame - 1)
    assert len(Session(SMALL).receive(fits)) == 1
    with pytest.raises(ProtocolViolationError, match="over the limit"):
        Session(SMALL).receive(text % ("é" * ((SMALL.max_frame - overhead) // 2 + 1)))


@pytest.mark.parametrize("make", [pack, json.dumps])
def test_the_messages_of_a_batch(make: Any) -> None:
    assert len(Session(SMALL).receive(make([CALL] * SMALL.max_batch))) == SMALL.max_batch
    with pytest.raises(ProtocolViolationError, match="a batch of 5; 1 to 4"):
        Session(SMALL).receive(make([CALL] * (SMALL.max_batch + 1)))


@pytest.mark.parametrize("make", [pack, json.dumps])
@pytest.mark.parametrize("batched", [False, True])
def test_the_depth_of_a_frame(make: Any, batched: bool) -> None:
    def calling(depth: int) -> Any:
        value: Any = 0
        for _ in range(depth - 2):  # the message and params take one each, and the frame none
            value = [value]
        call = message(method="m", params={"a": value})
        return make([call] if batched else call)

    (event,) = Session(SMALL).receive(calling(SMALL.max_depth))
    assert isinstance(event, NotificationReceived)
    assert set(event.params.plain()) == {"a"}
    (event,) = Session(SMALL).receive(calling(SMALL.max_depth + 1))
    assert isinstance(event, NotificationReceived)
    with pytest.raises(ProtocolViolationError, match="nested too deeply"):
        event.params.plain()


def test_the_depth_of_a_result() -> None:
    session = Session(SMALL)
    for id in (1, 2):
        session.request("m", id=id)
    result = outcome_of(session, pack(message(id=1, result=[[[[[]]]]]))).result
    assert result is not None
    assert result.plain() == [[[[[]]]]]
    result = outcome_of(session, pack(message(id=2, result=[[[[[[]]]]]]))).result
    assert result is not None
    with pytest.raises(ProtocolViolationError, match="nested too deeply"):
        result.plain()


def test_the_length_of_a_method_and_of_an_id() -> None:
    session = Session()
    method = "m" * MAX_METHOD_LENGTH
    for id in ("i" * MAX_ID_LENGTH, "é" * (MAX_ID_LENGTH // 2), 2**63 - 1, -(2**63)):
        assert requested(session, pack(message(id=id, method=method))).id == id
        session.respond(id)
    assert len(sent(session)) == 4


def test_the_requests_that_wait_for_an_answer() -> None:
    session = Session(SMALL)
    for id in range(SMALL.max_pending):
        session.receive(pack(message(id=id, method="m")))
    session.respond(0)
    session.receive(pack(message(id="one for one", method="m")))
    with pytest.raises(ProtocolViolationError, match="more than 3 requests"):
        session.receive(pack(message(id="one too many", method="m")))


# -- what is sent ------------------------------------------------------------------------------------------------


def test_answers_are_in_the_kind_of_frame_that_came_last() -> None:
    session = Session()
    session.notify("a")
    assert isinstance(frames(session)[0], bytes)
    session.receive(json.dumps(CALL))
    session.notify("b")
    session.notify("c")
    (text,) = frames(session)
    assert [m["method"] for m in json.loads(text)[2:]] == ["b", "c"]
    session.receive(pack(CALL))
    session.notify("d")
    assert isinstance(frames(session)[0], bytes)


@given(
    st.lists(st.integers(0, 230), max_size=30),
    st.booleans(),
    st.integers(1, 5),
    st.sampled_from([50, 200, 400, 1000]),
)
@example([100, 182], False, 4, 1000)
@example([100, 177], True, 4, 1000)
def test_every_frame_is_one_that_the_peer_takes(sizes: list[int], text: bool, max_batch: int, batch_bytes: int) -> None:
    limits = WireLimits(max_frame=350, max_batch=max_batch, batch_bytes=batch_bytes)
    session, peer = Session(limits), Session(limits)
    session.text = text
    for n, size in enumerate(sizes):
        session.notify("m", {"n": n, "x": "x" * size})
    events: list[Event] = []
    for frame in frames(session):
        assert isinstance(frame, str) is text
        events += peer.receive(frame)
    assert [e.params.plain()["n"] for e in events if isinstance(e, NotificationReceived)] == list(range(len(sizes)))


def test_small_messages_travel_together_and_a_large_one_ends_a_frame() -> None:
    session = Session(WireLimits(batch_bytes=200))
    for size in (10, 10, 500, 10):
        session.notify("m", {"x": "x" * size})
    assert [len(unpack(f)[2:]) for f in frames(session) if isinstance(f, bytes)] == [3, 1]


def test_encoded_messages_become_json_in_a_text_frame() -> None:
    """Once they went into the text as they were, and broke it or raised."""
    session = Session()
    session.receive(json.dumps(CALL))
    for value in ({"a": 1.5}, b"\xff\xfe", math.pi):
        message = from_plain(value)
        session.notify("send", Send(activation=1, attempt=1, index=0, port="out", message=message))
    assert [m["params"]["message"] for m in sent(session)] == [
        ["object", {"a": 1.5}],
        ["bytes", "//4="],
        ["float", math.pi],
    ]


def test_messages_of_a_text_frame_come_as_those_of_a_binary_one() -> None:
    session = Session()
    session.request("activate")
    outputs = [["a", ["float", "NaN"]], ["b", ["option", ["bytes", "aGk="]]]]
    (outcome,) = session.receive(json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"outputs": outputs, "sent": 1}}))
    assert isinstance(outcome, Outcome)
    assert outcome.result is not None
    commit = outcome.result.decode(Commit)
    assert [(port, bytes(raw).hex()) for port, raw in commit.outputs] == [
        ("a", "cb7ff8000000000000"),
        ("b", "d603c4026869"),
    ]
    with pytest.raises(InvalidPayloadError, match="type and its value"):
        Payload(msgspec.Raw(b'{"outputs": [["a", 5]]}'), json=True).decode(Commit)


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        ({"a": [1], "b": msgspec.msgpack.Ext(2, b"\x01")}, None),
        ({"a": msgspec.msgpack.Ext(6, b"\x01\x01")}, None),
        ({"a": [{"b": msgspec.msgpack.Ext(6, b"\x01\x01")}]}, None),
        ({"a": msgspec.msgpack.Ext(5, b"")}, None),
        ({"a": msgspec.msgpack.Ext(4, b"\x01")}, None),
        ([msgspec.msgpack.Ext(2, b"\x01")], "extension type 2"),
        ({"a": [msgspec.msgpack.Ext(2, b"\x01")]}, "extension type 2"),
        ({"a": msgspec.msgpack.Ext(7, b"\x01")}, "unknown type 7"),
        ({"a": msgspec.msgpack.Ext(6, b"\x02\x01")}, "elements of 2"),
        ({"a": {1: 1}}, "keys"),
        ({"a": [[[[]]]]}, "nested too deeply"),
        ({1: 1}, "str"),
        ({}, None),
        (None, None),
    ],
)
def test_what_is_not_of_its_method_may_have_messages_in_it_where_they_stand(inputs: Any, complaint: str | None) -> None:
    payload = Payload(msgspec.Raw(pack({"timeout_ms": "x", "inputs": inputs})), depth=5)
    if complaint is None:
        payload.check()
        return
    with pytest.raises(ProtocolViolationError, match=complaint):
        payload.check()


@pytest.mark.parametrize("member", [msgspec.msgpack.Ext(6, b"\x01\x01"), [msgspec.msgpack.Ext(2, b"\x01")], 2**63])
def test_and_nowhere_else(member: Any) -> None:
    for params in ({"timeout_ms": member}, {"timeout_ms": member, "inputs": {"a": 1}}):
        with pytest.raises(ProtocolViolationError):
            Payload(msgspec.Raw(pack(params))).check()


def test_a_batch_of_more_than_fifteen() -> None:
    session, peer = Session(), Session()
    for _ in range(300):
        session.notify("m")
    (frame,) = frames(session)
    assert len(peer.receive(frame)) == 300


def test_nothing_is_sent_when_the_link_is_lost() -> None:
    session = Session()
    id = session.request("m")
    session.receive(pack(message(id=1, method="m")))
    unknown = session.lost()
    assert [(o.id, o.method, o.unknown) for o in unknown] == [(id, "m", True)]
    session.respond(1)
    session.fail(1, -32603, "m")
    session.notify("n")
    session.cancel(id)
    assert session.data_to_send() is None
    assert session.lost() == []
    with pytest.raises(LocalProtocolError, match="lost"):
        session.request("m")


# -- connections -------------------------------------------------------------------------------------------------


def test_frames_carry_their_number_and_what_has_come() -> None:
    session = Session()
    session.notify("a")
    session.receive(pack(CALL))
    session.notify("b")
    (first,) = frames(session)
    assert isinstance(first, bytes)
    assert unpack(first)[:2] == [1, 1]
    session.notify("c")
    assert [unpack(f)[:2] for f in frames(session) if isinstance(f, bytes)] == [[2, 1]]


def test_what_comes_twice_counts_once() -> None:
    session, peer = Session(), Session()
    session.request("m")
    (frame,) = frames(session)
    (request,) = peer.receive(frame)
    assert isinstance(request, RequestReceived)
    assert peer.receive(frame) == []
    peer.respond(request.id)
    (answer,) = frames(peer)
    assert len(session.receive(answer)) == 1
    assert session.receive(answer) == []


def test_a_missing_frame_is_a_gap_and_no_violation() -> None:
    session, peer = Session(), Session()
    session.notify("a")
    session.data_to_send()
    session.notify("b")
    (second,) = frames(session)
    with pytest.raises(FrameGapError, match="frame 2 came after 0"):
        peer.receive(second)
    session.resume(peer.received)
    assert [e.method for f in frames(session) for e in peer.receive(f) if isinstance(e, NotificationReceived)] == [
        "a",
        "b",
    ]


@pytest.mark.parametrize("text", [False, True])
def test_what_is_sent_again_acknowledges_what_has_come_since(text: bool) -> None:
    session = Session()
    session.text = text
    session.notify("a", {"x": "é" * 300})
    session.notify("b")
    (first,) = frames(session)
    for _ in range(300):
        session.receive(json.dumps(CALL) if text else pack(CALL))
    session.resume(0)
    (again,) = frames(session)
    read: Any = json.loads if text else unpack
    assert read(again) == [1, 300, *read(first)[2:]]


def test_what_is_said_while_there_is_no_connection_waits_and_is_bounded_by_its_size() -> None:
    session, peer = Session(window=Window(max_bytes=1000)), Session()
    for n in range(10):
        session.notify("m", {"n": n, "x": "x" * 300})
        session.pack()
    assert not session.has_room
    assert session.queued == 10 - 3
    heard: list[int] = []
    session.resume(0)
    for _ in range(10):
        for frame in frames(session):
            heard += [e.params.plain()["n"] for e in peer.receive(frame) if isinstance(e, NotificationReceived)]
        peer.acknowledge()
        for frame in frames(peer):
            assert session.receive(frame) == []
    assert heard == list(range(10))


def test_acknowledgements_are_due_after_a_while_or_many_frames() -> None:
    session = Session()
    session.receive(pack(CALL))
    assert (session.owes_acknowledgement, session.acknowledgement_is_due) == (True, False)
    assert session.data_to_send() is None
    session.acknowledge()
    assert session.data_to_send() == pack([0, 1])
    assert session.data_to_send() is None
    for _ in range(64):
        session.receive(json.dumps(CALL))
    assert session.acknowledgement_is_due
    assert session.data_to_send() == "[0,65]"


def test_an_acknowledgement_of_what_was_not_sent_is_a_violation() -> None:
    session = Session()
    session.notify("m")
    with pytest.raises(ProtocolViolationError, match="only 0 were sent"):
        session.receive(pack([0, 1]))


def test_the_opening_is_one_message_a_frame_without_numbers() -> None:
    agent, supervisor = WireSession(numbered=False), WireSession(numbered=False)
    agent.request("hello", {"protocol": [1]})
    (frame,) = frames(agent)
    assert isinstance(frame, bytes)
    assert unpack(frame)["method"] == "hello"
    (request,) = supervisor.receive(frame)
    assert isinstance(request, RequestReceived)
    supervisor.respond(request.id, {"protocol": 1})
    (answer,) = frames(supervisor)
    assert outcome_of(agent, answer).result is not None
    for frame in (pack([CALL]), pack([1, 0, CALL]), json.dumps([CALL])):
        with pytest.raises(ProtocolViolationError):
            WireSession(numbered=False).receive(frame)


# -- hostile bytes -----------------------------------------------------------------------------------------------


def take(session: Session, frame: bytes | str) -> list[Event]:
    """What a peer of any kind would do with a frame; the one error that it may be."""
    try:
        events = session.receive(frame)
        for event in events:
            payload = event.result if isinstance(event, Outcome) else event.params
            if payload is not None:
                payload.plain()
        return events
    except ProtocolViolationError:
        return []


@given(st.binary(max_size=80) | st.text(max_size=80) | st.text('{}[]":,0123456789.eE-\\u jsonrpcid', max_size=60))
def test_any_frame_is_taken_or_a_violation(frame: bytes | str) -> None:
    session = Session()
    session.request("m")
    for event in take(session, frame):
        assert isinstance(event, RequestReceived | NotificationReceived | Outcome)
    assert len(session.lost()) <= 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats()
    | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
members = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.sampled_from(["2.0", "2.0", "2.0", "1.0"]) | json_values,
        "id": st.sampled_from([1, "1"]) | json_values,
        "method": st.sampled_from(["ping", "activate"]) | json_values,
        "params": json_values,
        "result": json_values,
        "error": st.fixed_dictionaries({}, optional={"code": json_values, "message": json_values, "data": json_values})
        | json_values,
    },
)


@given(members | st.lists(members, max_size=4))
def test_what_looks_like_a_message_is_taken_or_a_violation(content: Any) -> None:
    session = Session()
    session.request("m")
    events = take(session, pack(content))
    assert sum(isinstance(e, Outcome) for e in events) <= 1
    for event in events:
        if isinstance(event, RequestReceived):
            session.respond(event.id)


FRAMES = [
    pack(message(id=1, method="activate", params={"activation": 1, "inputs": {"in": ["object", {"a": [1.5, None]}]}})),
    pack([message(id=1, result={"outputs": [["out", ["bytes", b"\x00"]]]}), message(id="é", method="ping")]),
    pack(message(id=1, error={"code": -32021, "message": "m", "data": {"type": "t", "message": "m"}})),
]


@given(st.sampled_from(FRAMES), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=5))
def test_a_changed_frame_is_taken_or_a_violation(frame: bytes, changes: list[tuple[int, int]]) -> None:
    changed = bytearray(frame)
    for at, byte in changes:
        changed[at % len(changed)] = byte
    session = Session()
    session.request("m")
    assert len(take(session, bytes(changed))) <= 2


@pytest.mark.parametrize("frame", FRAMES, ids=["request", "batch", "error"])
def test_a_cut_frame_is_a_violation(frame: bytes) -> None:
    for length in range(len(frame)):
        session = Session()
        session.request("m")
        with pytest.raises(ProtocolViolationError):
            session.receive(frame[:length])


# -- any interleaving --------------------------------------------------------------------------------------------


@attrs.define
class Side:
    """One end of a link, and what it knows of it."""

    session: Session = attrs.Factory(lambda: Session(WireLimits(max_frame=4096, max_batch=8, batch_bytes=256)))
    wire: list[bytes | str] = attrs.Factory(list[bytes | str])
    """Frames that are on their way to it."""
    asked: list[int | str] = attrs.Factory(list[int | str])
    outcomes: list[Outcome] = attrs.Factory(list[Outcome])
    to_answer: list[RequestReceived] = attrs.Factory(list[RequestReceived])
    answered: dict[int | str, str] = attrs.Factory(dict[int | str, str])


class Conversation(RuleBasedStateMachine):
    """Two sessions that ask, answer, fail, cancel and deliver in any order, until their link goes down."""

    @initialize(text=st.booleans())
    def open(self, text: bool) -> None:
        self.sides = Side(), Side()
        self.down = False
        if text:
            for side in self.sides:
                side.session.text = True

    def other(self, side: Side) -> Side:
        return self.sides[side is self.sides[0]]

    @precondition(lambda self: not self.down)
    @rule(n=st.integers(0, 1), id=st.none() | st.sampled_from(["1", "x", "é"]))
    def ask(self, n: int, id: str | None) -> None:
        side = self.sides[n]
        if id is not None and id in side.asked:
            return
        given_ = side.session.request("m", {"text": "x" * 40}, id=id)
        assert given_ not in side.asked
        side.asked.append(given_)

    @precondition(lambda self: not self.down)
    @rule(n=st.integers(0, 1), data=st.data(), fails=st.booleans())
    def answer(self, n: int, data: st.DataObject, fails: bool) -> None:
        side = self.sides[n]
        if not side.to_answer:
            return
        request = side.to_answer.pop(data.draw(st.integers(0, len(side.to_answer) - 1)))
        if fails:
            side.session.fail(request.id, -32021, "failed", {"a": 1})
        else:
            side.session.respond(request.id, {"text": "y" * 40})
        side.answered[request.id] = "error" if fails else "ok"

    @rule(n=st.integers(0, 1), data=st.data())
    def cancel(self, n: int, data: st.DataObject) -> None:
        side = self.sides[n]
        if side.asked:
            side.session.cancel(data.draw(st.sampled_from(side.asked)))

    @precondition(lambda self: not self.down)
    @rule(n=st.integers(0, 1))
    def write(self, n: int) -> None:
        side = self.sides[n]
        if (frame := side.session.data_to_send()) is not None:
            self.other(side).wire.append(frame)

    @precondition(lambda self: not self.down)
    @rule(n=st.integers(0, 1))
    def deliver(self, n: int) -> None:
        side = self.sides[n]
        if not side.wire:
            return
        for event in side.session.receive(side.wire.pop(0)):
            match event:
                case Outcome():
                    side.outcomes.append(event)
                case RequestReceived():
                    side.to_answer.append(event)
                case NotificationReceived():
                    # It may come after its answer has left, and is then of nothing that this side knows.
                    assert event.method == "cancel"

    @precondition(lambda self: not self.down)
    @rule()
    def lose(self) -> None:
        self.down = True
        for side in self.sides:
            side.outcomes += side.session.lost()

    @invariant()
    def at_most_one_outcome_each(self) -> None:
        for side in self.sides:
            ended = Counter(o.id for o in side.outcomes)
            assert all(count == 1 for count in ended.values())
            assert set(ended) <= set(side.asked)
            assert side.session.pending == (0 if self.down else len(side.asked) - len(ended))

    def teardown(self) -> None:
        if not hasattr(self, "sides"):
            return
        if not self.down:
            for _ in range(len(self.sides[0].asked) + len(self.sides[1].asked) + 2):
                for n in (0, 1):
                    while self.sides[n].to_answer:
                        side = self.sides[n]
                        request = side.to_answer.pop()
                        side.session.respond(request.id)
                        side.answered[request.id] = "ok"
                    while self.sides[n].session.queued:
                        self.write(n)
                    while self.sides[1 - n].wire:
                        self.deliver(1 - n)
        for side in self.sides:
            assert sorted(map(repr, side.asked)) == sorted(repr(o.id) for o in side.outcomes)
            for outcome in side.outcomes:
                said = self.other(side).answered.get(outcome.id)
                if outcome.unknown:
                    assert self.down
                else:
                    assert said == ("ok" if outcome.error is None else "error")


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

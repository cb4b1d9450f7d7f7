"""The messages: what is accepted, what is refused and how, and what a snapshot looks like on the wire."""

from __future__ import annotations

import json

import msgspec
import pytest
from control.fake_provider import make_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from reflow_supervisor.control import protocol
from reflow_supervisor.control.protocol import (
    ActorParams,
    ActorStatus,
    ControlError,
    EdgeStatus,
    ErrorCode,
    ErrorInfo,
    Failure,
    LogLine,
    NoParams,
    SubscribeParams,
    TreeNode,
)


def test_request_with_and_without_params() -> None:
    request = protocol.decode_request('{"jsonrpc":"2.0","id":1,"method":"ping"}')
    assert (request.method, request.id) == ("ping", 1)
    assert protocol.decode_params(request.params, NoParams) == NoParams()
    request = protocol.decode_request('{"jsonrpc":"2.0","id":"a","method":"actor.stop","params":{"id":"x"}}')
    assert protocol.decode_params(request.params, ActorParams).id == "x"


def test_notification_has_no_id_and_null_is_one() -> None:
    assert protocol.decode_request('{"jsonrpc":"2.0","method":"stop"}').id is msgspec.UNSET
    assert protocol.decode_request('{"jsonrpc":"2.0","method":"stop","id":null}').id is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", ErrorCode.PARSE_ERROR),
        ("{", ErrorCode.PARSE_ERROR),
        ("\x00\xff", ErrorCode.PARSE_ERROR),
        ("[" * 30_000, ErrorCode.INVALID_REQUEST),
        ('{"jsonrpc":"2.0","id":1,"method":"ping","params":' + '{"a":' * 10_000, ErrorCode.PARSE_ERROR),
        ("7", ErrorCode.INVALID_REQUEST),
        ("{}", ErrorCode.INVALID_REQUEST),
        ('{"jsonrpc":"1.0","id":1,"method":"ping"}', ErrorCode.INVALID_REQUEST),
        ('{"jsonrpc":"2.0","id":1.5,"method":"ping"}', ErrorCode.INVALID_REQUEST),
        ('{"jsonrpc":"2.0","id":99999999999999999999999,"method":"ping"}', ErrorCode.INVALID_REQUEST),
        ('{"jsonrpc":"2.0","id":"' + "x" * 65 + '","method":"ping"}', ErrorCode.INVALID_REQUEST),
        ('{"jsonrpc":"2.0","id":1,"method":"' + "x" * 65 + '"}', ErrorCode.INVALID_REQUEST),
    ],
)
def test_bad_requests(text: str, code: ErrorCode) -> None:
    with pytest.raises(ControlError) as caught:
        protocol.decode_request(text)
    assert caught.value.code == code


def test_batch_is_refused_by_name() -> None:
    with pytest.raises(ControlError, match="batches are not supported"):
        protocol.decode_request('[{"jsonrpc":"2.0","id":1,"method":"ping"}]')


@pytest.mark.parametrize("raw", ["[]", "null", "3", '{"id":""}', '{"id":7}', '{"id":"a","more":1}', "{}"])
def test_bad_params(raw: str) -> None:
    with pytest.raises(ControlError) as caught:
        protocol.decode_params(msgspec.Raw(raw.encode()), ActorParams)
    assert caught.value.code == ErrorCode.INVALID_PARAMS


@pytest.mark.parametrize("interval", [0, 99, 60_001, -5])
def test_interval_is_bounded(interval: int) -> None:
    with pytest.raises(ControlError, match="interval_ms"):
        protocol.decode_params(msgspec.Raw(b'{"interval_ms":%d}' % interval), SubscribeParams)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=50) | st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5)).map(json.dumps))
def test_no_text_breaks_the_decoders(text: str) -> None:
    with pytest.raises(ControlError) as refused:
        protocol.decode_request(text)
    assert refused.value.code in (ErrorCode.PARSE_ERROR, ErrorCode.INVALID_REQUEST)
    with pytest.raises(ValueError, match="control protocol"):
        protocol.decode_incoming(text)


def test_snapshot_on_the_wire() -> None:
    snapshot = make_snapshot(
        edges=(EdgeStatus(source="a.out", target="b.in", delivered=3, queued=1, full=True, dropped=4),),
        tree=TreeNode(id="root", state="running", strategy="one_for_one", children=(TreeNode(id="a", state="up"),)),
    )
    text = protocol.encode_notification("snapshot", snapshot)
    wire = json.loads(text)
    assert wire["method"] == "snapshot"
    assert "id" not in wire
    assert wire["params"]["totals"] == {"in": 10, "out": 20, "failed": 1, "restarts": 2, "dead_letters": 1}
    assert wire["params"]["edges"] == [
        {"from": "a.out", "to": "b.in", "delivered": 3, "queued": 1, "full": True, "dropped": 4}
    ]
    assert wire["params"]["actors"][0]["last_error"] is None
    back = msgspec.json.decode(protocol.decode_incoming(text).params, type=protocol.Snapshot)
    assert back == snapshot


def test_response_and_error_on_the_wire() -> None:
    assert json.loads(protocol.encode_result("a", protocol.Done())) == {"jsonrpc": "2.0", "id": "a", "result": {}}
    wire = json.loads(protocol.encode_error(None, ControlError(ErrorCode.REFUSED, "already draining")))
    assert wire == {"jsonrpc": "2.0", "id": None, "error": {"code": -32040, "message": "already draining"}}


def failing(n: int, traceback: str) -> tuple[Failure, ...]:
    return tuple(Failure(at=i, actor=f"a{i}", kind="activation", reason="x", detail=traceback) for i in range(n))


def test_fit_leaves_a_modest_snapshot_alone() -> None:
    snapshot = make_snapshot()
    assert protocol.fit(snapshot) == snapshot


def test_fit_keeps_the_newest_tracebacks_whole() -> None:
    snapshot = make_snapshot(failures=failing(4, "t" * 10))
    assert [f.detail for f in protocol.fit(snapshot, budget=25).failures] == ["", "", "t" * 10, "t" * 10]
    assert [f.actor for f in protocol.fit(snapshot, budget=25).failures] == ["a0", "a1", "a2", "a3"]


def test_fit_keeps_the_end_of_a_long_traceback_and_the_start_of_a_long_line() -> None:
    error = ErrorInfo(type="E", message="m" * 9000 + "!", at=0, traceback="x" * 99_999 + "boom")
    actor = ActorStatus(id="a", component="a", runtime="python", state="failed", last_error=error)
    line = LogLine(seq=1, at=0, level="info", message="l" * 9000)
    fitted = protocol.fit(make_snapshot(actors=(actor,), log=(line,)))
    last_error = fitted.actors[0].last_error
    assert last_error is not None
    assert last_error.traceback.endswith("boom")
    assert len(last_error.traceback) == protocol.MAX_TRACEBACK
    assert last_error.message == "m" * protocol.MAX_LINE
    assert len(fitted.log[0].message) == protocol.MAX_LINE


def test_a_whole_network_failing_at_once_still_fits() -> None:
    error = ErrorInfo(type="E", message="m" * 5000, at=0, traceback="x" * 20_000)
    actors = tuple(
        ActorStatus(id=f"a{i}", component="a", runtime="python", state="failed", last_error=error) for i in range(500)
    )
    text = protocol.encode_notification("snapshot", protocol.fit(make_snapshot(actors=actors)))
    assert len(text) < 3 * 1024 * 1024

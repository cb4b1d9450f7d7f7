"""Plays the dialogues of specs/conformance against a real agent process, as its supervisor, over a real Unix socket.

The format is described in specs/conformance/README.md. This module is no part of the supervisor and shares no code with
it or with the agents: it reads frames with msgspec alone, and messages in them by `forms`, so that a mistake in the
shared wire code cannot hide itself.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import trio
import wsproto
import wsproto.utilities
from conformance.forms import Numbers, from_binary, pack, to_binary, unpack
from msgspec.msgpack import Ext
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)

ROOT = Path(__file__).resolve().parents[2]
DIALOGUES = ROOT / "specs" / "conformance"
JAVASCRIPT_AGENT = ROOT / "sandbox_agents" / "javascript" / "agent.js"

COMMANDS: dict[str, list[str]] = {
    "python": [sys.executable, "-m", "reflow.agent"],
    "javascript": ["node", str(JAVASCRIPT_AGENT)],
}
SUFFIX = {"python": "py", "javascript": "js"}

TOKEN = "conformance-token"
SECRET = "conformance-session"
STEP_TIMEOUT = 10.0
ACKNOWLEDGE_AFTER = 16
"""Frames of the agent."""
LIMITS = {"max_frame": 4_000_000, "max_message": 1_000_000, "max_depth": 64, "max_batch": 64}


def read_dialogues() -> list[tuple[str, dict[str, Any]]]:
    """(file:name, dialogue) of every dialogue, in a stable order."""
    found: list[tuple[str, dict[str, Any]]] = []
    for path in sorted(DIALOGUES.glob("*.json")):
        for dialogue in json.loads(path.read_text())["dialogues"]:
            found.append((f"{path.stem}:{dialogue['name']}", dialogue))
    return found


# -- values and patterns -----------------------------------------------------------------------------------------


def special(value: Any) -> Any:
    """A value to send, with `$bytes`, `$float`, `$array`, `$extension` and `$repeat` put in."""
    if isinstance(value, dict):
        if "$array" in value:
            array = value["$array"]
            return Numbers(array["element"], tuple(array["shape"]), base64.b64decode(special(array["data"])))
        if "$extension" in value:
            code, content = value["$extension"]
            return Ext(code, base64.b64decode(content))
        if "$bytes" in value:
            return base64.b64decode(value["$bytes"])
        if "$float" in value:
            return float(value["$float"])
        if "$repeat" in value:
            text, times = value["$repeat"]
            return text * times
        return {k: special(v) for k, v in value.items()}
    if isinstance(value, list):
        return [special(v) for v in value]
    return value


def mismatch(pattern: Any, value: Any, path: str = "") -> str | None:
    """Why the value does not match, or None. Maps match when every member of the pattern does; all else is exact."""
    where = path or "message"
    if isinstance(pattern, dict):
        if "$any" in pattern:
            return None
        if "$bytes" in pattern or "$repeat" in pattern or "$array" in pattern:
            expected = special(pattern)
            return None if type(value) is type(expected) and value == expected else f"{where}: {value!r}"
        if "$float" in pattern:
            return None if _same_float(float(pattern["$float"]), value) else f"{where}: {value!r}, not {pattern}"
        if "$shorter" in pattern:
            size = len(value.encode()) if isinstance(value, str) else -1
            return None if 0 <= size < pattern["$shorter"] else f"{where}: {size} bytes"
        if "$contains" in pattern:
            wanted = pattern["$contains"]
            for text in [wanted] if isinstance(wanted, str) else wanted:
                if not isinstance(value, str) or text not in value:
                    return f"{where}: {text!r} is not in {value!r}"
            unwanted = pattern.get("$lacks", [])
            for text in [unwanted] if isinstance(unwanted, str) else unwanted:
                if text in value:
                    return f"{where}: {text!r} is in {value!r}"
            return None
        if not isinstance(value, dict):
            return f"{where}: {value!r} is not a map"
        for key, sub in pattern.items():
            if sub == {"$absent": True}:
                if key in value:
                    return f"{where}.{key}: is there: {value[key]!r}"
                continue
            if key not in value and sub is not None:
                return f"{where}.{key}: is missing in {value!r}"
            if key not in value:
                continue
            found = mismatch(sub, value[key], f"{path}.{key}" if path else key)
            if found:
                return found
        return None
    if isinstance(pattern, list):
        if not isinstance(value, list) or len(value) != len(pattern):
            return f"{where}: {value!r}, not {pattern!r}"
        for i, (sub, item) in enumerate(zip(pattern, value, strict=True)):
            found = mismatch(sub, item, f"{where}[{i}]")
            if found:
                return found
        return None
    if type(pattern) is not type(value) or pattern != value:
        return f"{where}: {value!r}, not {pattern!r}"
    return None


def _same_float(expected: float, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if math.isnan(expected):
        return math.isnan(value)
    return float(value) == expected and math.copysign(1, float(value)) == math.copysign(1, expected)


# -- the state that a supervisor would keep ----------------------------------------------------------------------


class Store:
    """Applies commits as specs/protocol.md §6 says, so that dialogues compare effects and not compaction.

    Args:
        content: as `store` of a dialogue.
        ttl_ms: the configured time to live, as `load` tells it.
    """

    def __init__(self, content: dict[str, Any], ttl_ms: int | None = None) -> None:
        self.ttl_ms = ttl_ms
        self.entries: dict[str, list[Any]] = {}
        for key, value in content.items():
            ttl = value.get("$ttl") if isinstance(value, dict) else None
            if ttl is not None:
                value = value.get("$value", value)
            if isinstance(value, dict) and "$list" in value:
                self.entries[key] = ["list", [json.dumps(v) for v in value["$list"]], ttl]
            else:
                self.entries[key] = ["value", json.dumps(value), ttl]

    def apply(self, op: list[Any]) -> None:
        match op:
            case ["set", str(key), str(text), ttl]:
                json.loads(text)
                self.entries[key] = ["value", text, self._ttl(ttl)]
            case ["list", str(key), list(items), ttl]:
                self._list(key, items, self._ttl(ttl))
            case ["append", str(key), list(items), ttl]:
                self._list(key, self._items(key) + items, self._ttl(ttl, self._old_ttl(key)))
            case ["trim", str(key), int(left), int(right)]:
                items = self._items(key)
                assert left >= 0
                assert right >= 0
                assert left + right <= len(items), f"trims more than {key} has"
                self._list(key, items[left : len(items) - right], self._ttl(None, self._old_ttl(key)))
            case ["delete", str(key)]:
                self.entries.pop(key, None)
            case ["expire", str(key), ttl]:
                if key in self.entries:
                    self.entries[key][2] = ttl
            case _:
                raise AssertionError(f"not a state operation: {op!r}")

    def _ttl(self, said: int | None, otherwise: int | None = None) -> int | None:
        return said if said is not None else self.ttl_ms if self.ttl_ms is not None else otherwise

    def _old_ttl(self, key: str) -> int | None:
        return self.entries[key][2] if key in self.entries else None

    def _items(self, key: str) -> list[str]:
        entry = self.entries.get(key, ["list", [], None])
        assert entry[0] == "list", f"{key} is no list in the store"
        return list(entry[1])

    def _list(self, key: str, items: list[str], ttl: int | None) -> None:
        for text in items:
            json.loads(text)
        self.entries[key] = ["list", items, ttl]
        if not items:
            del self.entries[key]

    def content(self) -> dict[str, Any]:
        return {
            key: {"$list": [json.loads(v) for v in value]} if kind == "list" else json.loads(value)
            for key, (kind, value, _) in self.entries.items()
        }

    def fetch(self, keys: Sequence[str]) -> dict[str, Any]:
        return {key: self.entries[key] for key in keys if key in self.entries}

    def keys(self, pattern: str) -> list[str]:
        """Close enough to Redis' globs for what the dialogues use."""
        return sorted(k for k in self.entries if fnmatchcase(k, pattern.replace("[^", "[!")))


# -- the link ----------------------------------------------------------------------------------------------------


def encoded(data: Any) -> bytes:
    return pack(to_binary(data))


class Link:
    """The server's side of the agent's session, over one WebSocket after another. It keeps what it sent until the agent
    acknowledges it."""

    def __init__(self) -> None:
        self.received: list[tuple[str, Any]] = []
        """(kind of frame, message), oldest first."""
        self.closed: int | None = None
        self.request: Request | None = None
        self.stream: trio.SocketStream | None = None
        self.secret = TOKEN
        """What the agent has to show when it connects."""
        self.opening = True
        """What is sent and received now has no number."""
        self.sent = 0
        self.came = 0
        """How many of the agent's frames have come."""
        self.acknowledged = 0
        """How many of ours it has acknowledged."""
        self.acknowledges = True
        self._told = 0
        self._kept: dict[int, bytes | str] = {}
        """The encoded messages of frames that are not acknowledged; text where they are JSON."""

    # -- connections --

    async def accept(self, stream: trio.SocketStream, *, status: int | None = None) -> None:
        if self.stream is not None:
            await trio.aclose_forcefully(self.stream)
        self.stream = stream
        self.ws = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        self.closed, self.request, self.opening = None, None, True
        self._partial: bytes | str | None = None
        while self.request is None:
            await self._read()
        headers = {k.lower(): v for k, v in self.request.extra_headers}
        assert self.request.target == "/agent"
        assert self.request.subprotocols == ["reflow.v1"]
        assert self.request.extensions == []
        assert headers[b"authorization"] == f"Bearer {self.secret}".encode()
        answer = AcceptConnection(subprotocol="reflow.v1") if status is None else RejectConnection(status_code=status)
        await self._write(self.ws.send(answer))

    async def cut(self) -> None:
        """Hangs up, without a word."""
        assert self.stream is not None
        await trio.aclose_forcefully(self.stream)
        self.stream = None

    async def answer_hello(self, message: dict[str, Any], answer: dict[str, Any]) -> None:
        await self._write(self.ws.send(BytesMessage(encoded({"jsonrpc": "2.0", "id": message["id"], **answer}))))
        self.secret = answer.get("result", {}).get("session", self.secret)
        self.opening = False

    async def resend(self, received: int) -> None:
        """The agent has so many of our frames: it gets the others."""
        self._acknowledge(received)
        for number in sorted(self._kept):
            await self._send(number)

    # -- what is sent --

    async def send(self, data: Any, *, text: bool = False, lose: bool = False, amid: bool = False) -> None:
        """One frame of one message or several. `lose`: it does not leave; `amid`: half of it does."""
        messages = data if isinstance(data, list) else [data]
        if text:
            await self.send_body(",".join(json.dumps(m) for m in messages), lose=lose)
        else:
            await self.send_body(b"".join(map(encoded, messages)), len(messages), lose=lose, amid=amid)

    async def send_body(self, body: bytes | str, messages: int = 1, *, lose: bool = False, amid: bool = False) -> None:
        self.sent += 1
        if isinstance(body, bytes):
            # As an array, whose numbers are put before it when it is sent.
            body = messages.to_bytes(2, "big") + body
        self._kept[self.sent] = body
        if not lose:
            await self._send(self.sent, amid=amid)

    async def _send(self, number: int, *, amid: bool = False) -> None:
        body = self._kept[number]
        if isinstance(body, str):
            data = self.ws.send(TextMessage(f"[{number}, {self.came}, {body}]"))
        else:
            count = int.from_bytes(body[:2], "big") + 2
            header = bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
            data = self.ws.send(BytesMessage(header + encoded(number) + encoded(self.came) + body[2:]))
        self._told = self.came
        await self._write(data[: len(data) // 2] if amid else data)

    async def send_again(self) -> None:
        await self._send(max(self._kept))

    async def send_raw(self, data: bytes) -> None:
        await self._write(self.ws.send(BytesMessage(data)))

    async def send_text(self, text: str) -> None:
        await self._write(self.ws.send(TextMessage(text)))

    async def _write(self, data: bytes) -> None:
        assert self.stream is not None
        await self.stream.send_all(data)

    async def acknowledge(self) -> None:
        self._told = self.came
        await self.send_raw(encoded([0, self.came]))

    # -- what comes --

    async def next(self) -> tuple[str, Any]:
        while not self.received:
            if self.closed is not None:
                raise AssertionError(f"the link was closed with {self.closed}")
            await self._read()
        return self.received.pop(0)

    async def wait_closed(self) -> int:
        while self.closed is None:
            await self._read()
        return self.closed

    async def _read(self) -> None:
        assert self.stream is not None
        try:
            data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            data = b""
        self.ws.receive_data(data or None)
        for event in self.ws.events():
            match event:
                case Request():
                    self.request = event
                case BytesMessage() | TextMessage():
                    part = bytes(event.data) if isinstance(event, BytesMessage) else event.data
                    whole = part if self._partial is None else self._partial + part  # type: ignore[operator]
                    self._partial = None if event.message_finished else whole
                    if event.message_finished:
                        await self._frame(whole)
                case CloseConnection():
                    self.closed = event.code
                    # An agent may be gone already; at the end of the stream there is nobody to answer.
                    with contextlib.suppress(trio.BrokenResourceError, wsproto.utilities.LocalProtocolError):
                        await self.stream.send_all(self.ws.send(event.response()))
                case Ping():
                    await self.stream.send_all(self.ws.send(event.response()))
                case _:
                    pass

    async def _frame(self, frame: bytes | str) -> None:
        kind = "text" if isinstance(frame, str) else "binary"
        content = json.loads(frame) if isinstance(frame, str) else unpack(frame)
        if self.opening:
            self.received.append((kind, content))
            return
        number, acknowledged, *messages = content
        self._acknowledge(acknowledged)
        if number == 0:
            assert messages == [], "messages in a frame without a number"
            return
        assert number == self.came + 1, f"frame {number} came after {self.came}"
        assert messages, "a number without messages"
        self.came = number
        for message in messages:
            assert message["jsonrpc"] == "2.0"
            self.received.append((kind, message if kind == "text" else from_binary(message)))
        if self.acknowledges and self.came - self._told >= ACKNOWLEDGE_AFTER:
            with contextlib.suppress(trio.BrokenResourceError):  # it has left meanwhile
                await self.acknowledge()

    def _acknowledge(self, acknowledged: int) -> None:
        assert self.acknowledged <= acknowledged <= self.sent, f"{acknowledged} acknowledged of {self.sent}"
        self.acknowledged = acknowledged
        self._kept = {number: body for number, body in self._kept.items() if number > acknowledged}

    async def wait_acknowledged(self) -> None:
        while self.acknowledged < self.sent:
            await self._read()


# -- one dialogue ------------------------------------------------------------------------------------------------


class Player:
    def __init__(self, dialogue: dict[str, Any], runtime: str, agent: RunningAgent) -> None:
        self.dialogue = dialogue
        self.runtime = runtime
        self.agent = agent
        self.link = agent.link
        self.process = agent.process
        self.pipes = agent.pipes
        ttl_ms = dialogue.get("load", {}).get("state", {}).get("ttl_ms")
        self.store = Store(dialogue.get("store", {}), ttl_ms)
        self.fetched: list[str] = []

    @property
    def file(self) -> str:
        return f"actors/subject.actor.{SUFFIX[self.runtime]}"

    async def play(self) -> None:
        opening = self.dialogue.get("opening", "load")
        if opening != "manual":
            answer = hello_result(self.dialogue.get("window_ms", 0))
            await self.do({"expect": {"method": "hello", "id": {"$any": True}}, "answer": answer})
        if opening == "load":
            await self.do({"load": {}})
        for number, step in enumerate(self.dialogue["steps"], 1):
            only = step.get("only")
            if only is not None and only != self.runtime:
                continue
            try:
                with trio.fail_after(step.get("within", STEP_TIMEOUT)):
                    await self.do(step)
            except (AssertionError, trio.TooSlowError) as e:
                waiting = "".join(f"\n  not yet looked at: {m}" for _, m in self.link.received[:10])
                raise AssertionError(
                    f"step {number} {json.dumps(step)}: {e or 'nothing came in time'}{waiting}\n"
                    f"--- stderr of the agent ---\n{self.pipes.text('stderr')[-4000:]}"
                ) from e

    async def do(self, step: dict[str, Any]) -> None:
        link = self.link
        if "send" in step:
            how = {name: step[name] for name in ("text", "lose", "amid") if name in step}
            await link.send(special(step["send"]), **how)
        elif "send_message" in step:
            message = step["send_message"]
            await link.send_body(message["text"] if "text" in message else base64.b64decode(message["base64"]))
        elif "send_raw" in step:
            await link.send_raw(base64.b64decode(step["send_raw"]))
        elif "send_text" in step:
            await link.send_text(step["send_text"])
        elif "send_again" in step:
            await link.send_again()
        elif "expect" in step:
            message = await self.next(step.get("frame"))
            self.check(step["expect"], message)
            if "answer" in step and link.opening:
                await link.answer_hello(message, special(step["answer"]))
            elif "answer" in step:
                await link.send({"jsonrpc": "2.0", "id": message["id"], **special(step["answer"])})
        elif "cut" in step:
            await link.cut()
        elif "resume" in step:
            await self.resume(step["resume"])
        elif "forget" in step:
            link.came -= step["forget"]
        elif "acknowledged" in step:
            await link.wait_acknowledged()
        elif "expect_unordered" in step:
            patterns = list(step["expect_unordered"])
            while patterns:
                message = await self.next()
                found = next((p for p in patterns if mismatch(p, message) is None), None)
                assert found is not None, f"{message!r} matches none of {patterns!r}"
                patterns.remove(found)
        elif "load" in step:
            await link.send(
                {"jsonrpc": "2.0", "id": "load", "method": "load", "params": self.load_params(step["load"])}
            )
            if "error" in step:
                self.check({"id": "load", "error": step["error"]}, await self.next())
            else:
                self.check({"id": "load", "result": step.get("result", {})}, await self.next())
        elif "activate" in step:
            await link.send(special(self.activation(step)), text=step.get("text", False))
        elif "activate_batch" in step:
            await link.send([special(self.activation(s)) for s in step["activate_batch"]])
        elif "commit" in step:
            message = await self.next(step.get("frame"))
            self.check({"id": step.get("id", step["commit"]), "result": {}}, message)
            result = {"outputs": [], "state": [], "sent": 0, **message["result"]}
            self.check(step.get("outputs", {"$any": True}), result["outputs"])
            self.check(step.get("sent", 0), result["sent"])
            for op in result["state"]:
                self.store.apply(op)
            if "ops" in step:
                self.check(step["ops"], result["state"])
        elif "failed" in step:
            error = {"code": step["code"]}
            if "failure" in step:
                error["data"] = step["failure"]
            self.check({"id": step.get("id", step["failed"]), "error": error}, await self.next())
        elif "sent" in step:
            self.check({"method": "send", "id": {"$absent": True}, "params": step["sent"]}, await self.next())
        elif "sent_count" in step:
            for index in range(step["sent_count"]):
                self.check({"method": "send", "params": {"index": index}}, await self.next())
        elif "store" in step:
            assert self.store.content() == step["store"], f"the store has {self.store.content()!r}"
        elif "ttl" in step:
            for key, bounds in step["ttl"].items():
                ttl = self.store.entries[key][2]
                if bounds is None:
                    assert ttl is None, f"{key} has {ttl} ms"
                    continue
                assert ttl is not None, f"{key} stays"
                assert bounds[0] <= ttl <= bounds[1], f"{key} has {ttl} ms"
        elif "fetched" in step:
            assert self.fetched == step["fetched"], f"fetched {self.fetched!r}"
            self.fetched.clear()
        elif "pause_ms" in step:
            await trio.sleep(step["pause_ms"] / 1000)
        elif "stdout" in step:
            await self.pipes.wait_for("stdout", special(step["stdout"]))
        elif "stderr" in step:
            await self.pipes.wait_for("stderr", special(step["stderr"]))
        elif "expect_close" in step:
            assert await link.wait_closed() == step["expect_close"], f"closed with {link.closed}"
        elif "close" in step:
            await link._write(link.ws.send(CloseConnection(code=step["close"])))
        elif "expect_exit" in step:
            while self.process.poll() is None:
                await trio.sleep(0.005)
            assert self.process.returncode == step["expect_exit"], f"exited with {self.process.returncode}"
        else:
            raise ValueError(f"unknown step {step!r}")

    async def resume(self, how: dict[str, Any]) -> None:
        """The agent comes back, as it must, and is taken up again or not."""
        link = self.link
        before = link.came
        await self.agent.accept(status=how.get("status"))
        if "status" in how:
            return
        hello = (await link.next())[1]
        received = how.get("received", {"$any": True})
        self.check({"method": "hello", "params": {"protocol": [1], "resume": {"received": received}}}, hello)
        if "error" in how:
            await link.answer_hello(hello, {"error": how["error"]})
            return
        answer = hello_result(self.dialogue.get("window_ms", 0))
        answer["result"] |= {"resumed": True, "received": how.get("says_received", before)}
        await link.answer_hello(hello, answer)
        await link.resend(hello["params"]["resume"]["received"])

    async def next(self, frame: str | None = None) -> dict[str, Any]:
        """The next message that is for the dialogue; questions about state are answered on the way."""
        while True:
            kind, message = await self.link.next()
            method = message.get("method")
            if method == "state.fetch" and not self.dialogue.get("state_by_hand"):
                self.fetched += message["params"]["keys"]
                result: Any = self.store.fetch(message["params"]["keys"])
            elif method == "state.keys" and not self.dialogue.get("state_by_hand"):
                result = self.store.keys(message["params"].get("pattern", "*"))
            else:
                assert frame in (None, kind), f"a {kind} frame"
                return message
            await self.link.send({"jsonrpc": "2.0", "id": message["id"], "result": result})

    def check(self, pattern: Any, value: Any) -> None:
        found = mismatch(pattern, value)
        assert found is None, f"{found}\n  in {str(value)[:4000]}"

    def activation(self, step: dict[str, Any]) -> dict[str, Any]:
        params = {
            "activation": step["activate"],
            "attempt": step.get("attempt", 1),
            "epoch": step.get("epoch", 1),
            "inputs": step.get("inputs", {"in": ["flow", None]}),
        }
        if "timeout_ms" in step:
            params["timeout_ms"] = step["timeout_ms"]
        return {"jsonrpc": "2.0", "id": step.get("id", step["activate"]), "method": "activate", "params": params}

    def load_params(self, overrides: dict[str, Any]) -> dict[str, Any]:
        params = {
            "node": "subject",
            "component": "Subject",
            "file": self.file,
            "source": source(self.dialogue["actor"][self.runtime]),
            "export": "run",
            "config": {},
            "incarnation": 1,
            "inports": ["in"],
            "outports": ["out"],
            "error_port": False,
            "state": {"backend": "redis", "ttl_ms": None},
            "metadata": {},
            "deadline_ms": 5000,
        }
        params.update(self.dialogue.get("load", {}))
        params.update(overrides)
        return params


def source(lines: str | list[str]) -> str:
    return lines if isinstance(lines, str) else "\n".join(lines) + "\n"


def hello_result(window_ms: int = 0) -> dict[str, Any]:
    return {"result": {"protocol": 1, "session": SECRET, "limits": LIMITS, "resume_window_ms": window_ms}}


class Pipes:
    """What the agent's process wrote, bounded."""

    LIMIT = 8_000_000

    def __init__(self) -> None:
        self._written: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}

    def text(self, name: str) -> str:
        return self._written[name].decode(errors="replace")

    async def collect(self, name: str, fd: int) -> None:
        async with trio.lowlevel.FdStream(os.dup(fd)) as stream:
            async for data in stream:
                if len(self._written[name]) < self.LIMIT:
                    self._written[name] += data

    async def wait_for(self, name: str, text: str) -> None:
        while text not in self.text(name):
            await trio.sleep(0.005)


class RunningAgent:
    """An agent's process, and the session with it."""

    def __init__(self, process: subprocess.Popen[bytes], pipes: Pipes, server: trio.socket.SocketType) -> None:
        self.process = process
        self.pipes = pipes
        self.link = Link()
        self._server = server

    async def accept(self, *, status: int | None = None) -> None:
        """Its next connection."""
        with trio.move_on_after(STEP_TIMEOUT):
            sock, _ = await self._server.accept()
            await self.link.accept(trio.SocketStream(sock), status=status)
            return
        raise AssertionError(f"the agent did not connect: {self.pipes.text('stderr')[-2000:]}")


@asynccontextmanager
async def running_agent(runtime: str, files: dict[str, str]) -> AsyncIterator[RunningAgent]:
    """A connected agent process; killed at the end if it still runs."""
    with tempfile.TemporaryDirectory(prefix="agent-") as directory, trio.socket.socket(trio.socket.AF_UNIX) as server:
        workspace = Path(directory) / "workspace"
        for name, text in files.items():
            path = workspace / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        link_path = f"{directory}/link"
        await server.bind(link_path)
        server.listen(1)
        environment = {
            "REFLOW_LINK": link_path,
            "REFLOW_TOKEN": TOKEN,
            "REFLOW_WORKSPACE": str(workspace),
            "REFLOW_PROTOCOL": "1",
            "PATH": os.environ.get("PATH", ""),
        }
        # Popen itself: trio's own would start it in a worker thread, and takes longer.
        process = subprocess.Popen(  # noqa: ASYNC220
            COMMANDS[runtime],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        pipes = Pipes()
        agent = RunningAgent(process, pipes, server)
        with process.stdout, process.stderr:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(pipes.collect, "stdout", process.stdout.fileno())
                    nursery.start_soon(pipes.collect, "stderr", process.stderr.fileno())
                    await agent.accept()
                    yield agent
                    nursery.cancel_scope.cancel()
            finally:
                if agent.link.stream is not None:
                    await trio.aclose_forcefully(agent.link.stream)
                if process.poll() is None:
                    process.kill()
                process.wait()


async def play(dialogue: dict[str, Any], runtime: str) -> None:
    """Runs one dialogue with an agent of its own."""
    suffix = SUFFIX[runtime]
    files = {f"actors/subject.actor.{suffix}": source(dialogue["actor"][runtime])}
    files |= {name: source(text) for name, text in dialogue.get("files", {}).get(runtime, {}).items()}
    try:
        async with running_agent(runtime, files) as agent:
            await Player(dialogue, runtime, agent).play()
    except BaseExceptionGroup as group:
        failed, _ = group.split(AssertionError)
        while failed is not None and len(failed.exceptions) == 1:
            if isinstance(failed.exceptions[0], AssertionError):
                raise failed.exceptions[0] from None  # which says it all, without the nursery's frames
            failed = failed.exceptions[0]
        raise

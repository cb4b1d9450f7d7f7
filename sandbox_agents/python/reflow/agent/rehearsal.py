"""What an agent does once in its life, done before there is one: for interpreters that agents are forked from.

Code is run that every agent runs at its start, so that whatever it imports, compiles and keeps is there already, and is
shared by all. It opens no link and runs no script; it leaves nothing behind that a script would notice.
"""

from __future__ import annotations

import asyncio
import linecache
from pathlib import Path
from types import ModuleType
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Ping, Request

from ..message import Message
from ..wire import values
from ..wire.limits import PROTOCOL_VERSION, RESOURCE, SUBPROTOCOL
from ..wire.messages import Activate, Commit, Hello, HelloResult, LinkLimits, Load, LoadResult, Stop
from ..wire.session import Event as Said
from ..wire.session import Outcome, RequestReceived, Session
from .loader import MODULE_NAME, Loader, find_actor

FILE = "rehearsed.py"
SCRIPTS = (
    "from reflow import actor\n@actor(inports=['a'], outports=['b'])\ndef f(context):\n    return {'b': 1}\n",
    "from reflow import actor\n@actor(inports=['a'], outports=['b'])\nasync def f(context):\n    await context\n",
)


def rehearse() -> None:
    _opening()
    _session()
    for source in SCRIPTS:
        _loading(source)
    asyncio.run(asyncio.sleep(0))


def _opening() -> None:
    """A handshake of WebSockets, and what may come after it."""
    client, server = WSConnection(ConnectionType.CLIENT), WSConnection(ConnectionType.SERVER)

    def pass_on(sender: WSConnection, receiver: WSConnection, event: Event) -> None:
        receiver.receive_data(sender.send(event))
        for _ in receiver.events():
            pass

    headers = [(b"Authorization", b"Bearer x")]
    pass_on(client, server, Request("supervisor", RESOURCE, subprotocols=[SUBPROTOCOL], extra_headers=headers))
    pass_on(server, client, AcceptConnection(subprotocol=SUBPROTOCOL))
    for event in (BytesMessage(bytes(200)), Ping(), CloseConnection(1000)):
        pass_on(client, server, event)
        if not isinstance(event, CloseConnection):
            pass_on(server, client, event)


def _session() -> None:
    """Every method once, on the agent's side."""
    agent, supervisor = Session(), Session()
    limits = LinkLimits(max_frame=1, max_message=1, max_depth=1, max_batch=1)
    hello = Hello(protocol=[PROTOCOL_VERSION], runtime="python")
    asked = agent.request("hello", hello)
    _deliver(agent, supervisor)
    supervisor.respond(asked, HelloResult(protocol=PROTOCOL_VERSION, session="x", limits=limits))
    for outcome in _deliver(supervisor, agent):
        if isinstance(outcome, Outcome) and outcome.result is not None:
            outcome.result.decode(HelloResult)
    message = values.encode("integer", 1)
    load = Load(node="n", component="c", file="f.py", source="")
    activate = Activate(activation=1, attempt=1, epoch=1, inputs={"a": message})
    dialogue: list[tuple[type[Any], Any, Any]] = [
        (Load, load, LoadResult(name="f", inports=["a"])),
        (Activate, activate, Commit(outputs=[("b", message)], state=[["set", "k", "1"]])),
        (Stop, Stop(), {}),
    ]
    for kind, params, answer in dialogue:
        supervisor.request("ask", params)
        for event in _deliver(supervisor, agent):
            if isinstance(event, RequestReceived):
                decoded = event.params.decode(kind)
                if isinstance(decoded, Activate):
                    Message.decode(decoded.inputs["a"])
                agent.respond(event.id, answer)
        _deliver(agent, supervisor)


def _deliver(sender: Session, receiver: Session) -> list[Said]:
    events: list[Said] = []
    while (frame := sender.data_to_send()) is not None:
        events += receiver.receive(frame)
    return events


def _loading(source: str) -> None:
    module = ModuleType(MODULE_NAME)
    exec(Loader(Path("/")).compile(source, FILE), module.__dict__)
    find_actor(module, "", "f")
    del linecache.cache[FILE]

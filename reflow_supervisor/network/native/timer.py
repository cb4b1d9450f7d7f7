"""`timer`: a number at every interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import trio
from reflow.wire import values

from reflow_supervisor.config.values import Duration, Refused
from reflow_supervisor.documents import KeyPath
from reflow_supervisor.network.component import Component, PortDecl, Runtime

from .body import Native, while_open

COMPONENT = Component(
    "timer",
    Runtime.NATIVE,
    outports=(PortDecl("out", "integer", description="1, 2, 3, …"),),
    description="Sends 1, 2, 3, … on `out`, one each `interval`.",
    config_schema={
        "properties": {
            "interval": {
                "type": ["number", "string"],
                "description": "seconds between two messages, or 500ms, 30s, 5m, 1h",
            },
            "count": {"type": ["integer", "null"], "minimum": 1, "default": None, "description": "stop after so many"},
            "immediate": {"type": "boolean", "default": False, "description": "the first at once"},
        },
        "required": ["interval"],
        "additionalProperties": False,
    },
)

INTERVAL = Duration(0.001)


def check(config: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    try:
        INTERVAL.parse(config.get("interval"))
    except Refused as e:
        yield ("interval",), e.message


async def run(native: Native, *, task_status: trio.TaskStatus[None]) -> None:
    """Ticks that find no room are not made up for: the next one comes an interval after room was found."""
    interval: float = INTERVAL.parse(native.config["interval"])
    count: int | None = native.config["count"]
    sent: int = native.progress or 0

    async def tick() -> None:
        nonlocal sent
        due = trio.current_time() + (0 if native.config["immediate"] and not sent else interval)
        while count is None or sent < count:
            await trio.sleep_until(due)
            await native.emit("out", values.from_plain(sent + 1))
            sent += 1
            native.progress = sent
            native.router.bump()
            due = max(due + interval, trio.current_time())

    await while_open(native, tick, task_status)

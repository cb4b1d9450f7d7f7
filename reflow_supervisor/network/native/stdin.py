"""`stdin`: the lines of the program's standard input."""

from __future__ import annotations

import trio

from reflow_supervisor.network.component import Component, PortDecl, Runtime
from reflow_supervisor.network.descriptors import read_some

from .body import Native, while_open
from .source import FORMAT, LineSource

COMPONENT = Component(
    "stdin",
    Runtime.NATIVE,
    outports=(PortDecl("out", "any"),),
    description="Sends each line of standard input on `out`.",
    config_schema={"properties": FORMAT, "additionalProperties": False},
)


async def run(native: Native, *, task_status: trio.TaskStatus[None]) -> None:
    source: LineSource = native.progress or LineSource(native.config, "stdin")
    native.progress = source

    async def read() -> None:
        await source.drain(native)
        while block := await read_some(native.stdin):
            source.feed(block)
            await source.drain(native)
        source.finish()
        await source.drain(native)

    await while_open(native, read, task_status)

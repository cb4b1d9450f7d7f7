"""`log`: what arrives becomes log lines."""

from __future__ import annotations

import trio
from reflow.wire import values

from reflow_supervisor.network.component import Component, PortDecl, Runtime

from .body import Native

COMPONENT = Component(
    "log",
    Runtime.NATIVE,
    inports=(PortDecl("in", "any"),),
    description="Writes what arrives on `in` to the log, as JSON.",
    config_schema={
        "properties": {
            "level": {"enum": ["debug", "info", "warning", "error"], "default": "info"},
            "prefix": {"type": "string", "default": "", "description": "put before each line"},
        },
        "additionalProperties": False,
    },
)


async def run(native: Native, *, task_status: trio.TaskStatus[None]) -> None:
    native.give_back()
    task_status.started()
    while True:
        taken, since = await native.take(), trio.current_time()
        for activation in taken:
            for message in activation.inputs.values():
                text = values.json_text(values.to_plain(*values.decode(message)))
                native.report(native.config["level"], native.id, native.config["prefix"] + text)
        await native.done(taken, since)

"""`stdout`: what arrives goes to the program's standard output, a line each."""

from __future__ import annotations

from functools import partial

import trio

from reflow_supervisor.network.component import Component, PortDecl, Runtime
from reflow_supervisor.network.descriptors import write_all

from .body import Native, NativeError
from .sink import LineWriter, write_batch

COMPONENT = Component(
    "stdout",
    Runtime.NATIVE,
    inports=(PortDecl("in", "any"),),
    description="Writes what arrives on `in` to standard output, a line each.",
    config_schema={
        "properties": {
            "format": {"enum": ["jsonl", "csv", "text"], "default": "jsonl"},
            "delimiter": {"type": "string", "default": ",", "description": "of CSV: one character"},
        },
        "additionalProperties": False,
    },
)


async def run(native: Native, *, task_status: trio.TaskStatus[None]) -> None:
    writer: LineWriter = native.progress or LineWriter(native.config["format"], native.config["delimiter"])
    native.progress = writer
    native.give_back()
    task_status.started()
    while True:
        try:
            await write_batch(native, writer, partial(write_all, native.stdout))
        except OSError as e:
            raise NativeError(f"cannot write to standard output: {e.strerror}") from None

"""Dead letters for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from reflow_supervisor.state.letters import Cause, Input, Letter

AT = datetime(2024, 5, 17, 12, 30, 0, 250000, UTC)


def make_letter(id: str, **changes: Any) -> Letter:
    letter = Letter(
        id=id,
        node="a",
        component="A",
        run="run1",
        activation=int(changes.pop("n", 1)),
        source="ab" * 32,
        attempts=3,
        first=AT,
        last=AT,
        cause=Cause(type="ValueError", message="no", traceback="Traceback…\n", file="a.actor.py", line=7),
        inputs={"v": Input(type="integer", size=9, shown="1", exact=b"\x92\xa7integer\x01")},
    )
    return msgspec.structs.replace(letter, **changes)

"""Both agents hold every dialogue of specs/conformance."""

from __future__ import annotations

from typing import Any

import pytest
from conformance.dialogue import play, read_dialogues

CASES = [
    pytest.param(runtime, dialogue, id=f"{name}-{runtime}")
    for name, dialogue in read_dialogues()
    for runtime in ("python", "javascript")
    if runtime in dialogue["actor"]
]


@pytest.mark.slow
@pytest.mark.trio
@pytest.mark.parametrize(("runtime", "dialogue"), CASES)
async def test_dialogue(runtime: str, dialogue: dict[str, Any]) -> None:
    assert dialogue["steps"]
    await play(dialogue, runtime)

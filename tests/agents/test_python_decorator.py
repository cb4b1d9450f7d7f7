from __future__ import annotations

from typing import Any

import pytest
from reflow import actor


def metadata(function: Any) -> dict[str, Any]:
    return function.__actor_metadata__


def test_the_function_is_the_same_and_can_be_called() -> None:
    def double(context: int) -> int:
        """Doubles."""
        return 2 * context

    marked = actor(name="Double", inports=["in"], outports=["out"], await_all_inports=True)(double)
    assert marked is double
    assert marked(4) == 8
    assert metadata(double) == {
        "name": "Double",
        "description": "Doubles.",
        "inports": ["in"],
        "outports": ["out"],
        "await_all_inports": True,
    }


def test_bare() -> None:
    @actor
    def plain(context: Any) -> None: ...

    assert metadata(plain) == {"description": ""}


@pytest.mark.parametrize(
    "declare",
    [
        actor({"component": "Old", "inports": ["a"], "awaitAllInports": True}),
        actor({"name": "Old", "inports": {"a": {"type": "integer"}}}, await_all_inports=True),
        actor("Old", inports=[{"name": "a", "type": "integer"}], await_all_inports=True),
        actor(name="Old", inports="a", await_all_inports=True, tags=None),
        actor(name="Old", inports=[("a", "integer")], await_all_inports=True),
    ],
)
def test_every_dialect_says_the_same(declare: Any) -> None:
    @declare
    def process(context: Any) -> None: ...

    assert metadata(process) == {"name": "Old", "description": "", "inports": ["a"], "await_all_inports": True}


def test_a_class() -> None:
    @actor(name="Stateful")
    class Thing:
        def run(self, context: Any) -> None: ...

    assert metadata(Thing)["name"] == "Stateful"
    assert isinstance(Thing(), Thing)


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (lambda: actor(5), "keywords, a dict or a name"),  # type: ignore[call-overload]
        (lambda: actor(inports=[5])(print), "inports: a port is a name"),
        (lambda: actor(outports=[{"type": "any"}])(print), "outports: a port is a name"),
        (lambda: actor(name="x")(5), "before a function or a class"),
    ],
)
def test_mistakes(declare: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        declare()

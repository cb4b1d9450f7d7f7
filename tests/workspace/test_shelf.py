"""The dead letters of a workspace that does not run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from state.letter_samples import make_letter

from reflow_supervisor.config import Config, load_config
from reflow_supervisor.control.protocol import MAX_LETTER, ControlError, ErrorCode
from reflow_supervisor.errors import UserError
from reflow_supervisor.state.letters import Bounds
from reflow_supervisor.state.memory_letters import MemoryLetters
from reflow_supervisor.workspace import open_shelf, prepare
from reflow_supervisor.workspace.shelf import Shelf

pytestmark = pytest.mark.trio

SCRIPT = """from reflow import actor

@actor(name="A", inports=["v", "w"], outports=["o"], await_all_inports=True)
async def a(context):
    return {}
"""
NETWORK = "network:\n  processes: {a: {component: A}}\n  inports: {v: a.v, w: a.w}\n"


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Config]:
    def write(text: str) -> Config:
        (tmp_path / "a.actor.py").write_text(SCRIPT)
        (tmp_path / "reflow.yaml").write_text(text)
        return load_config(tmp_path / "reflow.yaml")

    return write


async def test_what_the_next_run_can_be_given_is_marked_and_the_rest_refused(config: Callable[[str], Config]) -> None:
    here = config(NETWORK)
    store = MemoryLetters(Bounds(10, 10**6))
    (v,) = make_letter("x").inputs.values()
    for letter in (
        make_letter("x1", inputs={"v": v, "w": v}),
        make_letter("x2", n=2, inputs={"v": v}),
        make_letter("x3", n=3, inputs={"u": v}),
        make_letter("x4", n=4, node="gone"),
    ):
        assert await store.bury(letter)
    shelf = Shelf(store, lambda: prepare(here))
    done = await shelf.replay_dead_letters(None)
    assert done.done == ("x1",)
    assert done.refused == {
        "x2": "A awaits w too now, and the letter has no message for it",
        "x3": "A has no inport 'u' any more",
        "x4": "the network has no node 'gone' any more",
    }
    assert await store.marked() == ["x1"]
    assert [(letter.id, letter.state) for letter in (await shelf.dead_letters()).letters] == [
        ("x4", "dead"),
        ("x3", "dead"),
        ("x2", "dead"),
        ("x1", "marked"),
    ]
    assert (await shelf.replay_dead_letters(["x1"])).done == ("x1",), "asked for twice it is marked once"
    assert (await shelf.replay_dead_letters(None, "other")).done == ()
    done = await shelf.drop_dead_letters(["x1", "zz"])
    assert (done.done, done.refused) == (("x1",), {"zz": "there is no such dead letter"})
    assert (await shelf.drop_dead_letters(None, "a")).done == ("x2", "x3")


async def test_of_a_letter_with_large_inputs_all_but_these_is_shown() -> None:
    store = MemoryLetters(Bounds(10, 10**9))
    (v,) = make_letter("x").inputs.values()
    large = msgspec.structs.replace(v, exact=b"x" * (MAX_LETTER + 1), size=MAX_LETTER + 1)
    await store.bury(make_letter("x1", inputs={"v": large}))
    await store.bury(make_letter("x2", n=2))
    shelf = Shelf(store, lambda: pytest.fail("not asked for"))
    shown = await shelf.dead_letter("x1")
    assert (shown.complete, shown.letter.inputs["v"].exact, shown.letter.inputs["v"].size) == (
        False,
        b"",
        MAX_LETTER + 1,
    )
    assert (await shelf.dead_letter("x2")).complete
    with pytest.raises(ControlError) as refused:
        await shelf.dead_letter("zz")
    assert refused.value.code == ErrorCode.NO_SUCH_LETTER


async def test_where_no_letter_ever_was_nothing_is_started(config: Callable[[str], Config], tmp_path: Path) -> None:
    async with open_shelf(config(NETWORK)) as shelf:
        assert (await shelf.dead_letters()).total == 0
        assert (await shelf.drop_dead_letters(None)).done == ()
        assert (await shelf.replay_dead_letters(["x1"])).refused == {"x1": "there is no such dead letter"}
    assert not (tmp_path / ".reflow").exists()


async def test_a_store_that_cannot_be_had_is_the_users_matter(config: Callable[[str], Config]) -> None:
    away = config("workspace: {redis: {url: 'redis://127.0.0.1:1/0'}}\n" + NETWORK)
    with pytest.raises(UserError, match=r"127\.0\.0\.1:1.*redis\.url"):
        async with open_shelf(away):
            pytest.fail("it is not there")


async def test_a_network_that_could_not_run_says_why_nothing_is_replayed(config: Callable[[str], Config]) -> None:
    with pytest.raises(UserError, match="no component"):
        async with open_shelf(config(NETWORK.replace("component: A", "component: B"))) as shelf:
            await shelf.replay_dead_letters(["x1"])

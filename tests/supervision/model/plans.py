"""What one case is: a supervisor tree, what its children do in each of their lives, and what is done to it, as data.

A plan is decoded from bytes, one a choice, with the plainest choice first and where the bytes end: so any source of
bytes makes plans, and Hypothesis shrinks them. As JSON on one line it replays a case. All times are multiples of
1/2048 s, so that sums of them are exact.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

import attrs
import cattrs

T = TypeVar("T")

REST: Final = 3 + 1 / 2048
"""Seconds between the last step and the end of the block."""


@attrs.frozen
class Life:
    """One incarnation of a worker.

    Args:
        start: what comes of its start, `start_time` after its birth: ready, ignore, crash, return, shutdown.
        end: what it does `run_time` after it was ready, if not None: crash, return, shutdown.
        stop: what it does `stop_time` after it was told to stop, or when it is killed: obey, return, crash; `deaf`
            obeys, but a kill does not hurry it. A `stop_time` of None: only when it is killed.
    """

    start: str = "ready"
    start_time: float = 0.0
    run_time: float | None = None
    end: str = "crash"
    stop: str = "obey"
    stop_time: float | None = 0.0


@attrs.frozen
class Node:
    """A child. `shutdown` None is a brutal kill. `lives` are its incarnations, the last one for good; none, where it
    is a supervisor."""

    id: str
    restart: str = "permanent"
    shutdown: float | None = 5.0
    significant: bool = False
    start_timeout: float | None = None
    lives: tuple[Life, ...] = (Life(),)
    below: Tree | None = None


@attrs.frozen
class Tree:
    """A supervisor."""

    strategy: str = "one_for_one"
    intensity: int = 1
    period: float = 5.0
    auto_shutdown: str = "never"
    backoff: tuple[float, float, float, float] | None = None
    """initial, factor, max, reset_after; without jitter"""
    children: tuple[Node, ...] = ()


@attrs.frozen
class Act:
    """Something done to the tree. `path` is that of a child, as "b/c"; of the supervisor for start_child and shutdown.

    kind: exit (the child ends by itself, `how` as `Life.end`), terminate, restart_child, restart, delete, start_child
    (`node`), shutdown.
    """

    kind: str
    path: str = ""
    how: str = "crash"
    node: Node | None = None


@attrs.frozen
class Step:
    """After `wait` seconds all acts at once; then what follows from them in no time."""

    wait: float = 0.0
    acts: tuple[Act, ...] = ()


@attrs.frozen
class Plan:
    """`seed` is that of Trio's scheduler. `REST` after the last step the block is left or, if `cancel`, the scope
    around it cancelled."""

    seed: int = 0
    tree: Tree = attrs.field(factory=Tree)
    steps: tuple[Step, ...] = ()
    cancel: bool = False


_CONVERTER: Final = cattrs.Converter(omit_if_default=True, forbid_extra_keys=True)


def dump(plan: Plan) -> str:
    return json.dumps(_CONVERTER.unstructure(plan), separators=(",", ":"))


def load(text: str) -> Plan:
    return _CONVERTER.structure(json.loads(text), Plan)


# --- Decoding --------------------------------------------------------------------------------------------------------

LENGTH: Final = 160
"""Bytes that are more than almost any plan uses."""
_IDS: Final = "abcdefgh"


class _Choices:
    def __init__(self, data: bytes) -> None:
        self._data = iter(data)
        self._odd = 0
        self.spread = False
        self.deep = False

    def of(self, options: Sequence[T]) -> T:
        return options[next(self._data, 0) % len(options)]

    def one_in(self, n: int) -> bool:
        return next(self._data, 0) % n == n - 1

    def time(self, *options: float) -> float:
        """Where times are spread no two of them coincide; where not, they often do."""
        time = self.of(options)
        if self.spread and time > 0:
            self._odd += 1
            return time + self._odd * self._odd / 1024
        return time


def decode(data: bytes) -> Plan:
    """The plan that these bytes stand for: any bytes stand for one."""
    choices = _Choices(data)
    seed = choices.of(range(256))
    choices.spread = not choices.one_in(6)
    choices.deep = choices.one_in(2)
    tree = _tree(choices, 0)
    spares = iter(_IDS[::-1])
    steps = tuple(_step(choices, tree, spares) for _ in range(choices.of((1, 2, 3, 4, 5, 6))))
    return Plan(seed, tree, steps, choices.one_in(4))


def _tree(choices: _Choices, depth: int) -> Tree:
    auto = choices.of(("never", "never", "never", "any_significant", "all_significant"))
    backoff = (0.5, 2.0, 4.0, 3.0) if choices.one_in(5) else None
    strategy = choices.of(("one_for_one", "one_for_all", "rest_for_one"))
    intensity = choices.of((1, 0, 2, 3, 5))
    period = choices.of((5.0, 1.0, 2.0, 1000.0))
    count = choices.of((1, 2, 3, 2, 3, 4)) if depth == 0 else choices.of((1, 2, 0, 3))
    children = tuple(_node(choices, _IDS[number], auto, depth, first=True) for number in range(count))
    return Tree(strategy, intensity, period, auto, backoff, children)


def _node(choices: _Choices, id: str, auto: str, depth: int, *, first: bool) -> Node:
    """`first`: whether its first life is part of a start-up, which must come to an end."""
    below = None
    if choices.deep and depth < 2 and choices.one_in(3):
        below = _tree(choices, depth + 1)
    restart = choices.of(("permanent", "transient", "temporary", "permanent", "transient"))
    significant = auto != "never" and restart != "permanent" and choices.one_in(2)
    if below is not None:
        shutdown: float | None = choices.of((math.inf, math.inf, 2.0, None))
        start_timeout = choices.time(4.0, 1.0) if choices.one_in(6) else None
        return Node(id, restart, shutdown, significant, start_timeout, (), below)
    shutdown = choices.of((5.0, 1.0, None, math.inf, 0.0))
    start_timeout = choices.time(1.0, 2.0) if choices.one_in(4) else None
    lives = [_life(choices, shutdown, may_hang=start_timeout is not None or not first, steady=first)]
    for _ in range(choices.of((0, 1, 2, 3))):
        lives.append(_life(choices, shutdown, may_hang=True, steady=False))
    return Node(id, restart, shutdown, significant, start_timeout, tuple(lives))


def _life(choices: _Choices, shutdown: float | None, *, may_hang: bool, steady: bool) -> Life:
    """`steady`: that its start fails is rarer."""
    rare = "ready" if steady and not choices.one_in(10) else "crash"
    start = choices.of(("ready", "ready", "ready", rare, "ready", rare, "ignore"))
    if start == "crash":
        start = choices.of(("crash", "return", "shutdown"))
    start_time = choices.time(0.0, 0.0, 0.0, 0.5, 1.0, 3.0)
    if may_hang and choices.one_in(12):
        start_time = math.inf
    run_time = None
    if choices.one_in(4):
        run_time = choices.time(0.25 if choices.spread else 0.0, 0.5, 1.0, 2.0)
    end = choices.of(("crash", "return", "shutdown"))
    stop = choices.of(("obey", "obey", "return", "crash", "deaf"))
    stop_time: float | None = choices.time(0.0, 0.0, 0.0, 0.5, 1.0, 3.0)
    if shutdown != math.inf and stop != "deaf" and choices.one_in(6):
        stop_time = None
    return Life(start, start_time, run_time, end, stop, stop_time)


def _paths(tree: Tree, above: str = "") -> Iterator[str]:
    """Of the first children."""
    for node in tree.children:
        yield above + node.id
        if node.below is not None:
            yield from _paths(node.below, f"{above}{node.id}/")


def _supervisors(tree: Tree, above: str = "") -> Iterator[tuple[str, Tree]]:
    yield above.rstrip("/"), tree
    for node in tree.children:
        if node.below is not None:
            yield from _supervisors(node.below, f"{above}{node.id}/")


_KINDS: Final = ("exit", "exit", "exit", "terminate", "restart", "restart_child", "start_child", "delete", "shutdown")


def _step(choices: _Choices, tree: Tree, spares: Iterator[str]) -> Step:
    wait = choices.time(0.5, 0.25, 1.0, 2.0, 5.0) if choices.spread else choices.time(0.0, 0.5, 1.0, 2.0, 5.0)
    most = 1 if choices.spread else choices.of((1, 2, 3))
    acts = tuple(_act(choices, tree, spares) for _ in range(most))
    return Step(wait, acts)


def _act(choices: _Choices, tree: Tree, spares: Iterator[str]) -> Act:
    kind = choices.of(_KINDS)
    supervisors = list(_supervisors(tree))
    if kind == "shutdown":
        return (
            Act(kind, choices.of(supervisors[::-1])[0]) if choices.one_in(4) else Act("exit", _pick_path(choices, tree))
        )
    if kind == "start_child":
        path, below = choices.of(supervisors)
        if choices.one_in(4) and below.children:
            return Act("start_child", path, node=choices.of(below.children))
        # A significant child where there may be none is refused.
        auto = choices.of((below.auto_shutdown, below.auto_shutdown, "any_significant"))
        return Act("start_child", path, node=_node(choices, next(spares, "z"), auto, 1, first=False))
    how = choices.of(("crash", "crash", "return", "shutdown"))
    return Act(kind, _pick_path(choices, tree), how)


def _pick_path(choices: _Choices, tree: Tree) -> str:
    return choices.of((*_paths(tree), "h"))

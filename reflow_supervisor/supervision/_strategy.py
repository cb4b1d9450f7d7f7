"""The rules of OTP that name children: who is restarted after which reason, and who with whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import dropwhile
from typing import Final

from ._children import Child, Operation
from ._reasons import ExitReason
from ._specs import Restart, Strategy

RESTARTED_AFTER: Final[dict[tuple[Restart, bool], bool]] = {
    # (restart, was the reason normal): is it started again?
    (Restart.PERMANENT, True): True,
    (Restart.PERMANENT, False): True,
    (Restart.TRANSIENT, True): False,
    (Restart.TRANSIENT, False): True,
    (Restart.TEMPORARY, True): False,
    (Restart.TEMPORARY, False): False,
}


def is_restarted(restart: Restart, reason: ExitReason) -> bool:
    """Whether a child that ended by itself is started again."""
    return RESTARTED_AFTER[restart, reason.normal]


def group(strategy: Strategy, children: Mapping[str, Child], failed: Child) -> Iterator[Child]:
    """The children that are restarted when `failed` fails, in start order; `children` is in start order."""
    match strategy:
        case Strategy.ONE_FOR_ONE:
            return iter((failed,))
        case Strategy.ONE_FOR_ALL:
            return iter(children.values())
        case Strategy.REST_FOR_ONE:
            return dropwhile(lambda child: child is not failed, children.values())


def overlaps(strategy: Strategy, failed: Child, operation: Operation) -> bool:
    """Whether an operation has, or had, a child of the group of `failed`, so that the group must wait for it."""
    match strategy:
        case Strategy.ONE_FOR_ONE:
            return failed.owner is operation
        case Strategy.ONE_FOR_ALL:
            return True
        case Strategy.REST_FOR_ONE:
            return operation.last >= failed.position

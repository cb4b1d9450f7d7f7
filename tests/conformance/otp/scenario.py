"""Ties a test to the case of OTP's suite that it ports, so that a page and a check can be made from the tests."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, Final, TypeVar, cast

import attrs

MODULES: Final = (
    "test_start",
    "test_stop",
    "test_administration",
    "test_strategies",
    "test_termination",
    "test_trees",
    "test_significant",
    "test_misc",
)
"""Where the tests are, in the order of the suite."""

TestT = TypeVar("TestT", bound=Callable[..., Any])

_MARK: Final = "__otp_scenario__"


@attrs.frozen
class Scenario:
    """Args:
    name: of the case in OTP's suite.
    change: why the test is not what the original is, or empty.
    test: the function.
    module: the file, without its ending.
    """

    name: str
    change: str
    test: Callable[..., Any]
    module: str

    @property
    def asserts(self) -> str:
        """What the original asserts, on one line."""
        return inspect.getdoc(self.test) or ""


def scenario(name: str, *, change: str = "") -> Callable[[TestT], TestT]:
    """The test below is the case of that name in OTP's suite; `change` says why it differs, where it does."""

    def mark(test: TestT) -> TestT:
        setattr(test, _MARK, (name, change))
        return test

    return mark


def scenarios(modules: Iterable[ModuleType]) -> Iterator[Scenario]:
    """All marked tests, in the order in which they stand in the modules."""
    for module in modules:
        for test in list(vars(module).values()):
            mark = cast("tuple[str, str] | None", getattr(test, _MARK, None))
            if mark is not None:
                yield Scenario(*mark, test=test, module=module.__name__.rpartition(".")[2])

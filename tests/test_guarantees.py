"""docs/guarantees.md names tests, and they are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()


def named() -> list[str]:
    """Every test of the page, where `…[case]` is another case of the one before it."""
    found: list[str] = []
    for name in re.findall(r"`(tests/[^`]+|…\[[^`]+)`", PAGE):
        if name.startswith("…"):
            found.append(found[-1].partition("[")[0] + name.removeprefix("…"))
        elif "::" in name:
            found.append(name)
    return found


@cache
def defined_in(file: str) -> dict[str, str]:
    """The tests of a file by their names, with the source of their decorators."""
    tree = ast.parse((ROOT / file).read_text())
    found: dict[str, str] = {}
    for node in tree.body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        for function in inner:
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.name.startswith("test_"):
                found[prefix + function.name] = " ".join(map(ast.unparse, function.decorator_list))
    return found


@pytest.mark.parametrize("name", named())
def test_a_test_that_is_named_is_there(name: str) -> None:
    file, _, test = name.partition("::")
    assert (ROOT / file).is_file()
    test, _, case = test.partition("[")
    assert test in defined_in(file)
    # A case is named where the test is parametrized, or by the kind of a fixture.
    if case and case != "redis]":
        assert repr(case.removesuffix("]")) in defined_in(file)[test]


def test_every_promise_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) > 20
    assert [row for row in rows if "`tests/" not in row.rpartition(" | ")[2]] == []


def test_no_test_is_named_by_half() -> None:
    assert len(named()) == len(set(named()))
    assert PAGE.count("`tests/") == sum(1 for name in named() if f"`{name}`" in PAGE) + 1  # the page's own test

from __future__ import annotations

import pytest

from reflow_supervisor.actors.globs import BadPattern, excluder, matcher, normalise


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("**/*.actor.py", "a.actor.py", True),
        ("**/*.actor.py", "x/y/a.actor.py", True),
        ("**/*.actor.py", "x/y/a.actor.pyc", False),
        ("*.actor.py", "x/a.actor.py", False),
        ("./actors/*.py", "actors/a.py", True),
        ("actors/**/*.py", "actors/a.py", True),
        ("actors/**/*.py", "actors/b/c/a.py", True),
        ("actors/**/*.py", "reactors/a.py", False),
        ("actors/**", "actors/b/c.txt", True),
        ("actors/**", "actors", False),
        ("**/**/x", "x", True),
        ("**", "a/b", True),
        ("a?.py", "ab.py", True),
        ("a?.py", "a/.py", False),
        ("[ab].py", "b.py", True),
        ("[!ab].py", "b.py", False),
        ("[!ab].py", "c.py", True),
        ("[a-c]?", "bz", True),
        ("[x", "[x", True),
        ("a.b", "axb", False),
        ("**/.hidden/*", "x/.hidden/y", True),
        ("(a|b)+", "a", False),
        ("it's.py", "it's.py", True),
    ],
)
def test_what_matches(pattern: str, path: str, matches: bool):
    assert matcher([pattern])(path) is matches


def test_any_of_several_patterns_matches_and_none_of_no_patterns():
    both = matcher(["*.a", "*.b"])
    assert (both("x.a"), both("x.b"), both("x.c")) == (True, True, False)
    assert matcher([])("x") is False


@pytest.mark.parametrize("pattern", ["/etc/*", "../x", "a/../../b", "", "./", "~/x", "[z-a]"])
def test_patterns_that_cannot_be_used(pattern: str):
    with pytest.raises(BadPattern):
        matcher([pattern])


def test_normal_form():
    assert normalise("./a//b/") == "a/b"


def test_an_exclusion_without_a_slash_counts_anywhere():
    left_out = excluder(["node_modules", "/".join(("old", "*"))])
    assert left_out("node_modules")
    assert left_out("a/b/node_modules")
    assert left_out("old/x")
    assert not left_out("a/old/x")


def test_a_pattern_of_many_wildcards_ends():
    assert matcher(["**/" * 50 + "x"])("a/" * 40 + "y") is False

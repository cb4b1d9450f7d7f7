from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis
from hypothesis import example, given, settings
from hypothesis import strategies as st
from state.redis_servers import RedisProcess

from reflow_supervisor.state.patterns import matcher


@pytest.fixture(scope="session")
def redis_client(redis_server: RedisProcess) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("**", "anything\nat all", True),
        ("a*c", "abbc", True),
        ("a*c", "abbcd", False),
        ("a*b*c", "aXbXbXc", True),
        ("*aab", "aaab", True),
        ("?", "€", True),
        ("[a-c]x", "bx", True),
        ("[c-a]x", "bx", True),
        ("[^a-c]x", "bx", False),
        ("[]x", "x", False),
        ("[^]", "x", True),
        ("[ab", "b", True),
        (r"[\]]", "]", True),
        (r"\*", "*", True),
        (r"\*", "a", False),
        ("a.c", "abc", False),
        ("trailing\\", "trailing\\", True),
    ],
)
def test_a_pattern_means_what_it_means_in_redis(pattern: str, key: str, expected: bool) -> None:
    assert matcher(pattern)(key) is expected


def test_a_pattern_made_to_be_slow_is_not() -> None:
    matches = matcher("*a" * 120 + "b")
    start = time.perf_counter()
    assert not matches("a" * 512)
    # Backtracking would take longer than the universe has.
    assert time.perf_counter() - start < 1


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.text("ab*?[]^-\\", max_size=8), st.text("ab*?[]^-\\", max_size=6))
@example("[a-]b", "]b")
@example("[\\", "\\")
def test_redis_itself_agrees(redis_client: redis.Redis, pattern: str, key: str) -> None:
    redis_client.set(f"patterns:{key}", 1)
    answer = redis_client.keys(f"patterns:{pattern}")
    redis_client.delete(f"patterns:{key}")
    assert matcher(pattern)(key) is bool(answer)

from __future__ import annotations

import pytest

from reflow_supervisor.errors import EnvironmentError_, SandboxError
from reflow_supervisor.sandbox.uids import RANGES, UidPool, choose_range

HOST = "         0          0 4294967295\n"
CONTAINER = "0 100000 65536\n"
ROOTLESS = "0 1000 1\n1 100000 60000\n"


def test_each_id_once_until_it_is_given_back() -> None:
    pool = UidPool(range(100, 103))
    assert [pool.take(), pool.take(), pool.take()] == [100, 101, 102]
    with pytest.raises(SandboxError, match="max_pool_size"):
        pool.take()
    pool.give_back(101)
    assert pool.take() == 101


def test_the_longest_unused_comes_first() -> None:
    pool = UidPool(range(100, 103))
    pool.give_back(pool.take())
    assert pool.take() == 101


def test_an_offset_wraps_around() -> None:
    pool = UidPool(range(100, 103), offset=5)
    assert [pool.take(), pool.take(), pool.take()] == [102, 100, 101]


def test_ranges_by_what_the_user_namespace_maps() -> None:
    assert choose_range(HOST, HOST) == RANGES[0]
    assert choose_range(CONTAINER, CONTAINER) == RANGES[1]
    assert choose_range(ROOTLESS, ROOTLESS) == RANGES[1]
    assert choose_range(HOST, CONTAINER) == RANGES[1]
    with pytest.raises(EnvironmentError_, match="too few user ids"):
        choose_range("0 1000 1\n", "0 1000 1\n")


def test_no_range_holds_root_or_nobody() -> None:
    assert all(0 not in ids and 65534 not in ids for ids in RANGES)

from __future__ import annotations

import msgspec
import pytest
from reflow.wire.limits import PROTOCOL_VERSION, RESOURCE, SUBPROTOCOL, WireLimits


def test_a_frame_carries_the_largest_message_and_its_envelope() -> None:
    limits = WireLimits()
    assert limits.max_message < limits.max_frame
    assert limits.batch_bytes < limits.max_frame
    assert 1 <= limits.max_batch <= limits.max_pending


def test_a_batch_of_the_largest_size_has_a_sixteen_bit_header() -> None:
    assert WireLimits().max_batch < 2**16


def test_limits_are_given_by_name_and_do_not_change() -> None:
    limits = WireLimits(max_frame=10)
    with pytest.raises(AttributeError):
        limits.max_frame = 20  # type: ignore[misc]
    with pytest.raises(TypeError):
        WireLimits(10)  # type: ignore[call-arg]
    assert msgspec.structs.replace(limits, max_depth=3) == WireLimits(max_frame=10, max_depth=3)


def test_the_names_of_version_one() -> None:
    """Of specs/protocol.md §1: agents of other makes are written against these."""
    assert (PROTOCOL_VERSION, SUBPROTOCOL, RESOURCE) == (1, "reflow.v1", "/agent")

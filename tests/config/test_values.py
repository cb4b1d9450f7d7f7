import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow_supervisor.config.values import (
    Cores,
    Duration,
    Endpoint,
    EndpointKind,
    Integer,
    Number,
    Refused,
    Size,
    Text,
    duration_text,
    size_text,
)

MB = 1024 * 1024


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        (Size(), "512MB", 512 * MB),
        (Size(), "512 mb", 512 * MB),
        (Size(), "512M", 512 * MB),
        (Size(), "512MiB", 512 * MB),
        (Size(), "1.5GiB", 1536 * MB),
        (Size(), "64k", 65536),
        (Size(), "100", 100),
        (Size(), "100B", 100),
        (Size(), 4096, 4096),
        (Duration(), 30, 30.0),
        (Duration(), 0.25, 0.25),
        (Duration(), "30", 30.0),
        (Duration(), "30s", 30.0),
        (Duration(), "500ms", 0.5),
        (Duration(), "1.5 m", 90.0),
        (Duration(), "2h", 7200.0),
        (Duration(), "1d", 86400.0),
        (Cores(), 0.5, 0.5),
        (Cores(), 2, 2.0),
        (Cores(), "500m", 0.5),
        (Integer(0, 5), 5, 5),
        (Number(0, 1), 1, 1.0),
        (Text(r"[a-z]+", "a word"), "abc", "abc"),
        (EndpointKind(), "node.port", Endpoint("node", "port")),
        (EndpointKind(), "my.node 1.port", Endpoint("my.node 1", "port")),
    ],
)
def test_what_is_accepted(kind, written, value):
    parsed = kind.parse(written)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("kind", "written", "message"),
    [
        (Size(), "512XB", "'512XB' is not a size"),
        (Size(), "-1MB", "'-1MB' is not a size"),
        (Size(), 1.5, "1.5 is not a size"),
        (Size(), True, "true is not a size"),
        (Size(), None, "nothing is not a size"),
        (Size(minimum=MB), "4KB", "'4KB' is not a size from 1MB to 1TB"),
        (Size(), "9" * 15 + "TB", "is not a size from 1 to 1TB"),
        (Duration(), "5 parsecs", "is not a duration"),
        (Duration(), -1, "-1 is not a duration from 0s to 365d"),
        (Duration(), math.nan, "nan is not a duration"),
        (Duration(), math.inf, "inf is not a duration"),
        (Duration(0.001, 60), 0, "0 is not a duration from 1ms to 1m"),
        (Cores(), 0, "0 is not a number of cores from 0.01 to 1024"),
        (Cores(), "0.5m", "'0.5m' is not a number of cores"),
        (Integer(0, 5), 6, "6 is not an integer from 0 to 5"),
        (Integer(minimum=1), 0, "0 is not an integer of at least 1"),
        (Integer(), "5", "'5' is not an integer"),
        (Integer(), 5.0, "5.0 is not an integer"),
        (Integer(), False, "false is not an integer"),
        (Number(), math.nan, "nan is not a number"),
        (Number(maximum=1), [1], "a list is not a number of at most 1"),
        (Text(r"[a-z]+", "a word"), "a b", "'a b' is not a word"),
        (Text(r"[a-z]+", "a word"), "a\n", r"'a\\n' is not a word"),
        (Text(r"[a-z]+", "a word"), {}, "a mapping is not a word"),
        (EndpointKind(), "node", "'node' is not a port of a node"),
        (EndpointKind(), ".port", "is not a port of a node"),
        (EndpointKind(), "node.", "is not a port of a node"),
        (EndpointKind(), "n" * 129 + ".p", "is not a port of a node"),
        (EndpointKind(), "a\x00.p", "is not a port of a node"),
    ],
)
def test_what_is_refused(kind, written, message):
    with pytest.raises(Refused, match=message):
        kind.parse(written)


def test_a_secret_is_not_shown():
    kind = Text(r"redis://\S+", "a URL", secret=True)
    with pytest.raises(Refused) as caught:
        kind.parse("http://user:hunter2@host")
    assert caught.value.message == "the value is not a URL"


def test_long_values_are_cut():
    with pytest.raises(Refused) as caught:
        Size().parse("x" * 10_000)
    assert len(caught.value.message) < 150


@given(st.integers(1, 2**40))
def test_sizes_are_written_as_they_are_read(size):
    assert Size().parse(size_text(size)) == size


@given(st.integers(0, 365 * 86400) | st.floats(0.001, 1e6).map(lambda x: round(x, 3)))
def test_durations_are_written_as_they_are_read(seconds):
    assert Duration().parse(duration_text(seconds)) == pytest.approx(seconds)

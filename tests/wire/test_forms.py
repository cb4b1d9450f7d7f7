from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reflow.wire import forms
from reflow.wire.forms import TYPE_OF_BYTE, MalformedMessageError, extension, header, long_header, peek_type

LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 255, 256, 65535, 65536]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_header_is_the_shortest_there_is(length: int) -> None:
    """As msgspec writes it, which is another's work."""
    content = bytes(length)
    assert header(5, length) + content == msgspec.msgpack.encode(msgspec.msgpack.Ext(5, content))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("make", [header, long_header])
def test_an_extension_comes_apart_again(length: int, make: object) -> None:
    assert callable(make)
    raw = make(3, length) + bytes(length)
    code, content = extension(memoryview(raw))
    assert (code, bytes(content)) == (3, bytes(length))
    for broken in (raw[:-1], raw + b"\x00"):
        with pytest.raises(MalformedMessageError):
            extension(memoryview(broken))
    assert peek_type(raw[:6]) == "option"


@pytest.mark.parametrize("length", [0, 15, 16, 65535, 65536])
def test_headers_of_containers(length: int) -> None:
    assert forms.array_header(length) + bytes(length) == msgspec.msgpack.encode([0] * length)
    keys = [str(n) for n in range(length)]
    assert forms.map_header(length) == msgspec.msgpack.encode(dict.fromkeys(keys))[: len(forms.map_header(length))]


def test_every_byte_begins_one_type_an_extension_or_nothing() -> None:
    for byte, type_ in enumerate(TYPE_OF_BYTE):
        assert (type_ is None) == (forms.is_extension(byte) or byte == 0xC1)


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\xc7", b"\xd4", b"\xd4\x00", b"\xc8\x00\x00", b"\xc9\x00\x00\x00\x00"])
def test_what_begins_nothing_has_no_type(raw: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        peek_type(raw)


@given(st.binary(max_size=24))
def test_any_bytes_come_apart_or_do_not(raw: bytes) -> None:
    if not raw:
        return
    try:
        code, content = extension(memoryview(raw))
    except MalformedMessageError:
        return
    assert raw.endswith(bytes(content))
    assert raw[len(raw) - len(content) - 1] == code

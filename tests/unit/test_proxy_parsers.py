"""The fuzzer's promises, for a second: whatever the bytes, there is one reading or none."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perijove.testing.hostile import CLEAR, REFUSED
from perijove.testing.parsing import check_chunks, check_request, check_response

PIECES = [
    *(b"GET ", b"POST ", b"/user/al/x", b"/", b"..", b"%2F", b"%2e", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\n", b"\r"),
    *(b"Host: h", b"Content-Length: 3", b"Transfer-Encoding: chunked", b"Connection: Upgrade", b"Upgrade: x", b"X: y"),
    *(
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 101 S",
        b"HTTP/1.1 304 N",
        b":",
        b" ",
        b"\t",
        b"\x00",
        b"0\r\n",
        b"3;x=y\r\nabc\r\n",
    ),
]
PUT_TOGETHER = st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=14).map(b"".join)


@given(PUT_TOGETHER)
@settings(max_examples=300, deadline=None)
def test_any_request(data):
    check_request(data + b"\r\n\r\n")


@given(PUT_TOGETHER)
@settings(max_examples=300, deadline=None)
def test_any_response(data):
    check_response(b"HTTP/1.1 200 OK\r\n" + data + b"\r\n\r\n")
    check_response(data + b"\r\n\r\n")


@given(PUT_TOGETHER, st.integers(0, 1000))
@settings(max_examples=300, deadline=None)
def test_any_chunks(data, cut):
    check_chunks(data, cut)


@pytest.mark.parametrize("data", [*REFUSED.values(), *(data for data, _ in CLEAR.values())])
def test_known_tricks(data):
    """Whole, and what is behind their first line break."""
    check_request(data)
    check_request(data.lstrip(b"\r\n"))
    check_chunks(data.partition(b"\r\n\r\n")[2], 7)

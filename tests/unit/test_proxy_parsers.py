"""The fuzzer's promises, for a second: whatever the bytes, there is one reading or none."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perijove.testing.hostile import CLEAR, REFUSED
from perijove.testing.parsing import check_call, check_chunks, check_known, check_path, check_request, check_response

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
    check_known(data + b"\r\n\r\n")


@given(PUT_TOGETHER)
@settings(max_examples=300, deadline=None)
def test_any_response(data):
    check_response(b"HTTP/1.1 200 OK\r\n" + data + b"\r\n\r\n")
    check_response(data + b"\r\n\r\n")


@given(PUT_TOGETHER, st.integers(0, 1000))
@settings(max_examples=300, deadline=None)
def test_any_chunks(data, cut):
    check_chunks(data, cut)


@given(PUT_TOGETHER)
@settings(max_examples=300, deadline=None)
def test_any_path(data):
    check_path(data)


@given(PUT_TOGETHER, st.binary(max_size=8))
@settings(max_examples=100, deadline=None)
def test_any_call_of_the_rest_api(path, name):
    check_call(path.replace(b"\n", b""), b'{"target": "http://h:1", "user": "%b"}' % name)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (b"user/al", b'{"target": "\xd0"}'),
        (b"user/al", b"[" * 2000),
        (b"user/%9e", b'{"target": "http://h:1"}'),
        (b"\xc7/\xaf", b'{"target": "http://h:1"}'),
        (b"user/al//..", b'{"target": "http://h:1"}'),
    ],
    ids=["not UTF-8", "nested", "a path that is not UTF-8", "nor its segments", "empty segments left by dots"],
)
def test_calls_that_the_fuzzer_found(path, body):
    check_call(path, body)


@pytest.mark.parametrize("data", [*REFUSED.values(), *(data for data, _ in CLEAR.values())])
def test_known_tricks(data):
    """Whole, and what is behind their first line break."""
    check_request(data)
    check_request(data.lstrip(b"\r\n"))
    check_known(data.lstrip(b"\r\n"))
    check_chunks(data.partition(b"\r\n\r\n")[2], 7)

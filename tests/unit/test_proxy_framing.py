"""Bodies end where their framing says, whatever the reads they come in."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perijove.proxy.framing import BadFraming, ChunkedFraming, CloseFraming, LengthFraming


def feed_all(framing, data, sizes):
    """Everything passed and the rest, feeding pieces of the given sizes in turn."""
    passed, position, index = b"", 0, 0
    while position < len(data):
        size = sizes[index % len(sizes)]
        index += 1
        if framing.done:
            return passed, data[position:]
        out, rest = framing.feed(data[position : position + size])
        passed += out
        position += size
        if rest:
            return passed, rest + data[position:]
    return passed, b""


def chunked(chunks, trailers=b"", extension=b""):
    body = b"".join(b"%x%s\r\n%s\r\n" % (len(chunk), extension, chunk) for chunk in chunks if chunk)
    return body + b"0\r\n" + trailers + b"\r\n"


SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=5)


@given(st.lists(st.binary(max_size=60)), SIZES)
def test_chunks_pass_unchanged(chunks, sizes):
    """The bytes are those that came, and what follows the body is given back."""
    data = chunked(chunks, b"X-Sum: 1\r\n")
    framing = ChunkedFraming()
    assert feed_all(framing, data + b"GET /next", sizes) == (data, b"GET /next")
    assert framing.done


@given(st.lists(st.binary(max_size=60)), SIZES)
def test_decoded_chunks_are_the_content(chunks, sizes):
    """For clients that do not know chunks."""
    framing = ChunkedFraming(decode=True)
    assert feed_all(framing, chunked(chunks), sizes) == (b"".join(chunks), b"")


def test_chunk_extensions_are_taken_out():
    """No next hop has to agree with us on them."""
    framing = ChunkedFraming()
    assert framing.feed(chunked([b"abc"], extension=b' ;a=b;c="d;e"')) == (b"3\r\nabc\r\n0\r\n\r\n", b"")


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"0x3\r\nabc\r\n",
        b"+3\r\nabc\r\n",
        b"-1\r\n",
        b" 3\r\nabc\r\n",
        b"3 \r\nabc\r\n",
        b"g\r\n",
        b"3\nabc\r\n0\r\n\r\n",
        b"3\rabc",
        b"3;a\nb\r\nabc\r\n",
        b"3;\x00\r\nabc\r\n",
        b"3\r\nabcd\r\n",
        b"3\r\nabc0\r\n\r\n",
        b"3\r\nabc\n0\r\n\r\n",
        b"3\r\nabc\rX",
        b"1000000000000000\r\n",
        b"0000000000000000000001\r\na\r\n",
        b"ffffffffffffffffff\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"0\r\nHost: evil\r\n\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\n folded: x\r\n\r\n",
        b"0\r\nX : y\r\n\r\n",
        b"0\r\nX: a\x00b\r\n\r\n",
        b"0\r\nX: " + b"a" * 5000,
        b"0\r\n" + b"X: aaaaaaaaaaaaaaa\r\n" * 1000,
        b"5;" + b"a" * 5000,
    ],
)
@pytest.mark.parametrize("sizes", [[1 << 20], [1]])
def test_a_malformed_chunk_is_refused(data, sizes):
    """Whether it comes at once or byte by byte, and before its size line is passed on."""
    framing = ChunkedFraming()
    with pytest.raises(BadFraming):
        feed_all(framing, data, sizes)


@given(st.binary(max_size=80), st.integers(0, 80), SIZES)
def test_a_length_is_counted(data, length, sizes):
    """Neither a byte more nor one less."""
    framing = LengthFraming(length)
    passed, rest = feed_all(framing, data, sizes) if length else (b"", data)
    assert passed == data[:length]
    assert rest == data[length:]
    assert framing.done == framing.eof() == (len(data) >= length)


def test_only_a_body_without_length_may_end_with_its_connection():
    """Elsewhere the end of the connection is a cut."""
    assert CloseFraming().eof()
    assert not LengthFraming(1).eof()
    assert not ChunkedFraming().eof()


@given(st.lists(st.binary(min_size=1, max_size=60)), SIZES)
def test_h11_reads_the_same_body(chunks, sizes):
    """An independent parser agrees on what has been passed on."""
    passed, _ = feed_all(ChunkedFraming(), chunked(chunks, b"X-T: 1\r\n", b";ext"), sizes)
    judge = h11.Connection(h11.SERVER)
    judge.receive_data(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + passed)
    body = b""
    while not isinstance(event := judge.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Data):
            body += bytes(event.data)
    assert body == b"".join(chunks)
    assert list(event.headers) == [(b"x-t", b"1")]

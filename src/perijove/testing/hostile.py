"""Requests that try to mean two things: each a name and its bytes, to be refused whole by whoever reads them.

Kept as data, so that the tests, the fuzzer's corpus and a comparison with another proxy use the same ones. In
`REFUSED`, what follows the head (`SMUGGLED`) must be nobody's request; `CLEAR` has only one reading, with the body
that the target must get.
"""

SMUGGLED = b"GET /hub/smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
LINE = b"POST /user/al/x HTTP/1.1\r\n"
START = LINE + b"Host: h\r\n"
_CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
_CHUNKED = START + b"Transfer-Encoding: chunked\r\n\r\n"


def _named(group: str, wrap: bytes, variants: list[bytes]) -> dict[str, bytes]:
    """`wrap` has one %b for each variant."""
    return {f"{group} {variant!r}"[:90]: wrap % variant for variant in variants}


_LENGTHS = _named(
    "length",
    START + b"Content-Length:%b\r\n\r\nhello" + SMUGGLED,
    [
        *(b" -5", b" +5", b" 5.0", b" 0x5", b" 5e0", b" 5_0", b" 5 0", b" 5,5", b" 5, 5", b" 5;", b' "5"', b" 5\x0b"),
        *(
            b" 5\x0c",
            b" \xd9\xa5",
            b" \xa05",
            b" 5\x00",
            b" five",
            b" 99999999999999999999999",
            b" 18446744073709551621",
        ),
        *(
            b" 5\r\nContent-Length: 6",
            b" 5\r\ncontent-length: 5",
            b" 5\r\nContent-Length: -5",
            b" 5\r\n 0",
            b" 5\r\n\t0",
        ),
        *(b" 5\nContent-Length: 0", b" 5\rContent-Length: 0", b" 5\r\r\n", b"", b" ", b" (5)", b" 5\x7f"),
    ],
)
_CODINGS = _named(
    "coding",
    START + b"Transfer-Encoding:%b\r\n\r\n" + _CHUNKS + SMUGGLED,
    [
        *(b" chunked, chunked", b" chunked, identity", b" identity", b" gzip, chunked", b" chunked;q=1", b" cow"),
        *(b" chunked,", b" ,chunked", b" 'chunked'", b' "chunked"', b" chunked\x00", b" \x0bchunked", b" chunked\x0c"),
        *(b" chunke\xc4\x8f", b" chunked\xa0", b" x-chunked", b" chunkedx", b" chunk", b" ch unked", b"", b" "),
        *(b" chunked\r\nTransfer-Encoding: chunked", b" chunked\r\nTransfer-Encoding: identity", b"\r\n chunked"),
        *(b" identity\r\nTransfer-Encoding: chunked", b" chunked\r\nContent-Length: 5", b" chunked\r\n , identity"),
        *(b" chunked\nX: y", b" chunked\rX: y", b" \x00chunked", b" chunked\x7f", b" CHUNKED, gzip"),
    ],
)
_NAMES = _named(
    "name",
    START + b"%b\r\n\r\nhello" + SMUGGLED,
    [
        *(
            b"Content-Length : 5",
            b"Content-Length\t: 5",
            b" Content-Length: 5",
            b"\tContent-Length: 5",
            b"Content-Length",
        ),
        *(
            b"Content\x00-Length: 5",
            b"Content-Length\x0b: 5",
            b"(Content-Length): 5",
            b"Content Length: 5",
            b": 5",
            b"5",
        ),
        *(
            b"Content-L\xc3\xa9ngth: 5",
            b"Content-Length\xa0: 5",
            b"Transfer-Encoding\x00: chunked",
            b"\x7fX: y",
            b"[X]: y",
        ),
        *(b"Transfer-Encoding : chunked", b"\x0bTransfer-Encoding: chunked", b"X: y\r\n Transfer-Encoding: chunked"),
        *(b"X: y\nContent-Length: 5", b"X: y\rContent-Length: 5", b"X\r: y", b"X\n: y", b'"X": y', b"X,Y: z", b"@: y"),
    ],
)
_VALUES = _named(
    "value",
    START + b"X: %b\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    [
        b"a\x00b",
        b"a\nb: c",
        b"a\rb: c",
        b"a\r\n b",
        b"a\r\n\tb",
        b"a\n\nGET / HTTP/1.1",
        b"\x01",
        b"a\x1fb",
        b"a\x7fb",
        b"\x00",
    ],
)
_ENDS = {
    "ends LF LF": b"GET /user/al/x HTTP/1.1\nHost: h\n\n" + SMUGGLED,
    "ends CRLF LF": b"GET /user/al/x HTTP/1.1\r\nHost: h\r\n\n" + SMUGGLED,
    "ends LF CRLF": b"GET /user/al/x HTTP/1.1\r\nHost: h\n\r\n" + SMUGGLED,
    "ends CR CRLF": b"GET /user/al/x HTTP/1.1\r\nHost: h\r\r\n\r\n" + SMUGGLED,
    "ends CR CR": b"GET /user/al/x HTTP/1.1\r\nHost: h\r\r" + SMUGGLED,
    "starts with LF": b"\nGET /user/al/x HTTP/1.1\r\nHost: h\r\n\r\n" + SMUGGLED,
    "starts with CR": b"\rGET /user/al/x HTTP/1.1\r\nHost: h\r\n\r\n" + SMUGGLED,
    "starts with LF LF": b"\n\nGET /user/al/x HTTP/1.1\r\nHost: h\r\n\r\n" + SMUGGLED,
    "LF in the target": b"GET /user/al/x\nX:y HTTP/1.1\r\nHost: h\r\n\r\n" + SMUGGLED,
    "CR in the target": b"GET /user/al/x\rX:y HTTP/1.1\r\nHost: h\r\n\r\n" + SMUGGLED,
    "LF and a field in the target": b"GET /user/al/x\nContent-Length:40/ HTTP/1.1\r\nHost: h\r\n\r\n" + SMUGGLED,
    "line ends LF": b"GET /user/al/x HTTP/1.1\nHost: h\r\n\r\n" + SMUGGLED,
    "line ends CR": b"GET /user/al/x HTTP/1.1\rHost: h\r\n\r\n" + SMUGGLED,
}
_REQUEST_LINES = _named(
    "request line",
    b"%b\r\nHost: h\r\n\r\n" + SMUGGLED,
    [
        *(
            b"GET  /user/al/x HTTP/1.1",
            b"GET /user/al/x  HTTP/1.1",
            b" GET /user/al/x HTTP/1.1",
            b"GET\t/user/al/x HTTP/1.1",
        ),
        *(
            b"GET /user/al/x HTTP/1.1 ",
            b"GET /user/al/x\tHTTP/1.1",
            b"GET /user/al/x",
            b"GET",
            b"GET /user/al/x http/1.1",
        ),
        *(
            b"GET /user/al/x HTTP/1.2",
            b"GET /user/al/x HTTP/01.1",
            b"GET /user/al/x HTTP/1.10",
            b"GET /user/al/x HTTP /1.1",
        ),
        *(
            b"GET /user/al/x HTTP/1,1",
            b"GET /user/al/x HTTP/9.9",
            b"GET /user/al/x HTTP/2.0",
            b"GET /user/al/x HTTP/0.9",
        ),
        *(
            b"GET /user/al/x HTTP/1",
            b"GET /user/al/x HTTPS/1.1",
            b"get /user/al/x HTTP/1.1",
            b"G\x00T /user/al/x HTTP/1.1",
        ),
        *(
            b"G(T /user/al/x HTTP/1.1",
            b"G\xc3\x89T /user/al/x HTTP/1.1",
            b"FROBNICATE /user/al/x HTTP/1.1",
            b" / HTTP/1.1",
        ),
        *(
            b"GET /user/al/x#f HTTP/1.1",
            b"GET /user/al/\x00 HTTP/1.1",
            b"GET /user/al/\x7f HTTP/1.1",
            b"GET user/al HTTP/1.1",
        ),
        *(
            b"GET /user/al/%zz HTTP/1.1",
            b"GET /user/al/% HTTP/1.1",
            b"GET /user/al/%2 HTTP/1.1",
            b"GET /user/al/%u0041 HTTP/1.1",
        ),
        *(
            b"CONNECT h:80 HTTP/1.1",
            b"CONNECT /user/al HTTP/1.1",
            b"OPTIONS * HTTP/1.1",
            b"GET * HTTP/1.1",
            b"GET h:80 HTTP/1.1",
        ),
        *(
            b"GET http:///x HTTP/1.1",
            b"GET http://h:x/ HTTP/1.1",
            b"GET ftp://h/x HTTP/1.1",
            b"GET http://u@h/x HTTP/1.1",
        ),
        *(
            b"GET http://other/x HTTP/1.1",
            b"GET http://h#/x HTTP/1.1",
            b"GET http:\\\\h\\x HTTP/1.1",
            b"GET http://h\x00/ HTTP/1.1",
        ),
        *(b"TRACE /user/al/x HTTP/1.1", b"PRI * HTTP/2.0", b"GET /user/al/x HTTP/1.1 GET /hub/smuggled HTTP/1.1"),
    ],
)
_HOSTS = _named(
    "host",
    b"GET /user/al/x HTTP/1.1\r\n%bX: y\r\n\r\n" + SMUGGLED,
    [
        *(b"", b"Host: h\r\nHost: h\r\n", b"Host: h\r\nhost: other\r\n", b"Host:\r\n", b"Host: \r\n", b"Host: h/x\r\n"),
        *(
            b"Host: h@x\r\n",
            b"Host: h x\r\n",
            b"Host: h, x\r\n".replace(b", ", b" ,"),
            b"Host: h\x00\r\n",
            b"Host: [::1\r\n",
        ),
        *(
            b"Host: h:80x\r\n",
            b"Host: h:999999\r\n",
            b"Host: h\\x\r\n",
            b"Host: h?x\r\n",
            b"Host: h#x\r\n",
            b"Host: \xc3\xbc\r\n",
        ),
        *(
            b"Host: h\r\n x\r\n",
            b" Host: h\r\n",
            b"Host : h\r\n",
            b"Host: <h>\r\n",
            b'Host: "h"\r\n',
            b"Host: h:80:90\r\n",
        ),
    ],
)
_CHUNK_LINES = _named(
    "chunk",
    _CHUNKED + b"%b" + SMUGGLED,
    [
        *(
            b"\r\nhello\r\n0\r\n\r\n",
            b"g\r\nhello\r\n0\r\n\r\n",
            b"-5\r\nhello\r\n0\r\n\r\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
        ),
        *(
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b" 5\r\nhello\r\n0\r\n\r\n",
            b"5 \r\nhello\r\n0\r\n\r\n",
            b"5\t\r\nhello\r\n0\r\n\r\n",
        ),
        *(
            b"5,5\r\nhello\r\n0\r\n\r\n",
            b"5.0\r\nhello\r\n0\r\n\r\n",
            b"5\x00\r\nhello\r\n0\r\n\r\n",
            b"5_\r\nhello\r\n0\r\n\r\n",
        ),
        *(
            b"10000000000000005\r\nhello\r\n0\r\n\r\n",
            b"0000000000000000000005\r\nhello\r\n0\r\n\r\n",
            b"5\nhello\r\n0\r\n\r\n",
        ),
        *(
            b"5\rhello\r\n0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello\r0\r\n\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhello there\r\n0\r\n\r\n",
        ),
        *(
            b"5;\nxx\r\nhello\r\n0\r\n\r\n",
            b"5;\rxx\r\nhello\r\n0\r\n\r\n",
            b"5;\x00\r\nhello\r\n0\r\n\r\n",
            b"5;x=\x7f\r\nhello\r\n0\r\n\r\n",
        ),
        *(
            b"5;" + b"x" * 5000 + b"\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\r\n0\n\r\n",
            b"5\r\nhello\r\n0\r\n\n",
            b"5\r\nhello\r\n\r\n0\r\n\r\n",
        ),
        *(
            b"\xef\xbc\x95\r\nhello\r\n0\r\n\r\n",
            b"5x\r\nhello\r\n0\r\n\r\n",
            b"\x005\r\nhello\r\n0\r\n\r\n",
            b"5\r\r\nhello\r\n0\r\n\r\n",
        ),
        *(b"fffffffffffffffff\r\n", b"-0\r\n\r\n", b"+0\r\n\r\n", b"0x0\r\n\r\n", b"\r\n\r\n"),
    ],
)
_TRAILERS = _named(
    "trailer",
    _CHUNKED + b"5\r\nhello\r\n0\r\n%b\r\n\r\n" + SMUGGLED,
    [
        *(b"Content-Length: 40", b"Transfer-Encoding: chunked", b"Host: other", b"Connection: close", b"Cookie: a=b"),
        *(
            b"Authorization: token x",
            b"X-Forwarded-For: 1.2.3.4",
            b"X: y\r\n z",
            b"X : y",
            b"no colon",
            b": y",
            b"X: \x00",
        ),
        *(
            b"X: y\nZ: z",
            b"X: y\rZ: z",
            b" X: y",
            b"X: " + b"y" * 20_000,
            b"content-length: 0",
            b"Expect: 100-continue",
        ),
    ],
)
_WHOLE = {
    "length and coding": START + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "coding and length": START + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "coding in HTTP/1.0": LINE.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n" + _CHUNKS + SMUGGLED,
    "unknown expectation": START + b"Expect: 200-ok\r\nContent-Length: 5\r\n\r\nhello" + SMUGGLED,
    "two expectations": START + b"Expect: 100-continue, x\r\nContent-Length: 5\r\n\r\nhello" + SMUGGLED,
    "TLS": bytes.fromhex("16030100a5010000a1030352") + b"\r\n\r\n" + SMUGGLED,
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n\r\n" + SMUGGLED,
    "PROXY protocol": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + START + b"\r\n" + SMUGGLED,
    "a response": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    "head too long": START + b"X: " + b"y" * 70_000 + b"\r\n\r\n" + SMUGGLED,
    "too many fields": START + b"X: y\r\n" * 12_000 + b"\r\n" + SMUGGLED,
}
REFUSED: dict[str, bytes] = {
    **_LENGTHS,
    **_CODINGS,
    **_NAMES,
    **_VALUES,
    **_ENDS,
    **_REQUEST_LINES,
    **_HOSTS,
    **_CHUNK_LINES,
    **_TRAILERS,
    **_WHOLE,
}

CLEAR: dict[str, tuple[bytes, bytes]] = {
    "empty lines before": (b"\r\n\r\n" + START + b"Content-Length: 3\r\n\r\nabc", b"abc"),
    "spaces around a length": (START + b"Content-Length:\t3 \r\n\r\nabc", b"abc"),
    "zeros before a length": (START + b"content-length: 0003\r\n\r\nabc", b"abc"),
    "odd letters": (START + b"tRaNsFeR-eNcOdInG: ChUnKeD\r\n\r\n003\r\nabc\r\n00\r\n\r\n", b"abc"),
    "chunk extensions": (_CHUNKED + b'3;x=y;z="a b"\r\nabc\r\n0;last\r\n\r\n', b"abc"),
    "space before an extension": (_CHUNKED + b"3 ;x\r\nabc\r\n0\r\n\r\n", b"abc"),
    "a trailer": (_CHUNKED + b"3\r\nabc\r\n0\r\nX-Checksum: 1\r\n\r\n", b"abc"),
    "tiny chunks": (_CHUNKED + b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n", b"abc"),
    "capital hex": (_CHUNKED + b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    "a body like a request": (START + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED, SMUGGLED),
    "a chunk like a request": (_CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED), SMUGGLED),
    "a body like chunks": (START + b"Content-Length: 15\r\n\r\n" + _CHUNKS, _CHUNKS),
    "bytes beyond ASCII": (START + b"X: \xc3\xbc\xff\r\nContent-Length: 0\r\n\r\n", b""),
    "an empty field": (START + b"X:\r\nContent-Length: 0\r\n\r\n", b""),
    "absolute target": (b"GET http://h/user/al/x HTTP/1.1\r\nHost: h\r\n\r\n", b""),
    "double slash": (b"GET //user/al/x HTTP/1.1\r\nHost: h\r\n\r\n", b""),
    "dot segments": (b"GET /hub/../user/./al/x HTTP/1.1\r\nHost: h\r\n\r\n", b""),
    "close and keep-alive": (START + b"Connection: close, keep-alive\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
    "naming Host hop-by-hop": (START + b"Connection: keep-alive, Host\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
    "naming the length hop-by-hop": (START + b"Connection: Content-Length\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
    "naming the coding hop-by-hop": (
        START + b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"abc",
    ),
    "h2c": (
        START + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAR\r\n\r\n",
        b"",
    ),
    "an upgrade with a body": (
        START + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc",
        b"abc",
    ),
    "an upgrade without Connection": (START + b"Upgrade: websocket\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
    "a GET with a body": (b"GET /user/al/x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
    "an underscore": (START + b"Content_Length: 9\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
    "a short body in HTTP/1.0": (LINE.replace(b"1.1", b"1.0") + b"Content-Length: 3\r\n\r\nabc", b"abc"),
}

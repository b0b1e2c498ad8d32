"""Heads: what is refused, what is dropped, what is added, and that nothing else changes."""

import pytest

from perijove.proxy.head import BadHead
from perijove.proxy.headers import Downstream, client_head, upstream_head
from perijove.proxy.options import PRIVATE_NETWORKS, ProxyOptions, TrustedPeers
from perijove.proxy.request_head import read_request
from perijove.proxy.response_head import read_response


def request(*fields, line=b"GET /user/a/x HTTP/1.1", host=b"Host: hub.org"):
    return b"\r\n".join((line, *([host] if host else []), *fields, b"", b""))


def sent_on(raw, *, trusted=False, tls=False, address="203.0.113.9"):
    head = read_request(raw)
    lines = Downstream(address, trusted=trusted, tls=tls).lines(head, b"id-1")
    return upstream_head(head, head.target, lines, b"t:80")


ADDED = (
    b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\n"
    b"X-Forwarded-Host: hub.org\r\nX-Forwarded-Port: 80\r\nX-Request-ID: id-1\r\n\r\n"
)


def test_an_ordinary_head_is_sent_on_as_it_came():
    """Order, spelling and spacing are the client's; only our lines are added."""
    raw = request(b"uSeR-aGeNt:  x ", b"Cookie: a=b", b"Cookie: c=d", b"X-Odd:", b"Connection: keep-alive")
    assert sent_on(raw) == raw[:-2] + ADDED


@pytest.mark.parametrize(
    ("fields", "gone"),
    [
        ([b"Connection: close"], [b"connection"]),
        ([b"Connection: X-Secret, keep-alive", b"X-Secret: 1", b"Keep-Alive: timeout=5"], [b"x-secret", b"keep-alive"]),
        ([b"cOnNeCtIoN: close, X-A", b"CONNECTION: X-B", b"X-A: 1", b"X-B: 2"], [b"connection", b"x-a", b"x-b"]),
        ([b"Proxy-Connection: keep-alive", b"Proxy-Authorization: x"], [b"proxy-connection", b"proxy-authorization"]),
        ([b"TE: gzip"], [b"te"]),
        ([b"Upgrade: websocket"], [b"upgrade"]),
        (
            [b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: x"],
            [b"upgrade", b"http2-settings"],
        ),
    ],
)
def test_hop_by_hop_fields_stay_on_this_hop(fields, gone):
    """And those that Connection names with them."""
    out = sent_on(request(b"X-Kept: 1", *fields)).lower()
    assert b"\r\nx-kept: 1\r\n" in out
    for name in gone:
        assert b"\r\n" + name + b":" not in out


def test_connection_cannot_take_away_what_the_next_hop_decides_by():
    """Naming Host, Cookie or our own X-Forwarded-For in Connection has no effect on them."""
    out = sent_on(
        request(b"Connection: Host, Cookie, Authorization, X-Forwarded-For", b"Cookie: a", b"Authorization: b")
    )
    for line in (b"Host: hub.org", b"Cookie: a", b"Authorization: b", b"X-Forwarded-For: 203.0.113.9"):
        assert b"\r\n" + line + b"\r\n" in out


def test_an_upgrade_is_asked_for_again():
    """The pair is hop-by-hop, so it is this hop's to send: without it a target answers 426."""
    out = sent_on(request(b"Connection: keep-alive, Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: k"))
    assert out.count(b"\r\nConnection: Upgrade\r\n") == 1
    assert out.count(b"\r\nUpgrade: websocket\r\n") == 1


@pytest.mark.parametrize("fields", [[b"Content-Length: 3"], [b"Transfer-Encoding: chunked"]])
def test_an_upgrade_with_a_body_is_a_plain_request(fields):
    """Where its body ends must not depend on the answer."""
    head = read_request(request(b"Connection: Upgrade", b"Upgrade: websocket", *fields))
    assert head.upgrade is None
    assert head.has_body()


def test_a_stranger_says_nothing_about_where_it_came_from():
    """X-Forwarded-* and the like of an untrusted peer are replaced by what we see."""
    out = sent_on(
        request(
            b"X-Forwarded-For: 1.1.1.1", b"X-Forwarded-Proto: https", b"x-real-ip: 1.1.1.1", b"Forwarded: for=1.1.1.1"
        )
    )
    assert b"1.1.1.1" not in out
    assert b"https" not in out
    assert out.endswith(ADDED)


def test_a_trusted_proxy_is_appended_to():
    """As configurable-http-proxy: lists grow by a comma, the first host stays."""
    out = sent_on(
        request(
            b"X-Forwarded-For: 1.1.1.1",
            b"X-Forwarded-Proto: https",
            b"X-Forwarded-Host: outer.org",
            b"X-Forwarded-Port: 443",
            b"X-Real-IP: 1.1.1.1",
        ),
        trusted=True,
        address="10.0.0.1",
    )
    for line in (
        b"X-Forwarded-For: 1.1.1.1,10.0.0.1",
        b"X-Forwarded-Proto: https,http",
        b"X-Forwarded-Port: 443,80",
        b"X-Forwarded-Host: outer.org",
        b"X-Real-Ip: 1.1.1.1",
    ):
        assert out.count(b"\r\n" + line + b"\r\n") == 1


@pytest.mark.parametrize(
    ("host", "port"),
    [(b"h:8123", b"8123"), (b"[::1]:99", b"99"), (b"[::1]", b"443"), (b"h", b"443"), (b"h:", b"443")],
)
def test_the_forwarded_port_is_the_hosts(host, port):
    """Or the scheme's."""
    out = sent_on(request(host=b"Host: " + host), tls=True)
    assert b"X-Forwarded-Port: " + port + b"\r\n" in out
    assert b"X-Forwarded-Proto: https\r\n" in out


def test_one_connection_may_name_several_hosts():
    """What is remembered of the last request does not leak into the next."""
    downstream = Downstream("1.2.3.4", trusted=False, tls=False)
    outs = []
    for host in (b"a", b"b:1", b"a"):
        head = read_request(request(host=b"Host: " + host))
        outs.append(upstream_head(head, head.target, downstream.lines(head, b"i"), b"t"))
    assert [b"X-Forwarded-Host: b:1" in out for out in outs] == [False, True, False]


def test_an_old_client_without_host_gets_the_targets():
    """HTTP/1.0 is sent on as 1.1, which needs one."""
    out = sent_on(request(line=b"GET /x HTTP/1.0", host=None))
    assert out.startswith(b"GET /x HTTP/1.1\r\nHost: t:80\r\n")


def test_an_absolute_target_is_sent_on_as_a_path():
    """With its authority as Host."""
    out = sent_on(request(line=b"GET http://HUB.org/user/a?q HTTP/1.1"))
    assert out.startswith(b"GET /user/a?q HTTP/1.1\r\n")
    assert out.count(b"Host: HUB.org\r\n") == 2  # also in X-Forwarded-Host
    assert b"\r\nHost: hub.org" not in out


BAD = {
    "no host": request(host=None),
    "two hosts": request(b"Host: b"),
    "two hosts, odd spelling": request(b"hOsT: b"),
    "empty host": request(host=b"Host:"),
    "host with a space": request(host=b"Host: a b"),
    "host with a path": request(host=b"Host: a/b"),
    "host with user": request(host=b"Host: a@b"),
    "host with two ports": request(host=b"Host: a:1:2"),
    "absolute, other host": request(line=b"GET http://other/ HTTP/1.1"),
    "absolute, user": request(line=b"GET http://u@hub.org/ HTTP/1.1"),
    "absolute, ftp": request(line=b"GET ftp://hub.org/ HTTP/1.1"),
    "fragment": request(line=b"GET /a#b HTTP/1.1"),
    "double space": request(line=b"GET  /a HTTP/1.1"),
    "space before version": request(line=b"GET /a  HTTP/1.1"),
    "tab": request(line=b"GET\t/a HTTP/1.1"),
    "no version": request(line=b"GET /a"),
    "rtsp": request(line=b"GET /a RTSP/1.0"),
    "lower-case version": request(line=b"GET /a http/1.1"),
    "trailing space": request(line=b"GET /a HTTP/1.1 "),
    "no target": request(line=b"GET HTTP/1.1"),
    "relative target": request(line=b"GET a HTTP/1.1"),
    "raw utf-8 target": request(line="GET /ü HTTP/1.1".encode()),
    "null in target": request(line=b"GET /a\x00 HTTP/1.1"),
    "lower-case method": request(line=b"get /a HTTP/1.1"),
    "unknown method": request(line=b"FROB /a HTTP/1.1"),
    "space before colon": request(b"X-A : b"),
    "space before name": request(b" X-A: b"),
    "folded": request(b"X-A: b", b" c"),
    "folded with a tab": request(b"X-A: b", b"\tc"),
    "no colon": request(b"X-A"),
    "empty name": request(b": b"),
    "null in value": request(b"X-A: b\x00c"),
    "bare cr in value": request(b"X-A: b\rc"),
    "bare lf": request(b"X-A: b\nX-B: c"),
    "bare lf before the blank line": request(b"X-A: b\n"),
    "delete in value": request(b"X-A: \x7f"),
    "brackets in name": request(b"X(A): b"),
    "equal lengths": request(b"Content-Length: 5", b"Content-Length: 5"),
    "different lengths": request(b"Content-Length: 5", b"Content-Length: 6"),
    "list of lengths": request(b"Content-Length: 5, 5"),
    "signed length": request(b"Content-Length: +5"),
    "negative length": request(b"Content-Length: -5"),
    "hexadecimal length": request(b"Content-Length: 0x5"),
    "huge length": request(b"Content-Length: 99999999999999999999999"),
    "empty length": request(b"Content-Length:"),
    "length with a space": request(b"Content-Length: 5 5"),
    "length and chunked": request(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "chunked and length": request(b"Transfer-Encoding: chunked", b"Content-Length: 5"),
    "chunked twice": request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "chunked, chunked": request(b"Transfer-Encoding: chunked, chunked"),
    "gzip, chunked": request(b"Transfer-Encoding: gzip, chunked"),
    "chunked, identity": request(b"Transfer-Encoding: chunked, identity"),
    "identity": request(b"Transfer-Encoding: identity"),
    "xchunked": request(b"Transfer-Encoding: xchunked"),
    "quoted chunked": request(b'Transfer-Encoding: "chunked"'),
    "vertical tab chunked": request(b"Transfer-Encoding: \x0bchunked"),
    "chunked in 1.0": request(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0"),
}


@pytest.mark.parametrize("raw", BAD.values(), ids=BAD.keys())
def test_what_two_readers_could_read_differently_is_refused(raw):
    """With 400, or 501 for codings that we do not have."""
    with pytest.raises(BadHead) as caught:
        read_request(raw)
    assert caught.value.status in (400, 501)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"CONNECT hub.org:443 HTTP/1.1", 405),
        (b"OPTIONS * HTTP/1.1", 405),
        (b"TRACE / HTTP/1.1", 405),
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/0.9", 505),
        (b"GET / HTTP/1.2", 505),
    ],
)
def test_what_is_understood_but_not_offered(line, status):
    """Says so."""
    with pytest.raises(BadHead) as caught:
        read_request(request(line=line))
    assert caught.value.status == status


def response(*fields, line=b"HTTP/1.1 200 OK"):
    return b"\r\n".join((line, *fields, b"", b""))


def test_an_ordinary_response_goes_to_the_client_as_it_came():
    """Including every Set-Cookie."""
    raw = response(b"Set-Cookie: a", b"Set-Cookie: b", b"content-length: 3")
    assert client_head(read_response(raw), close=False, chunked=True) == raw


def test_a_response_loses_the_hop_by_hop_fields():
    """And says when we close."""
    raw = response(b"Connection: keep-alive, X-Hop", b"X-Hop: 1", b"Keep-Alive: timeout=5", b"Content-Length: 0")
    assert client_head(read_response(raw), close=True, chunked=True) == response(
        b"Content-Length: 0", b"Connection: close"
    )
    old = read_response(response(b"Content-Length: 0", line=b"HTTP/1.0 200 Fine"))
    assert client_head(old, close=False, chunked=True) == response(b"Content-Length: 0", line=b"HTTP/1.1 200 Fine")


@pytest.mark.parametrize(
    "raw",
    [
        response(line=b"HTTP/2.0 200 OK"),
        response(line=b"HTTP/1.1 20 OK"),
        response(line=b"HTTP/1.1 2000 OK"),
        response(line=b"ICY 200 OK"),
        response(line=b"HTTP/1.1 200 O\x01K"),
        response(line=b"HTTP/1.1 200 OK\rX: y"),
        response(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        response(b"Content-Length: 5", b"Content-Length: 6"),
        response(b"Transfer-Encoding: gzip, chunked"),
        response(b"Transfer-Encoding: chunked", line=b"HTTP/1.0 200 OK"),
        response(b"X: a\nY: b"),
        response(b"X: a", b" folded"),
    ],
)
def test_a_target_is_believed_as_little(raw):
    """It runs a user's code, and other users' responses share the client's connection."""
    with pytest.raises(BadHead):
        read_response(raw)


def test_who_is_trusted():
    """Private networks unless told otherwise, also in their IPv6 clothes."""
    trusted = TrustedPeers(ProxyOptions(trusted_downstream=PRIVATE_NETWORKS).trusted_networks())
    assert [
        host in trusted for host in ("127.0.0.1", "10.1.2.3", "::1", "::ffff:10.0.0.1", "fe80::1%eth0", "8.8.8.8", "?")
    ] == [True, True, True, True, True, False, False]
    assert "10.1.2.3" not in TrustedPeers(ProxyOptions(trusted_downstream=["10.9.0.0/16"]).trusted_networks())

"""Requests that are changed on their way, by flags of configurable-http-proxy."""

import pytest

from perijove.proxy.options import RewriteOptions
from perijove.testing.proxy import fake_hub, serve_proxy, target, wire


async def echo(reader, writer):
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(head), head))


@pytest.mark.parametrize(
    ("options", "path", "line"),
    [
        ({}, b"/user/al/x?y", b"GET /base/user/al/x?y HTTP/1.1"),
        ({"prepend_path": False}, b"/user/al/x", b"GET /user/al/x HTTP/1.1"),
        ({"include_prefix": False}, b"/user/al/x?y", b"GET /base/x?y HTTP/1.1"),
        ({"include_prefix": False}, b"/user/%61l/a%2Fb", b"GET /base/a%2Fb HTTP/1.1"),
        ({"include_prefix": False}, b"/user/al", b"GET /base/ HTTP/1.1"),
        ({"include_prefix": False, "prepend_path": False}, b"/user/al//x", b"GET /x HTTP/1.1"),
    ],
)
async def test_paths(options, path, line):
    """A target's path goes before the request's, the route's prefix stays: unless it is said otherwise."""
    async with fake_hub() as hub, target(echo) as url:
        hub.change({"/user/al/": url + "/base"})
        async with serve_proxy(hub, rewrite=RewriteOptions(**options)) as proxy, wire(proxy) as client:
            for _ in range(2):
                body = (await client.ask(b"GET " + path + b" HTTP/1.1\r\nHost: h\r\n\r\n")).body
                assert body.split(b"\r\n")[0] == line


async def test_headers():
    """The target's own host, no X-Forwarded-*, and headers of the operator's, which no client can forge."""
    rewrite = RewriteOptions(x_forwarded=False, change_origin=True, custom_headers=[("X-Site", "here")])
    async with fake_hub() as hub, target(echo) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub, rewrite=rewrite) as proxy, wire(proxy) as client:
            for _ in range(2):
                request = b"GET /user/al/ HTTP/1.1\r\nHost: h\r\nX-Site: forged\r\nX-A: b\r\n\r\n"
                lines = (await client.ask(request)).body.split(b"\r\n")
                assert lines.count(b"Host: " + url.removeprefix("http://").encode()) == 1
                assert [line for line in lines if line.lower().startswith((b"host", b"x-site"))][1:] == [
                    b"X-Site: here"
                ]
                assert b"X-A: b" in lines
                assert not [line for line in lines if line.startswith(b"X-Forwarded")]

"""What the proxy says itself: error pages, health, metrics, the access log."""

import io
import json

import aiohttp
import pytest

from perijove.proxy.access import AccessLog
from perijove.testing.proxy import fake_hub, serve_proxy, target, wire
from perijove.testing.waiting import until

DOWN = "http://127.0.0.1:1"


def get(path, *fields, method=b"GET"):
    return b"\r\n".join((b"%s %s HTTP/1.1" % (method, path), b"Host: h", *fields, b"", b""))


HTML = b"Accept: text/html,application/xhtml+xml,*/*;q=0.8"


async def test_error_pages_are_the_hubs():
    """With the original status and the address that was asked for."""
    async with fake_hub() as hub:
        hub.change({"/user/al/": DOWN})
        async with serve_proxy(hub) as proxy, wire(proxy) as client:
            answer = await client.ask(get(b"/user/al/lab?x=1&y=%26", HTML))
            assert (answer.status, answer.field("content-type")) == (503, "text/html; charset=utf-8")
            assert answer.body == b"<h1>hub page 503</h1><p>/user/al/lab?x=1&y=%26</p>"
            assert answer.field("retry-after") == "5"
            assert (await client.ask(get(b"/hub/internal/x", HTML))).body.startswith(b"<h1>hub page 404</h1>")
            await client.send(get(b"/user/al/lab", HTML, method=b"HEAD"))
            assert int((await client.answer(head_request=True)).field("content-length")) > 10
            # The connection is in step after all of them.
            assert (await client.ask(get(b"/hub/x"))).json()["path"] == "/hub/x"


async def test_a_page_is_built_in_for_when_no_hub_answers():
    """It stands on its own, says what to do, and lets nothing of the request into the page."""
    async with fake_hub(base_url="/b/") as hub:
        hub.change({"/b/user/al/": DOWN})
        async with serve_proxy(hub) as proxy, wire(proxy) as client:
            await hub.stop()
            answer = await client.ask(get(b'/b/user/al/"><script>alert(1)</script>', HTML))
            assert answer.status == 503
            page = answer.body.decode()
            assert '<html lang="en">' in page
            assert "<h1>" in page
            assert 'href="/b/hub/home"' in page
            assert "script" not in page
            assert "default-src 'none'" in answer.field("content-security-policy")


async def test_the_built_in_page_is_branded(tmp_path):
    """With the place's name and its image, which the page brings along."""
    logo = tmp_path / "logo.svg"
    logo.write_text("<svg/>")
    async with fake_hub() as hub, serve_proxy(hub, brand="Campus & Co", logo=logo) as proxy, wire(proxy) as client:
        await hub.stop()
        answer = await client.ask(get(b"/hub/home", HTML))
        assert answer.status == 503
        assert b'<img alt="Campus &amp; Co" src="data:image/svg+xml;base64,PHN2Zy8+">' in answer.body
        assert "img-src data:" in answer.field("content-security-policy")


async def test_programs_get_json():
    """By Accept, or for want of one by an API path."""
    async with fake_hub() as hub:
        hub.change({"/user/al/": DOWN})
        async with serve_proxy(hub) as proxy, wire(proxy) as client:
            for request in (
                get(b"/user/al/lab", b"Accept: application/json"),
                get(b"/user/al/lab", b"accept: application/json, text/html"),
                get(b"/user/al/api/kernels", b"Accept: */*"),
                get(b"/user/al/api/kernels"),
            ):
                answer = await client.ask(request)
                assert (answer.status, answer.field("content-type")) == (503, "application/json")
                assert answer.json()["status"] == 503
            for request in (get(b"/user/al/api/kernels", HTML), get(b"/user/al/lab?next=/api/x")):
                assert b"hub page" in (await client.ask(request)).body


async def test_a_failed_upgrade_gets_a_bare_status():
    """Nobody would see a page."""
    async with fake_hub() as hub:
        hub.change({"/user/al/": DOWN})
        async with serve_proxy(hub) as proxy, wire(proxy) as client:
            answer = await client.ask(get(b"/user/al/ws", b"Connection: Upgrade", b"Upgrade: websocket"))
            assert (answer.status, answer.body) == (503, b"")
            assert await client.closed() == b""


async def test_an_error_for_a_request_with_a_body_ends_the_connection():
    """What is left of the body must not be read as a request."""
    async with fake_hub() as hub:
        hub.change({"/user/al/": DOWN})
        async with serve_proxy(hub) as proxy, wire(proxy) as client:
            body = get(b"/hub/smuggled")
            await client.send(get(b"/user/al/x", HTML, b"Content-Length: %d" % len(body), method=b"POST") + body)
            assert (await client.answer()).field("connection") == "close"
            assert await client.closed() == b""
            assert not [request for request in hub.requests if "smuggled" in request.raw_path]


async def test_a_flood_of_errors_does_not_flood_the_hub():
    """Beyond a few at a time the built-in page serves."""
    async with fake_hub() as hub:
        hub.change({"/user/al/": DOWN})
        async with serve_proxy(hub) as proxy:
            proxy.plane.pages._fetching = proxy.plane.options.limits.error_page_fetches
            async with wire(proxy) as client:
                assert b"cannot be reached" in (await client.ask(get(b"/user/al/x", HTML))).body


async def test_metrics_are_on_a_listener_of_their_own():
    """Latencies by class of route, under the names that dashboards know, too."""

    async def ok(reader, writer):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with fake_hub() as hub, target(ok) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub, metrics_listen=("127.0.0.1", 0)) as proxy, wire(proxy) as client:
            for path in (b"/user/al/", b"/user/al/", b"/hub/home", b"/_chp_healthz"):
                await client.ask(get(path))
            await client.ask(b"nonsense\r\n\r\n")
            host, port = proxy.control.metrics_address
            async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}/metrics") as response:
                lines = (await response.text()).splitlines()
    for line in (
        'perijove_proxy_request_duration_seconds_count{route="user"} 2',
        'perijove_proxy_request_duration_seconds_bucket{route="hub",le="+Inf"} 1',
        'perijove_proxy_refused_total{status="400"} 1',
        'requests_proxy{status="200"} 4',
        "requests_web 4",
        "requests_ws 0",
        "perijove_proxy_routes 2",
        "perijove_proxy_hub_connected 1",
    ):
        assert line in lines
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)


@pytest.mark.parametrize("style", ["combined", "json"])
async def test_the_access_log_names_requests_and_no_secrets(style):
    """Combined for the tools that read it, JSON for the rest; a client cannot forge a line or a field."""
    stream = io.StringIO()
    async with fake_hub() as hub, serve_proxy(hub, access_log=style) as proxy, wire(proxy) as client:
        proxy.plane.access = AccessLog(style, stream)
        await client.ask(
            get(
                b"/hub/x?token=s3cret&a=1&api_token=s3cret", b'User-Agent: a" 200 b', b"Referer: http://h/?token=s3cret"
            )
        )
        await until(lambda: proxy.plane.sweep() or stream.getvalue())
    text = stream.getvalue()
    assert "s3cret" not in text
    if style == "json":
        line = json.loads(text)
        assert (line["path"], line["status"]) == ("/hub/x?token=***&a=1&api_token=***", 200)
        assert line["request_id"]
    else:
        assert '"GET /hub/x?token=***&a=1&api_token=*** HTTP/1.1" 200 ' in text
        assert r'"http://h/?token=***" "a\" 200 b"' in text

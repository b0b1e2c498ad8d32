"""Services and the audit trail in the admin pages."""

import asyncio
import csv
import html
import io
import json
import re

import pytest
import pytest_asyncio

from perijove.config.options import ServiceOptions
from perijove.services import service_ends
from perijove.services.audit import record
from perijove.testing.inside import hub_inside
from perijove.testing.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _say_nothing(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inside(tmp_path_factory):
    async with await asyncio.start_server(_say_nothing, "127.0.0.1", 0) as listener:
        alive = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        async with hub_inside(
            tmp_path_factory.mktemp("hub"),
            services=(
                ServiceOptions(name="root", api_token="root-token", admin=True),
                ServiceOptions(name="alive", api_token="alive-token", url=alive),
                # Nothing listens on this port: it is reserved.
                ServiceOptions(name="gone", api_token="gone-token", url="http://127.0.0.1:1"),
            ),
        ) as hub:
            yield hub


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def admin(inside):
    async with inside.browser() as browser:
        await browser.log_in("admin", "x")
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trail(inside):
    """120 lines of ada's, and one of somebody who knows spreadsheets."""
    async with inside.hub.store.transaction() as tx:
        for number in range(120):
            await record(tx, "thing.do", actor="ada", subject=f"thing{number}", number=number)
        await record(tx, "thing.do", actor="=1+1", subject="<b>bold</b>", result="denied")


def subjects(page):
    cells = re.findall(r'data-label="To whom or what"><a href="[^"]*">([^<]*)</a>', page)
    return [html.unescape(cell) for cell in cells]


async def test_services_say_whether_they_answer(inside, admin):
    await service_ends.record_end(inside.hub, "alive", 3)

    async def asked():
        _, page = await admin.get("hub/admin/services")
        return "Does not answer" in page and page

    page = await until(asked)
    rows = {row.split("<")[0].strip(): row for row in re.split(r'data-label="Service">(?:<a [^>]*>)?', page)[1:]}
    assert "Running" in rows["alive"]
    assert 'href="/services/alive/"' in page
    assert "ended 1 time" in rows["alive"]
    assert "exit code 3" in rows["alive"]
    assert "Does not answer" in rows["gone"]
    assert "a token only" in rows["root"]
    assert ">admin</span>" in rows["root"]


async def test_pages_of_the_trail_go_back_by_cursor(admin, trail):
    """Each line once, however many are written meanwhile."""
    seen, url = [], "hub/admin/audit?actor=ada&action=thing.*"
    while url:
        _, page = await admin.get(url)
        seen += subjects(page)
        found = re.search(r'rel="next" href="([^"]*)"', page)
        url = html.unescape(found[1]) if found else ""
    assert seen == [f"thing{number}" for number in reversed(range(120))]


async def test_filters_narrow_the_trail_and_stay_in_the_form(admin, trail):
    for query, expected in (
        ("subject=thing7", ["thing7"]),
        ("subject=thing11*&actor=ada", [f"thing{n}" for n in range(119, 109, -1)] + ["thing11"]),
        ("result=denied", ["<b>bold</b>"]),
        ("actor=ada&until=2001-01-01T00:00", []),
    ):
        _, page = await admin.get(f"hub/admin/audit?{query}")
        assert subjects(page) == expected
        for name, value in (part.split("=") for part in query.split("&")):
            assert value in page.split("<section")[0], name


@pytest.mark.parametrize("query", ["since=yesterday", "before=x", "before=9999999999999999999999"])
async def test_nonsense_is_named_and_shows_nothing(admin, trail, query):
    response, page = await admin.get(f"hub/admin/audit?{query}")
    assert response.status == 400
    assert 'role="alert"' in page
    assert subjects(page) == []


async def test_what_matches_is_exported_whole(admin, trail):
    response, text = await admin.get("hub/admin/audit/export?format=ndjson&actor=ada&action=thing.do")
    assert response.headers["content-disposition"] == 'attachment; filename="audit.ndjson"'
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["data"]["number"] for line in lines] == list(reversed(range(120)))
    response, text = await admin.get("hub/admin/audit/export?format=csv&result=denied")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["actor"], row["subject"]) == ("'=1+1", "<b>bold</b>")
    response, _ = await admin.get("hub/admin/audit/export?format=exe")
    assert response.status == 400

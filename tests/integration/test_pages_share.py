"""Accepting a share in the browser: what is offered, by whom, and what it gives."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert

from perijove.services.secrets import hash_session
from perijove.services.server_rows import get_server
from perijove.services.servers import create_server
from perijove.store.schema import share_codes
from perijove.testing.browser import xsrf_of
from perijove.testing.inside import hub_inside

NOW = datetime.now(UTC)


@pytest.fixture
async def inside(tmp_path):
    async with hub_inside(tmp_path, redirect_to_server=False, allow_named_servers=True) as hub:
        yield hub


@pytest.fixture
async def ada(inside):
    async with inside.browser() as browser:
        await browser.log_in("ada", "x")
        yield browser


async def offer(inside, code, *, expires=timedelta(days=1)):
    """Ada gives out `code` for her server `gpu`."""
    await create_server(inside.hub, user="ada", name="gpu", display_name="GPU box", actor="ada")
    row = await get_server(inside.hub, "ada", "gpu")
    async with inside.hub.store.transaction() as tx:
        values = {
            "hashed": hash_session(code),
            "server_id": row.id,
            "scopes": ["access:servers!server=ada/gpu"],
            "created": NOW,
            "expires_at": NOW + expires,
        }
        await tx.execute(insert(share_codes).values(values))


async def test_a_share_says_whose_server_it_is_and_opens_it(inside, ada):
    await offer(inside, "secret-code")
    async with inside.browser() as eve:
        await eve.log_in("eve", "x", path="hub/login?next=%2Fhub%2Fhome")
        response, _ = await eve.get("user/ada/gpu/lab")
        assert response.status == 404
        _, page = await eve.get("hub/accept-share?code=secret-code")
        assert "ada shares a server with you" in page
        assert "GPU box" in page
        assert "not running now" in page
        form = {"_xsrf": xsrf_of(page), "code": "secret-code", "next": "/user/ada/gpu/lab?x=1"}
        response, page = await eve.post("hub/accept-share", form, headers={"Accept": "text/html"})
        assert response.status == 424
        assert "Only ada can start it" in page


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/hub/logout", "/user/ada/", ""])
async def test_a_share_leads_nowhere_but_into_the_shared_server(inside, ada, target):
    await offer(inside, "secret-code")
    async with inside.browser() as eve:
        await eve.log_in("eve", "x")
        _, page = await eve.get("hub/accept-share?code=secret-code")
        form = {"_xsrf": xsrf_of(page), "code": "secret-code", "next": target}
        response, _ = await eve.post("hub/accept-share", form, allow_redirects=False)
        assert (response.status, response.headers["location"]) == (303, "/user/ada/gpu/")


async def test_unknown_expired_and_own_codes_are_refused(inside, ada):
    await offer(inside, "old-code", expires=timedelta(seconds=-1))
    for code in ("old-code", "never-made", ""):
        response, page = await ada.get(f"hub/accept-share?code={code}")
        assert response.status == 404
        assert "Ask for a new one" in page
    _, page = await ada.get("hub/token")
    response, _ = await ada.post("hub/accept-share", {"_xsrf": xsrf_of(page), "code": "old-code"})
    assert response.status == 400


async def test_nobody_accepts_their_own_share(inside, ada):
    await offer(inside, "secret-code")
    _, page = await ada.get("hub/accept-share?code=secret-code")
    response, page = await ada.post("hub/accept-share", {"_xsrf": xsrf_of(page), "code": "secret-code"})
    assert response.status == 400
    assert "your own server" in page

"""The OAuth provider as strict and as lenient as its stock clients know it, byte by byte through the proxy."""

import asyncio
import base64
import hashlib
import json
import re
import secrets
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from perijove.testing.browser import Browser, xsrf_of

HOME = "hub/login?next=%2Fhub%2Fhome"
AUTHORIZE = "hub/api/oauth2/authorize"


@pytest.fixture
async def reader(hub):
    """The browser of somebody whom both services may know."""
    async with hub.browser() as browser:
        await browser.log_in("reader", path=HOME)
        yield browser


async def authorize(browser: Browser, service, **query: str) -> tuple[aiohttp.ClientResponse, str]:
    given = {"client_id": f"service-{service.name}", "response_type": "code", **query}
    return await browser.get(AUTHORIZE, params=given, allow_redirects=False)


def answer(response: aiohttp.ClientResponse) -> dict[str, str]:
    """What the hub tells the client through the browser."""
    assert response.status == 302
    return {name: values[0] for name, values in parse_qs(urlsplit(response.headers["Location"]).query).items()}


async def code_for(browser: Browser, service, **query: str) -> str:
    response, _ = await authorize(browser, service, **query)
    return answer(response)["code"]


async def exchange(hub, service, code: str, /, **form: str) -> tuple[int, dict, aiohttp.ClientResponse]:
    fields = {
        "client_id": f"service-{service.name}",
        "client_secret": service.token,
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": f"/services/{service.name}/oauth_callback",
        **form,
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{hub.url}hub/api/oauth2/token", data=fields) as response,
    ):
        return response.status, await response.json(), response


async def test_a_code_is_exchanged_for_a_token_that_says_who_and_for_which_service(hub, stock, reader):
    response, _ = await authorize(reader, stock.trusted, state="as it was: &=%2F?")
    assert response.headers["Location"].startswith("/services/trusted/oauth_callback?")
    told = answer(response)
    assert told.keys() == {"code", "state"}
    assert told["state"] == "as it was: &=%2F?"
    assert re.fullmatch(r"[A-Za-z0-9]{30}", told["code"])
    status, body, response = await exchange(hub, stock.trusted, told["code"])
    assert status == 200
    assert (response.headers["Cache-Control"], response.headers["Pragma"]) == ("no-store", "no-cache")
    assert re.fullmatch(r"[A-Za-z0-9]{30}", body["access_token"])
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 14 * 24 * 3600)
    granted = {"read:users:name!user", "read:users:groups!user", "access:services!service=trusted"}
    assert set(body["scope"].split()) == granted
    status, me = await hub.api("GET", "/user", token=body["access_token"])
    assert (status, me["name"]) == (200, "reader")
    assert "access:services!service=trusted" in me["scopes"]
    session_ids = {cookie.value for cookie in reader.session.cookie_jar if cookie.key == "jupyterhub-session-id"}
    assert {me["session_id"]} == session_ids


async def test_of_many_exchanges_of_one_code_exactly_one_wins(hub, stock, reader):
    code = await code_for(reader, stock.trusted)
    answers = await asyncio.gather(*(exchange(hub, stock.trusted, code) for _ in range(8)))
    assert sorted(status for status, _, _ in answers) == [200, *[400] * 7]
    assert {body["error"] for status, body, _ in answers if status == 400} == {"invalid_grant"}


def proven(method: str) -> tuple[str, str]:
    """A verifier and its challenge."""
    verifier = secrets.token_urlsafe(32)
    if method == "plain":
        return verifier, verifier
    return verifier, base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


@pytest.mark.parametrize("method", ["S256", "plain"])
async def test_a_challenge_is_met_by_its_verifier_alone(hub, stock, reader, method):
    verifier, challenge = proven(method)
    query = {"code_challenge": challenge, "code_challenge_method": method}
    for wrong in ({}, {"code_verifier": secrets.token_urlsafe(32)}, {"code_verifier": f"{verifier}x"}):
        code = await code_for(reader, stock.trusted, **query)
        status, body, _ = await exchange(hub, stock.trusted, code, **wrong)
        assert (status, body["error"]) == (400, "invalid_grant")
        # One guess a code.
        assert (await exchange(hub, stock.trusted, code, code_verifier=verifier))[0] == 400
    code = await code_for(reader, stock.trusted, **query)
    assert (await exchange(hub, stock.trusted, code, code_verifier=verifier))[0] == 200


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"client_secret": "wrong"}, (401, "invalid_client")),
        ({"client_secret": ""}, (401, "invalid_client")),
        ({"client_id": "service-nobody"}, (401, "invalid_client")),
        ({"client_id": ""}, (401, "invalid_client")),
        ({"code": "x" * 30}, (400, "invalid_grant")),
        ({"redirect_uri": "/services/trusted/elsewhere"}, (400, "invalid_grant")),
        ({"grant_type": "password"}, (400, "unsupported_grant_type")),
        ({"grant_type": "refresh_token"}, (400, "unsupported_grant_type")),
    ],
)
async def test_what_is_wrong_with_an_exchange_is_said_as_oauth_says_it(hub, stock, reader, form, told):
    code = await code_for(reader, stock.trusted)
    status, body, _ = await exchange(hub, stock.trusted, code, **form)
    assert (status, body["error"]) == told


async def test_a_code_is_good_for_its_client_alone(hub, stock, reader):
    code = await code_for(reader, stock.trusted)
    form = {"redirect_uri": "/services/trusted/oauth_callback"}
    status, body, _ = await exchange(hub, stock.asking, code, **form)
    assert (status, body["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("query", "error", "description"),
    [
        ({"response_type": "token"}, "unsupported_response_type", None),
        ({"scope": "no:such"}, "invalid_scope", None),
        (
            {"code_challenge": "c" * 43, "code_challenge_method": "S512"},
            "invalid_request",
            "Transform algorithm not supported.",
        ),
    ],
)
async def test_what_is_wrong_with_a_request_is_told_to_the_client(stock, reader, query, error, description):
    response, _ = await authorize(reader, stock.trusted, state="s", **query)
    assert response.headers["Location"].startswith("/services/trusted/oauth_callback?")
    told = answer(response)
    assert (told["error"], told["state"]) == (error, "s")
    assert description is None or told["error_description"] == description


@pytest.mark.parametrize(
    "query",
    [
        {"client_id": "service-nobody"},
        {"client_id": ""},
        {"redirect_uri": "https://evil.example/services/trusted/oauth_callback"},
        {"redirect_uri": "/services/trusted/oauth_callback/"},
        {"redirect_uri": "/services/trusted/oauth_callback?more=1"},
    ],
)
async def test_a_doubtful_client_is_told_nothing_and_the_person_is(stock, reader, query):
    response, page = await authorize(reader, stock.trusted, **query)
    assert response.status == 400
    assert "Location" not in response.headers
    assert "<html" in page


async def test_a_service_that_asks_shows_what_it_wants_and_may_be_told_less(hub, stock, reader):
    response, page = await authorize(reader, stock.asking, scope="identify")
    assert response.status == 200
    assert 'value="access:services!service=asking"' in page
    assert response.headers["Cache-Control"] == "no-store"
    # No box ticked: who it is, and no more.
    response, _ = await reader.post(str(response.url), {"_xsrf": xsrf_of(page)}, allow_redirects=False)
    _, body, _ = await exchange(hub, stock.asking, answer(response)["code"])
    assert set(body["scope"].split()) == {"read:users:name!user", "read:users:groups!user"}


async def test_a_token_is_no_person_at_a_browser(hub, stock, token_of):
    headers = {"Authorization": f"token {await token_of('reader')}"}
    async with hub.browser() as browser:
        query = "client_id=service-trusted&response_type=code&state=s"
        response, _ = await browser.get(f"{AUTHORIZE}?{query}", headers=headers, allow_redirects=False)
    assert response.status == 302
    location = urlsplit(response.headers["Location"])
    assert location.path == "/hub/login"
    assert parse_qs(location.query)["next"] == [f"/{AUTHORIZE}?{query}"]


async def test_who_may_not_use_a_service_is_told_so_at_the_hub(hub, stock):
    async with hub.browser() as browser:
        await browser.log_in("guest", path=HOME)
        assert await code_for(browser, stock.trusted)
        response, page = await authorize(browser, stock.asking)
    assert response.status == 403
    assert "You do not have permission to access" in page


async def test_logging_out_takes_back_codes_and_tokens_of_this_browser(hub, stock, reader):
    _, body, _ = await exchange(hub, stock.trusted, await code_for(reader, stock.trusted))
    code = await code_for(reader, stock.trusted)
    await reader.get("hub/logout")
    assert (await hub.api("GET", "/user", token=body["access_token"]))[0] == 403
    assert (await exchange(hub, stock.trusted, code))[0] == 400


async def test_an_unknown_token_is_refused_with_json(hub):
    async with hub.browser() as browser:
        response, body = await browser.get("hub/api/user", headers={"Authorization": "token nobody's"})
    assert (response.status, response.content_type) == (403, "application/json")
    assert json.loads(body)["status"] == 403

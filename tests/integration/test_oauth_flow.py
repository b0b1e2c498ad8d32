"""OAuth: how a browser gets into a server or a service, and how that ends."""

import asyncio
import base64
import hashlib
import secrets
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit

import pytest
import pytest_asyncio
from yarl import URL

from perijove.config.options import RoleOptions, ServiceOptions
from perijove.domain.errors import Unavailable
from perijove.store import schema
from perijove.testing.api import Answer, ApiClient
from perijove.testing.browser import Browser, xsrf_of
from perijove.testing.inside import hub_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT, GRAFANA, TRUSTED = "root-token", "grafana-token", "trusted-token"
CALLBACK = "/user/ada/oauth_callback"
CLIENT = "jupyterhub-user-ada"
HERE = "https://grafana.example/login/oauth"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inside(tmp_path_factory):
    async with hub_inside(
        tmp_path_factory.mktemp("hub"),
        redirect_to_server=False,
        allow_named_servers=True,
        services=(
            ServiceOptions(name="root", api_token=ROOT, admin=True),
            ServiceOptions(
                name="grafana",
                api_token=GRAFANA,
                oauth_redirect_uri=HERE,
                oauth_client_allowed_scopes=("read:users!user", "read:hub"),
            ),
            ServiceOptions(name="trusted", api_token=TRUSTED, url="http://127.0.0.1:1", oauth_no_confirm=True),
        ),
        load_roles=(
            RoleOptions(
                name="user", scopes=("self", "access:services!service=grafana", "access:services!service=trusted")
            ),
        ),
    ) as hub:
        async with ApiClient(hub.url, ROOT) as root:
            await root("POST", "/users/ada")
            assert (await root("POST", "/users/ada/server")).status == 201
        yield hub


@pytest_asyncio.fixture(loop_scope="module")
async def ada(inside):
    async with inside.browser() as browser:
        await browser.log_in("ada", "x")
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def api(inside):
    async with ApiClient(inside.url) as client:
        yield client


def secret_of(inside) -> str:
    return next(s.api_token for s in inside.world.servers.values() if s.code is None)


async def authorize(browser: Browser, **query: str) -> tuple[int, str, str]:
    """Status, address redirected to, text."""
    query = {"client_id": CLIENT, "redirect_uri": CALLBACK, "response_type": "code", "state": "s~t", **query}
    query = {name: value for name, value in query.items() if value is not None}
    response, text = await browser.get(f"hub/api/oauth2/authorize?{urlencode(query)}", allow_redirects=False)
    return response.status, response.headers.get("Location", ""), text


def answered(location: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(location).query))


async def exchange(api: ApiClient, **form: str | None) -> Answer:
    form = {name: value for name, value in form.items() if value is not None}
    return await api("POST", "/oauth2/token", data=form)


async def code_for(browser: Browser, **query: str) -> str:
    status, location, _ = await authorize(browser, **query)
    assert status == 302
    return answered(location)["code"]


def good(inside, code: str, **changes: str | None) -> dict[str, str | None]:
    return {
        "client_id": CLIENT,
        "client_secret": secret_of(inside),
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        **changes,
    }


# -- one's own server


async def test_into_ones_own_server_without_a_question(inside, ada, api):
    verifier = secrets.token_urlsafe(32)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    status, location, _ = await authorize(ada, code_challenge=challenge, code_challenge_method="S256")
    assert status == 302
    assert urlsplit(location).path == CALLBACK
    assert urlsplit(location).netloc == ""
    query = answered(location)
    assert query["state"] == "s~t"
    assert len(query["code"]) == 30
    token = await exchange(api, **good(inside, query["code"], code_verifier=verifier))
    assert token.status == 200
    assert (token.headers["Cache-Control"], token.headers["Pragma"]) == ("no-store", "no-cache")
    assert token.json["token_type"] == "Bearer"
    assert token.json["expires_in"] == 1209600
    assert token.json["scope"] == "read:users:name!user read:users:groups!user access:servers!server=ada/"
    assert len(token.json["access_token"]) == 30
    me = (await api("GET", "/user", headers={"Authorization": f"token {token.json['access_token']}"})).json
    mark = next(c.value for c in ada.session.cookie_jar if c.key == "jupyterhub-session-id")
    assert me == {
        "kind": "user",
        "name": "ada",
        "admin": False,
        "groups": [],
        "user_info": None,
        "token_id": me["token_id"],
        "session_id": mark,
        "scopes": ["access:servers!server=ada/", "read:users:groups!user=ada", "read:users:name!user=ada"],
    }


async def test_a_redirect_uri_may_be_left_out_of_either_request(inside, ada, api):
    code = await code_for(ada, redirect_uri=None)
    assert (await exchange(api, **good(inside, code))).status == 200
    code = await code_for(ada)
    assert (await exchange(api, **{**good(inside, code), "redirect_uri": None})).status == 200


async def test_a_code_works_once(inside, ada, api):
    code = await code_for(ada)
    assert (await exchange(api, **good(inside, code))).status == 200
    again = await exchange(api, **good(inside, code))
    assert (again.status, again.json["error"]) == (400, "invalid_grant")


async def test_a_code_works_once_however_many_ask_at_the_same_time(inside, ada, api):
    code = await code_for(ada)
    answers = await asyncio.gather(*(exchange(api, **good(inside, code)) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200] + [400] * 7


async def test_an_expired_code_is_refused(inside, ada, api):
    code = await code_for(ada)
    async with inside.hub.store.transaction() as tx:
        await tx.execute(schema.oauth_codes.update().values(expires_at=tx.now))
    assert (await exchange(api, **good(inside, code))).json["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"client_id": None}, 401, "invalid_client"),
        ({"client_id": "jupyterhub-user-nobody"}, 401, "invalid_client"),
        ({"client_secret": None}, 401, "invalid_client"),
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_secret": ""}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": "refresh_token"}, 400, "unsupported_grant_type"),
        ({"grant_type": None}, 400, "invalid_request"),
        ({"code": None}, 400, "invalid_request"),
        ({"code": "x" * 30}, 400, "invalid_grant"),
        ({"redirect_uri": "/user/eve/oauth_callback"}, 400, "invalid_grant"),
    ],
)
async def test_exchanges_that_are_refused(inside, ada, api, changes, status, error):
    answer = await exchange(api, **{**good(inside, await code_for(ada)), **changes})
    assert (answer.status, answer.json["error"]) == (status, error)


async def test_a_code_is_its_clients(inside, ada, api):
    """Another client cannot use it, nor spend it."""
    code = await code_for(ada)
    stolen = await exchange(api, **good(inside, code, client_id="service-trusted", client_secret=TRUSTED))
    assert (stolen.status, stolen.json["error"]) == (400, "invalid_grant")
    assert (await exchange(api, **good(inside, code))).status == 200


# -- PKCE


@pytest.mark.parametrize(
    ("method", "verifier", "right"),
    [
        ("S256", "v" * 43, True),
        ("S256", "w" * 43, False),
        ("S256", None, False),
        ("S256", "v", False),
        ("plain", "v" * 43, True),
        ("plain", "w" * 43, False),
        (None, "v" * 43, True),
    ],
)
async def test_the_verifier_has_to_fit_the_challenge(inside, ada, api, method, verifier, right):
    challenge = "v" * 43
    if method == "S256":
        challenge = base64.urlsafe_b64encode(hashlib.sha256(challenge.encode()).digest()).rstrip(b"=").decode()
    code = await code_for(ada, code_challenge=challenge, code_challenge_method=method)
    answer = await exchange(api, **good(inside, code, code_verifier=verifier))
    assert answer.status == (200 if right else 400)
    if not right:
        # Spent: whoever guesses has one guess.
        assert (await exchange(api, **good(inside, code, code_verifier="v" * 43))).json["error"] == "invalid_grant"


# -- what is wrong with the question


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": None},
        {"client_id": "nobody"},
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": CALLBACK + "/"},
        {"redirect_uri": CALLBACK + "?x=1"},
        {"redirect_uri": "//evil.example" + CALLBACK},
    ],
)
async def test_an_unknown_client_or_address_is_told_to_the_person(ada, changes):
    status, location, page = await authorize(ada, **changes)
    assert (status, location) == (400, "")
    assert "<html" in page


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": "x" * 43, "code_challenge_method": "S512"}, "invalid_request"),
        ({"code_challenge_method": "S256"}, "invalid_request"),
        ({"code_challenge": "x" * 129}, "invalid_request"),
        ({"scope": "read:nothing"}, "invalid_scope"),
        ({"scope": "read:users!user="}, "invalid_scope"),
    ],
)
async def test_other_mistakes_are_told_to_the_client(ada, changes, error):
    status, location, _ = await authorize(ada, **changes)
    assert status == 302
    assert urlsplit(location).path == CALLBACK
    assert answered(location)["error"] == error
    assert answered(location)["state"] == "s~t"
    assert "code" not in answered(location)


async def test_the_old_scope_identify_is_ignored(ada):
    assert await code_for(ada, scope="identify")


async def test_saying_something_twice_is_refused(ada):
    query = urlencode([("client_id", CLIENT), ("client_id", "x"), ("response_type", "code")])
    response, _ = await ada.get(f"hub/api/oauth2/authorize?{query}", allow_redirects=False)
    assert response.status == 400


async def test_state_comes_back_to_the_letter(ada):
    state = "a b+c&d=é%#/?"
    _, location, _ = await authorize(ada, state=state)
    assert parse_qs(urlsplit(location).query)["state"] == [state]


# -- who may


async def test_whoever_is_not_logged_in_does_that_first_and_comes_back(inside):
    async with inside.browser() as new:
        status, location, _ = await authorize(new)
        assert status == 302
        assert urlsplit(location).path == "/hub/login"
        back = answered(location)["next"]
        assert back.startswith("/hub/api/oauth2/authorize?")
        _, page = await new.get(location)
        form = {"username": "ada", "password": "x", "_xsrf": xsrf_of(page)}
        response, _ = await new.post(location, form, allow_redirects=False)
        assert URL(response.headers["Location"]) == URL(back)
        response, _ = await new.get(response.headers["Location"], allow_redirects=False)
        assert urlsplit(response.headers["Location"]).path == CALLBACK


async def test_a_token_is_no_person_at_a_browser(inside, api):
    path = f"/oauth2/authorize?client_id={CLIENT}&response_type=code"
    answer = await api("GET", path, headers={"Authorization": f"token {secret_of(inside)}"})
    assert answer.status == 302
    assert answer.headers["Location"].startswith("/hub/login")


async def test_strangers_are_refused_and_told_so(inside):
    async with inside.browser() as eve:
        await eve.log_in("eve", "x")
        status, location, page = await authorize(eve)
        assert (status, location) == (403, "")
        assert "You do not have permission to access Server at /user/ada/" in page


async def test_an_admin_may_but_is_asked(inside):
    async with inside.browser() as admin:
        await admin.log_in("admin", "x")
        status, _, page = await authorize(admin)
        assert status == 200
        assert "/user/ada/" in page


async def test_a_client_of_nothing_is_a_fault_of_the_hub(inside, ada):
    async with inside.hub.store.transaction() as tx:
        row = {"id": "orphan", "secret_hash": "x", "redirect_uri": "/x", "allowed_scopes": [], "description": ""}
        await tx.execute(schema.oauth_clients.insert(), row)
    status, _, page = await authorize(ada, client_id="orphan", redirect_uri=None)
    assert status == 500
    assert "OAuth configuration error" in page


# -- services and consent


async def test_a_service_is_agreed_to_once(inside, ada, api):
    query = {"client_id": "service-grafana", "redirect_uri": HERE}
    status, _, page = await authorize(ada, **query)
    assert status == 200
    assert "Authorize access" in page
    assert "read:users!user" in page
    assert "read:hub" not in page  # allowed to the client, not held by her
    fields = {"_xsrf": xsrf_of(page), "scopes": "read:users!user"}
    action = f"hub/api/oauth2/authorize?{urlencode({**query, 'response_type': 'code', 'state': 'x'})}"
    refused, _ = await ada.post(action, {**fields, "_xsrf": "wrong"}, allow_redirects=False)
    assert refused.status == 403
    response, _ = await ada.post(action, fields, allow_redirects=False)
    assert response.status == 302
    location = response.headers["Location"]
    assert location.startswith(HERE + "?")
    token = await exchange(
        api,
        client_id="service-grafana",
        client_secret=GRAFANA,
        grant_type="authorization_code",
        code=answered(location)["code"],
        redirect_uri=HERE,
    )
    assert token.status == 200
    assert set(token.json["scope"].split()) == {"read:users!user", "read:users:name!user", "read:users:groups!user"}
    # What she left out is asked for again.
    assert (await authorize(ada, **query))[0] == 200
    agreed = [*fields.items(), ("scopes", "access:services!service=grafana")]
    response, _ = await ada.post(action, agreed, allow_redirects=False)
    code = answered(response.headers["Location"])["code"]
    form = {"client_id": "service-grafana", "client_secret": GRAFANA, "grant_type": "authorization_code"}
    assert (await exchange(api, **form, code=code, redirect_uri=HERE)).status == 200
    assert (await authorize(ada, **query))[0] == 302


async def test_agreeing_to_nothing_tells_who_it_is(inside, ada, api):
    action = f"hub/api/oauth2/authorize?{urlencode({'client_id': 'service-grafana', 'response_type': 'code'})}"
    xsrf = next(c.value for c in ada.session.cookie_jar if c.key == "_xsrf")
    response, _ = await ada.post(action, {"_xsrf": xsrf}, allow_redirects=False)
    form = {"client_id": "service-grafana", "client_secret": GRAFANA, "grant_type": "authorization_code"}
    token = await exchange(api, **form, code=answered(response.headers["Location"])["code"], redirect_uri=HERE)
    assert set(token.json["scope"].split()) == {"read:users:name!user", "read:users:groups!user"}


async def test_agreeing_cannot_add_what_was_not_offered(inside, ada, api):
    action = f"hub/api/oauth2/authorize?{urlencode({'client_id': 'service-grafana', 'response_type': 'code'})}"
    xsrf = next(c.value for c in ada.session.cookie_jar if c.key == "_xsrf")
    chosen = [("_xsrf", xsrf), ("scopes", "servers!user"), ("scopes", "inherit"), ("scopes", "read:hub")]
    response, _ = await ada.post(action, chosen, allow_redirects=False)
    form = {"client_id": "service-grafana", "client_secret": GRAFANA, "grant_type": "authorization_code"}
    token = await exchange(api, **form, code=answered(response.headers["Location"])["code"], redirect_uri=HERE)
    assert set(token.json["scope"].split()) == {"read:users:name!user", "read:users:groups!user"}


async def test_a_trusted_service_is_not_asked_about(ada):
    status, location, _ = await authorize(ada, client_id="service-trusted", redirect_uri=None)
    assert status == 302
    assert urlsplit(location).path == "/services/trusted/oauth_callback"


# -- how it ends


async def visitor_token(inside, browser, api) -> dict[str, str]:
    token = await exchange(api, **good(inside, await code_for(browser)))
    return {"Authorization": f"token {token.json['access_token']}"}


async def test_logging_out_ends_the_tokens_of_this_browser_only(inside, api):
    async with inside.browser() as here, inside.browser() as there:
        for browser in (here, there):
            await browser.log_in("ada", "x")
        mine, other = await visitor_token(inside, here, api), await visitor_token(inside, there, api)
        unused = await code_for(here)
        assert (await api("GET", "/user", headers=mine)).status == 200
        assert (await api("GET", "/user", headers=other)).status == 200
        await here.get("hub/logout")
        assert (await api("GET", "/user", headers=mine)).status == 403
        assert (await api("GET", "/user", headers=other)).status == 200
        # Nor is a code from before worth anything now.
        assert (await exchange(api, **good(inside, unused))).json["error"] == "invalid_grant"


async def test_revoking_one_oauth_token_ends_all_of_that_client(inside, ada, api):
    one, two = await visitor_token(inside, ada, api), await visitor_token(inside, ada, api)
    token_id = (await api("GET", "/user", headers=one)).json["token_id"]
    async with ApiClient(inside.url, ROOT) as root:
        assert (await root("DELETE", f"/users/ada/tokens/{token_id}")).status == 204
    for token in (one, two):
        assert (await api("GET", "/user", headers=token)).status == 403


async def test_stopping_a_server_ends_its_client_and_every_visitors_token(inside, api):
    async with ApiClient(inside.url, ROOT) as root, inside.browser() as bob:
        await root("POST", "/users/bob")
        await root("POST", "/users/bob/servers/xy")
        await bob.log_in("bob", "x")
        secret = next(
            s.api_token for s in inside.world.servers.values() if s.code is None and s.api_token != secret_of(inside)
        )
        client = {"client_id": "jupyterhub-user-bob-xy", "redirect_uri": "/user/bob/xy/oauth_callback"}
        token = await exchange(api, **good(inside, await code_for(bob, **client), client_secret=secret, **client))
        mine = {"Authorization": f"token {token.json['access_token']}"}
        assert "access:servers!server=bob/xy" in (await api("GET", "/user", headers=mine)).json["scopes"]
        await root("DELETE", "/users/bob/servers/xy")
        assert (await api("GET", "/user", headers=mine)).status == 403
        assert (await authorize(bob, **client))[0] == 400


async def test_a_name_that_needs_quoting_comes_through(inside, api):
    name = "a@b é"
    async with ApiClient(inside.url, ROOT) as root, inside.browser() as person:
        await root("POST", f"/users/{quote(name)}")
        before = {s.api_token for s in inside.world.servers.values()}
        assert (await root("POST", f"/users/{quote(name)}/server")).status == 201
        secret = next(s.api_token for s in inside.world.servers.values() if s.api_token not in before)
        await person.log_in(name, "x")
        client = {
            "client_id": f"jupyterhub-user-{quote(name)}",
            "redirect_uri": f"/user/{quote(name, safe='@~')}/oauth_callback",
        }
        status, location, _ = await authorize(person, **client)
        assert status == 302
        assert location.startswith(client["redirect_uri"] + "?")
        token = await exchange(api, **good(inside, answered(location)["code"], client_secret=secret, **client))
        mine = {"Authorization": f"token {token.json['access_token']}"}
        assert (await api("GET", "/user", headers=mine)).json["name"] == name


async def test_nobody_is_told_no_while_the_database_does_not_answer(inside, ada, api, monkeypatch):
    """Servers remember a refusal for minutes: not knowing is 503, with a time to try again."""
    mine = await visitor_token(inside, ada, api)
    code = await code_for(ada)
    inside.hub.identities.forget("*")

    def broken(self):
        raise Unavailable

    monkeypatch.setattr(type(inside.hub.store), "read", broken)
    for answer in (
        await api("GET", "/user", headers=mine),
        await exchange(api, **good(inside, code)),
    ):
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
    assert (await authorize(ada))[0] == 503
    monkeypatch.undo()
    assert (await exchange(api, **good(inside, code))).status == 200

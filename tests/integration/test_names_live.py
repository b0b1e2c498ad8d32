"""Names of all kinds through the whole path: login, start, proxy, cookies, OAuth, the process itself, and stop.

One hub, one proxy and real processes serve all examples. Cookies are kept as a browser keeps them: by path, compared
character by character with the path that is asked for.
"""

import json
import os
import pwd
import sys
from http import HTTPStatus
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import quote, unquote, urljoin, urlsplit

import aiohttp
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from yarl import URL

from perijove.domain import names
from perijove.domain.errors import Invalid
from perijove.testing import until
from perijove.testing.browser import xsrf_of
from perijove.testing.stand import run_stand

TINY = Path(__file__).parent / "tiny_server.py"
ODD = "@%~+;?#&=:,!$'\"()*<>[]{}|\\^` ._-\u0301\u202e\u200d\u05d0\u0627\u00df\u0130\u4e16\U0001f600aZ0"


def is_for_this_test(name):
    """Allowed, and not the name of an account of this machine, as which its server would run."""
    try:
        names.check_user_name(name.lower())
        pwd.getpwnam(name.lower())
    except Invalid:
        return False
    except (KeyError, UnicodeEncodeError):
        return True
    return False


allowed = st.lists(st.sampled_from([*ODD, "%2F", "..", "%25"]), min_size=1, max_size=12)
allowed = allowed.map("".join).filter(is_for_this_test)


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    config = {
        "hub": {
            "allowNamedServers": True,
            "config": {"JupyterHub": {"authenticator_class": "dummy"}, "Authenticator": {"allow_all": True}},
        },
        "singleuser": {
            "cmd": [sys.executable, str(TINY)],
            "extraEnv": {"TEST_STARTS": str(tmp_path_factory.mktemp("starts"))},
        },
    }
    with run_stand(tmp_path_factory.mktemp("stand"), config) as made:
        yield made


async def running(stand):
    """The hub is started by the first test that needs it, in that test's event loop."""
    if not stand.hubs:
        await stand.hub()


class Jar:
    """Cookies by RFC 6265, which compares paths as they are written. aiohttp's jar compares decoded ones."""

    def __init__(self):
        self.cookies = {}

    def keep(self, response):
        for header in response.headers.getall("Set-Cookie", ()):
            [(name, morsel)] = SimpleCookie(header).items()
            path = morsel["path"]
            if morsel["max-age"] == "0":
                self.cookies.pop((name, path), None)
            else:
                self.cookies[name, path] = morsel.value

    def header(self, url):
        path = urlsplit(url).path
        found = [(kept, name, value) for (name, kept), value in self.cookies.items() if path.startswith(kept)]
        return "; ".join(f"{name}={value}" for _, name, value in sorted(found, key=lambda item: -len(item[0])))


class Person:
    """A browser that shows every step it takes."""

    def __init__(self, stand, session):
        self.stand = stand
        self.session = session
        self.jar = Jar()
        self.visited = []

    async def go(self, path, form=None, *, follow=True):
        """Status and text of where this ends."""
        url = urljoin(self.stand.url, path)
        for _ in range(12):
            self.visited.append(url)
            cookies = {"Cookie": self.jar.header(url)}
            method = "GET" if form is None else "POST"
            async with self.session.request(
                method, URL(url, encoded=True), data=form, headers=cookies, allow_redirects=False
            ) as response:
                self.jar.keep(response)
                text = await response.text()
                if not follow or "Location" not in response.headers:
                    return response.status, text
                url, form = urljoin(url, response.headers["Location"]), None
        raise AssertionError(f"redirected for ever: {self.visited}")

    async def log_in(self, name, password=""):
        """Not to the server, where a login would lead otherwise."""
        login = "/hub/login?next=%2Fhub%2Fhome"
        _, page = await self.go(login)
        return await self.go(login, {"username": name, "password": password, "_xsrf": xsrf_of(page)})


def spellings(name):
    """Ways to write a name in a path that mean the same."""
    raw = name.encode()
    return {
        names.escape(name),
        quote(name, safe="!$&'()*+,;=:@~"),
        quote(name, safe=""),
        "".join(f"%{byte:02X}" for byte in raw),
        "".join(f"%{byte:02x}" for byte in raw),
    }


@settings(
    max_examples=10,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(name=allowed)
@example(name="ada@example.org")
@example(name="Mixed Case")
@example(name="50%")
@example(name="a%2Fb")
@example(name="%252e%252e")
@example(name="..a..")
@example(name="a/../b".replace("/", "\\"))
@example(name="what?is#this;now&then=x")
@example(name="~home+plus")
@example(name='o\'neil "the quote" <b>')
@example(name="\u05d0\u05d1\u202e abc")
@example(name="e\u0301\u0323")
@example(name="\u4e16\u754c" * 20)
@example(name="\U0001f600\u200d\U0001f680" * 10)
@example(name="long" * 63)
async def test_an_allowed_name_works_everywhere(stand, name):
    """Log in, start, reach the server by every spelling, be let in by OAuth and cookie, and stop."""
    await running(stand)
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout) as session:
        person = Person(stand, session)
        status, text = await person.log_in(name)
        assert status == HTTPStatus.OK, text
        user = name.lower()
        escaped = names.escape(user)
        base = f"/user/{escaped}/"
        await find_in_api(stand, user)
        await before_the_start(person, base)
        status, answered = await stand.api("POST", f"/users/{escaped}/server")
        assert status in {201, 202}, answered
        assert (await stand.end_of_progress(escaped))["url"] == base
        await reach(person, stand, user, base)
        await let_in(person, user, base)
        await stop_and_look(person, stand, escaped, base)


async def find_in_api(stand, user):
    for spelling in spellings(user):
        status, model = await stand.api("GET", f"/users/{spelling}")
        assert (status, model["name"]) == (HTTPStatus.OK, user)
    status, found = await stand.api("GET", f"/users?name_filter={quote(user, safe='')}")
    assert user in [model["name"] for model in found]


async def before_the_start(person, base):
    """A link into a stopped server leads to a page of the hub about it, whatever is behind the name."""
    status, page = await person.go(f"{base}lab/tree?reset=1")
    assert status == HTTPStatus.FAILED_DEPENDENCY, page
    assert person.visited[-1] == urljoin(person.stand.url, f"/hub{base}lab/tree?reset=1")
    status, page = await person.go("/hub/home")
    assert status == HTTPStatus.OK


async def reach(person, stand, user, base):
    [process] = stand.processes(user)

    async def routed():
        return (await person.go(base, follow=False))[0] == HTTPStatus.OK

    await until(routed)
    for spelling in spellings(user):
        status, text = await person.go(f"/user/{spelling}/?x=%2F", follow=False)
        assert status == HTTPStatus.OK, text
        home = json.loads(text)
        # Byte for byte what was sent: the server makes of it what it will.
        assert (home["pid"], home["path"]) == (process.pid, f"/user/{spelling}/?x=%2F")
    environment = {key: os.fsencode(value) for key, value in home["environment"].items()}
    assert environment["JUPYTERHUB_USER"] == environment["USER"] == user.encode()
    assert environment["JUPYTERHUB_SERVICE_PREFIX"] == base.encode()
    assert environment["JUPYTERHUB_OAUTH_CALLBACK_URL"] == f"{base}oauth_callback".encode()
    assert os.stat(environment["HOME"]).st_mode & 0o777 == 0o700  # noqa: PTH116 - its bytes
    assert len(environment["JUPYTERHUB_CLIENT_ID"]) <= 255
    status, text = await person.go(f"{base}whoami")
    assert (status, json.loads(text)["name"]) == (HTTPStatus.OK, user)
    status, _ = await person.go("/hub/user-redirect/private")
    assert unquote(urlsplit(person.visited[-1]).path) == unquote(f"{base}private")


async def let_in(person, user, base):
    """By the hub the first time, by the cookie of the server's own path after that."""
    for cookie in [key for key in person.jar.cookies if key[1] == base]:
        del person.jar.cookies[cookie]
    status, text = await person.go(f"{base}private")
    assert (status, json.loads(text)) == (HTTPStatus.OK, {"name": user}), person.visited
    assert any("/hub/api/oauth2/authorize" in url for url in person.visited[-4:])
    assert {path for _, path in person.jar.cookies} == {"/", "/hub/", base}
    status, text = await person.go(f"{base}private", follow=False)
    assert (status, json.loads(text)) == (HTTPStatus.OK, {"name": user})


async def stop_and_look(person, stand, escaped, base):
    status, _ = await stand.api("DELETE", f"/users/{escaped}/server")
    assert status in {202, 204}

    async def stopped():
        return (await stand.api("GET", f"/users/{escaped}"))[1]["servers"] == {}

    await until(stopped)
    assert stand.processes(unquote(escaped)) == []
    status, _ = await person.go(base)
    assert status == HTTPStatus.FAILED_DEPENDENCY
    status, _ = await person.go("/hub/logout")
    assert status == HTTPStatus.OK
    assert {path for _, path in person.jar.cookies} <= {"/", "/hub/", base}


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("a/b", "slash"),
        (" a", "space"),
        ("a\u00a0", "space"),
        ("..", "dots alone"),
        ("%2e%2e", "dots alone"),
        ("a\nb", "control characters or line breaks"),
        ("a\0b", "control characters"),
        ("a\u2028b", "line breaks"),
        ("x" * 256, "at most 255 characters"),
        ("\U0001f600" * 64, "at most 765 characters in a URL"),
    ],
)
async def test_a_refused_name_is_told_the_rule(stand, name, rule):
    """At the login page and in the API, and no such user is made."""
    await running(stand)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        status, page = await Person(stand, session).log_in(name)
        assert status in {400, 403}
        assert rule in page
    status, answered = await stand.api("POST", "/users", {"usernames": [name]})
    assert status == HTTPStatus.BAD_REQUEST
    assert rule in answered["message"]
    assert [model for model in (await stand.api("GET", "/users"))[1] if model["name"] == name] == []


@pytest.mark.parametrize("name", ["Lab", "a b", "a_b", "-a", "a--b", "a.", "%61", "\u00e9", "x" * 31, "a%2Fb"])
async def test_a_refused_server_name_is_told_the_rule(stand, name):
    await running(stand)
    await stand.api("POST", "/users/servers-of")
    status, answered = await stand.api("POST", f"/users/servers-of/servers/{quote(quote(name), safe='')}")
    assert status == HTTPStatus.BAD_REQUEST
    assert "lowercase letters, digits and single dashes" in answered["message"]


async def test_servers_whose_names_run_together_do_not_meet(stand):
    """`x-y` of nobody, `y` of `x`, and `x-y`'s own: three servers, three doors, each for its owner only."""
    await running(stand)
    three = [("x", "y"), ("x-y", ""), ("x", "")]
    for user, server in three:
        await stand.api("POST", f"/users/{user}")
        await stand.api("POST", f"/users/{user}/servers/{server}")
        assert (await stand.end_of_progress(user, server))["ready"]
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        for owner in ("x", "x-y"):
            person = Person(stand, session)
            await person.log_in(owner)
            for user, server in three:
                status, text = await person.go(f"{names.server_prefix('/', user, server)}private")
                if user == owner:
                    assert (status, json.loads(text)) == (HTTPStatus.OK, {"name": owner})
                else:
                    assert status == HTTPStatus.FORBIDDEN

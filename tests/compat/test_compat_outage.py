"""While the database does not answer nobody is told "no": stock clients remember a refusal for minutes."""

import asyncio
import fcntl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from jupyterhub.services.auth import HubOAuth
from tornado.web import HTTPError

from perijove.config.options import RoleOptions, ServiceOptions
from perijove.domain.errors import Unavailable
from perijove.testing.inside import hub_inside

HOME = "hub/login?next=%2Fhub%2Fhome"
# Of the file beside a database in WAL mode: every reader and every writer takes one of these bytes.
FIRST_LOCK, LOCKS = 120, 8


@contextmanager
def nobody_may_read(database: Path) -> Iterator[None]:
    """What another process does to SQLite when it hangs in the middle of a recovery: all locks are taken."""
    with database.with_name(f"{database.name}-shm").open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, LOCKS, FIRST_LOCK)
        try:
            yield
        finally:
            fcntl.lockf(file, fcntl.LOCK_UN, LOCKS, FIRST_LOCK)


async def ask(url: str, token: str) -> tuple[int, dict[str, str]]:
    headers = {"Authorization": f"token {token}"}
    timeout = aiohttp.ClientTimeout(total=60)
    async with (
        aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
        session.get(url, allow_redirects=False) as response,
    ):
        return response.status, dict(response.headers)


@pytest.mark.slow
@pytest.mark.parametrize("server", ["6"], indirect=True)
async def test_an_outage_of_the_database_refuses_nobody(hub, server, token_of):
    """Neither the hub nor a stock server that asks it; and when it is over, what was asked then is answered."""
    tokens = [await token_of(server.user, f"access:servers!user={server.user}") for _ in range(2)]
    with nobody_may_read(hub.data_dir / "perijove.sqlite"):
        (visited, _), (asked, headers) = await asyncio.gather(
            ask(f"{server.url}api/contents", tokens[0]),
            ask(f"{hub.url}hub/api/user", tokens[1]),
        )
    assert (visited, asked) == (502, 503)
    assert int(headers["Retry-After"]) > 0
    assert (await ask(f"{server.url}api/contents", tokens[0]))[0] == 200
    assert (await ask(f"{hub.url}hub/api/user", tokens[1]))[0] == 200


VISITOR, SECRET = "v" * 32, "s" * 32


@pytest.fixture
async def doubtful(tmp_path):
    """A hub whose store can be told not to answer, and the stock client of a service beside it."""
    service = ServiceOptions(name="svc", url="http://127.0.0.1:1", api_token=SECRET, oauth_no_confirm=True)
    guests = RoleOptions(name="guests", scopes=("access:services!service=svc",), users=("ada",))
    async with hub_inside(tmp_path, services=(service,), load_roles=(guests,), api_tokens={VISITOR: "ada"}) as inside:
        yield (
            inside,
            HubOAuth(
                api_url=f"{inside.url}hub/api",
                api_token=SECRET,
                oauth_client_id="service-svc",
                oauth_redirect_uri="/services/svc/oauth_callback",
                oauth_token_url=f"{inside.url}hub/api/oauth2/token",
                access_scopes={"access:services!service=svc"},
            ),
        )


@asynccontextmanager
async def unavailable() -> AsyncIterator[None]:
    raise Unavailable("The database is elsewhere.")
    yield


async def test_the_stock_client_learns_of_an_outage_and_remembers_nothing_of_it(doubtful, monkeypatch):
    inside, client = doubtful
    with monkeypatch.context() as patch:
        patch.setattr(inside.hub.store, "read", unavailable)
        with pytest.raises(HTTPError) as failed:
            await client.user_for_token(VISITOR, sync=False)
    assert failed.value.status_code == 502
    assert (await client.user_for_token(VISITOR, sync=False))["name"] == "ada"
    # What it does remember: "no" to a token that nobody has.
    assert await client.user_for_token("n" * 32, sync=False) is None


@pytest.mark.parametrize("broken", ["read", "transaction"])
async def test_a_code_survives_an_outage(doubtful, monkeypatch, broken):
    inside, client = doubtful
    async with inside.browser() as browser:
        await browser.log_in("ada", path=HOME)
        query = "client_id=service-svc&response_type=code&state=s"
        response, _ = await browser.get(f"hub/api/oauth2/authorize?{query}", allow_redirects=False)
    [code] = parse_qs(urlsplit(response.headers["Location"]).query)["code"]
    with monkeypatch.context() as patch:
        patch.setattr(inside.hub.store, broken, unavailable)
        with pytest.raises(HTTPError) as failed:
            await client.token_for_code(code, sync=False)
    assert failed.value.status_code == 502
    token = await client.token_for_code(code, sync=False)
    assert (await client.user_for_token(token, sync=False))["name"] == "ada"

"""What one caller may ask of the hub: how often, how much, and for how long a token is."""

import asyncio
import io
from contextlib import AsyncExitStack
from datetime import datetime, timedelta

import aiohttp
import pytest

from perijove.config.options import ServiceOptions
from perijove.testing.api import ApiClient
from perijove.testing.inside import hub_inside

SERVICES = (
    ServiceOptions(name="root", api_token="root-token", admin=True),
    ServiceOptions(name="other", api_token="other-token", admin=True),
)


async def test_listings_and_exports_are_limited_for_each_caller(tmp_path):
    limits = {"list": 3, "export": 1}
    async with (
        hub_inside(tmp_path, services=SERVICES, api_rate_limits=limits) as inside,
        ApiClient(inside.url, "root-token") as root,
        ApiClient(inside.url, "other-token") as other,
    ):
        for path, allowed in (("/users", 3), ("/audit/export?format=csv", 1)):
            for _ in range(allowed):
                assert (await root("GET", path)).status == 200
            refused = await root("GET", path)
            assert refused.status == 429
            assert refused.json["status"] == 429
            assert 1 <= int(refused.headers["Retry-After"]) <= 60
            assert (await other("GET", path)).status == 200
        assert (await root("GET", "/users/ann")).status == 404


async def test_replicas_count_an_owners_new_tokens_together(tmp_path):
    """Made by whomever, on whichever replica; those of another owner are counted apart."""
    options = {"services": SERVICES, "api_rate_limits": {"token": 4}}
    async with AsyncExitStack() as stack:
        hubs = [await stack.enter_async_context(hub_inside(tmp_path, **options)) for _ in range(2)]
        calls = [await stack.enter_async_context(ApiClient(hub.url, "root-token")) for hub in hubs]
        await calls[0]("POST", "/users", {"usernames": ["ann", "bob"]})
        made = await asyncio.gather(*(calls[n % 2]("POST", "/users/ann/tokens") for n in range(8)))
        assert sorted(answer.status for answer in made) == [201] * 4 + [429] * 4
        assert all(1 <= int(answer.headers["Retry-After"]) <= 60 for answer in made if answer.status == 429)
        assert (await calls[1]("POST", "/users/bob/tokens")).status == 201


async def test_bodies_beyond_a_megabyte_are_refused_in_json(limited):
    """By every operation, whether or not it would read one."""
    headers = {"Authorization": "token root-token", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for method, path in (
            ("POST", "users"),
            ("PATCH", "users/ann"),
            ("POST", "users/ann/server"),
            ("DELETE", "users/ann/server"),
            ("GET", "users"),
            ("PUT", "groups/g/properties"),
            ("POST", "oauth2/token"),
            ("POST", "shutdown"),
            ("POST", "users/ann/tokens"),
        ):
            body = io.BytesIO(b'{"a": "' + b"x" * 1024 * 1024 + b'"}')
            async with session.request(method, f"{limited.url}hub/api/{path}", data=body) as response:
                assert response.status == 413, path
                assert (await response.json())["status"] == 413


@pytest.fixture
async def limited(tmp_path):
    async with hub_inside(tmp_path, services=SERVICES, token_expires_max=timedelta(hours=1)) as inside:
        yield inside


async def test_no_token_outlives_the_policy(limited):
    """Of admins neither, as in JupyterHub; a token that does not say lives as long as it may."""
    async with ApiClient(limited.url, "root-token") as root:
        await root("POST", "/users", {"usernames": ["boss"], "admin": True})
        made = (await root("POST", "/users/boss/tokens")).json
        lifetime = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created"])
        assert lifetime == timedelta(hours=1)
        assert (await root("POST", "/users/boss/tokens", {"expires_in": 3600})).status == 201
        assert (await root("POST", "/users/boss/tokens", {"expires_in": 3601})).status == 400

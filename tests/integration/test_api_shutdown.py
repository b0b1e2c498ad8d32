"""Shutting the hub down through the API."""

import aiohttp
import pytest

from perijove.config.options import ServiceOptions
from perijove.testing.api import ApiClient
from perijove.testing.inside import hub_inside
from perijove.testing.waiting import until

SERVICES = (ServiceOptions(name="root", api_token="root-token", admin=True),)


@pytest.mark.parametrize(("body", "left"), [(None, 1), ({"servers": False}, 1), ({"servers": True, "proxy": True}, 0)])
async def test_the_hub_ends_and_servers_stay_unless_asked_for(tmp_path, body, left):
    async with hub_inside(tmp_path, services=SERVICES) as inside:
        async with ApiClient(inside.url, "root-token") as root:
            await root("POST", "/users/ann")
            assert (await root("POST", "/users/ann/server")).status == 201
            answer = await root("POST", "/shutdown", body)
            assert (answer.status, answer.json) == (202, {"message": "Shutting down Hub"})

        async def gone():
            try:
                async with aiohttp.ClientSession() as session, session.get(f"{inside.url}hub/health"):
                    return False
            except aiohttp.ClientError:
                return True

        await until(gone)
        await until(lambda: len([s for s in inside.world.servers.values() if s.code is None]) == left)


async def test_only_with_the_scope_and_a_sensible_body(tmp_path):
    async with hub_inside(tmp_path, services=SERVICES) as inside, ApiClient(inside.url, "root-token") as root:
        await root("POST", "/users/ann")
        token = (await root("POST", "/users/ann/tokens")).json["token"]
        async with ApiClient(inside.url, token) as ann:
            assert (await ann("POST", "/shutdown")).status == 403
        for body in ({"servers": "yes"}, {"colour": 1}, []):
            assert (await root("POST", "/shutdown", body)).status == 400
        assert (await root("GET", "/users/ann")).status == 200

"""`named_server_limit_per_user` as a function of the handler, as JupyterHub documents it."""

import pytest

from perijove.config.options import GroupOptions, ServiceOptions
from perijove.testing.api import ApiClient
from perijove.testing.inside import hub_inside


def documented(handler):
    user = handler.current_user
    if user and user.admin:
        return 0
    return 2 if "staff" in [group.name for group in user.groups] else 1


async def awaited(handler):
    return documented(handler)


@pytest.mark.parametrize("limit", [documented, awaited])
async def test_a_function_decides_by_who_asks(tmp_path, limit):
    """Admins have no limit, staff have two, others one; the home page says the same."""
    options = {
        "services": (ServiceOptions(name="root", api_token="root-token", admin=True),),
        "allow_named_servers": True,
        "named_server_limit_per_user": limit,
        "load_groups": (GroupOptions(name="staff", users=("sue",)),),
        "redirect_to_server": False,
    }
    async with hub_inside(tmp_path, **options) as inside, ApiClient(inside.url, "root-token") as root:
        await root("POST", "/users", {"usernames": ["ann", "sue"]})
        await root("POST", "/users", {"usernames": ["admin"], "admin": True})
        for user, allowed in (("ann", 1), ("sue", 2), ("admin", 3)):
            for number in range(allowed):
                assert (await root("PUT", f"/users/{user}/servers/s{number}")).status == 201
            refused = await root("PUT", f"/users/{user}/servers/more")
            assert refused.status == (201 if user == "admin" else 400)
        async with inside.browser() as sue:
            await sue.log_in("sue", "x", path="hub/login?next=%2Fhub%2Fhome")
            _, page = await sue.get("hub/home")
            assert "You have 2 of 2 named servers" in page

"""`blocked_users`: somebody who is here already loses what they hold when the hub starts with the new list."""

from perijove.services.server_rows import get_server
from perijove.services.tokens import create_token
from perijove.testing.inside import OPEN, hub_inside
from perijove.testing.waiting import until

BLOCKING = {"Authenticator": {**OPEN["Authenticator"], "blocked_users": {"mallory"}}}


async def test_a_user_blocked_by_configuration_is_out_of_sessions_and_servers_after_a_restart(tmp_path):
    async with hub_inside(tmp_path) as before, before.browser() as browser:
        status, _ = await browser.log_in("mallory", "anything")
        assert status == 200
        token = (await create_token(before.hub, "mallory", note="keep", actor="mallory")).token
        await until(before.world.alive)
        cookies = browser.session.cookie_jar

    async with hub_inside(tmp_path, traits=BLOCKING) as after, after.browser() as browser:
        browser.session.cookie_jar.update_cookies({cookie.key: cookie.value for cookie in cookies})
        response, _ = await browser.get("hub/home", allow_redirects=False)
        assert response.status == 302, "the old session no longer counts"
        headers = {"Authorization": f"token {token}"}
        response, _ = await browser.get("hub/api/user", headers=headers)
        assert response.status == 403, "nor does the token"

        async def stopped() -> bool:
            return not (await get_server(after.hub, "mallory", "")).active

        await until(stopped)
        status, _ = await browser.log_in("mallory", "anything")
        assert status == 403

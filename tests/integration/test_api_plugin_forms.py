"""Forms of plug-ins: who guesses there waits as everywhere."""

import pytest
from jupyterhub.auth import Authenticator
from jupyterhub.handlers import BaseHandler

from perijove.services.throttle import FREE_FAILURES
from perijove.testing.browser import xsrf_of
from perijove.testing.inside import hub_inside


class OwnForm(BaseHandler):
    """As NativeAuthenticator's: a login page of its own in the place of the hub's."""

    def get(self):
        self.write(f'<form><input type="hidden" name="_xsrf" value="{self.xsrf_token.decode()}"></form>')

    async def post(self):
        data = {name: self.get_argument(name) for name in ("username", "password")}
        user = await self.login_user(data)
        self.set_status(200 if user else 403)
        self.write(f"hello {user.name}" if user else "again")


class OwnAuthenticator(Authenticator):
    allow_all = True

    def get_handlers(self, app):
        del app
        return [("/own-login", OwnForm)]

    async def authenticate(self, handler, data):
        del handler
        return data["username"] if data["password"] == "right" else None


@pytest.fixture
async def inside(tmp_path):
    async with hub_inside(tmp_path, traits={}, authenticator_class=OwnAuthenticator) as hub:
        yield hub


async def test_a_plugins_form_is_throttled_like_ours(inside):
    async with inside.browser() as browser:

        async def guess(password, user="ada"):
            _, page = await browser.get("hub/own-login")
            fields = {"username": user, "password": password, "_xsrf": xsrf_of(page)}
            response, text = await browser.post("hub/own-login", fields, headers={"X-Forwarded-For": "192.0.2.9"})
            return response.status, text

        assert await guess("wrong") == (403, "again")
        for _ in range(FREE_FAILURES - 1):
            assert (await guess("wrong"))[0] == 403
        # Not even the right one, for now.
        assert (await guess("right"))[0] == 429
        assert await guess("right", user="eve") == (200, "hello eve")

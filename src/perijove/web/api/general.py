"""The hub itself: version, details, health, shutdown, and the caller."""

import sys

import msgspec
from starlette.responses import Response

from perijove import JUPYTERHUB_VERSION
from perijove.services import shutdown as shutting
from perijove.services import users
from perijove.web.api.endpoint import Call, Endpoint, Operation
from perijove.web.api.me import render_me
from perijove.web.requests import read_optional_json


class ShutdownRequest(msgspec.Struct, forbid_unknown_fields=True):
    proxy: bool | None = None
    servers: bool | None = None


async def version(call: Call) -> Response:
    """The version call that every single-user server and culler makes first."""
    response = call.json({"version": JUPYTERHUB_VERSION})
    response.headers["Access-Control-Allow-Origin"] = "*"
    return response


async def details(call: Call) -> Response:
    """Which Python, authenticator and spawner the hub runs with."""
    hub = call.hub
    return call.json(
        {
            "version": JUPYTERHUB_VERSION,
            "python": sys.version,
            "sys_executable": sys.executable,
            "authenticator": {"class": hub.authenticator.class_path, "version": hub.authenticator.version},
            "spawner": {"class": hub.spawners.class_path, "version": hub.spawners.version},
        }
    )


async def caller(call: Call) -> Response:
    """Whose the credentials are, with the scopes that they have now."""
    identity = call.identity
    user = await users.get_user(call.hub, identity.name) if identity.kind == "user" else None
    return call.json(render_me(call.hub, identity, user))


async def health(call: Call) -> Response:
    """Empty, and 200 while the hub answers."""
    return call.empty()


async def shutdown(call: Call) -> Response:
    """Ends the hub; its proxy and users' servers as said, else as `cleanup_proxy` and `cleanup_servers` say."""
    wanted = await read_optional_json(call.request, ShutdownRequest, ShutdownRequest())
    await shutting.ask(call.hub, servers=wanted.servers, proxy=wanted.proxy, actor=call.actor)
    return call.json({"message": "Shutting down Hub"}, 202)


ENDPOINTS = [
    Endpoint("", GET=Operation(version, public=True), HEAD=Operation(version, public=True)),
    Endpoint("/", GET=Operation(version, public=True), HEAD=Operation(version, public=True)),
    Endpoint("/info", GET=Operation(details, "read:hub")),
    Endpoint("/user", GET=Operation(caller)),
    Endpoint("/health", GET=Operation(health, public=True), HEAD=Operation(health, public=True)),
    Endpoint("/shutdown", POST=Operation(shutdown, "shutdown")),
]

"""Servers through the REST API: start, stop, progress, change; what each answer's status means."""

import asyncio
import json

import pytest

from perijove.config.options import ServiceOptions
from perijove.domain.errors import SpawnFailed
from perijove.testing.api import ApiClient
from perijove.testing.inside import hub_inside
from perijove.testing.waiting import until

ROOT = "root-token"
SERVICES = (ServiceOptions(name="root", api_token=ROOT, admin=True),)


@pytest.fixture
async def inside(tmp_path):
    async with hub_inside(
        tmp_path,
        services=SERVICES,
        allow_named_servers=True,
        named_server_limit_per_user=3,
        slow_spawn_timeout_seconds=5,
        slow_stop_timeout_seconds=5,
    ) as hub:
        yield hub


@pytest.fixture
async def root(inside):
    async with ApiClient(inside.url, ROOT) as client:
        await client("POST", "/users/ann")
        yield client


def hurry(inside, **changes):
    """Options are frozen; a test that waits for a timeout replaces one."""
    for name, value in changes.items():
        object.__setattr__(inside.hub.options, name, value)


async def test_a_start_and_a_stop_that_are_quick_are_done_when_answered(root):
    started = await root("POST", "/users/ann/server")
    assert (started.status, started.text) == (201, "")
    assert started.headers["Content-Type"].startswith("text/plain")
    assert (await root("GET", "/users/ann")).json["server"] == "/user/ann/"
    stopped = await root("DELETE", "/users/ann/server")
    assert (stopped.status, stopped.text) == (204, "")
    assert (await root("GET", "/users/ann")).json["server"] is None


async def test_starting_what_runs_is_refused_and_stopping_what_does_not_is_fine(root):
    assert (await root("DELETE", "/users/ann/server")).status == 204
    await root("POST", "/users/ann/server")
    again = await root("POST", "/users/ann/server")
    assert (again.status, again.message) == (400, "ann is already running")
    await root("DELETE", "/users/ann/server")
    assert (await root("DELETE", "/users/ann/server")).status == 204


async def test_a_slow_start_is_accepted_and_asking_again_changes_nothing(inside, root):
    hurry(inside, slow_spawn_timeout_seconds=0)
    inside.behaviour.hold_start = asyncio.Event()
    assert (await root("POST", "/users/ann/server")).status == 202
    assert (await root("POST", "/users/ann/server")).status == 202
    user = (await root("GET", "/users/ann")).json
    assert (user["pending"], user["server"], user["servers"][""]["pending"]) == ("spawn", None, "spawn")
    inside.behaviour.hold_start.set()

    async def ready():
        return (await root("GET", "/users/ann")).json["server"] is not None

    await until(ready)


async def test_a_slow_stop_is_accepted(inside, root):
    hurry(inside, slow_stop_timeout_seconds=0)
    await root("POST", "/users/ann/server")
    inside.behaviour.hold_stop = asyncio.Event()
    assert (await root("DELETE", "/users/ann/server")).status == 202
    assert (await root("DELETE", "/users/ann/server")).status == 202
    assert (await root("GET", "/users/ann")).json["pending"] == "stop"
    inside.behaviour.hold_stop.set()

    async def gone():
        return (await root("GET", "/users/ann")).json["servers"] == {}

    await until(gone)


@pytest.mark.parametrize("status", [500, 400, 503])
async def test_a_start_that_fails_quickly_answers_with_the_plugins_status_and_message(inside, root, status):
    inside.behaviour.fail_start = SpawnFailed("No such image", status=status)
    answer = await root("POST", "/users/ann/server")
    assert (answer.status, answer.json["status"]) == (status, status)
    assert "No such image" in answer.message
    assert (await root("GET", "/users/ann")).json["servers"] == {}


async def test_stopping_cancels_a_pending_start(inside, root):
    hurry(inside, slow_spawn_timeout_seconds=0)
    inside.behaviour.hold_start = asyncio.Event()
    assert (await root("POST", "/users/ann/server")).status == 202
    assert (await root("DELETE", "/users/ann/server")).status in {202, 204}

    async def gone():
        return (await root("GET", "/users/ann")).json["servers"] == {}

    await until(gone)


# -- options


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ({"image": "x", "n": 1}, {"image": "x", "n": 1}),
        ({"user_options": {"image": "x"}}, {"image": "x"}),
        ({"user_options": {"image": "x"}, "display_name": "My GPU"}, {"image": "x"}),
        ({"user_options": {}}, {}),
        ({"user_options": None}, {}),
        ({}, {}),
    ],
)
async def test_options_are_what_the_body_says(root, body, options):
    assert (await root("POST", "/users/ann/servers/gpu", body)).status == 201
    server = (await root("GET", "/users/ann/servers/gpu")).json
    assert server["user_options"] == options
    assert server["display_name"] == body.get("display_name", "gpu")


async def test_without_options_those_of_the_last_start_are_used(root):
    await root("POST", "/users/ann/server", {"image": "x"})
    await root("DELETE", "/users/ann/server")
    await root("POST", "/users/ann/server")
    assert (await root("GET", "/users/ann/server")).json["user_options"] == {"image": "x"}


@pytest.mark.parametrize(
    "data",
    [b"[]", b'"x"', b"5", b"{", b"\xff", b'{"user_options": []}', b'{"display_name": 5}', b'{"display_name": ""}',
     b'{"display_name": "a\\u0007b"}'],
)  # fmt: skip
async def test_bodies_that_mean_nothing_are_refused(root, data):
    answer = await root("POST", "/users/ann/server", data=data)
    assert answer.status == 400, answer.text
    assert (await root("GET", "/users/ann")).json["servers"] == {}


# -- named servers


@pytest.mark.parametrize("name", ["Gpu", "1gpu", "g--pu", "g-", "a" * 31, "g_pu", "%C3%BC", "g%20pu", "g%2Fx"])
async def test_names_that_no_server_may_have(root, name):
    assert (await root("POST", f"/users/ann/servers/{name}")).status in {400, 404}
    assert (await root("PUT", f"/users/ann/servers/{name}")).status in {400, 404, 405}
    servers = (await root("GET", "/users/ann?include_stopped_servers=1")).json["servers"]
    assert list(servers) == [""], "the default server, which everybody has"


async def test_creating_without_starting(root):
    made = await root("PUT", "/users/ann/servers/gpu", {"user_options": {"n": 1}})
    assert (made.status, made.json["stopped"], made.json["user_options"]) == (201, True, {"n": 1})
    assert (await root("PUT", "/users/ann/servers/gpu")).status == 409
    assert (await root("PUT", "/users/ann/server")).status == 409
    assert (await root("GET", "/users/ann/servers/gpu")).json["name"] == "gpu"


async def test_the_limit_counts_named_servers(root):
    for name in ("a", "b", "c"):
        assert (await root("PUT", f"/users/ann/servers/{name}")).status == 201
    assert (await root("PUT", "/users/ann/servers/d")).status == 400
    assert (await root("POST", "/users/ann/servers/d")).status == 400
    assert (await root("POST", "/users/ann/server")).status == 201


async def test_an_empty_name_is_the_default_server(root):
    assert (await root("POST", "/users/ann/servers/")).status == 201
    assert (await root("GET", "/users/ann")).json["server"] == "/user/ann/"
    assert (await root("DELETE", "/users/ann/servers/")).status == 204


async def test_changing_a_stopped_server(root):
    await root("PUT", "/users/ann/servers/gpu")
    await root("PUT", "/users/ann/servers/cpu")
    change = {"display_name": "Big one", "user_options": {"n": 2}, "name": "tpu"}
    changed = await root("PATCH", "/users/ann/servers/gpu", change)
    assert changed.status == 200
    assert (changed.json["name"], changed.json["display_name"], changed.json["user_options"]) == (
        "tpu",
        "Big one",
        {"n": 2},
    )
    assert (await root("PATCH", "/users/ann/servers/tpu", {"name": "cpu"})).status == 409
    assert (await root("PATCH", "/users/ann/servers/gpu", {"name": "x"})).status == 404
    for body in ({}, {"colour": 1}, {"user_options": []}, []):
        assert (await root("PATCH", "/users/ann/servers/tpu", body)).status == 400
    await root("POST", "/users/ann/servers/tpu")
    assert (await root("PATCH", "/users/ann/servers/tpu", {"name": "x"})).status == 400


async def test_removing_a_named_server(inside, root):
    await root("POST", "/users/ann/servers/gpu")
    assert (await root("DELETE", "/users/ann/servers/gpu", {"remove": True})).status == 204
    assert (await root("GET", "/users/ann/servers/gpu")).status == 404
    assert (await root("DELETE", "/users/ann/servers/gpu")).status == 404
    assert (await root("DELETE", "/users/ann/server", {"remove": True})).status == 400
    assert (await root("DELETE", "/users/ann/server", {"remove": "yes"})).status == 400


async def test_where_named_servers_are_off_they_are_refused(tmp_path):
    async with hub_inside(tmp_path, services=SERVICES) as inside, ApiClient(inside.url, ROOT) as root:
        await root("POST", "/users/ann")
        for method in ("POST", "PUT", "DELETE"):
            assert (await root(method, "/users/ann/servers/gpu")).status == 400


async def test_limits_say_when_to_come_back(tmp_path):
    async with (
        hub_inside(tmp_path, services=SERVICES, concurrent_spawn_limit=1, slow_spawn_timeout_seconds=0) as inside,
        ApiClient(inside.url, ROOT) as root,
    ):
        await root("POST", "/users", {"usernames": ["ann", "ben"]})
        inside.behaviour.hold_start = asyncio.Event()
        assert (await root("POST", "/users/ann/server")).status == 202
        refused = await root("POST", "/users/ben/server")
        assert refused.status == 429
        assert 30 <= int(refused.headers["Retry-After"]) <= 60
        inside.behaviour.hold_start.set()


# -- whose


async def test_servers_are_their_owners(inside, root):
    await root("POST", "/users/ben")
    token = (await root("POST", "/users/ben/tokens")).json["token"]
    async with ApiClient(inside.url, token) as ben:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            assert (await ben(method, "/users/ann/server")).status == 404
        assert (await ben("GET", "/users/ann/server/progress")).status == 404
        assert (await ben("POST", "/users/ben/server")).status == 201
        # Its state is for admins.
        assert "state" not in (await ben("GET", "/users/ben/server")).json
    assert "state" in (await root("GET", "/users/ben/server")).json


async def test_a_token_for_one_server_reaches_only_that_one(inside, root):
    scopes = ["start:servers!server=ann/gpu", "read:servers!server=ann/gpu"]
    token = (await root("POST", "/users/ann/tokens", {"scopes": scopes})).json["token"]
    async with ApiClient(inside.url, token) as one:
        assert (await one("POST", "/users/ann/servers/gpu")).status == 201
        assert (await one("GET", "/users/ann/servers/gpu")).status == 200
        assert (await one("POST", "/users/ann/server")).status == 404
        assert (await one("DELETE", "/users/ann/servers/gpu")).status == 403
        await root("POST", "/users/ann/servers/cpu")
        assert list((await one("GET", "/user")).json["servers"]) == ["gpu"]


# -- progress


def events(text: str) -> list[dict]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


async def test_progress_of_a_start_from_its_beginning_to_ready(inside, root):
    hurry(inside, slow_spawn_timeout_seconds=0)
    inside.behaviour.hold_start = asyncio.Event()
    await root("POST", "/users/ann/server")
    listeners = [asyncio.create_task(root("GET", "/users/ann/server/progress")) for _ in range(2)]
    inside.behaviour.hold_start.set()
    for answer in await asyncio.gather(*listeners):
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.text.startswith("\n\n")
        stream = events(answer.text)
        assert stream[0] == {"progress": 0, "message": "Server requested"}
        assert stream[-1] == {
            "progress": 100,
            "ready": True,
            "message": "Server ready at /user/ann/",
            "html_message": 'Server ready at <a href="/user/ann/">/user/ann/</a>',
            "url": "/user/ann/",
        }
        assert not any(event.get("ready") for event in stream[:-1])


async def test_progress_of_a_ready_server_is_one_event(root):
    await root("POST", "/users/ann/server")
    assert [event["ready"] for event in events((await root("GET", "/users/ann/server/progress")).text)] == [True]


async def test_progress_of_a_failed_start_ends_with_why(inside, root):
    inside.behaviour.fail_start = SpawnFailed("No <such> image", html_message="No <b>image</b>")
    await root("POST", "/users/ann/server")
    last = events((await root("GET", "/users/ann/server/progress")).text)[-1]
    assert (last["failed"], last["progress"]) == (True, 100)
    assert last["message"] == "Spawn failed: No <such> image"


async def test_progress_of_nothing_is_refused(root):
    assert (await root("GET", "/users/ann/server/progress")).status == 404
    await root("POST", "/users/ann/server")
    await root("DELETE", "/users/ann/server")
    assert (await root("GET", "/users/ann/server/progress")).status == 400
    assert (await root("GET", "/users/ann/servers/gpu/progress")).status == 404


async def test_a_listener_that_hangs_up_leaves_nothing_behind(inside, root):
    hurry(inside, slow_spawn_timeout_seconds=0)
    inside.behaviour.hold_start = asyncio.Event()
    await root("POST", "/users/ann/server")
    waiting = inside.hub.bus._by_key
    assert not waiting
    listener = asyncio.create_task(root("GET", "/users/ann/server/progress"))
    await until(lambda: waiting)
    listener.cancel()
    await until(lambda: not waiting)
    inside.behaviour.hold_start.set()


async def test_routes_are_listed_for_operators(root):
    await root("POST", "/users/ann/server")
    routes = (await root("GET", "/proxy")).json
    assert routes["/user/ann/"]["data"] == {"user": "ann", "server_name": ""}
    assert routes["/user/ann/"]["routespec"] == "/user/ann/"
    assert routes["/"]["data"] == {"hub": True}
    assert (await root("POST", "/proxy")).status == 200

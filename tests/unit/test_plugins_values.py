"""Small translations at the border: addresses, JSON, errors, progress."""

import asyncio

import pytest
from jupyterhub.spawner import SpawnException
from tornado.web import HTTPError

from perijove.domain.errors import Conflict, Forbidden, Invalid, SpawnFailed, Unauthenticated, Unavailable
from perijove.plugins import calls, progress
from perijove.plugins.endpoint import endpoint
from perijove.plugins.errors import http_message, login_failure, spawn_failure
from perijove.plugins.facades import server_row
from perijove.plugins.jsonable import from_json, to_json


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (("10.0.0.1", 8888), "http://10.0.0.1:8888"),
        (["10.0.0.1", "8888"], "http://10.0.0.1:8888"),
        (("", 8888), "http://127.0.0.1:8888"),
        (("0.0.0.0", 8888), "http://127.0.0.1:8888"),
        (("::", 8888), "http://[::1]:8888"),
        (("fd00::7", 8888), "http://[fd00::7]:8888"),
        (("[fd00::7]", 8888), "http://[fd00::7]:8888"),
        ("http://10.0.0.1:8888/user/ann/", "http://10.0.0.1:8888"),
        ("http://pod.svc", "http://pod.svc:80"),
        ("https://pod.svc/", "https://pod.svc:443"),
        ("http://[fd00::7]:8888", "http://[fd00::7]:8888"),
    ],
)
def test_what_start_returned_becomes_one_kind_of_url(result, expected):
    assert endpoint(result, None) == expected


def test_a_spawner_may_write_its_address_instead_of_returning_it():
    server = server_row("", "/user/ann/")
    server.ip, server.port = "10.0.0.9", 8000
    assert endpoint(None, server) == "http://10.0.0.9:8000"


@pytest.mark.parametrize(
    "result", [None, "", "10.0.0.1:8888", "http://h:99999", "unix:///run/x", ("a",), ("a", "b"), 7, object()]
)
def test_an_unusable_address_is_a_failed_start_that_shows_it(result):
    with pytest.raises(SpawnFailed) as caught:
        endpoint(result, server_row("", "/user/ann/"))
    assert caught.value.reason == "bad_url"
    assert repr(result) in caught.value.details


def test_bytes_survive_json_and_the_rest_becomes_plain():
    options = {"file": [{"body": b"\xff\0"}], "size": (1, 2), 3: {"x"}, "odd": object(), "none": None}
    stored = to_json(options)
    assert stored["file"] == [{"body": {"__jupyterhub_bytes__": True, "data": "/wA="}}]
    assert stored["odd"] is None
    assert from_json(stored) == {"file": [{"body": b"\xff\0"}], "size": [1, 2], "3": ["x"], "odd": None, "none": None}


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (HTTPError(403, "no %s", "way"), Forbidden, "no way"),
        (HTTPError(403, "100% no", "x"), Forbidden, "100% no"),
        (HTTPError(404, reason="Gone"), Forbidden, "Gone"),
        (HTTPError(400, "bad state"), Invalid, "bad state"),
        (HTTPError(401, "who?"), Unauthenticated, "who?"),
        (HTTPError(503, "later"), Unavailable, "later"),
        (Conflict("mine"), Conflict, "mine"),
    ],
)
def test_errors_of_authenticators_keep_their_meaning_and_words(error, kind, message):
    failure = login_failure(error, doing="authenticating")
    assert type(failure) is kind
    assert failure.message == message


def test_a_timeout_inside_a_plugin_has_its_own_reason():
    failure = spawn_failure(TimeoutError("deep inside"), doing="starting the server")
    assert failure.reason == "timeout"
    assert "deep inside" in failure.details


def test_a_policy_refusal_shows_its_message_and_hides_its_log_message():
    error = SpawnException("Not that one", reason="image", log_message="denied by rule 7 of secret policy")
    failure = spawn_failure(error, doing="running pre_spawn_hook")
    assert (failure.message, failure.reason, failure.status) == ("Not that one", "image", 400)
    assert "rule 7" in failure.details
    assert "rule 7" not in failure.message


def test_an_http_error_without_text_falls_back_to_its_reason():
    assert http_message(HTTPError(418, reason="Teapot")) == "Teapot"


async def test_a_blocking_call_is_named_in_the_log(monkeypatch, caplog):
    monkeypatch.setattr(calls, "BLOCKED_SECONDS", -1.0)
    assert await calls.call("pre_spawn_hook", lambda: 5) == 5
    assert "pre_spawn_hook blocked the hub" in caplog.text


async def test_futures_and_coroutines_are_awaited_alike():
    async def coroutine():
        return 1

    future = asyncio.get_running_loop().create_future()
    future.set_result(2)
    assert [await calls.settle(value) for value in (coroutine(), future, 3)] == [1, 2, 3]


async def events_of(generator, begun, ended):
    return [event async for event in progress.until_ended(generator, begun, ended)]


@pytest.fixture
def begun():
    return asyncio.Event()


@pytest.fixture
def ended():
    return asyncio.Event()


async def test_progress_of_a_start_that_never_began_is_empty(begun, ended):
    ended.set()
    assert await events_of(lambda: 1 / 0, begun, ended) == []


async def test_an_endless_progress_ends_with_the_start(begun, ended, monkeypatch):
    monkeypatch.setattr(progress, "DRAIN_SECONDS", 0.0)
    closed = []

    async def endless():
        try:
            yield {"message": "one"}
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    begun.set()
    collecting = asyncio.create_task(events_of(endless, begun, ended))
    ended.set()
    assert await asyncio.wait_for(collecting, 5) in ([], [{"message": "one"}])
    assert closed == [True]


async def test_a_failing_progress_ends_quietly_and_is_logged(begun, ended, caplog):
    async def failing():
        yield {"message": "one"}
        raise RuntimeError("no more")

    begun.set()
    assert await events_of(failing, begun, ended) == [{"message": "one"}]
    assert "no more" in caplog.text

"""Activity reports as single-user servers post them: with their own token, about their own user.

These are answered from memory where they are plain; nobody may be able to tell, but for the time it takes.
"""

from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from perijove.config.options import ServiceOptions
from perijove.services import activity
from perijove.testing.api import ApiClient
from perijove.testing.inside import hub_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = "root-token"
AT = "2026-03-02T12:00:00.000001Z"
GOOD = {"last_activity": AT}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inside(tmp_path_factory):
    async with hub_inside(
        tmp_path_factory.mktemp("hub"),
        traits={"Authenticator": {"allow_all": True}},
        allow_named_servers=True,
        headers={"X-Operator": "says"},
        services=(ServiceOptions(name="root", api_token=ROOT, admin=True),),
    ) as hub:
        yield hub


@pytest_asyncio.fixture(loop_scope="module")
async def root(inside):
    async with ApiClient(inside.url, ROOT) as client:
        yield client


async def new_token(root, user, **body):
    """Of a user whose name no other test uses."""
    if (await root("GET", f"/users/{user}")).status == 404:
        await root("POST", f"/users/{user}")
    answer = await root("POST", f"/users/{user}/tokens", body)
    assert answer.status == 201, answer.text
    return answer.json["token"]


async def report(client, user, body=None, **sent):
    return await client("POST", f"/users/{user}/activity", GOOD if body is None and not sent else body, **sent)


def told(answer):
    """What a client can compare, without what differs from request to request."""
    changing = {"x-request-id", "date"}
    headers = sorted((k.lower(), v) for k, v in answer.headers.items() if k.lower() not in changing)
    return answer.status, headers, answer.text


async def test_a_report_with_ones_own_token_is_answered_as_one_by_an_admin(inside, root):
    async with ApiClient(inside.url, await new_token(root, "own")) as own:
        await root("POST", "/users/own/server")
        later = f"{datetime.now(UTC) + timedelta(minutes=10):%Y-%m-%dT%H:%M:%S}.000001Z"
        body = {"last_activity": AT, "servers": {"": {"last_activity": later}}}
        expected = told(await report(root, "own", body))
        for _ in range(2):  # before and after it is remembered
            answer = await report(own, "own", body)
            assert told(answer) == expected
            assert expected[0] == 200
            assert len(answer.headers["X-Request-Id"]) == 16
        named = await report(own, "own", body, headers={"X-Request-Id": "abc-1"})
        assert named.headers["X-Request-Id"] == "abc-1"
        shown = (await root("GET", "/users/own")).json
        assert shown["servers"][""]["last_activity"] == later


async def test_reports_by_ones_own_token_reach_the_rows_in_one_batch(inside, root):
    async with ApiClient(inside.url, await new_token(root, "batch")) as batch:
        await report(batch, "batch")
        assert await activity.flush(inside.hub) > 0
        assert (await root("GET", "/users/batch")).json["last_activity"] >= AT


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 5000,
        b"{}",
        b"[]",
        b'{"last_activity": 5}',
        b'{"last_activity": "yesterday"}',
        b'{"last_activity": "2999-01-01T00:00:00Z"}',
        b'{"servers": {"nope": {"last_activity": "2026-03-02T12:00:00Z"}}}',
        b'{"servers": {"": "now"}}',
    ],
)
async def test_what_is_refused_is_refused_in_the_same_words_whoever_reports(inside, root, body):
    async with ApiClient(inside.url, await new_token(root, "bad")) as bad:
        assert (await report(bad, "bad")).status == 200
        expected = told(await report(root, "bad", data=body))
        assert expected[0] in {400, 413}
        assert told(await report(bad, "bad", data=body)) == expected


async def test_a_body_in_pieces_is_read_whole(inside, root):
    async def pieces(*parts):
        for part in parts:
            yield part

    async with ApiClient(inside.url, await new_token(root, "pieces")) as client:
        assert (await report(client, "pieces", data=pieces(b'{"last_', f'activity": "{AT}"}}'.encode()))).status == 200
        assert (await report(client, "pieces", data=pieces(b'{"last_', b'activity": 1}'))).status == 400
        assert (await report(client, "pieces", data=pieces(*[b" " * 65536] * 17))).status == 413


async def test_a_token_that_was_cut_to_less_may_not_report_and_the_attempt_is_audited(inside, root):
    token = await new_token(root, "mute", scopes=["read:users!user"])
    async with ApiClient(inside.url, token) as mute:
        for _ in range(2):
            answer = await report(mute, "mute")
            assert answer.status == 403
            assert answer.message == "Action is not authorized with current scopes; requires any of [users:activity]"
    denied = (await root("GET", "/audit?result=denied&actor=mute")).json["items"]
    assert len(denied) == 2


async def test_nobody_reports_about_somebody_else(inside, root):
    await new_token(root, "other")
    async with ApiClient(inside.url, await new_token(root, "one")) as one, ApiClient(inside.url) as nobody:
        assert (await report(one, "one")).status == 200
        assert (await report(one, "other")).status == 404
        assert (await report(one, "missing")).status == 404
        assert (await report(nobody, "one")).status == 403
    async with ApiClient(inside.url, "unknown") as unknown:
        assert (await report(unknown, "one")).status == 403


async def test_a_revoked_token_reports_no_more(inside, root):
    async with ApiClient(inside.url, await new_token(root, "gone")) as gone:
        assert (await report(gone, "gone")).status == 200
        number = (await gone("GET", "/user")).json["token_id"]
        assert (await root("DELETE", f"/users/gone/tokens/{number}")).status == 204
        assert (await report(gone, "gone")).status == 403


async def test_servers_made_and_deleted_are_known_at_once(inside, root):
    body = {"servers": {"gpu": {"last_activity": AT}}}
    async with ApiClient(inside.url, await new_token(root, "named")) as named:
        assert (await report(named, "named")).status == 200
        assert (await report(named, "named", body)).status == 400
        assert (await root("POST", "/users/named/servers/gpu")).status == 201
        assert (await report(named, "named", body)).status == 200
        assert (await root("DELETE", "/users/named/servers/gpu", {"remove": True})).status == 204
        refused = await report(named, "named", body)
        assert (refused.status, refused.message) == (400, "No such server: 'gpu'")


async def test_a_user_who_was_renamed_is_reported_about_by_the_new_name_only(inside, root):
    async with ApiClient(inside.url, await new_token(root, "before")) as client:
        assert (await report(client, "before")).status == 200
        assert (await root("PATCH", "/users/before", {"name": "after"})).status == 200
        assert (await report(client, "before")).status in {403, 404}
        again = await new_token(root, "after")
    async with ApiClient(inside.url, again) as client:
        assert (await report(client, "after")).status == 200


async def test_reports_are_counted_among_requests_however_they_are_answered(inside, root):
    async def counted():
        text = (await root("GET", "/metrics")).text
        mark = (
            'jupyterhub_request_duration_seconds_count{code="200",handler="/api/users/{user}/activity",method="POST"}'
        )
        return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(mark))

    async with ApiClient(inside.url, await new_token(root, "counted")) as client:
        assert (await report(client, "counted")).status == 200
        before = await counted()
        assert (await report(client, "counted")).status == 200
        assert (await report(root, "counted")).status == 200
        assert await counted() == before + 2

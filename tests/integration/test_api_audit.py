"""The audit trail: who did what, on whom, from where; read by pages, filtered, exported, forgotten in time."""

import csv
import io
from datetime import timedelta

import msgspec
import pytest
import pytest_asyncio
from sqlalchemy import update

from perijove.config.options import ServiceOptions
from perijove.services import audit_trail
from perijove.services.audit_trail import AuditQuery
from perijove.store import schema
from perijove.testing.api import ApiClient
from perijove.testing.inside import hub_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = "root-token"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inside(tmp_path_factory):
    async with hub_inside(
        tmp_path_factory.mktemp("hub"),
        services=(ServiceOptions(name="root", api_token=ROOT, admin=True),),
        audit_keep=timedelta(days=30),
    ) as hub:
        async with ApiClient(hub.url, ROOT) as root:
            await root("POST", "/users", {"usernames": ["ann", "ben"]})
            for number in range(5):
                await root("POST", "/groups/g", {"users": ["ann"]}, headers={"X-Forwarded-For": f"192.0.2.{number}"})
                await root("DELETE", "/groups/g")
            await root("POST", "/groups/=SUM(1)", {})
        yield hub


@pytest_asyncio.fixture(loop_scope="module")
async def root(inside):
    async with ApiClient(inside.url, ROOT) as client:
        yield client


async def test_a_line_says_who_did_what_to_whom_from_where(root):
    (line,) = (await root("GET", "/audit?action=user.create&subject=ben")).json["items"]
    assert (line["actor"], line["address"], line["result"]) == ("service:root", "127.0.0.1", "ok")
    assert line["data"] == {"admin": False}
    assert line["at"].endswith("Z")
    assert line["correlation_id"]


async def test_pages_follow_one_another_to_the_end(root):
    first = (await root("GET", "/audit?action=group.*&limit=4")).json
    assert len(first["items"]) == 4
    ids = [line["id"] for line in first["items"]]
    following = first["next"]
    while following is not None:
        page = (await root("GET", f"/audit?action=group.*&limit=4&before={following}")).json
        ids += [line["id"] for line in page["items"]]
        following = page["next"]
    assert len(ids) == 11
    assert ids == sorted(ids, reverse=True)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("actor=service:root&action=group.create", 6),
        ("actor=nobody", 0),
        ("subject=g&action=group.delete", 5),
        ("address=192.0.2.3", 1),
        ("result=denied", 0),
        ("since=2999-01-01T00:00:00Z", 0),
        ("until=2999-01-01T00:00:00Z&action=group.delete", 5),
        ("action=group_*", 0),
    ],
)
async def test_lines_are_found_by_who_what_whom_where_and_when(root, query, count):
    assert len((await root("GET", f"/audit?{query}")).json["items"]) == count


async def test_everything_can_be_taken_along(root):
    lines = (await root("GET", "/audit/export?action=group.*")).text.splitlines()
    assert len([msgspec.json.decode(line) for line in lines]) == 11
    answer = await root("GET", "/audit/export?format=csv&action=group.create")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="audit.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    # A name that a spreadsheet would calculate is no formula.
    assert [row["subject"] for row in rows] == ["'=SUM(1)", *["g"] * 5]


@pytest.mark.parametrize("query", ["limit=x", "before=x", "since=yesterday", "until=x"])
async def test_questions_that_mean_nothing_are_refused(root, query):
    assert (await root("GET", f"/audit?{query}")).status == 400
    assert (await root("GET", "/audit/export?format=xls")).status == 400


async def test_the_trail_is_for_whoever_has_its_scope(inside, root):
    token = (await root("POST", "/users/ann/tokens")).json["token"]
    async with ApiClient(inside.url, token) as ann:
        assert (await ann("GET", "/audit")).status == 403
        assert (await ann("GET", "/audit/export")).status == 403
    token = (await root("POST", "/users/admin/tokens", {"scopes": ["read:audit"]})).json["token"]
    async with ApiClient(inside.url, token) as auditor:
        assert (await auditor("GET", "/audit")).status == 200


async def test_old_lines_are_forgotten_when_their_time_is_over(inside, root):
    await root("POST", "/groups/old", {})
    audit = schema.audit
    async with inside.hub.store.transaction() as tx:
        old = update(audit).where(audit.c.subject == "old")
        await tx.execute(old.values(at=tx.now - timedelta(days=31)))
    assert await audit_trail.trim(inside.hub) == 1
    assert (await audit_trail.read_page(inside.hub, AuditQuery(subject="old")))[0] == []
    assert await audit_trail.trim(inside.hub) == 0


async def test_a_change_that_was_not_allowed_is_in_the_trail(inside, root):
    token = (await root("POST", "/users/ann/tokens")).json["token"]
    async with ApiClient(inside.url, token) as ann:
        assert (await ann("DELETE", "/users/ben")).status == 403
        assert (await ann("GET", "/users")).status == 403
    (line,) = (await root("GET", "/audit?result=denied&actor=ann")).json["items"]
    assert (line["action"], line["subject"], line["data"]) == (
        "api.refused",
        "/hub/api/users/ben",
        {"method": "DELETE"},
    )

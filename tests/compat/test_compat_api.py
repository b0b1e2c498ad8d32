"""The REST API and the pages beside a stock JupyterHub's: each request of the script is answered alike, or the
difference is listed with its reason.

`make compat` writes docs/reference/compatibility.md again, from what both hubs answered.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from jupyterhub.services.auth import HubAuth

from perijove.testing.sidebyside import accepted, comparing, scopes, script
from perijove.testing.sidebyside.accepted import Accepted
from perijove.testing.sidebyside.comparing import Difference
from perijove.testing.sidebyside.hubs import pair
from perijove.testing.sidebyside.script import Step

pytestmark = pytest.mark.asyncio(loop_scope="module")

HERE = Path(__file__).with_name("sidebyside")
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "compatibility.md"
PUBLISHED = json.loads(Path(__file__).with_name("jupyterhub-openapi.json").read_text(encoding="utf-8"))
STEPS = [*script.read(HERE / "requests"), *scopes.steps()]


@dataclass(frozen=True)
class Compared:
    left: list[Difference]
    accepted: list[Accepted]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hubs(tmp_path_factory):
    async with pair((HERE / "hub_config.py").read_text(encoding="utf-8"), tmp_path_factory.mktemp("hubs")) as both:
        yield both


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def compared(hubs):
    entries = accepted.read(HERE / "accepted.toml")
    answers = await hubs.run(STEPS)
    found = [difference for answer in answers for difference in comparing.differences(*answer)]
    return Compared(accepted.unaccepted(found, entries), entries)


def sections() -> list[str]:
    return list(dict.fromkeys(step.section for step in STEPS))


@pytest.mark.parametrize("section", sections())
async def test_answers_are_jupyterhubs_but_for_what_is_listed(compared, section):
    left = [str(difference) for difference in compared.left if difference.step.section == section]
    assert not left, "\n" + "\n".join(left)


async def test_no_accepted_difference_is_gone(compared):
    unused = [
        (entry.reason, entry.request, entry.part)
        for entry in compared.accepted
        if not entry.found and not entry.sometimes
    ]
    assert not unused


async def test_the_page_of_differences_is_current(compared):
    wanted = accepted.page(STEPS, compared.accepted)
    if os.environ.get("WRITE_COMPATIBILITY"):
        PAGE.write_text(wanted, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == wanted, "`make compat` writes it"


def operations() -> list[tuple[str, str]]:
    return [(method.upper(), path) for path, methods in PUBLISHED["paths"].items() for method in methods]


async def test_each_published_operation_is_asked_for_and_at_least_400_requests_are_sent():
    sent = {(step.method, step.path.partition("?")[0].removeprefix("/hub/api") or "/") for step in STEPS}
    missing = []
    for method, path in operations():
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]*", re.escape(path))
        if not any(method == asked and re.fullmatch(pattern, where) for asked, where in sent):
            missing.append((method, path))
    assert not missing
    assert len(operations()) == 54
    assert len(STEPS) >= 400
    assert all(isinstance(step, Step) for step in STEPS)


async def test_jupyterhubs_own_client_is_told_the_same_by_both(hubs, compared):
    """`jupyterhub.services.auth`: who a token is, what it may, and that this is remembered until it is forgotten."""
    told = []
    for hub in (hubs.jupyterhub, hubs.perijove):
        client = HubAuth(api_url=f"{hub.url}/hub/api", api_token=hub.saved["probe"], base_url="/services/probe/")
        made = script.parse(
            'ada POST ~/users/ada/tokens {"scopes": ["access:services!service=probe"]}\n    save: own = token'
        )
        revoked = script.parse("ada DELETE ~/users/ada/tokens/$own_id")
        answer = await hub.send(next(made))
        hub.saved["own_id"] = answer.body["id"]
        user = await client.user_for_token(hub.saved["own"], sync=False)
        assert (await hub.send(next(revoked))).status == 204
        remembered = await client.user_for_token(hub.saved["own"], sync=False)
        strangers = (hub.saved["own"], "n" * 32, "n" * 100)
        others = [await client.user_for_token(token, use_cache=False, sync=False) for token in strangers]
        chief = await client.user_for_token(hub.saved["chief"], sync=False)
        allowed = [
            client.check_scopes(wanted, whom)
            for wanted in ({"access:services!service=probe"}, {"access:services"}, {"admin:users"})
            for whom in (user, chief)
        ]
        told.append(
            comparing.normal([user, remembered == user, others, sorted(chief["scopes"]), [sorted(a) for a in allowed]])
        )
    assert told[0] == told[1]
    assert told[0][2] == [None, None, None]

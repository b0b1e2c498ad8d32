"""Services with pages are asked whether they answer, by one replica, and each replica says what was found."""

from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

from aiohttp import web

from perijove.config.options import ServiceOptions
from perijove.services.service_health import Health, following, is_due
from perijove.testing.api import ApiClient
from perijove.testing.inside import hub_inside
from perijove.testing.waiting import until

MINUTE = timedelta(minutes=1)


@asynccontextmanager
async def service():
    """Its address, the paths it was asked for, and the status that it answers with next."""
    state = {"asked": [], "status": 302}

    async def answer(request):
        state["asked"].append(request.path)
        return web.Response(status=state["status"], headers={"Location": "/hub/login"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    state["url"] = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield state
    await runner.cleanup()


async def test_what_one_replica_finds_both_tell(tmp_path):
    """A login page is an answer, an error is none, and a service without pages is not asked."""
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(service())
        services = (
            ServiceOptions(name="root", api_token="root-token", admin=True),
            ServiceOptions(name="there", url=there["url"], api_token="there-token"),
            ServiceOptions(name="gone", url="http://127.0.0.1:9", api_token="gone-token"),
        )
        options = {"services": services, "service_check_interval": timedelta(hours=1)}
        hubs = [await stack.enter_async_context(hub_inside(tmp_path, **options)) for _ in range(2)]
        first, second = [await stack.enter_async_context(ApiClient(hub.url, "root-token")) for hub in hubs]

        async def found(call):
            return (await call("GET", "/services")).json

        await until(lambda: _told(found(second)))
        told = await found(second)
        assert told["there"]["health"]["up"]
        assert not told["gone"]["health"]["up"]
        assert "Connect" in told["gone"]["health"]["problem"]
        assert "health" not in told["root"]
        assert told == await found(first)
        assert (await first("GET", "/services/gone")).json["health"] == told["gone"]["health"]
        assert there["asked"] == ["/services/there/"]


async def _told(services):
    return "health" in (await services)["there"]


def _after(seconds, before, problem, now):
    return following(before, url="http://a", problem=problem, now=now + timedelta(seconds=seconds))


def test_what_stays_the_same_keeps_the_time_since_when():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    up = _after(0, None, "", now)
    assert _after(60, up, "", now) == Health(True, now + MINUTE, now, "http://a")
    down = _after(60, up, "refused", now)
    assert (down.since, down.failures) == (now + MINUTE, 1)
    assert _after(120, down, "refused", now).failures == 2
    assert _after(180, down, "", now).failures == 0


def test_what_does_not_answer_is_asked_less_often_but_never_given_up():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    known, pauses = _after(0, None, "refused", now), []
    for _ in range(20):
        pause = MINUTE
        while not is_due(known, url="http://a", now=known.checked + pause, every=MINUTE, longest=10 * MINUTE):
            pause += MINUTE
        pauses.append(pause // MINUTE)
        known = following(known, url="http://a", problem="refused", now=known.checked + pause)
    assert pauses == [1, 1, 2, 2, 2, 4, 4, 4, 8, 8, 8, *[10] * 9]
    assert is_due(known, url="http://b", now=known.checked, every=MINUTE, longest=10 * MINUTE)

"""`perijove up` keeps a hub and a proxy running: shown with small real processes in their place."""

import asyncio
import os
import signal
import sys
import textwrap
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from perijove.cli.child import Backoff, Child
from perijove.cli.control import HubFacts
from perijove.cli.exits import CommandFailed, Exit
from perijove.cli.supervise import Supervisor
from perijove.testing.waiting import until

FACTS = HubFacts(public_ip="127.0.0.1", public_port=1, base_url="/", hub_url="http://127.0.0.1:2", proxy_token="t")

# A child that says hello, notes each start with its pid, and stops on SIGTERM.
CHILD = """
import os, signal, sys
from perijove.cli.control import Control, HubFacts
control = Control.attach()
signal.signal(signal.SIGTERM, lambda *_: (note("stopped"), sys.exit(0)))
def note(word):
    with open(sys.argv[1], "a") as file:
        file.write(f"{word} {os.getpid()}\\n")
if sys.argv[2] == "hub":
    control.configured(
        HubFacts(public_ip="127.0.0.1", public_port=1, base_url="/", hub_url="u", proxy_token="t")
    )
else:
    control.end_with_parent()
note("started")
control.ready()
while True:
    signal.pause()
"""


def child(tmp_path: Path, name: str, code: str = CHILD) -> Child:
    return Child(name, [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / name), name])


def notes(tmp_path: Path, name: str, word: str) -> list[int]:
    path = tmp_path / name
    lines = path.read_text().splitlines() if path.exists() else []
    return [int(line.split()[1]) for line in lines if line.startswith(word)]


@asynccontextmanager
async def supervised(tmp_path: Path, **changes):
    announced = asyncio.Event()
    supervisor = Supervisor(
        **{
            "hub": child(tmp_path, "hub"),
            "proxy": lambda _: child(tmp_path, "proxy"),
            "approve": lambda _: None,
            "announce": lambda _: announced.set(),
            **changes,
        }
    )
    running = asyncio.create_task(supervisor.run())
    try:
        yield running, announced
    finally:
        if not running.done():
            os.kill(os.getpid(), signal.SIGTERM)
            await running
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().remove_signal_handler(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_stops_both_children_once_and_ends_with_success(tmp_path, number):
    async with supervised(tmp_path) as (running, announced):
        await asyncio.wait_for(announced.wait(), 10)
        os.kill(os.getpid(), number)
        assert await asyncio.wait_for(running, 10) == Exit.OK
    for name in ("hub", "proxy"):
        assert notes(tmp_path, name, "stopped") == notes(tmp_path, name, "started")


async def test_a_crashed_hub_is_started_again_while_the_proxy_stays(tmp_path):
    async with supervised(tmp_path) as (_, announced):
        await asyncio.wait_for(announced.wait(), 10)
        first = notes(tmp_path, "hub", "started")[0]
        os.kill(first, signal.SIGKILL)
        await until(lambda: len(notes(tmp_path, "hub", "started")) == 2)
        assert len(notes(tmp_path, "proxy", "started")) == 1
        assert notes(tmp_path, "proxy", "stopped") == []


async def test_a_crashed_proxy_is_started_again(tmp_path):
    async with supervised(tmp_path) as (_, announced):
        await asyncio.wait_for(announced.wait(), 10)
        os.kill(notes(tmp_path, "proxy", "started")[0], signal.SIGKILL)
        await until(lambda: len(notes(tmp_path, "proxy", "started")) == 2)
        assert notes(tmp_path, "hub", "stopped") == []


async def test_children_have_sessions_of_their_own_so_the_terminals_ctrl_c_passes_them_by(tmp_path):
    async with supervised(tmp_path) as (_, announced):
        await asyncio.wait_for(announced.wait(), 10)
        for name in ("hub", "proxy"):
            pid = notes(tmp_path, name, "started")[0]
            assert os.getsid(pid) == pid != os.getsid(0)


async def test_a_hub_that_refuses_its_configuration_ends_everything_with_its_exit_code(tmp_path):
    refusing = child(tmp_path, "hub", "import sys; sys.exit(2)")
    async with supervised(tmp_path, hub=refusing) as (running, _):
        assert await asyncio.wait_for(running, 10) == Exit.USAGE
    assert notes(tmp_path, "proxy", "started") == []


async def test_a_hub_killed_during_its_first_start_is_a_failure(tmp_path):
    dying = child(tmp_path, "hub", "import os; os.kill(os.getpid(), 9)")
    async with supervised(tmp_path, hub=dying) as (running, _):
        assert await asyncio.wait_for(running, 10) == Exit.FAILURE


async def test_what_the_parent_does_not_approve_is_never_started(tmp_path):
    def refuse(_facts):
        raise CommandFailed("taken", code=Exit.UNAVAILABLE)

    async with supervised(tmp_path, approve=refuse) as (running, _):
        with pytest.raises(CommandFailed, match="taken"):
            await asyncio.wait_for(running, 10)
    assert notes(tmp_path, "hub", "started") == []


async def test_children_stop_by_themselves_when_their_parent_is_killed(tmp_path):
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(
            """
            import asyncio, sys
            from perijove.cli.child import Child
            async def main():
                child = Child("proxy", [sys.executable, "-c", sys.argv[1], sys.argv[2], "proxy"])
                await child.start()
                await child.expect("ready")
                await asyncio.Event().wait()
            asyncio.run(main())
            """
        ),
        CHILD,
        str(tmp_path / "proxy"),
    )
    try:
        [pid] = await until(lambda: notes(tmp_path, "proxy", "started"))
    finally:
        parent.kill()
        await parent.wait()
    await until(lambda: notes(tmp_path, "proxy", "stopped"))
    await until(lambda: not psutil.pid_exists(pid))


def test_pauses_between_restarts_double_up_to_a_limit_and_begin_anew_after_a_healthy_run():
    backoff = Backoff()
    pauses = [backoff.after(1) for _ in range(10)]
    assert pauses[:3] == [0.25, 0.5, 1.0]
    assert pauses[-1] == 30.0
    assert backoff.after(3600) == 0.25

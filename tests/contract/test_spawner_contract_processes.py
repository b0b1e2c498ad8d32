"""Processes of local servers: found again, told apart, ended whole, and their failures explained."""

import asyncio
import os
import pwd
import signal
import socket
import sys
from pathlib import Path

import psutil
import pytest
from jupyterhub.spawner import SimpleLocalProcessSpawner
from traitlets.config import Config

from perijove.domain.errors import SpawnFailed
from perijove.domain.ids import ServerId, UserId
from perijove.domain.ports import UserFacts
from perijove.plugins import processes
from perijove.plugins.load import HubFacts, load_spawner_host
from perijove.testing.local_process import server_spec as spec
from perijove.testing.waiting import until

SERVER = [sys.executable, str(Path(__file__).with_name("small_server.py"))]
ACCOUNT = pwd.getpwuid(os.getuid()).pw_name


async def test_a_process_that_dies_during_a_slow_start_ends_it_at_once_with_its_last_lines(make, c):
    c.Spawner.args = ["die", "5"]

    class Waiting(SimpleLocalProcessSpawner):
        async def start(self):
            await super().start()
            await asyncio.Event().wait()

    spawner = await make(Waiting).open(spec())
    with pytest.raises(SpawnFailed) as caught:
        await spawner.start()
    assert caught.value.reason == "crashed"
    assert "exit code 5" in caught.value.message
    assert "cannot find my config" in caught.value.details


async def test_log_lines_are_plain_text_and_only_of_the_last_start(make, c):
    c.Spawner.args = ["die", "1"]
    spawner = await make().open(spec())
    await spawner.start()
    await until(spawner.poll)
    assert await spawner.log_lines() == ("starting up", "cannot find my config")
    again = await spawner_again(make, c)
    await until(again.poll)
    assert await again.log_lines() == ("starting up", "cannot find my config")
    assert (await again.log_lines(1)) == ("cannot find my config",)
    assert again.plugin.hosting.output.path.stat().st_mode & 0o777 == 0o600


async def spawner_again(make, c):
    spawner = await make().open(spec(generation=5))
    await spawner.start()
    return spawner


async def test_output_the_admin_redirected_is_left_alone(make, c, tmp_path):
    with (tmp_path / "mine.txt").open("wb") as mine:
        c.LocalProcessSpawner.popen_kwargs = {"stdout": mine.fileno(), "cwd": str(tmp_path)}
        c.Spawner.args = ["die", "1"]
        spawner = await make().open(spec())
        await spawner.start()
        await until(spawner.poll)
    assert (tmp_path / "mine.txt").read_text().startswith("\x1b[32mstarting")
    assert await spawner.log_lines() == ()


async def test_a_missing_account_is_explained(make):
    spawner = await make("localprocess").open(spec(user=UserFacts(id=UserId(1), name="nobody-of-that-name")))
    with pytest.raises(SpawnFailed) as caught:
        await spawner.start()
    assert caught.value.reason == "no_account"
    assert "nobody-of-that-name" in caught.value.message
    assert "useradd" in caught.value.details


async def test_a_missing_command_is_explained(make, c):
    c.Spawner.cmd = ["jupyterhub-singeluser"]
    spawner = await make().open(spec())
    with pytest.raises(SpawnFailed) as caught:
        await spawner.start()
    assert caught.value.reason == "command_not_found"
    assert "jupyterhub-singeluser" in caught.value.message


async def test_a_command_that_may_not_be_run_is_explained(make, c, tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o644)
    c.Spawner.cmd = [str(script)]
    spawner = await make().open(spec())
    with pytest.raises(SpawnFailed) as caught:
        await spawner.start()
    assert caught.value.reason == "not_permitted"


async def test_a_taken_port_is_explained(make, c):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        c.Spawner.port = taken.getsockname()[1]
        spawner = await make().open(spec())
        with pytest.raises(SpawnFailed) as caught:
            await spawner.start()
    assert caught.value.reason == "port_taken"
    assert str(c.Spawner.port) in caught.value.message


async def test_commands_of_the_hubs_own_environment_are_found(make, c, monkeypatch):
    """`perijove up` from a virtual environment that nobody activated still finds jupyterhub-singleuser."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    spawner = await make().open(spec())
    assert spawner.plugin.get_env()["PATH"].split(":")[0] == str(Path(sys.executable).parent)


async def test_ctrl_c_in_the_hubs_terminal_does_not_reach_servers(make):
    """A server leads a session and a process group of its own."""
    spawner = await make().open(spec())
    await spawner.start()
    pid = spawner.state()["pid"]
    assert os.getsid(pid) == pid != os.getsid(0)


async def test_what_a_server_started_ends_with_it(make, c):
    """Kernels run in sessions of their own and may survive a killed server: the mark finds them."""
    c.Spawner.args = ["child"]
    host = make()
    spawner = await host.open(spec())
    await spawner.start()
    root = psutil.Process(spawner.state()["pid"])
    children = await until(root.children)
    root.send_signal(signal.SIGKILL)
    await until(spawner.poll)
    assert children[0].is_running()
    await spawner.stop()
    assert not processes.alive(children[0].pid, None)


async def test_a_server_that_ignores_signals_is_killed_when_destroyed(make, c, monkeypatch):
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.05)
    c.Spawner.args = ["stubborn"]
    host = make()
    spawner = await host.open(spec())
    await spawner.start()
    pid = spawner.state()["pid"]
    await until(lambda: "starting" in "".join(spawner.plugin.hosting.output.tail(3)))
    await host._table.end(ServerId(11), grace_seconds=0.05)
    assert not processes.alive(pid, None)


async def test_a_process_that_got_the_pid_of_a_dead_server_is_not_taken_for_it(make):
    """After a restart of the hub a pid in the row may belong to anybody."""
    state = {"pid": os.getpid(), "perijove_started": 1}
    spawner = await make().open(spec(state=state, url="http://127.0.0.1:1"))
    assert await spawner.poll() is not None
    await spawner.stop()
    assert processes.alive(os.getpid(), None)


async def test_processes_of_another_hub_are_not_found(make, tmp_path):
    spawner = await make().open(spec())
    await spawner.start()
    other = load_spawner_host(spawner_class="simple", traits=Config(), facts=HubFacts(hub_id="other"), log_dir=tmp_path)
    assert await other.find() == []


async def test_the_exit_code_of_an_adopted_process_is_unknown(make):
    """The hub that started it is gone, and with it the only parent that could ask."""
    spawner = await make().open(spec())
    await spawner.start()
    state = spawner.state()
    restarted = await make().open(spec(state=state, url="http://127.0.0.1:1"))
    os.kill(state["pid"], signal.SIGKILL)
    exited = await until(restarted.poll)
    assert exited.code is None


async def test_deleting_a_server_for_ever_removes_its_logs(make):
    spawner = await make().open(spec())
    await spawner.start()
    path = spawner.plugin.hosting.output.path
    await spawner.stop()
    assert path.exists()
    await spawner.delete_forever()
    assert not path.exists()


async def test_a_hundred_scans_at_once_share_two(make, monkeypatch):
    host = make()
    scans = []
    real = processes.marked
    monkeypatch.setattr(processes, "marked", lambda hub_id: scans.append(hub_id) or real(hub_id))
    await asyncio.gather(*(host.find() for _ in range(100)))
    assert len(scans) <= 2


async def test_a_hub_that_lost_its_lease_neither_ends_nor_doubles_its_successors_server(make):
    """Frozen in its hooks, it goes on where it was: the process with the later lease epoch is not its business."""
    successor = await make().open(spec(lease_epoch=9))
    await successor.start()
    host = make()
    late = await host.open(spec(lease_epoch=8))
    with pytest.raises(SpawnFailed) as refused:
        await late.start()
    assert refused.value.reason == "superseded"
    await late.stop(now=True)
    assert await successor.poll() is None
    assert len(await host.find()) == 1


async def test_what_two_hubs_started_for_one_server_is_told_apart(make):
    """Frozen in the last moment before it starts a process, a hub makes one that only the orphan sweep can end."""
    host = make()
    first = await host.open(spec(lease_epoch=8))
    await first.start()
    second = await make().open(spec(lease_epoch=9))
    second.plugin._end_ours = lambda: asyncio.sleep(0, 0)
    second.plugin._refuse_successor = lambda: asyncio.sleep(0)
    await second.start()
    state = second.state()
    orphan, wanted = await host.find()
    assert (orphan.generation, wanted.generation) == (4, 4)
    assert wanted.state.items() <= state.items()
    assert not orphan.state.items() <= state.items()
    await host.destroy(orphan)
    assert await first.poll() is not None
    assert await second.poll() is None

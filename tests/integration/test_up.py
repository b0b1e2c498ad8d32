"""`perijove up` as an operator meets it: real processes, sockets and signals."""

import asyncio
import json
import re
import signal
import socket
import sys
from pathlib import Path

import pytest

from perijove.cli.exits import Exit
from perijove.testing import RunningHub, run_hub, until
from perijove.testing.hub import OPEN, HubDidNotStart, is_alive

SMALL = Path(__file__).parents[1] / "contract" / "small_server.py"
# Starts in a twentieth of the time that JupyterLab takes; what is tested here is not the server.
SMALL_SERVERS = {**OPEN, "singleuser": {"cmd": [sys.executable, str(SMALL)]}}


async def start_server(hub: RunningHub, user: str) -> str:
    """Create the user, start their server, wait until it answers through the proxy; its URL."""
    await hub.api("POST", f"/users/{user}")
    status, body = await hub.api("POST", f"/users/{user}/server")
    assert status in (201, 202), body
    url = f"/user/{user}/"
    await until(lambda: greeted(hub, url), seconds=20, every=0.05)
    return url


async def greeted(hub: RunningHub, url: str) -> bool:
    async with hub.browser() as browser:
        response, text = await browser.get(url, allow_redirects=False)
        return response.status == 200 and text == "hello"


async def fails(hub: RunningHub) -> tuple[int, str]:
    """Exit code and output of an `up` that must not start."""
    with pytest.raises(HubDidNotStart):
        await hub.start()
    assert hub.process is not None
    return await hub.process.wait(), hub.log


async def test_without_configuration_one_admin_may_log_in_with_the_password_that_was_shown_once(tmp_path):
    async with run_hub(None, data_dir=tmp_path / "data") as hub:
        kept = hub.data_dir / "admin-password"
        assert kept.stat().st_mode & 0o777 == 0o600
        password = kept.read_text().strip()
        shown = hub.log
        assert hub.url in shown
        assert password in shown
        user = re.search(r"Log in as +(\S+)", shown)[1]
        async with hub.browser() as browser:
            status, _ = await browser.log_in(user, "wrong" + password)
            assert status == 403
            status, url = await browser.log_in(user, password)
            assert status == 200
            assert "/hub/login" not in url
        await hub.stop()
        (hub.data_dir / "up.log").unlink()
        await hub.start()
        assert password not in hub.log
        assert str(kept) in hub.log


async def test_a_killed_hub_cuts_no_notebook_and_comes_back():
    async with run_hub(SMALL_SERVERS) as hub:
        url = await start_server(hub, "ada")
        before = hub.hub_process()
        proxy = hub.proxy_process().pid
        before.kill()
        assert await greeted(hub, url)
        await hub.until_hub_is_back(before)
        assert await greeted(hub, url)
        assert hub.proxy_process().pid == proxy
        status, user = await hub.api("GET", "/users/ada")
        assert (status, user["servers"][""]["ready"]) == (200, True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_cleanly_and_servers_are_found_again(number):
    async with run_hub(SMALL_SERVERS) as hub:
        url = await start_server(hub, "ada")
        assert await hub.stop(number=number) == Exit.OK
        assert "Traceback" not in hub.log
        [server] = hub.user_processes()
        await hub.start()
        await until(lambda: greeted(hub, url))
        assert [process.pid for process in hub.user_processes()] == [server.pid]


async def test_a_killed_up_takes_hub_and_proxy_with_it_and_the_next_one_finds_the_servers():
    async with run_hub(SMALL_SERVERS) as hub:
        url = await start_server(hub, "ada")
        children = [hub.hub_process(), hub.proxy_process()]
        hub.process.kill()
        await hub.process.wait()
        await until(lambda: not any(child.is_running() for child in children), seconds=20)
        assert len(hub.user_processes()) == 1
        await hub.start()
        await until(lambda: greeted(hub, url))


async def test_a_shutdown_asked_for_through_the_api_ends_hub_and_proxy():
    async with run_hub() as hub:
        status, _ = await hub.api("POST", "/shutdown", {}, token=await admin_token(hub))
        assert status == 202
        async with asyncio.timeout(20):
            assert await hub.process.wait() == Exit.OK


async def test_a_shutdown_that_spares_the_proxy_leaves_people_in_their_servers():
    """The hub is not started again, and the command ends when it is told to."""
    async with run_hub(SMALL_SERVERS) as hub:
        url = await start_server(hub, "ada")
        before = hub.hub_process()
        status, _ = await hub.api("POST", "/shutdown", {"proxy": False, "servers": False}, token=await admin_token(hub))
        assert status == 202
        await until(lambda: not is_alive(before), seconds=20)
        await until(lambda: "asked to shut down" in hub.log)
        assert await greeted(hub, url)
        assert hub.proxy_process().is_running()
        with pytest.raises(LookupError):
            hub.hub_process()
        assert await hub.stop() == Exit.OK


async def admin_token(hub: RunningHub) -> str:
    await hub.api("POST", "/users", {"usernames": ["admin"], "admin": True})
    code, token, _ = await command(hub, "token", "admin")
    assert code == Exit.OK
    return token.strip()


async def test_servers_are_stopped_at_shutdown_when_asked_for():
    async with run_hub(SMALL_SERVERS, arguments=["--stop-servers"]) as hub:
        await start_server(hub, "ada")
        assert await hub.stop() == Exit.OK
        assert hub.user_processes() == []


async def test_a_taken_port_is_one_clear_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with run_hub(start=False) as hub:
            hub.port = taken.getsockname()[1]
            code, log = await fails(hub)
    assert code == Exit.UNAVAILABLE
    assert f"error: Something already listens on port {hub.port} on 127.0.0.1." in log
    assert "--port" in log
    assert "Traceback" not in log


async def test_a_taken_hub_port_is_one_clear_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with run_hub(start=False) as hub:
            hub.hub_port = taken.getsockname()[1]
            code, log = await fails(hub)
    assert code == Exit.UNAVAILABLE
    assert f"error: Something already listens on port {hub.hub_port} on 127.0.0.1." in log
    assert "--hub-port" in log
    assert "Traceback" not in log


async def test_a_data_directory_in_use_is_one_clear_error():
    async with run_hub() as hub, run_hub(data_dir=hub.data_dir, start=False) as second:
        code, log = await fails(second)
    assert code == Exit.UNAVAILABLE
    assert "uses the data directory" in log


async def test_an_open_hub_is_not_put_on_a_network_by_accident():
    async with run_hub(arguments=["--ip", "0.0.0.0"], start=False) as hub:
        code, log = await fails(hub)
        assert code == Exit.USAGE
        assert "Refusing to listen on 0.0.0.0" in log
        assert "--allow-unprotected" in log
        hub.arguments = ["--ip", "0.0.0.0", "--allow-unprotected"]
        await hub.start()
        assert "without protection" in hub.log


async def test_a_wrong_configuration_says_where_and_what_and_starts_nothing(tmp_path):
    async with run_hub("hub:\n  alowNamedServers: true\n", data_dir=tmp_path / "data", start=False) as hub:
        code, log = await fails(hub)
        assert not (hub.data_dir / "perijove.sqlite").exists()
    assert code == Exit.USAGE
    assert "config.yaml:2:3" in log
    assert "allowNamedServers" in log
    assert "Traceback" not in log


async def test_json_logs_are_json_line_by_line():
    async with run_hub(arguments=["--log-format", "json"]) as hub:
        await hub.stop()
        logged = [line for line in hub.log.splitlines() if line.startswith("{")]
        assert {"event", "level", "timestamp"} <= set(json.loads(logged[0]))
        assert not re.search(r"^\d{4}-\d\d-\d\dT", hub.log, flags=re.MULTILINE)


async def command(hub: RunningHub, *arguments: str) -> tuple[int, str, str]:
    """A `perijove` command on this hub's data directory and configuration."""
    files = [argument for file in hub.files for argument in ("-f", str(file))]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "perijove.cli", *arguments, "--data-dir", str(hub.data_dir), *files),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_commands_and_a_running_hub_see_each_others_changes():
    async with run_hub() as hub:
        assert (await command(hub, "users", "add", "ada", "grace"))[0] == Exit.OK
        status, user = await hub.api("GET", "/users/ada")
        assert (status, user["admin"]) == (200, False)
        assert (await command(hub, "users", "admin", "ada"))[0] == Exit.OK
        assert (await hub.api("GET", "/users/ada"))[1]["admin"] is True
        code, token, _ = await command(hub, "token", "ada")
        assert code == Exit.OK
        assert (await hub.api("GET", "/user", token=token.strip()))[1]["name"] == "ada"
        assert (await command(hub, "users", "remove", "grace"))[0] == Exit.OK
        assert (await hub.api("GET", "/users/grace"))[0] == 404
        code, listed, _ = await command(hub, "users", "list", "--json")
        assert [json.loads(line)["name"] for line in listed.splitlines()] == ["ada", "admin"]


async def test_commands_explain_what_they_cannot_do():
    async with run_hub() as hub:
        code, _, err = await command(hub, "users", "remove", "nobody")
        assert code == Exit.FAILURE
        assert err.startswith("error: ")
        code, _, err = await command(hub, "token", "nobody")
        assert code == Exit.FAILURE
        await hub.api("POST", "/users/ada")
        code, _, err = await command(hub, "token", "ada", "--scope", "no:such")
        assert code == Exit.FAILURE
        assert "no:such" in err


async def test_a_backup_made_under_a_running_hub_is_a_whole_database(tmp_path):
    async with run_hub() as hub:
        await hub.api("POST", "/users/ada")
        copy = tmp_path / "copy.sqlite"
        code, out, _ = await command(hub, "db", "backup", "--to", str(copy))
        assert (code, out.strip()) == (Exit.OK, str(copy))
        assert copy.stat().st_mode & 0o777 == 0o600
        code, info, _ = await command(hub, "db", "info")
        assert code == Exit.OK
        assert str(hub.data_dir / "perijove.sqlite") in info
        code, _, err = await command(hub, "db", "backup", "--to", str(copy))
        assert code == Exit.USAGE
        assert "exists already" in err
    async with run_hub(data_dir=tmp_path / "moved", start=False) as moved:
        copy.rename(moved.data_dir / "perijove.sqlite")
        await moved.start()
        assert (await moved.api("GET", "/users/ada"))[0] == 200

"""What `perijove up` checks before it starts anything."""

import socket
import subprocess
import sys

import pytest

from perijove.cli.control import HubFacts
from perijove.cli.datadir import locked, prepare
from perijove.cli.exits import CommandFailed, Exit
from perijove.cli.listening import connectable, free_port, is_loopback, listening, require_free
from perijove.cli.up import require_protection


def facts(ip, unprotected="anybody may log in"):
    return HubFacts(public_ip=ip, public_port=1, base_url="/", hub_url="", proxy_token="t", unprotected=unprotected)


def test_a_taken_port_is_named_with_the_option_that_moves_it():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandFailed, match=f"already listens on port {port}") as caught:
            require_free("127.0.0.1", port, "--port")
    assert caught.value.code == Exit.UNAVAILABLE
    assert "--port" in caught.value.remedy


def test_a_free_port_passes_and_can_then_be_listened_on():
    port = free_port()
    require_free("127.0.0.1", port, "--port")
    with listening("127.0.0.1", port, "--port") as sock:
        assert sock.getsockname() == ("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused_with_a_reason():
    with pytest.raises(CommandFailed, match="Cannot listen on port 8000"):
        require_free("192.0.2.1", 8000, "--port")


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_addresses_need_no_protection(ip):
    assert is_loopback(ip)
    require_protection(facts(ip), allow_unprotected=False)


@pytest.mark.parametrize("ip", ["0.0.0.0", "", "::", "192.0.2.1", "hub.example.org"])
def test_beyond_this_machine_logins_must_prove_something(ip):
    with pytest.raises(CommandFailed, match="Refusing to listen") as caught:
        require_protection(facts(ip), allow_unprotected=False)
    assert caught.value.code == Exit.USAGE
    require_protection(facts(ip), allow_unprotected=True)
    require_protection(facts(ip, unprotected=""), allow_unprotected=False)


@pytest.mark.parametrize(
    ("ip", "host"),
    [("0.0.0.0", "127.0.0.1"), ("", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("10.0.0.1", "10.0.0.1")],
)
def test_the_address_shown_is_one_a_browser_can_open(ip, host):
    assert connectable(ip) == host


def test_a_data_directory_serves_one_up_at_a_time_and_names_who_has_it(tmp_path):
    code = (
        "import sys; from pathlib import Path; from perijove.cli.datadir import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(CommandFailed, match=f"process {holder.pid}") as caught, locked(tmp_path):
            pass
        assert caught.value.code == Exit.UNAVAILABLE
    finally:
        holder.kill()
        holder.communicate()
    # The lock of a killed process is gone with it.
    with locked(tmp_path):
        pass


def test_a_new_data_directory_is_private(tmp_path):
    made = prepare(tmp_path / "a" / "b")
    assert made.stat().st_mode & 0o777 == 0o700


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandFailed, match="Cannot make the data directory"):
        prepare(tmp_path / "file" / "data")

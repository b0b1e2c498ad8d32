"""configurable-http-proxy's flags mean what they mean there; those that cannot be honoured are refused aloud."""

from pathlib import Path

import pytest

from perijove.cli.chp import read_options
from perijove.proxy.systemd import Activated


def options(*flags, environ=None, given=None):
    return read_options(list(flags), environ or {}, given or Activated())


def test_what_a_hub_passes():
    """The command line of JupyterHub's ConfigurableHTTPProxy, with internal TLS and subdomains."""
    found = options(
        *("--ip", "", "--port", "8000", "--api-ip", "127.0.0.1", "--api-port", "8001"),
        *("--error-target", "http://127.0.0.1:8081/hub/error", "--log-level", "info", "--host-routing"),
        *("--ssl-key", "k.pem", "--ssl-cert", "c.pem"),
        *("--api-ssl-key", "ak", "--api-ssl-cert", "ac", "--api-ssl-ca", "aca"),
        *("--api-ssl-request-cert", "--api-ssl-reject-unauthorized"),
        *("--client-ssl-key", "ck", "--client-ssl-cert", "cc", "--client-ssl-ca", "cca"),
        *("--client-ssl-request-cert", "--client-ssl-reject-unauthorized"),
        environ={"CONFIGPROXY_AUTH_TOKEN": "t"},
    )
    assert found.listen == (("", 8000),)
    assert found.api.listen == (("127.0.0.1", 8001),)
    assert found.error_target == "http://127.0.0.1:8081/hub/error"
    assert found.host_routing
    assert found.tls.certificates == ((Path("c.pem"), Path("k.pem")),)
    assert not found.tls.request_client
    assert found.api.tls.certificates == ((Path("ac"), Path("ak")),)
    assert (found.api.tls.require_client, found.api.tls.client_ca) == (True, Path("aca"))
    assert (found.target_ca, found.target_cert, found.target_key) == (Path("cca"), Path("cc"), Path("ck"))
    assert found.token == "t"
    # The hub is a target like any other to this API, and must not be limited as one user's server is.
    assert found.limits.target_connections == 0


def test_unix_sockets_take_the_place_of_ports():
    """For the public side and the API."""
    found = options("--socket", "/p.sock", "--api-socket", "/a.sock")
    assert (found.listen, found.unix_sockets) == ((), (Path("/p.sock"),))
    assert (found.api.listen, found.api.unix_sockets) == ((), (Path("/a.sock"),))


@pytest.mark.parametrize(
    ("flags", "public", "api"),
    [
        ((), ("", 8000), ("localhost", 8001)),
        (("--port", "9000"), ("", 9000), ("localhost", 9001)),
        (("--ip", "*", "--port", "0"), ("", 0), ("localhost", 0)),
        (("--api-ip", "*", "--api-port", "5"), ("", 8000), ("", 5)),
    ],
)
def test_addresses(flags, public, api):
    """The API is on the next port, of this machine alone, unless it is told otherwise."""
    found = options(*flags)
    assert (found.listen[0], found.api.listen[0]) == (public, api)


def test_times_are_milliseconds():
    """0 and absent are "for ever"."""
    found = options("--timeout", "2000", "--proxy-timeout", "3000", "--keep-alive-timeout", "500").timeouts
    assert (found.body_seconds, found.target_silence_seconds, found.keep_alive_seconds) == (2, 3, 0.5)
    assert options("--proxy-timeout", "0").timeouts.target_silence_seconds == 0


def test_rewriting():
    """Each flag is one departure."""
    assert options().rewrite.plain()
    found = options(
        *("--no-x-forward", "--no-prepend-path", "--no-include-prefix", "--change-origin"),
        *("--custom-header", "X-A: 1", "--custom-header", "X-B:2"),
    ).rewrite
    assert (found.x_forwarded, found.prepend_path, found.include_prefix, found.change_origin) == (False,) * 3 + (True,)
    assert found.custom_headers == (("X-A", "1"), ("X-B", "2"))


@pytest.mark.parametrize(
    "flags",
    [
        ("--storage-backend", "redis"),
        ("--auto-rewrite",),
        ("--protocol-rewrite", "https"),
        ("--redirect-port", "80"),
        ("--error-target", "http://x", "--error-path", "/x"),
        ("--custom-header", "no colon"),
        ("--custom-header", "X: a\r\nY: b"),
        ("--no-such-flag",),
        ("--log-level", "loud"),
    ],
)
def test_what_cannot_be_honoured_is_refused(flags, capsys):
    """Nobody is left to find out later."""
    with pytest.raises(SystemExit) as ended:
        options(*flags)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_sockets_of_systemd():
    """In the place of what would be listened on."""
    found = options(given=Activated(public=[3], api=[5], redirect=[4]))
    assert (found.listen, found.sockets) == ((), [3])
    assert (found.api.listen, found.api.sockets) == ((), [5])
    assert found.redirect_sockets == [4]

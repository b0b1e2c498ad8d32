"""Host names of users: JupyterHub's own for every name, and nobody's else's."""

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyterhub.utils import subdomain_hook_idna, subdomain_hook_legacy

from perijove.domain.addresses import Addresses, idna_hook, legacy_hook
from perijove.domain.errors import Invalid
from perijove.domain.names import escape
from perijove.reconcile import chp

BELOW = Addresses("/b/", "https://hub.test:8443/b/", "https://hub.test:8443")
NAMES = st.text(min_size=1, max_size=80) | st.from_regex(r"[a-zA-Z0-9-]{1,70}", fullmatch=True)


@given(NAMES, st.sampled_from(["user", "service"]))
def test_every_name_has_the_host_that_jupyterhub_gives_it(name, kind):
    assert idna_hook(name, "hub.test", kind) == subdomain_hook_idna(name, "hub.test", kind)
    assert legacy_hook(name, "hub.test", kind) == subdomain_hook_legacy(name, "hub.test", kind)


@given(NAMES)
def test_a_path_to_a_server_is_located_where_the_server_is(name):
    path = BELOW.server_url(name).partition(":8443")[2]
    assert path == f"/b/user/{escape(name)}/"
    assert BELOW.located(f"{path}lab?x=1#y") == f"{BELOW.user_host(name)}{path}lab?x=1#y"


@pytest.mark.parametrize("path", ["/b/hub/home", "/b/user/", "/user/ada/", "//evil.test/b/user/ada", "/b/services"])
def test_other_paths_stay_where_they_are(path):
    assert BELOW.located(path) == path


def test_without_hosts_of_users_everything_is_a_path():
    one = Addresses("/", "https://hub.test/")
    assert one.server_url("ada") == one.server_route("ada") == "/user/ada/"
    assert one.located("/user/ada/") == one.hub("/user/ada/") == "/user/ada/"
    assert one.public_service_url("x") == "https://hub.test/services/x/"
    assert not one.is_elsewhere("ada.hub.test")


@pytest.mark.parametrize(
    ("host", "elsewhere"),
    [
        ("ada.hub.test", True),
        ("ADA.Hub.Test:8443", True),
        ("ada.hub.test.", True),
        ("hub.test:8443", False),
        ("evilhub.test", False),
        ("127.0.0.1:80", False),
        ("", False),
    ],
)
def test_hosts_below_the_hubs_are_told_from_its_own(host, elsewhere):
    assert BELOW.is_elsewhere(host) is elsewhere


@pytest.mark.parametrize("answer", ["evil/../x", "a b.hub.test", "", None, "x@hub.test"])
def test_a_hook_that_gives_no_host_name_is_refused(answer):
    with pytest.raises(Invalid, match="subdomain_hook"):
        Addresses("/", "", "https://hub.test", lambda name, domain, kind: answer).user_host("ada")


@pytest.mark.parametrize("route", ["/", "ada.hub.test/b/user/ada/", "u-adax--0.hub.test/b/user/ada@x/"])
def test_a_stock_proxy_says_routes_back_as_they_were_set(route):
    """configurable-http-proxy has the host as the first part of a path, unescaped and without the last slash."""
    there = "/" + unquote(route).strip("/")
    assert chp._prefix(there, BELOW) == route
    assert chp._prefix("/user/ada", Addresses()) == "/user/ada/"

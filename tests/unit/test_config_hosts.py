"""`subdomain_host` and what goes with it, as configurations say it."""

import pytest

from perijove.config import ConfigError, compile_config, load


@pytest.fixture
def compiled(tmp_path):
    def run(text: str):
        file = tmp_path / "config.yaml"
        file.write_text(text)
        return compile_config(load([file]), data_dir=tmp_path / "data", environment={})

    return run


def test_the_hub_is_where_its_users_are_below(compiled):
    """JupyterHub's default for `public_url`; a host without scheme is https."""
    found = compiled("hub: {baseUrl: /b/, config: {JupyterHub: {subdomain_host: 'hub.example.org:8443'}}}").options
    assert found.public_url == "https://hub.example.org:8443/b/"
    assert found.addresses.server_url("ada") == "https://ada.hub.example.org:8443/b/user/ada/"
    assert found.addresses.service_url("x") == "https://x--service.hub.example.org:8443/b/services/x/"


@pytest.mark.parametrize(
    ("hook", "url"),
    [
        ("'legacy'", "https://ada_40x.h.test/user/ada@x/"),
        ("'idna'", "https://u-adax--2b3a9d0.h.test/user/ada@x/"),
        ("lambda name, domain, kind: 'all-' + kind + 's.' + domain", "https://all-users.h.test/user/ada@x/"),
    ],
)
def test_the_hook_is_a_name_or_a_function(compiled, hook, url):
    code = f"c.JupyterHub.subdomain_host = 'https://h.test'\\nc.JupyterHub.subdomain_hook = {hook}"
    found = compiled(f'hub: {{extraConfig: {{hosts: "{code}"}}}}').options
    assert found.addresses.server_url("ada@x").split("--")[0] == url.split("--")[0]


@pytest.mark.parametrize(
    "traits",
    [
        "subdomain_host: 'https://hub.test/path'",
        "subdomain_host: 'ftp://hub.test'",
        "subdomain_host: 5",
        "{subdomain_host: hub.test, subdomain_hook: other}",
    ],
)
def test_what_is_no_host_is_refused(compiled, traits):
    traits = traits if traits.startswith("{") else f"{{{traits}}}"
    with pytest.raises(ConfigError, match="subdomain"):
        compiled(f"hub: {{config: {{JupyterHub: {traits}}}}}")


@pytest.mark.parametrize(("host", "route"), [("hub.test", "/docs/"), ("", "docs.hub.test/docs/")])
def test_extra_routes_name_hosts_where_users_have_them_and_nowhere_else(compiled, host, route):
    config = f"{{JupyterHub: {{subdomain_host: '{host}'}}, Proxy: {{extra_routes: {{'{route}': 'http://x:1'}}}}}}"
    with pytest.raises(ConfigError, match="extra_routes"):
        compiled(f"hub: {{config: {config}}}")

"""Metrics under JupyterHub's names, with its types, labels and buckets, so that dashboards made for it work."""

import jupyterhub.metrics  # noqa: F401 - registers JupyterHub's own
import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

from perijove.config.options import ServiceOptions
from perijove.lib.metrics import REGISTRY
from perijove.testing.api import ApiClient
from perijove.testing.inside import hub_inside
from perijove.testing.waiting import until

SCRAPER = "scraper-token"


def declared(registry):
    """Name -> type, labels, buckets of what JupyterHub declares."""
    return {
        collector._name: (collector._type, collector._labelnames, getattr(collector, "_upper_bounds", None))
        for collector in registry._collector_to_names
        if getattr(collector, "_name", "").startswith("jupyterhub_")
    }


def test_every_metric_of_jupyterhub_is_here_alike():
    theirs, ours = declared(prometheus_client.REGISTRY), declared(REGISTRY)
    assert len(theirs) >= 17
    assert ours == theirs


@pytest.fixture
async def inside(tmp_path):
    async with hub_inside(
        tmp_path, services=(ServiceOptions(name="scraper", api_token=SCRAPER, admin=True),), redirect_to_server=False
    ) as hub:
        yield hub


async def test_what_happens_is_counted_under_the_labels_that_dashboards_ask_for(inside):
    async with ApiClient(inside.url, SCRAPER) as api:

        async def counted(name, **labels):
            text = (await api("GET", "/metrics")).text
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    if sample.name == name and labels.items() <= sample.labels.items():
                        return sample.value
            return 0

        async with inside.browser() as ada:
            await ada.log_in("ada", "x")
            assert (await api("POST", "/users/ada/server")).status == 201
            assert await counted("jupyterhub_running_servers") == 1
            assert await counted("jupyterhub_total_users") == 2
            assert (await api("DELETE", "/users/ada/server")).status == 204
            await ada.get("hub/logout")
            await ada.post("hub/security/csp-report", {})
        assert await counted("jupyterhub_login_duration_seconds_count", status="success") >= 1
        assert await counted("jupyterhub_server_spawn_duration_seconds_count", status="success", reason="") >= 1
        assert await counted("jupyterhub_server_stop_seconds_count", status="success") >= 1
        assert await counted("jupyterhub_logout_duration_seconds_count") >= 1
        assert await counted("jupyterhub_csp_reports_total") >= 1
        assert await counted("jupyterhub_init_spawners_duration_seconds_count") >= 1
        named = {"method": "GET", "handler": "/api/users/{user}", "code": "404"}
        await api("GET", "/users/nobody")
        assert await counted("jupyterhub_request_duration_seconds_count", **named) >= 1

        async def measured():
            return await counted("jupyterhub_event_loop_interval_seconds_count") > 0

        await until(measured)


async def test_metrics_are_for_whoever_may_read_them(inside, tmp_path):
    async with ApiClient(inside.url) as nobody, ApiClient(inside.url, SCRAPER) as api:
        assert (await nobody("GET", "/metrics")).status == 403
        await api("POST", "/users/ada")
        token = (await api("POST", "/users/ada/tokens")).json["token"]
        async with ApiClient(inside.url, token) as ada:
            assert (await ada("GET", "/metrics")).status == 403
    async with (
        hub_inside(tmp_path / "open", authenticate_prometheus=False) as hub,
        ApiClient(hub.url) as nobody,
    ):
        assert (await nobody("GET", "/metrics")).status == 200

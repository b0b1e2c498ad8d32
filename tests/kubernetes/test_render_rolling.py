"""An upgrade of a release replaces pods one by one, and gives each the time that what it carries may take."""

import pytest

from perijove.web.leaving import FAREWELL_SECONDS

POSTGRES = "hub: {db: {type: postgres, url: 'postgresql://hub@db/hub'}}\n"
ONE_MORE_FIRST = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
# What Kubernetes gives a pod that does not say.
DEFAULT_GRACE = 30
# For requests under way, once a hub has taken leave.
FINISH = 5


def parts(found, name: str):
    spec = found["Deployment", name]["spec"]
    return spec, spec["template"]["spec"], spec["template"]["spec"]["containers"][0]


def stop_delay(container) -> int:
    command, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    return int(seconds)


def drain(container) -> int:
    (value,) = [arg.partition("=")[2] for arg in container["args"] if arg.startswith("--drain-timeout=")]
    return int(value)


@pytest.mark.parametrize("name", ["hub", "proxy"])
def test_a_new_pod_is_ready_before_an_old_one_goes(rendered, name):
    found, _ = rendered(POSTGRES)
    spec, _, container = parts(found, name)
    assert spec["strategy"] == ONE_MORE_FIRST
    assert container["readinessProbe"]["httpGet"]["path"] == {"hub": "/hub/health", "proxy": "/_perijove/healthz"}[name]


@pytest.mark.parametrize("name", ["hub", "proxy"])
def test_a_pod_is_out_of_the_endpoints_before_it_is_told_to_stop(rendered, name):
    _, _, container = parts(rendered(POSTGRES)[0], name)
    assert stop_delay(container) > 0


def test_a_hub_has_time_to_take_leave_and_to_finish(rendered):
    _, pod, container = parts(rendered(POSTGRES)[0], "hub")
    grace = pod.get("terminationGracePeriodSeconds", DEFAULT_GRACE)
    assert stop_delay(container) + FAREWELL_SECONDS + FINISH < grace


@pytest.mark.parametrize(("given", "drains"), [("", 45), ("{terminationGracePeriodSeconds: 3600}", 3585)])
def test_a_proxy_drains_as_long_as_its_pod_may_take_to_end(rendered, given, drains):
    """Who gives pods of proxies an hour keeps websockets for an hour."""
    extra = f"proxy: {{chp: {{extraPodSpec: {given}}}}}" if given else ""
    _, pod, container = parts(rendered(extra)[0], "proxy")
    assert drain(container) == drains
    assert stop_delay(container) + drains < pod["terminationGracePeriodSeconds"]

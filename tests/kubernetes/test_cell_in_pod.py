"""From a config.yaml to a cell's result: `perijove deploy`, a login in a browser, a server in a pod, `1+1`.

Everything runs where the release puts it: the hub and the proxies in pods under their rendered accounts, the stock
single-user server in a pod that a stock KubeSpawner makes. On a real cluster too, given one that can pull the image
and hands out addresses of load balancers.
"""

import asyncio
import os
import sys

import pytest
from playwright.async_api import expect

from perijove.testing.chromium import PATIENCE_MS, log_in, open_chromium, run_cell
from perijove.testing.hub import write_config
from perijove.testing.waiting import until

pytestmark = pytest.mark.browser

CONFIG = {
    "hub": {
        "redirectToServer": False,
        "config": {"JupyterHub": {"authenticator_class": "dummy"}, "Authenticator": {"allow_all": True}},
    },
    "singleuser": {
        "startTimeout": 120,
        "storage": {"capacity": "1Gi"},
        # iptables would change this machine's own rules.
        "cloudMetadata": {"blockWithIptables": False},
        "profileList": [
            {"display_name": "Small", "slug": "small", "default": True},
            {
                "display_name": "With a choice",
                "slug": "chosen",
                "profile_options": {
                    "size": {
                        "display_name": "Size",
                        "choices": {
                            "one": {"display_name": "One", "kubespawner_override": {"extra_labels": {"size": "one"}}},
                            "two": {"display_name": "Two", "kubespawner_override": {"extra_labels": {"size": "two"}}},
                        },
                    }
                },
            },
        ],
    },
    "scheduling": {"userScheduler": {"enabled": False}, "userPlaceholder": {"enabled": False}},
    "prePuller": {"hook": {"enabled": False}, "continuous": {"enabled": False}},
}


@pytest.fixture
async def release(cluster, tmp_path):
    """The address at which it is reached."""
    if not cluster.is_real:
        cluster.fake.kubelet.pace.probe_factor = 0.1
    file = write_config(tmp_path / "config.yaml", CONFIG)
    arguments = ["-f", str(file), "-n", cluster.namespace, "--kubeconfig", str(cluster.kubeconfig), "--yes"]
    deploy = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "perijove.cli", "deploy", *arguments, "--timeout", "3m",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    said, _ = await deploy.communicate()
    assert deploy.returncode == 0, said.decode()

    async def address():
        service = await cluster.core.read_namespaced_service("proxy-public", cluster.namespace)
        return [one.ip or one.hostname for one in service.status.load_balancer.ingress or ()]

    [place, *_] = await until(address, seconds=180, every=0.1)
    return f"http://{place}/"


async def test_a_cell_runs_in_a_pod_of_a_deployed_release(release, cluster):
    async with open_chromium() as chromium:
        page = await chromium.new_page(viewport={"width": 1280, "height": 800})
        await log_in(page, release, "Ada@Example.com")
        await page.get_by_role("button", name="Start").or_(page.get_by_role("link", name="Start")).first.click()
        await page.wait_for_url("**/hub/spawn**")
        await page.get_by_text("With a choice").click()
        await page.locator("select").last.select_option(label="Two")
        await page.get_by_role("button", name="Start").click()
        await page.wait_for_url("**/lab**", timeout=PATIENCE_MS)
        await run_cell(page)
        [pod] = (await cluster.core.list_namespaced_pod(cluster.namespace, label_selector="size=two")).items
        assert pod.metadata.labels["component"] == "singleuser-server"
        assert pod.metadata.annotations["hub.jupyter.org/username"] == "ada@example.com"
        await page.goto(f"{release}hub/home")
        await page.get_by_role("button", name="Stop").click()
        heading = page.locator("#default-server")
        await expect(heading).to_contain_text("Stopped", timeout=60_000)
    left = await cluster.core.list_namespaced_pod(cluster.namespace, label_selector="component=singleuser-server")
    assert left.items == []
    claims = await cluster.core.list_namespaced_persistent_volume_claim(cluster.namespace)
    assert sorted(one.metadata.name.partition("-example")[0] for one in claims.items) == ["claim-ada", "hub-db-dir"]
    if not cluster.is_real:
        assert [str(one) for one in cluster.fake.server.log.find(status=403)] == []

"""What goes wrong with one machine: its clock is minutes off, or the disk of its database is full."""

import itertools
import os
import shutil
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus

import pytest

from perijove.testing.browser import Browser
from perijove.testing.waiting import until
from perijove.testing.wanderer import Wanderer

_numbers = itertools.count(1)


async def ready(cluster, user, hub):
    status, model = await cluster.api("GET", f"/users/{user}", at=hub)
    return status == HTTPStatus.OK and model["servers"].get("", {}).get("ready")


@pytest.fixture(scope="module")
def clocks(new_cluster):
    """Three hubs: one has the right time, one is five minutes early, one five minutes late."""
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed; scripts/system-packages test installs it")
    cluster = new_cluster("postgres", hubs=3, proxies=1, start=False)
    for hub, offset in zip(cluster.hubs, ("+0", "+5m", "-5m"), strict=True):
        hub.prefix = ("faketime", "--exclude-monotonic", "-f", offset)
    return cluster


@pytest.mark.promise("clock of a hub", "5 minutes off", "users at work", database="postgres")
async def test_hubs_whose_clocks_differ_agree(clocks, name):
    """Logins, tokens with a time to live, and starts under way are the same for hubs of every clock."""
    await clocks.ready()
    async with Wanderer([hub.url for hub in clocks.hubs]) as wanderer:
        assert (await wanderer.log_in(name))[0] == HTTPStatus.OK
        for _ in clocks.hubs:
            response, _ = await wanderer.get("hub/token")
            assert (response.status, response.url.path) == (HTTPStatus.OK, "/hub/token")
    for maker in clocks.hubs:
        _, token = await clocks.api("POST", f"/users/{name}/tokens", {"expires_in": 120}, at=maker)
        for hub in clocks.hubs:
            assert (await clocks.api("GET", "/user", token=token["token"], at=hub))[0] == HTTPStatus.OK
    clocks.world.behave(start_seconds=2)
    try:
        for number, hub in enumerate(clocks.hubs):
            user = f"{name}-{number}"
            await clocks.api("POST", f"/users/{user}", at=hub)
            await clocks.api("POST", f"/users/{user}/server", at=hub)
            await until(lambda user=user, hub=hub: ready(clocks, user, hub), seconds=20)
            (server,) = clocks.world.servers(user)
            # Nobody whose clock is early took the start for abandoned.
            assert (server["generation"], server["epoch"]) == (1, 1)
            _, model = await clocks.api("GET", f"/users/{user}", at=hub)
            began = datetime.fromisoformat(model["servers"][""]["started"])
            assert abs((datetime.now(UTC) - began).total_seconds()) < 60
    finally:
        clocks.world.behave()


@pytest.fixture
def small_disk(tmp_path):
    if os.getuid() != 0:
        pytest.skip("mounting a small disk takes root")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not permitted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.promise("disk of SQLite", "full", "users at work", database="sqlite")
async def test_with_a_full_disk_reading_goes_on_and_writing_is_told_to_wait(small_disk, new_cluster, name):
    """No logout, no error of ours, nothing lost; when there is room again everything works by itself."""
    cluster = new_cluster(f"sqlite:///{small_disk}/hub.sqlite", hubs=1, proxies=1)
    await cluster.ready()
    (hub,) = cluster.hubs
    async with Browser(cluster.proxies[0].url) as browser:
        assert (await browser.log_in(name))[0] == HTTPStatus.OK
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * 4096):
                pass

        async def refused():
            # The journal may have room for some more.
            status, _ = await cluster.api("POST", f"/users/{name}-{next(_numbers)}")
            assert status in (HTTPStatus.CREATED, HTTPStatus.SERVICE_UNAVAILABLE)
            return status == HTTPStatus.SERVICE_UNAVAILABLE

        await until(refused, seconds=30)
        address = f"{cluster.proxies[0].url}hub/api/users/{name}-more"
        headers = {"Authorization": f"token {cluster.token}"}
        async with browser.session.post(address, headers=headers) as response:
            assert response.status == HTTPStatus.SERVICE_UNAVAILABLE, await response.text()
            assert int(response.headers["Retry-After"]) > 0
        response, _ = await browser.get("hub/home")
        assert (response.status, response.url.path) == (HTTPStatus.OK, "/hub/home")
        filler.unlink()

        async def accepted():
            return (await cluster.api("POST", f"/users/{name}-{next(_numbers)}"))[0] == HTTPStatus.CREATED

        await until(accepted, seconds=20)
    await cluster.api("POST", f"/users/{name}/server")
    await until(lambda: ready(cluster, name, hub), seconds=20)
    assert "Traceback" not in hub.log

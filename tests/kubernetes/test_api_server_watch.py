"""Watches: every change once, from a revision on, until they cannot."""

import asyncio
import json
from contextlib import asynccontextmanager

import aiohttp
import pytest
from kubernetes_asyncio import watch

from perijove.testing.waiting import until


def note(name, **labels):
    return {"metadata": {"name": name, "labels": labels}}


class Stream:
    """The lines of one watch, as they come."""

    def __init__(self):
        self.lines = []
        self.ended = False
        self.error = None

    def kinds(self):
        return [line["type"] for line in self.lines]

    def names(self):
        return [(line["type"], line["object"]["metadata"].get("name")) for line in self.lines]


@asynccontextmanager
async def watching(cluster, **query):
    """Of configMaps, past any client library."""
    configuration = cluster.api.configuration
    header = await cluster.authorization()
    url = f"{configuration.host}/api/v1/namespaces/{cluster.namespace}/configmaps"
    stream = Stream()

    async def read(response):
        try:
            async for line in response.content:
                stream.lines.append(json.loads(line))
        except aiohttp.ClientError as error:
            stream.error = error
        stream.ended = True

    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=cluster.tls)) as session,
        session.get(url, params={"watch": "1", **query}, headers={"Authorization": header}) as response,
    ):
        stream.status = response.status
        task = asyncio.create_task(read(response))
        try:
            yield stream
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def revision(cluster):
    found = await cluster.core.list_namespaced_config_map(cluster.namespace)
    return found.metadata.resource_version


async def test_a_watch_tells_what_changed_after_the_list(cluster):
    since = await revision(cluster)
    async with watching(cluster, resourceVersion=since) as stream:
        await cluster.core.create_namespaced_config_map(cluster.namespace, note("a"))
        await cluster.core.patch_namespaced_config_map("a", cluster.namespace, {"data": {"key": "value"}})
        await cluster.core.delete_namespaced_config_map("a", cluster.namespace)
        await until(lambda: len(stream.lines) == 3)
    assert stream.names() == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    revisions = [int(line["object"]["metadata"]["resourceVersion"]) for line in stream.lines]
    assert revisions == sorted(set(revisions))
    assert revisions[0] > int(since)


async def test_a_selection_is_entered_and_left(cluster):
    since = await revision(cluster)
    async with watching(cluster, resourceVersion=since, labelSelector="seen=yes") as stream:
        await cluster.core.create_namespaced_config_map(cluster.namespace, note("a", seen="no"))
        await cluster.core.patch_namespaced_config_map("a", cluster.namespace, note("a", seen="yes"))
        await cluster.core.patch_namespaced_config_map("a", cluster.namespace, note("a", seen="no"))
        await until(lambda: len(stream.lines) == 2)
    assert stream.names() == [("ADDED", "a"), ("DELETED", "a")]


async def test_a_watch_without_revision_begins_with_what_is_there(cluster):
    await cluster.core.create_namespaced_config_map(cluster.namespace, note("a", seen="yes"))
    async with watching(cluster, labelSelector="seen=yes") as stream:
        await until(lambda: stream.lines)
    assert stream.names() == [("ADDED", "a")]


async def test_initial_events_end_with_a_bookmark(cluster):
    await cluster.core.create_namespaced_config_map(cluster.namespace, note("a", seen="yes"))
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    async with watching(cluster, labelSelector="seen=yes", **query) as stream:
        await until(lambda: len(stream.lines) == 2)
    assert stream.kinds() == ["ADDED", "BOOKMARK"]
    annotations = stream.lines[1]["object"]["metadata"]["annotations"]
    assert annotations == {"k8s.io/initial-events-end": "true"}


async def test_a_watch_ends_after_its_time_with_a_bookmark(cluster):
    since = await revision(cluster)
    query = {"timeoutSeconds": "1", "allowWatchBookmarks": "true"}
    async with watching(cluster, resourceVersion=since, **query) as stream:
        await until(lambda: stream.ended)
    assert stream.error is None
    assert set(stream.kinds()) <= {"BOOKMARK"}


async def test_bookmarks_come_on_time_while_nothing_happens(cluster):
    cluster.fake.server.watches.bookmark_seconds = 0.05
    since = await revision(cluster)
    async with watching(cluster, resourceVersion=since, allowWatchBookmarks="true") as stream:
        await until(lambda: len(stream.lines) >= 2)
    assert set(stream.kinds()) == {"BOOKMARK"}


async def test_a_revision_that_is_forgotten_is_gone(cluster):
    since = await revision(cluster)
    await cluster.core.create_namespaced_config_map(cluster.namespace, note("a"))
    cluster.fake.server.store.compact()
    async with watching(cluster, resourceVersion=since) as stream:
        await until(lambda: stream.ended)
    assert stream.kinds() == ["ERROR"]
    assert stream.lines[0]["object"]["code"] == 410
    assert stream.lines[0]["object"]["reason"] == "Expired"


async def test_a_page_of_a_forgotten_snapshot_is_gone(cluster):
    for number in range(3):
        await cluster.core.create_namespaced_config_map(cluster.namespace, note(f"a-{number}"))
    page = await cluster.core.list_namespaced_config_map(cluster.namespace, limit=1)
    await cluster.core.create_namespaced_config_map(cluster.namespace, note("b"))
    cluster.fake.server.store.compact()
    with pytest.raises(cluster.ApiException) as caught:
        await cluster.core.list_namespaced_config_map(cluster.namespace, limit=1, _continue=page.metadata._continue)
    assert caught.value.status == 410


async def test_watches_break_on_demand(cluster):
    since = await revision(cluster)
    fake = cluster.fake
    async with watching(cluster, resourceVersion=since) as stream:
        await until(lambda: fake.server.watches.open)
        assert fake.server.watches.disconnect("configmaps") == 1
        await until(lambda: stream.ended)
    assert stream.error is not None
    await until(lambda: not fake.server.watches.open)


async def test_the_client_library_follows_a_watch(cluster):
    since = await revision(cluster)
    await cluster.core.create_namespaced_config_map(cluster.namespace, note("a"))
    watcher = watch.Watch()
    call = cluster.core.list_namespaced_config_map
    async with watcher.stream(call, cluster.namespace, resource_version=since, timeout_seconds=5) as stream:
        async for event in stream:
            assert event["object"].metadata.name == "a"
            watcher.stop()
    await watcher.close()

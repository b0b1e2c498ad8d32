"""A pod that z2jh's hub started goes on under the row that an import made of its state."""

import json
import sqlite3
from pathlib import Path

from sqlalchemy import select

from perijove.domain.ids import ServerId, UserId
from perijove.domain.ports import UserFacts
from perijove.services.jupyterhub_import.source import read, source_url
from perijove.services.jupyterhub_import.taking import take
from perijove.store.schema import servers
from perijove.testing.context import bare_hub
from perijove.testing.kube.spawning import POD, open_spawner_half

DUMP = Path(__file__).parents[1] / "integration" / "jupyterhub" / "6.sql"


async def test_a_pod_of_jupyterhubs_is_found_by_the_name_in_its_state_and_stopped(cluster, tmp_path, monkeypatch):
    """Whatever name this configuration would give it, and without any mark of ours."""
    async with open_spawner_half(cluster, tmp_path, monkeypatch) as half:
        state = {key: value for key, value in (await half.running()).state().items() if "perijove" not in key}
        assert state["pod_name"] == POD
        pod = await half.pods.read(POD)
        marks = {label: None for label in pod.metadata.labels if label.startswith("perijove.io/")}
        assert marks
        path = f"/api/v1/namespaces/{cluster.namespace}/pods/{POD}"
        unmarked = {"metadata": {"labels": marks}}
        status, _ = await cluster.request("PATCH", path, unmarked, content_type="application/merge-patch+json")
        assert status == 200
        assert not any("perijove" in label for label in (await half.pods.read(POD)).metadata.labels)

        row = await imported(tmp_path / "jupyterhub.sqlite", state)
        assert row.state == state
        ada = UserFacts(id=UserId(row.user_id), name="ada")
        changes = {"id": ServerId(row.id), "user": ada, "generation": row.generation, "lease_epoch": row.lease_epoch}
        spawner = await half.open(state=row.state, **changes)
        assert await spawner.poll() is None
        # No orphan of ours: nobody sweeps it.
        assert await half.host().find() == []
        await spawner.stop()
        assert await half.pods.find(POD) is None


async def imported(path: Path, state):
    with sqlite3.connect(path) as connection:
        connection.executescript(DUMP.read_text(encoding="utf-8"))
        text = json.dumps(state)
        connection.execute("UPDATE spawners SET state = ? WHERE oauth_client_id = 'jupyterhub-user-ada'", (text,))
    connection.close()
    async with bare_hub() as hub:
        await take(hub, await read(source_url(str(path))), actor="test")
        async with hub.store.read() as connection:
            statement = select(servers).where(servers.c.oauth_client_id == "jupyterhub-user-ada")
            return (await connection.execute(statement)).one()

"""What `perijove db import-jupyterhub` makes of databases that stock JupyterHubs of releases 4, 5 and 6 wrote.

They are in jupyterhub/*.sql, made by scripts/jupyterhub-dumps.
"""

import asyncio
import json
import sqlite3
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, make_url, select, text
from sqlalchemy.ext.asyncio import create_async_engine

from perijove.config.options import ServiceOptions
from perijove.domain.errors import Invalid, Unavailable
from perijove.services import oauth
from perijove.services.context import HubContext
from perijove.services.identity import identify_token, identify_user
from perijove.services.jupyterhub_import.beside import not_imported
from perijove.services.jupyterhub_import.report import Report
from perijove.services.jupyterhub_import.source import Source, read, source_url
from perijove.services.jupyterhub_import.taking import take
from perijove.services.shares import find_offer
from perijove.services.tokens import list_tokens, revoke_token
from perijove.store import schema
from perijove.store.database import Store, Transaction
from perijove.testing.context import bare_hub

DUMPS = Path(__file__).parent / "jupyterhub"
RELEASES = ("4", "5", "6")
ADA = "the-token-of-ada-in-the-dumps"
WIKI = "the-token-of-wiki-in-the-dumps"
KEYS = (bytes.fromhex("5d" * 32),)
WIKI_SERVICE = ServiceOptions(
    name="wiki", api_token=WIKI, oauth_client_id="service-wiki", oauth_redirect_uri="http://127.0.0.1:9/callback"
)
# What dumps have is good for ever in tests, but for what shall have expired.
TIMELESS = """
UPDATE api_tokens SET expires_at = '2999-01-01 00:00:00.000000' WHERE expires_at IS NOT NULL;
UPDATE api_tokens SET expires_at = '2001-01-01 00:00:00.000000' WHERE note = 'over';
"""


def restored(directory: Path, release: str) -> Path:
    path = directory / f"jupyterhub-{release}.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript((DUMPS / f"{release}.sql").read_text(encoding="utf-8") + TIMELESS)
        if release != "4":
            connection.execute("UPDATE share_codes SET expires_at = '2999-01-01 00:00:00.000000'")
    connection.close()
    return path


async def imported(hub: HubContext, path: Path, **options: Any) -> Report:
    return await take(hub, await read(source_url(str(path))), actor="test", **options)


async def everything(hub: HubContext) -> dict[str, list[Any]]:
    """All rows but those that say when something was looked at."""
    async with hub.store.read() as connection:
        return {
            table.name: [tuple(row) for row in await connection.execute(select(table))]
            for table in schema.metadata.sorted_tables
        }


@pytest.mark.parametrize("release", RELEASES)
async def test_people_their_rights_and_their_servers_are_taken_from_each_release(tmp_path: Path, release: str):
    path = restored(tmp_path, release)
    async with bare_hub(crypt_keys=KEYS, services=(WIKI_SERVICE,)) as hub:
        report = await imported(hub, path)
        assert report.release == release
        await people(hub)
        await servers(hub, path)
        assert report.taken["running servers"] == 2
        assert report.taken["shares"] == report.taken["share codes"] * 2 == (0 if release == "4" else 2)
        assert report.left["tokens", "expired"] == [""]
        assert ("services", "of JupyterHub's configuration and not in this one; configure them before importing") in (
            report.left
        )


async def people(hub: HubContext) -> None:
    ada, grace, boss = [await identify_user(hub, name) for name in ("ada", "grace", "boss")]
    assert (ada.admin, grace.admin, boss.admin) == (False, False, True)
    assert ada.groups == grace.groups == ("physics",)
    assert "readers" in ada.roles
    # By the group's role.
    assert grace.scopes.covers("list:users")
    async with hub.store.read() as connection:
        users = {row.name: row for row in await connection.execute(select(schema.users))}
        groups = {row.name: row.properties for row in await connection.execute(select(schema.groups))}
    assert groups == {"physics": {"quota": 3}, "empty": {}}
    assert await hub.crypt.decrypt(users["ada"].encrypted_auth_state) == {"refresh_token": "sesame"}
    wiki = await identify_token(hub, WIKI)
    assert wiki is not None
    assert (wiki.kind, wiki.name) == ("service", "wiki")


async def servers(hub: HubContext, path: Path) -> None:
    with sqlite3.connect(path) as connection:
        [(ip, port)] = connection.execute("SELECT ip, port FROM servers WHERE base_url = '/user/ada/'").fetchall()
        [(state,)] = connection.execute("SELECT state FROM spawners WHERE oauth_client_id = 'jupyterhub-user-ada'")
    connection.close()
    statement = select(schema.servers, schema.users.c.name.label("owner")).join(schema.users)
    async with hub.store.read() as connection:
        rows = {(row.owner, row.name): row for row in await connection.execute(statement)}
        clients = {row.id: row for row in await connection.execute(select(schema.oauth_clients))}
        tokens = (await connection.execute(select(schema.tokens).where(schema.tokens.c.server_id.is_not(None)))).all()
    ada = rows["ada", ""]
    assert (ada.desired, ada.observed, ada.url) == ("running", "running", f"http://{ip}:{port}")
    assert ada.state == json.loads(state)
    assert ada.user_options == {"profile": "large"}
    assert rows["grace", "gpu"].observed == "running"
    assert rows["boss", ""].observed == "stopped"
    assert clients["jupyterhub-user-ada"].server_id == ada.id
    assert clients["jupyterhub-user-grace-gpu"].server_id == rows["grace", "gpu"].id
    assert {token.server_id for token in tokens} == {ada.id, rows["grace", "gpu"].id}


async def test_a_token_is_known_by_its_old_hash_once_and_by_ours_from_then_on(tmp_path: Path):
    async with bare_hub() as hub:
        await imported(hub, restored(tmp_path, "6"))
        for wrong in (ADA + "x", ADA[:-1] + "X", ADA[:4], "", ADA[:4] + "\ud800", ADA[:4] + "\0"):
            assert await identify_token(hub, wrong) is None
        ada = await identify_token(hub, ADA)
        assert ada is not None
        assert ada.name == "ada"
        async with hub.store.read() as connection:
            hashes = (
                await connection.execute(select(schema.tokens.c.hashed).where(schema.tokens.c.id == ada.token_id))
            ).scalar_one()
        assert hashes.startswith("sha256:")
        # A revoked one is gone, and no second import brings it back.
        await revoke_token(hub, "ada", ada.token_id, actor="test")
        assert await identify_token(hub, ADA) is None
        assert (await imported(hub, restored(tmp_path / "..", "6"))).already
        assert await identify_token(hub, ADA) is None


async def test_secrets_of_oauth_clients_and_share_codes_go_on(tmp_path: Path):
    path = restored(tmp_path, "6")
    code, secret = "a-code-that-somebody-was-given", "the-secret-of-a-server"
    with sqlite3.connect(path) as connection:
        from jupyterhub.utils import hash_token  # noqa: PLC0415 - what is to be understood

        connection.execute("UPDATE share_codes SET hashed = ?, prefix = ?", (hash_token(code, rounds=1), code[:4]))
        connection.execute("UPDATE oauth_clients SET secret = ?", (hash_token(secret),))
    connection.close()
    async with bare_hub() as hub:
        await imported(hub, path)
        for _ in range(2):
            client = await oauth.check_client(hub, "jupyterhub-user-ada", secret)
            assert client.access_scope == "access:servers!server=ada/"
            with pytest.raises(oauth.InvalidClient):
                await oauth.check_client(hub, "jupyterhub-user-ada", secret + "x")
            assert (await find_offer(hub, code)).owner == "ada"


async def test_a_trial_run_tells_the_same_and_writes_nothing(tmp_path: Path):
    path = restored(tmp_path, "6")
    before = path.read_bytes()
    async with bare_hub() as hub:
        rows = await everything(hub)
        tried = await imported(hub, path, dry_run=True)
        assert await everything(hub) == rows
        assert (await imported(hub, path)).lines() == tried.lines()
    assert path.read_bytes() == before


async def test_an_import_that_dies_anywhere_leaves_nothing_and_the_next_one_takes_all(tmp_path: Path, monkeypatch):
    path = restored(tmp_path, "5")
    async with bare_hub() as hub:
        rows = await everything(hub)
        statements, limit = 0, 0
        execute = Transaction.execute

        async def dying(self: Transaction, *arguments: Any) -> Any:
            nonlocal statements
            statements += 1
            if statements == limit:
                raise asyncio.CancelledError
            return await execute(self, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Transaction, "execute", dying)
            await imported(hub, path, dry_run=True)
            for last in range(1, statements, 3):
                statements, limit = 0, last
                with pytest.raises(asyncio.CancelledError):
                    await imported(hub, path)
                assert await everything(hub) == rows
        assert (await imported(hub, path)).taken["users"] == 4
        after = await everything(hub)
        assert (await imported(hub, path)).already
        assert await everything(hub) == after


async def test_what_is_here_already_stays_and_is_completed(tmp_path: Path):
    """A hub was started before: its configuration named an admin, a service and a token."""
    given: Mapping[str, Any] = {"services": (WIKI_SERVICE,), "api_tokens": {ADA: "ada"}, "crypt_keys": KEYS}
    async with bare_hub(**given) as hub:
        async with hub.store.read() as connection:
            ada = (await connection.execute(select(schema.users.c.id))).scalar_one()
        report = await imported(hub, restored(tmp_path, "6"))
        reason = "written in this hub's configuration as well, which decides about them"
        assert len(report.left["tokens", reason]) == 2
        identity = await identify_token(hub, ADA)
        assert identity is not None
        assert (identity.id, identity.groups) == (ada, ("physics",))
        assert {"a script"} < {token.note for token in await list_tokens(hub, "ada")}


async def copied(url: str, path: Path) -> None:
    """The dump in a database of another kind, in the tables that JupyterHub itself makes there."""
    from jupyterhub import orm  # noqa: PLC0415 - this is about its tables

    tables = orm.Base.metadata.sorted_tables
    reading = create_async_engine(f"sqlite+aiosqlite:///{path}")
    async with reading.connect() as connection:
        rows = {table: [dict(row._mapping) for row in await connection.execute(select(table))] for table in tables}
        stamp = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one()
    await reading.dispose()
    writing = create_async_engine(url)
    async with writing.begin() as connection:
        await connection.run_sync(orm.Base.metadata.create_all)
        await connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        await connection.execute(text(f"INSERT INTO alembic_version VALUES ('{stamp}')"))
        for table in tables:
            if rows[table]:
                await connection.execute(insert(table), rows[table])
    await writing.dispose()


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
async def test_postgresql_and_mysql_are_read_and_written_like_sqlite(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
):
    server = request.getfixturevalue(kind)
    theirs, ours = server.create_database(), server.create_database()
    path = restored(tmp_path, "6")
    url = source_url(theirs)
    await copied(url.render_as_string(hide_password=False), path)
    # As JupyterHub spells it.
    driver = {"postgres": "postgresql+psycopg2", "mariadb": "mysql+pymysql"}[kind]
    spelled = make_url(theirs).set(drivername=driver).render_as_string(hide_password=False)
    source = await read(source_url(spelled))
    assert make_url(theirs).password not in source.url
    assert comparable(source) == comparable(await read(source_url(str(path))))
    async with bare_hub(url=ours, crypt_keys=KEYS, services=(WIKI_SERVICE,)) as hub:
        report = await take(hub, source, actor="test")
        assert report.release == "6"
        await people(hub)
        await servers(hub, path)
        async with hub.store.transaction() as tx:
            # Ids were given; the next ones are free.
            row = {"name": "newcomer", "admin": False, "created": tx.now, "auth_stale": False}
            await tx.execute(insert(schema.users), row)
        ada = await identify_token(hub, ADA)
        assert ada is not None


def comparable(source: Source) -> dict[str, Any]:
    """Without fractions of seconds, which JupyterHub's tables in MySQL do not have."""
    return {
        name: [{key: isinstance(value, datetime) or value for key, value in row.items()} for row in rows]
        for name, rows in source.tables.items()
    }


async def test_a_connection_to_the_source_cannot_write(tmp_path: Path, postgres, mariadb):
    """Even if this program tried."""
    from perijove.services.jupyterhub_import import source as reading  # noqa: PLC0415 - its inside

    path = restored(tmp_path, "6")
    for kind in (postgres, mariadb, None):
        url = source_url(str(path) if kind is None else kind.create_database())
        with pytest.raises(Exception, match=r"(?i)read.?only"):
            async with reading.opened(url) as connection:
                await connection.execute(text("CREATE TABLE mine (id INTEGER)"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgressql://hub@db/jupyterhub", "did you mean postgresql://hub@db/jupyterhub"),
        ("sqlite:///nowhere.sqlite", "There is no database at"),
        ("/nowhere/jupyterhub.sqlite", "There is no database at"),
    ],
)
def test_an_url_that_leads_nowhere_is_said_to(url: str, said: str):
    with pytest.raises(Invalid, match=said):
        source_url(url)


async def test_a_database_of_something_else_is_refused(tmp_path: Path):
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE users (id INTEGER)")
    connection.close()
    with pytest.raises(Invalid, match="not a database of JupyterHub"):
        await read(source_url(str(path)))


async def test_a_hub_that_starts_beside_a_jupyterhubs_database_says_so_until_it_was_imported(tmp_path: Path):
    async with bare_hub() as hub:
        assert await not_imported(hub, [tmp_path]) is None
        path = restored(tmp_path, "6").rename(tmp_path / "jupyterhub.sqlite")
        assert await not_imported(hub, [tmp_path / "elsewhere", tmp_path]) == path
        await imported(hub, path)
        assert await not_imported(hub, [tmp_path]) is None


async def test_a_hub_told_to_use_jupyterhubs_own_database_leaves_it_alone_and_says_what_to_do(tmp_path: Path):
    path = restored(tmp_path, "6")
    before = path.read_bytes()
    with pytest.raises(Unavailable, match="import-jupyterhub"):
        await Store.open(f"sqlite:///{path}")
    assert path.read_bytes() == before


async def test_the_command_warns_of_whoever_has_the_database_open_and_asks_before_it_writes(tmp_path: Path):
    path = restored(tmp_path, "6")
    holding = sqlite3.connect(path)
    holding.execute("SELECT count(*) FROM users").fetchall()
    code, said = await command(tmp_path, str(path), "--yes")
    holding.close()
    assert code == 1
    assert "4  users" in said
    assert "has that database open" in said
    assert "nothing was written" in said
    code, said = await command(tmp_path, str(path))
    assert code == 2
    assert "4  users" in said
    assert "Add --yes" in said


async def command(directory: Path, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "perijove.cli", "db", "import-jupyterhub", *arguments),
        *("--data-dir", str(directory / "data")),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "200", "HOME": str(directory)},
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()

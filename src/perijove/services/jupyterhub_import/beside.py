"""A JupyterHub's database beside ours that nobody has imported: somebody should be told.

Every hub that starts looks for one, so nothing of the import itself is loaded here.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext

# In `meta`: that this database has taken an import, from where and when.
DONE = "jupyterhub_import"
# Where JupyterHub keeps it unless told otherwise: in its working directory, and in Zero to JupyterHub's volume.
FILE = "jupyterhub.sqlite"


async def not_imported(hub: "HubContext", directories: Iterable[Path]) -> Path | None:
    """The first such file in one of `directories`."""
    found = next((path for directory in directories if (path := directory / FILE).is_file()), None)
    if found is None:
        return None
    async with hub.store.read() as connection:
        done = (await connection.execute(select(schema.meta.c.key).where(schema.meta.c.key == DONE))).scalar()
    return None if done else found

"""A database of their own for plug-ins that keep tables (`Authenticator.db`), apart from the hub's.

nativeauthenticator creates its table and queries it through the session it finds on the authenticator.
It gets one on an SQLite file that nothing of ours is in. The file is on this machine: several replicas
would each have another, which the first use says in the log. The session is opened when first used,
so plug-ins that only mention it cost nothing.
"""

import logging
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

log = logging.getLogger(__name__)


class PluginDatabase:
    """A session that opens itself. Queries block the loop, as they do in JupyterHub; the file is small."""

    def __init__(self, path: Path, owner: str) -> None:
        self._path = path
        self._owner = owner
        self._session: Session | None = None

    @property
    def dirty(self) -> Any:
        """Asked after every request, also when nobody ever used the session."""
        return () if self._session is None else self._session.dirty

    def rollback(self) -> None:
        if self._session is not None:
            self._session.rollback()

    def close(self) -> None:
        if self._session is not None:
            engine: Any = self._session.bind
            self._session.close()
            engine.dispose()
            self._session = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._opened(), name)

    def _opened(self) -> Session:
        if self._session is None:
            log.warning(
                "%s keeps tables of its own in %s: on this machine only, not shared by replicas",
                self._owner,
                self._path,
            )
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # One connection for the whole process: handlers all run on the loop's thread.
            engine = create_engine(
                f"sqlite:///{self._path}", poolclass=StaticPool, connect_args={"check_same_thread": False}
            )
            self._session = Session(bind=engine)
        return self._session

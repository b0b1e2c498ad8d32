"""Releases that do not exist yet: copies of the package with a later version and a later schema.

What a column is called is changed as docs/explanation/databases.md says: one release adds the new column, fills it
and uses nothing else; the release after it drops the old one. The release before is the package as it is.
"""

import os
import shutil
from pathlib import Path

import perijove
from perijove.store.migrate import HEAD

_MIGRATION = '''"""{title}"""

import sqlalchemy as sa
from alembic import op

from perijove.store import types

revision = "{revision}"
down_revision = "{before}"


def upgrade() -> None:
    {change}
'''
_EXPAND = """op.add_column("servers", sa.Column("wished_by", types.SUBJECT, nullable=True))
    op.execute("UPDATE servers SET wished_by = requested_by")"""
_CONTRACT = 'op.drop_column("servers", "requested_by")'


def expanding(directory: Path) -> Path:
    """Version 1000: who wished for a start is kept in `wished_by`. Code of today can share its schema."""
    package = _copied(Path(perijove.__file__).parent, directory / "expanding")
    _replace(
        package / "store" / "schema.py",
        'Column("requested_by", SUBJECT)',
        'Column("wished_by", SUBJECT, key="requested_by")',
    )
    _migrate(package, "9001", before=HEAD, title="Who wished for a start.", change=_EXPAND)
    _append(package / "__init__.py", '__version__ = "1000"')
    return package.parent


def contracting(directory: Path, before: Path) -> Path:
    """Version 1001: `requested_by` is gone. Code of version 1000 can share its schema, today's cannot."""
    package = _copied(before / "perijove", directory / "contracting")
    _migrate(package, "9002", before="9001", title="requested_by became wished_by.", change=_CONTRACT)
    _append(package / "store" / "migrate.py", 'SERVES = "9001"')
    _append(package / "__init__.py", '__version__ = "1001"')
    return package.parent


def _copied(package: Path, directory: Path) -> Path:
    # With what Python has compiled: times are kept, so it stays valid.
    shutil.copytree(package, directory / "perijove")
    return directory / "perijove"


def _migrate(package: Path, revision: str, *, before: str, title: str, change: str) -> None:
    text = _MIGRATION.format(revision=revision, before=before, title=title, change=change)
    (package / "store" / "migrations" / "versions" / f"{revision}_test.py").write_text(text)
    _append(package / "store" / "migrate.py", f'HEAD = "{revision}"')


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{file.name} says {text.count(old)} times {old}: choose another column"
    file.write_text(text.replace(old, new))


def _append(file: Path, line: str) -> None:
    file.write_text(f"{file.read_text()}\n{line}\n")
    # Never taken for what was compiled from a file of the same length.
    os.utime(file, (0, 0))

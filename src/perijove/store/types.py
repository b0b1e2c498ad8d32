"""Column types that mean the same on SQLite, PostgreSQL, MySQL and MariaDB.

Two names are equal when they are the same characters: no case folding, no accents ignored, no trailing blanks
dropped, and they sort by code point everywhere. MySQL does all of that unless told otherwise, so each column of
text says so itself and does not depend on how somebody made the database. Migrations use these types too.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON as PLAIN_JSON
from sqlalchemy import BigInteger, DateTime, Integer, LargeBinary, Text
from sqlalchemy import Float as PlainFloat
from sqlalchemy import String as PlainString
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import TypeDecorator, TypeEngine


class _ExactString(mysql.VARCHAR):
    """VARCHAR under the server's collation that compares code points and does not pad."""


class _ExactText(mysql.TEXT):
    """TEXT under the same collation."""


class _TextJSON(PLAIN_JSON):
    """JSON in LONGTEXT: MySQL's own type reorders keys and rounds large integers."""


def _collation(compiler: Any) -> str:
    exact = "utf8mb4_nopad_bin" if compiler.dialect.is_mariadb else "utf8mb4_0900_bin"
    return f"CHARACTER SET utf8mb4 COLLATE {exact}"


@compiles(_ExactString)
def _exact_string(kind: _ExactString, compiler: Any, **_: Any) -> str:
    return f"VARCHAR({kind.length}) {_collation(compiler)}"


@compiles(_ExactText)
def _exact_text(_kind: _ExactText, compiler: Any, **_: Any) -> str:
    return f"MEDIUMTEXT {_collation(compiler)}"


@compiles(_TextJSON)
def _text_json(_kind: _TextJSON, compiler: Any, **_: Any) -> str:
    return f"LONGTEXT {_collation(compiler)}"


def String(length: int) -> TypeEngine[str]:  # noqa: N802 - stands for a class
    return (
        PlainString(length)
        .with_variant(PlainString(length, collation="C"), "postgresql")
        .with_variant(_ExactString(length), "mysql", "mariadb")
    )


class _Bytes(TypeDecorator[str]):
    """Text kept as its bytes, whose indexes may be four times as long."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self._length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(mysql.VARBINARY(self._length))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:  # noqa: ARG002 - the signature is SQLAlchemy's
        return None if value is None else value.encode()

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - the signature is SQLAlchemy's
        return None if value is None else bytes(value).decode()


def LongName(length: int) -> TypeEngine[str]:  # noqa: N802 - stands for a class
    """An indexed name beyond 768 characters, which is where MySQL's index entries end."""
    return (
        PlainString(length)
        .with_variant(PlainString(length, collation="C"), "postgresql")
        .with_variant(_Bytes(length), "mysql", "mariadb")
    )


# A user's, group's or host's name.
NAME = String(255)
# What quoting made of a user's and a server's name: up to 765 and 30 characters, and what is around them.
CLIENT_ID = LongName(1024)
# User and server name together, and names with a mark before them.
SUBJECT = String(512)
TEXT = Text().with_variant(Text(collation="C"), "postgresql").with_variant(_ExactText(), "mysql", "mariadb")
JSON = PLAIN_JSON().with_variant(_TextJSON(), "mysql", "mariadb")
BLOB = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
# MySQL's FLOAT has seven digits.
FLOAT = PlainFloat().with_variant(mysql.DOUBLE(asdecimal=False), "mysql", "mariadb")
# SQLite makes only INTEGER PRIMARY KEY auto-incrementing.
ID = BigInteger().with_variant(Integer(), "sqlite")


class UTCDateTime(TypeDecorator[datetime]):
    """Aware UTC datetimes in Python, naive UTC with microseconds in the database."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        # Whole seconds, unless told.
        exact = mysql.DATETIME(fsp=6) if dialect.name in {"mysql", "mariadb"} else DateTime()
        return dialect.type_descriptor(exact)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the signature is SQLAlchemy's
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value!r}: say which zone")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the signature is SQLAlchemy's
        return None if value is None else value.replace(tzinfo=UTC)

"""Migrations on MySQL, which commits each change of a table by itself, so that a killed one leaves half of them.

Alembic asks its dialect's `impl` to make each change. These make only those that are not there yet: the migration is
run again from its beginning, and written as for any other database.
"""

from typing import Any

from alembic.ddl.mysql import MySQLImpl
from sqlalchemy import Column, Index, Inspector, Table, inspect


class ResumingMySQL(MySQLImpl):
    __dialect__ = "mysql"

    @property
    def _found(self) -> Inspector:
        """What is there now; an inspector remembers, so each question is asked of a new one."""
        assert self.connection is not None
        return inspect(self.connection)

    def _has_column(self, table_name: str, column: Column[Any]) -> bool:
        return column.name in {found["name"] for found in self._found.get_columns(table_name)}

    def _has_index(self, index: Index) -> bool:
        assert index.table is not None
        assert index.name is not None
        return self._found.has_index(index.table.name, str(index.name))

    def add_column(self, table_name: str, column: Column[Any], **options: Any) -> None:
        if not self._has_column(table_name, column):
            super().add_column(table_name, column, **options)

    def drop_column(self, table_name: str, column: Column[Any], **options: Any) -> None:
        if self._has_column(table_name, column):
            super().drop_column(table_name, column, **options)

    def create_table(self, table: Table, **options: Any) -> None:
        if not self._found.has_table(table.name):
            super().create_table(table, **options)

    def drop_table(self, table: Table, **options: Any) -> None:
        if self._found.has_table(table.name):
            super().drop_table(table, **options)

    def create_index(self, index: Index, **options: Any) -> None:
        if not self._has_index(index):
            super().create_index(index, **options)

    def drop_index(self, index: Index, **options: Any) -> None:
        if self._has_index(index):
            super().drop_index(index, **options)


class ResumingMariaDB(ResumingMySQL):
    __dialect__ = "mariadb"

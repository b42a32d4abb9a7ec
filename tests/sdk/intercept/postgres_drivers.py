"""Each driver of PostgreSQL behind one face, so that one battery runs on all."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Protocol


class Driver(Protocol):
    """A connection in an open transaction unless the driver commits by itself. Parameters are written `%s`."""

    goes_back: bool
    """Whether an open transaction is taken back."""
    counts: str
    """`all`: rows are counted; `single`: not those of `executemany`."""

    def execute(self, sql: str) -> object: ...
    def execute_with(self, sql: str, parameters: Sequence[Any]) -> object: ...
    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> object: ...
    def query(self, sql: str) -> list[Any]: ...
    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def close(self) -> None: ...


class _Dbapi:
    goes_back, counts = True, "all"
    connection: Any

    def execute(self, sql: str) -> object:
        return self.connection.cursor().execute(sql)

    def execute_with(self, sql: str, parameters: Sequence[Any]) -> object:
        return self.connection.cursor().execute(sql, parameters)

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> object:
        return self.connection.cursor().executemany(sql, rows)

    def query(self, sql: str) -> list[Any]:
        cursor = self.connection.cursor()
        cursor.execute(sql)
        return list(cursor.fetchall())

    def commit(self) -> None:
        self.connection.commit()

    def rollback(self) -> None:
        self.connection.rollback()

    def close(self) -> None:
        self.connection.close()


class Psycopg(_Dbapi):
    def __init__(self, host: str) -> None:
        import psycopg

        self.connection = psycopg.connect(host=host, user="postgres", dbname="postgres")


class Psycopg2(_Dbapi):
    counts = "single"

    def __init__(self, host: str) -> None:
        import psycopg2

        self.connection = psycopg2.connect(host=host, user="postgres", dbname="postgres")


class _Async:
    goes_back, counts = False, "all"

    def __init__(self, host: str) -> None:
        self._loop = asyncio.new_event_loop()
        self.connection = self.run(self.connect(host))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    async def connect(self, host: str) -> Any:
        raise NotImplementedError

    def commit(self) -> None:
        self.run(self.connection.commit())

    def rollback(self) -> None:
        self.run(self.connection.rollback())

    def close(self) -> None:
        self.run(self.connection.close())
        self._loop.close()


class PsycopgAsync(_Async):
    async def connect(self, host: str) -> Any:
        import psycopg

        return await psycopg.AsyncConnection.connect(host=host, user="postgres", dbname="postgres")

    def execute(self, sql: str) -> object:
        return self.run(self.connection.execute(sql))

    def execute_with(self, sql: str, parameters: Sequence[Any]) -> object:
        return self.run(self.connection.execute(sql, parameters))

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> object:
        return self.run(self.connection.cursor().executemany(sql, rows))

    def query(self, sql: str) -> list[Any]:
        async def fetched() -> list[Any]:
            cursor = await self.connection.execute(sql)
            return list(await cursor.fetchall())

        return list(self.run(fetched()))


class Asyncpg(_Async):
    counts = "single"

    async def connect(self, host: str) -> Any:
        import asyncpg

        return await asyncpg.connect(host=host, user="postgres", database="postgres")

    def execute(self, sql: str) -> object:
        return self.run(self.connection.execute(sql))

    def execute_with(self, sql: str, parameters: Sequence[Any]) -> object:
        return self.run(self.connection.execute(_numbered(sql), *parameters))

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> object:
        return self.run(self.connection.executemany(_numbered(sql), rows))

    def query(self, sql: str) -> list[Any]:
        return list(self.run(self.connection.fetch(sql)))

    def commit(self) -> None:
        """It commits each statement."""

    def rollback(self) -> None:
        """As `commit`."""


def _numbered(sql: str) -> str:
    for n in range(1, sql.count("%s") + 1):
        sql = sql.replace("%s", f"${n}", 1)
    return sql


class _Alchemy:
    goes_back, counts = True, "all"
    name = "psycopg"

    def __init__(self, host: str) -> None:
        import sqlalchemy

        self._text = sqlalchemy.text
        url = f"postgresql+{self.name}://postgres@/postgres?host={host}"
        self._engine = sqlalchemy.create_engine(url)
        self.connection: Any = self._engine.connect()

    def execute(self, sql: str) -> object:
        return self.connection.execute(self._text(sql))

    def execute_with(self, sql: str, parameters: Sequence[Any]) -> object:
        return self.connection.execute(self._text(_named(sql)), _bound(parameters))

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> object:
        return self.connection.execute(self._text(_named(sql)), [_bound(row) for row in rows])

    def query(self, sql: str) -> list[Any]:
        return [tuple(row) for row in self.connection.execute(self._text(sql)).fetchall()]

    def commit(self) -> None:
        self.connection.commit()

    def rollback(self) -> None:
        self.connection.rollback()

    def close(self) -> None:
        self.connection.close()
        self._engine.dispose()


class AlchemyPsycopg2(_Alchemy):
    name, counts = "psycopg2", "single"


def _named(sql: str) -> str:
    for n in range(sql.count("%s")):
        sql = sql.replace("%s", f":p{n}", 1)
    return sql


def _bound(parameters: Sequence[Any]) -> dict[str, Any]:
    return {f"p{n}": value for n, value in enumerate(parameters)}


DRIVERS: Final[dict[str, Any]] = {
    "psycopg": Psycopg,
    "psycopg async": PsycopgAsync,
    "psycopg2": Psycopg2,
    "asyncpg": Asyncpg,
    "SQLAlchemy psycopg": _Alchemy,
    "SQLAlchemy psycopg2": AlchemyPsycopg2,
}

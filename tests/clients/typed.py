"""What type checkers see of `unmask_client`. Nothing runs this: mypy checks it with everything else (`make lint`)."""

import sqlite3
from typing import Any, assert_type

import psycopg
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session
from unmask_client import HttpClient, enqueue, result

Found = dict[str, Any] | None


def blocking(conn: Session, other: scoped_session[Session], third: Connection, fourth: sqlite3.Connection) -> None:
    assert_type(enqueue(conn, account_id="", url=""), str)
    assert_type(enqueue(other, account_id="", url=""), str)
    assert_type(enqueue(third, account_id="", url=""), str)
    assert_type(enqueue(fourth, account_id="", url=""), str)
    assert_type(result(conn, ""), Found)


def drivers(conn: psycopg.Connection[Any]) -> None:
    assert_type(enqueue(conn, account_id="", url=""), str)
    assert_type(result(conn, ""), Found)


async def awaited(conn: AsyncSession, other: AsyncConnection, third: async_scoped_session[AsyncSession]) -> None:
    assert_type(await enqueue(conn, account_id="", url=""), str)
    assert_type(await enqueue(other, account_id="", url=""), str)
    assert_type(await enqueue(third, account_id="", url=""), str)
    assert_type(await result(conn, ""), Found)


def http(client: HttpClient) -> None:
    assert_type(client.enqueue(account_id="", url=""), str)
    assert_type(client.enqueue(account_id="", url="", wait=1), dict[str, Any])
    assert_type(client.enqueue_photo(b"", account_id=""), str)
    assert_type(client.enqueue_photo(b"", account_id="", wait=1), dict[str, Any])

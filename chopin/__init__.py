"""Chopin: an asyncio-native PostgreSQL driver, a drop-in for asyncpg.

Example:
    >>> import chopin
    >>> conn = await chopin.connect("postgresql://ann@localhost/app")
    >>> await conn.fetch("SELECT id, name FROM users WHERE age > $1", 30)
"""

from chopin import exceptions as exceptions
from chopin import types as types
from chopin._as_asyncpg import install_as_asyncpg
from chopin._batch import Result
from chopin._budget import Budget, Limit
from chopin._rows import Record
from chopin.codecs import JSON, Array, TypeCodec
from chopin.connection import Connection, connect
from chopin.exceptions import *  # noqa: F403
from chopin.pool import Pool, create_pool
from chopin.retry import Retry, retry
from chopin.runtime import run
from chopin.types import (
    Attribute,
    BitString,
    Box,
    Circle,
    Gap,
    Line,
    LineSegment,
    Notification,
    Path,
    Point,
    Polygon,
    Range,
    ServerVersion,
    Type,
)

__version__ = "0.1.0"

__all__ = [
    "JSON",
    "Array",
    "Attribute",
    "BitString",
    "Box",
    "Budget",
    "Circle",
    "Connection",
    "Gap",
    "Limit",
    "Line",
    "LineSegment",
    "Notification",
    "Path",
    "Point",
    "Polygon",
    "Pool",
    "Range",
    "Record",
    "Result",
    "Retry",
    "ServerVersion",
    "Type",
    "TypeCodec",
    "connect",
    "create_pool",
    "install_as_asyncpg",
    "retry",
    "run",
]
__all__ += exceptions.__all__

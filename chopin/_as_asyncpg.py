"""Chopin under the name of asyncpg, for libraries that import asyncpg themselves.

Owns: `install_as_asyncpg`.
Layer L6. Imports L0, L2, L5.

Rules
- It is an entry in `sys.modules` that the user asks for. Nothing is imported from
  asyncpg, nothing of it is changed, and nothing happens by importing Chopin.
- Modules that both have are ours, so that tools which wrap methods of
  `asyncpg.connection.Connection` wrap those that are used.
"""

from __future__ import annotations

import importlib
import sys
import uuid
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from chopin import types
from chopin._records import Record

#: The version of asyncpg whose interface this is.
VERSION = "0.32.0"

_SAME = (
    "connection",
    "cursor",
    "exceptions",
    "pool",
    "prepared_stmt",
    "transaction",
    "types",
)
_OTHERS: dict[str, dict[str, Any]] = {
    "pgproto": {},
    "pgproto.pgproto": {"UUID": uuid.UUID},
    "pgproto.types": {name: getattr(types, name) for name in types.__all__},
    "protocol": {"Record": Record},
    "protocol.protocol": {"Record": Record},
    "protocol.record": {"Record": Record},
}


def install_as_asyncpg() -> None:
    """Have `import asyncpg` give Chopin, in this process and from now on.

    For SQLAlchemy (`postgresql+asyncpg://`), Tortoise, Piccolo, databases and other
    libraries that import asyncpg. Call it ahead of their import (of
    the first engine, with SQLAlchemy). What Chopin does not
    have (`asyncpg.cluster`, private attributes) they do not find.

    Raises:
        ImportError: asyncpg itself has been imported before.

    Example:
        >>> import chopin
        >>> chopin.install_as_asyncpg()
        >>> from sqlalchemy.ext.asyncio import create_async_engine
        >>> engine = create_async_engine("postgresql+asyncpg://ann@localhost/app")

    Source: Python documentation, "The import system".
    """
    package = importlib.import_module("chopin")
    found = sys.modules.get("asyncpg")
    if found is not None:
        if getattr(found, "connect", None) is package.connect:
            return
        raise ImportError(
            "asyncpg has been imported already: call chopin.install_as_asyncpg() ahead "
            "of importing the libraries that use it",
            name="asyncpg",
        )
    modules = {"asyncpg": _module("asyncpg", vars(package) | {"__version__": VERSION})}
    for name in _SAME:
        modules[f"asyncpg.{name}"] = importlib.import_module(f"chopin.{name}")
    for name, content in _OTHERS.items():
        modules[f"asyncpg.{name}"] = _module(f"asyncpg.{name}", content)
    for name, module in modules.items():
        above, _, last = name.rpartition(".")
        if above:
            setattr(modules[above], last, module)
    sys.modules.update(modules)


def _module(name: str, content: dict[str, Any]) -> ModuleType:
    """A module of that name, in which further ones may be, with public `content`."""
    module = ModuleType(name, f"Chopin, as {name}.")
    module.__spec__ = ModuleSpec(name, None, is_package=True)
    module.__path__ = []
    for key, value in content.items():
        if not key.startswith("_") or key in ("__all__", "__version__"):
            setattr(module, key, value)
    return module

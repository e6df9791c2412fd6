"""Configurations that several connections have in common.

Owns: `shared_config`, and which configuration may be taken for which arguments.
Layer L4. Imports config.

Rules
- A configuration is found again only while something that was made with it is there, a
  connection say: nothing, and no password, is kept for the next one to come.
- It is taken when arguments and environment are the same and it was made of nothing
  else. A password file that has come meanwhile is read; what came out of a file, or
  from the operating system, is asked for each time.
- Arguments are the same only if they can be told apart by comparing them and cannot
  change inside: one that is neither plain nor a function is read each time.
"""

from __future__ import annotations

import os
import pathlib
import ssl
import types
import weakref
from collections.abc import Hashable

from chopin.config import (
    ConnectConfig,
    ConnectOptions,
    SessionAttribute,
    SSLMode,
    parse_config,
    read_environment,
)

# Not their subclasses: those may compare as they like. Not tuples: (1,) is (True,).
_COMPARABLE = frozenset(
    {
        *(str, int, float, bool, types.NoneType, SSLMode, SessionAttribute),
        type(pathlib.Path()),
        # two of these are equal if they are one
        *(types.FunctionType, types.MethodType, ssl.SSLContext),
    }
)

_in_use: weakref.WeakValueDictionary[Hashable, ConnectConfig] = (
    weakref.WeakValueDictionary()
)


def shared_config(dsn: str | None, options: ConnectOptions) -> ConnectConfig:
    """Return what `parse_config` returns, perhaps an object that is in use already.

    Args:
        dsn: as for `parse_config`.
        options: the keyword arguments of `parse_config`.

    Raises:
        ClientConfigurationError, TypeError: as `parse_config`.
    """
    environ = read_environment(os.environ)
    given: dict[str, object] = {"dsn": dsn, **options}
    kinds = [*map(type, given.values())]
    if not _COMPARABLE.issuperset(kinds):
        return parse_config(dsn, environ=environ, **options)
    # with their types: 1 and True are equal, and one of them may be an error
    key = (*given.items(), *kinds, *environ.items())
    config = _in_use.get(key)
    if config is None or any(map(os.path.exists, config.watched or ())):
        config = parse_config(dsn, environ=environ, **options)
        if config.watched is not None:
            _in_use[key] = config
    return config

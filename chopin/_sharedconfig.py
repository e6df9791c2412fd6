"""Configurations that several connections have in common.

Owns: `shared_config`, and which configuration may be taken for which arguments.
Layer L4. Imports config.

Rules
- A configuration is found again only while something that was made with it is there, a
  connection say: nothing, and no password, is kept for the next one to come.
- It is taken when arguments and environment are the same and it was made of nothing
  else. A password file that has come meanwhile is read; what came out of a file, or
  from the operating system, is asked for each time.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Hashable
from typing import Any

from chopin.config import VARIABLES, ConnectConfig, ConnectOptions, parse_config

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
    # each look at `os.environ` decodes and encodes: a tenth of what parsing costs
    environ = {name: os.environ[name] for name in os.environ if name in VARIABLES}
    given: dict[str, Any] = {**options}
    # with their types: 1 and True are equal, and one of them may be an error
    key = (dsn, *given.items(), *map(type, given.values()), *environ.items())
    try:
        config = _in_use.get(key)
    except TypeError:  # a list or a dictionary is among them
        return parse_config(dsn, environ=environ, **options)
    if config is None or any(map(os.path.exists, config.watched or ())):
        config = parse_config(dsn, environ=environ, **options)
        if config.watched is not None:
            _in_use[key] = config
    return config

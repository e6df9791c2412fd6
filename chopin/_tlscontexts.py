"""TLS contexts that are made once and used for many connections.

Owns: `shared_context`; what must be as it was for a context to be used again.
Layer L4. Imports tls.

Rules
- To read the authorities of a system takes 40 ms, in which the event loop does nothing
  else. So a context is kept, and with it what each of its files was like; a file that
  is another one now makes a new context, as if there had been none.
- A context that has a secret in it, the key of a client certificate, is not kept.
- Nor is one whose files cannot be watched: what OpenSSL reads later by itself
  (`sslcrldir`, the directories of `SSL_CERT_DIR`, those of a system that has no file
  with all authorities, which costs nothing to read), the certificate store of Windows.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Hashable

from chopin.tls import SYSTEM, TlsConfig, default_file, make_context

# Programs have one or two; more only come from files that have changed.
_MOST_KEPT = 16

_kept: dict[Hashable, ssl.SSLContext] = {}


def shared_context(config: TlsConfig) -> ssl.SSLContext | None:
    """Return the TLS context for a configuration, perhaps one that is in use.

    Args:
        config: the settings, see `TlsConfig`.

    Returns:
        What `make_context` returns, or has returned when nothing was different. Nobody
        may change it.

    Raises:
        ClientConfigurationError: as `make_context`.
    """
    key = _key(config)
    if key is None:
        return make_context(config)
    context = _kept.get(key)
    if context is None:
        context = make_context(config)
        # a file that came in between is in the context and not in the key
        if context is not None and _key(config) == key:
            # clear() is one step, so that threads need no lock
            if len(_kept) >= _MOST_KEPT:
                _kept.clear()
            _kept[key] = context
    return context


def _key(config: TlsConfig) -> Hashable | None:
    """All that a context is made of; None for one that is not to be kept."""
    if config.ssl_context is not None or config.sslkeylogfile or config.sslcrldir:
        return None
    roots = [_path(config.sslrootcert, "root.crt")]
    if config.sslrootcert == SYSTEM:
        paths = ssl.get_default_verify_paths()
        file = os.environ.get(paths.openssl_cafile_env, paths.openssl_cafile)
        is_in_directories = (
            paths.openssl_capath_env in os.environ or not os.path.exists(file)
        )
        if sys.platform == "win32" or is_in_directories:
            return None
        roots = [file, paths.openssl_capath]
    certificate = _stamp(_path(config.sslcert, "postgresql.crt"))
    if certificate is not None and config.sslcertmode != "disable":
        return None
    return (
        config.sslmode,
        config.sslcertmode,
        config.sslrootcert,
        config.sslcert,
        config.sslcrl,
        config.ssl_min_protocol_version,
        config.ssl_max_protocol_version,
        *map(_stamp, [*roots, _path(config.sslcrl, "root.crl")]),
    )


def _path(named: str | None, default: str) -> str:
    return os.path.expanduser(named) if named else default_file(default)


def _stamp(path: str) -> Hashable | None:
    """What a file is like, so that another one in its place is noticed."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    times = found.st_mtime_ns, found.st_ctime_ns
    return path, found.st_dev, found.st_ino, found.st_size, times

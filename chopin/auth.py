"""Which authentication may be answered, and when a session may be believed.

Owns: the rules behind ``require_auth`` and ``channel_binding``. The exchanges
themselves are in `chopin.scram`.

Imports: L0, and `chopin.scram` of the same layer; no I/O (L3).

Rules:

- Every authentication request goes through `check_method` before a single byte
  of the answer is made; AuthenticationOk goes through `check_complete`.
- A password in clear text goes over TLS or a unix socket, or is asked for by name.
- An exchange that has begun must end with the server's proof. libpq lets this
  pass unless ``require_auth`` is set; we never do.

Source: PostgreSQL docs, "Database Connection Control Functions", require_auth
and channel_binding.
"""

from __future__ import annotations

from chopin.exceptions import ClientConfigurationError, InterfaceError, ProtocolError
from chopin.scram import ChannelBinding, ScramClient

#: The names that ``require_auth`` knows. ``none`` is AuthenticationOk unasked.
METHODS = frozenset(
    {"password", "md5", "gss", "sspi", "scram-sha-256", "oauth", "none"}
)
# What a negated list leaves of "password": nobody has asked for clear text by name.
_PASSWORD_OVER_TLS = "password over TLS"


def parse_require_auth(value: str | None) -> frozenset[str] | None:
    """Return the methods that a ``require_auth`` setting allows.

    Args:
        value: a comma-separated list of methods, all of them plain or all of
            them negated by ``!``; None or empty allows every method.

    Returns:
        The allowed methods, or None for no restriction. A negated list allows a
        password in clear text only where it is private, as no list does.

    Raises:
        ClientConfigurationError: an unknown name, one named twice, or plain and
            negated names mixed.

    Example:
        >>> sorted(parse_require_auth("scram-sha-256, none"))
        ['none', 'scram-sha-256']
        >>> "md5" in parse_require_auth("!password,!md5")
        False

    Source: PostgreSQL docs, "Parameter Key Words", require_auth.
    """
    if not value:
        return None
    names: list[str] = []
    negated: set[bool] = set()
    for item in value.split(","):
        item = item.strip()
        name = item.removeprefix("!")
        negated.add(item != name)
        if name not in METHODS:
            known = ", ".join(sorted(METHODS))
            raise ClientConfigurationError(
                f"require_auth: unknown method {item[:40]!r}; known are {known}"
            )
        if name in names:
            raise ClientConfigurationError(f"require_auth: {name!r} is named twice")
        names.append(name)
    if len(negated) > 1:
        raise ClientConfigurationError(
            "require_auth: plain and negated methods cannot be mixed; "
            "negate all of them or none"
        )
    if negated == {False}:
        return frozenset(names)
    left = METHODS.difference(names)
    if "password" in left:
        left = left - {"password"} | {_PASSWORD_OVER_TLS}
    return left


def check_method(
    method: str,
    *,
    require_auth: frozenset[str] | None,
    channel_binding: ChannelBinding,
    tls: bool,
    local: bool = False,
) -> None:
    """Refuse an authentication request that must not be answered.

    Args:
        method: what the server asks for, a member of `METHODS` other than
            ``none``; any SASL request that names SCRAM is ``scram-sha-256``.
        require_auth: the result of `parse_require_auth`.
        channel_binding: ``disable``, ``prefer`` or ``require``.
        tls: whether the connection is encrypted.
        local: whether it is a unix socket, which nobody can listen to.

    Raises:
        InterfaceError: the method is not allowed here; the text says by what.

    Example:
        >>> check_method("scram-sha-256", require_auth=None,
        ...              channel_binding="prefer", tls=False)
    """
    names = {method, _PASSWORD_OVER_TLS} if method == "password" else {method}
    if require_auth is not None and not require_auth & names:
        raise InterfaceError(
            f"server asks for {method!r} authentication, and require_auth allows "
            f"only {_listed(require_auth)}"
        )
    if channel_binding == "require":
        if method != "scram-sha-256":
            raise InterfaceError(
                "channel_binding=require, but the server asks for "
                f"{method!r} authentication, which has no channel binding"
            )
        if not tls:
            raise InterfaceError(
                "channel_binding=require needs TLS, and this connection has none; "
                "set sslmode=require or better"
            )
    is_asked_for = require_auth is not None and method in require_auth
    if method == "password" and not (tls or local or is_asked_for):
        raise InterfaceError(
            "server asks for the password in clear text on a connection without "
            "TLS; set sslmode=require, or require_auth=password to allow it"
        )


def check_complete(
    *,
    require_auth: frozenset[str] | None,
    channel_binding: ChannelBinding,
    answered: str | None,
    scram: ScramClient | None = None,
) -> None:
    """Refuse an AuthenticationOk that comes too early.

    Args:
        require_auth: the result of `parse_require_auth`.
        channel_binding: ``disable``, ``prefer`` or ``require``.
        answered: the method whose request we have answered in full, None when
            the server asked for nothing.
        scram: the exchange, when there was one.

    Raises:
        ProtocolError: a SCRAM exchange was begun and the server has not proved
            that it knows the password.
        InterfaceError: `require_auth` wants an authentication, or
            `channel_binding` wants SCRAM-SHA-256-PLUS, and there was none.

    Example:
        >>> check_complete(require_auth=None, channel_binding="prefer",
        ...                answered=None)
    """
    if scram is not None and not scram.verified:
        raise ProtocolError(
            "server ended the SCRAM exchange before it proved that it knows the "
            "password"
        )
    if scram is None and answered == "scram-sha-256":
        raise ProtocolError("server ended the SCRAM exchange before it began")
    if answered is None and require_auth is not None and "none" not in require_auth:
        raise InterfaceError(
            "server did not ask for authentication, and require_auth allows only "
            f"{_listed(require_auth)}"
        )
    is_bound = scram is not None and scram.is_channel_bound
    if channel_binding == "require" and not is_bound:
        raise InterfaceError(
            "channel_binding=require, but the server let us in without channel binding"
        )


def _listed(methods: frozenset[str]) -> str:
    return ", ".join(sorted(methods)) or "nothing"

"""TLS: the context of a connection, and the channel binding of a certificate.

Owns: what libpq's ``ssl*`` settings mean, told to the interpreter's ``ssl``
module; the ``tls-server-end-point`` hash of RFC 5929. Who speaks first and what
happens when the server refuses TLS is decided in `chopin.connect`.

Imports: L0 and the standard library (L4).

Rules:

- A file that the user names must exist and be usable; only a default file below
  ``~/.postgresql`` may be absent. (libpq goes on without a root certificate,
  a client certificate or a revocation list that it cannot find.)
- A context of the user's own is used as it is and never changed.
- Blocking file access happens here and only here; `chopin._tlscontexts` sees to it
  that contexts are built once per configuration, not once per connection.
- No error text holds the passphrase of a key.

What is checked of the server's certificate:

    sslmode            no root certificate        with a root certificate
    disable            no TLS                     no TLS
    allow, prefer      nothing                    the chain, if sslrootcert is set
    require            nothing                    the chain
    verify-ca          refused                    the chain
    verify-full        refused                    the chain and the host name

Source: PostgreSQL docs, "SSL Support".
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from chopin.exceptions import ClientConfigurationError, InterfaceError

#: The ALPN protocol that PostgreSQL 17 and later expect.
ALPN_PROTOCOL = "postgresql"

_TLS_VERSIONS = {
    "tlsv1": ssl.TLSVersion.TLSv1,
    "tlsv1.1": ssl.TLSVersion.TLSv1_1,
    "tlsv1.2": ssl.TLSVersion.TLSv1_2,
    "tlsv1.3": ssl.TLSVersion.TLSv1_3,
}
_MAX_SNI_BYTES = 255
#: The value of sslrootcert that stands for the authorities of the system.
SYSTEM = "system"


class TlsConfig(Protocol):
    """The settings that this module reads, named as libpq names them.

    Paths are text or None; a default file counts as not named. Versions are
    ``TLSv1.2`` and the like, or None.
    """

    @property
    def sslmode(self) -> str:
        """One of the six modes."""

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """A context of the user's own; no other setting counts then."""

    @property
    def sslcert(self) -> str | None:
        """The client certificate, PEM."""

    @property
    def sslkey(self) -> str | None:
        """The client key, PEM."""

    @property
    def sslpassword(self) -> str | None:
        """The passphrase of the client key."""

    @property
    def sslrootcert(self) -> str | None:
        """The root certificates, PEM, or ``system``."""

    @property
    def sslcrl(self) -> str | None:
        """A revocation list, PEM."""

    @property
    def sslcrldir(self) -> str | None:
        """A directory of revocation lists, hashed by OpenSSL."""

    @property
    def sslsni(self) -> bool:
        """Whether the host name is sent in the clear for routing."""

    @property
    def sslcertmode(self) -> str:
        """``disable``, ``allow`` or ``require``."""

    @property
    def ssl_min_protocol_version(self) -> str | None:
        """The lowest version; TLSv1.2 unless set."""

    @property
    def ssl_max_protocol_version(self) -> str | None:
        """The highest version; none unless set."""

    @property
    def sslkeylogfile(self) -> str | None:
        """A file to which the session secrets are appended, for debugging."""


def make_context(config: TlsConfig) -> ssl.SSLContext | None:
    """Return the TLS context for a configuration.

    Args:
        config: the settings, see `TlsConfig`.

    Returns:
        A context, or None for ``sslmode=disable``.

    Raises:
        ClientConfigurationError: a file is missing, unreadable or open to others;
            settings contradict each other; a context of the user's is for servers.

    Example:
        >>> context = make_context(config)  # doctest: +SKIP
        >>> context.verify_mode  # doctest: +SKIP
        <VerifyMode.CERT_REQUIRED: 2>

    Source: PostgreSQL docs, "SSL Support".
    """
    if config.ssl_context is not None:
        if config.ssl_context.protocol is ssl.PROTOCOL_TLS_SERVER:
            raise ClientConfigurationError(
                "ssl: this context is one for servers; make one for clients with "
                "ssl.create_default_context()"
            )
        return config.ssl_context
    sslmode = config.sslmode
    if sslmode == "disable":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = sslmode == "verify-full"
    context.set_alpn_protocols([ALPN_PROTOCOL])
    _set_versions(context, config)
    if _load_roots(context, config, sslmode):
        context.verify_mode = ssl.CERT_REQUIRED
        _load_revocations(context, config)
    else:
        context.verify_mode = ssl.CERT_NONE
    _load_client_certificate(context, config)
    if config.sslkeylogfile:
        try:
            context.keylog_filename = config.sslkeylogfile
        except OSError as error:
            raise _unusable("sslkeylogfile", config.sslkeylogfile, error) from error
    return context


def server_hostname_for(host: str | None, config: TlsConfig) -> str | None:
    """Return the ``server_hostname`` that the TLS handshake gets.

    Python takes one name for two uses: it is sent to the server (SNI, never for
    an IP address) and compared with the certificate.

    Args:
        host: the host as the user gave it (not hostaddr); None or a path for a
            unix socket.
        config: the settings.

    Returns:
        The name without zone and final dot; None when no name is to be sent, or it is
        one beside hostaddr that cannot be.

    Raises:
        ClientConfigurationError: the certificate's name must be verified and there
            is no name, or ``sslsni=0`` forbids to give it to the handshake.

    Example:
        >>> server_hostname_for("db.example.org.", config)  # doctest: +SKIP
        'db.example.org'

    Source: PostgreSQL docs, "Parameter Key Words", sslsni.
    """
    if config.ssl_context is not None:
        verifies = config.ssl_context.check_hostname
    else:
        verifies = config.sslmode == "verify-full"
    name = None if host is None or host.startswith(("/", "@")) else host
    if not name:
        if verifies:
            raise ClientConfigurationError(
                "host: sslmode=verify-full needs a host name to compare with the "
                "certificate; give host beside hostaddr"
            )
        return None
    address = _ip_address(name)
    if address is not None:
        return address
    name = name.removesuffix(".")
    is_sendable = _is_sendable(name)
    if config.sslsni and is_sendable:
        return name
    if verifies and not is_sendable:
        raise ClientConfigurationError(
            "host: no certificate can have a name with an empty part, one of more than "
            f"63 characters or 255 in all, got {name[:80]!r}"
        )
    if verifies:
        raise ClientConfigurationError(
            "sslsni: Python cannot verify a host name that it does not send; "
            "set sslsni=1 or sslmode=verify-ca"
        )
    return None


def check_negotiated(alpn: str | None, *, direct: bool) -> None:
    """Refuse a TLS session that was not made for PostgreSQL.

    A direct handshake says nothing about the protocol behind it, so that a server
    of another kind could be made to read ours (ALPACA). ALPN rules it out.

    Args:
        alpn: what ``SSLObject.selected_alpn_protocol()`` returns.
        direct: whether ``sslnegotiation=direct`` was used.

    Raises:
        InterfaceError: the server chose another protocol, or none and `direct`.

    Example:
        >>> check_negotiated("postgresql", direct=True)

    Source: PostgreSQL docs, "SSL Session Encryption".
    """
    if alpn == ALPN_PROTOCOL or (alpn is None and not direct):
        return
    raise InterfaceError(
        f"TLS was negotiated for {alpn!r} instead of {ALPN_PROTOCOL!r} (ALPN); "
        "sslnegotiation=direct needs PostgreSQL 17 or later, and an ssl context of "
        f"your own needs set_alpn_protocols([{ALPN_PROTOCOL!r}])"
    )


def _ip_address(host: str) -> str | None:
    """Return the address without its zone, which no certificate can hold."""
    address = host.partition("%")[0]
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return None


def _is_sendable(name: str) -> bool:
    """Whether the handshake takes a name: where it fails, uvloop loses the socket."""
    try:
        return len(name.encode("idna")) <= _MAX_SNI_BYTES
    except UnicodeError:
        return False


def _set_versions(context: ssl.SSLContext, config: TlsConfig) -> None:
    low = _tls_version(
        "ssl_min_protocol_version", config.ssl_min_protocol_version or "TLSv1.2"
    )
    context.minimum_version = low
    if not config.ssl_max_protocol_version:
        return
    high = _tls_version("ssl_max_protocol_version", config.ssl_max_protocol_version)
    if high < low:
        raise ClientConfigurationError(
            f"ssl_max_protocol_version: {high.name} is below "
            f"ssl_min_protocol_version {low.name}"
        )
    context.maximum_version = high


def _tls_version(argument: str, value: str | ssl.TLSVersion) -> ssl.TLSVersion:
    if isinstance(value, ssl.TLSVersion):
        return value
    version = _TLS_VERSIONS.get(value.lower())
    if version is None:
        raise ClientConfigurationError(
            f"{argument}: unknown version {value[:40]!r}; use TLSv1, TLSv1.1, "
            "TLSv1.2 or TLSv1.3"
        )
    return version


def _load_roots(context: ssl.SSLContext, config: TlsConfig, sslmode: str) -> bool:
    """Load what the server's certificate is checked against; False for nothing."""
    if config.sslrootcert == SYSTEM:
        if sslmode != "verify-full":
            raise ClientConfigurationError(
                f"sslrootcert=system is too weak with sslmode={sslmode}: everybody "
                "can get a certificate of a public authority; set sslmode=verify-full"
            )
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return True
    if not config.sslrootcert and sslmode in ("allow", "prefer"):
        # These modes fall back to clear text: a check that fails would only
        # take the encryption away.
        return False
    path = _existing("sslrootcert", config.sslrootcert, "root.crt")
    if path is None:
        if sslmode.startswith("verify-"):
            raise ClientConfigurationError(
                f"sslrootcert: sslmode={sslmode} needs root certificates and there "
                f"is no file {default_file('root.crt')}; create it, name one with "
                "sslrootcert, or use sslrootcert=system with sslmode=verify-full"
            )
        return False
    try:
        context.load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError) as error:
        raise _unusable("sslrootcert", path, error) from error
    return True


def _load_revocations(context: ssl.SSLContext, config: TlsConfig) -> None:
    directory = config.sslcrldir or None
    if directory is not None and not os.path.isdir(directory):
        raise ClientConfigurationError(f"sslcrldir: no directory {directory!r}")
    path = None
    if config.sslcrl or directory is None:
        path = _existing("sslcrl", config.sslcrl, "root.crl")
    if path is None and directory is None:
        return
    try:
        context.load_verify_locations(cafile=path, capath=directory)
    except (ssl.SSLError, OSError) as error:
        raise _unusable("sslcrl", path or str(directory), error) from error
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _load_client_certificate(context: ssl.SSLContext, config: TlsConfig) -> None:
    if config.sslcertmode == "require":
        raise ClientConfigurationError(
            "sslcertmode=require is not supported: Python does not tell whether the "
            "server asked for a certificate; use sslcertmode=allow"
        )
    if config.sslcertmode == "disable":
        return
    certificate = _existing("sslcert", config.sslcert, "postgresql.crt")
    if certificate is None:
        return
    key = _existing("sslkey", config.sslkey, "postgresql.key")
    if key is None:
        if b"PRIVATE KEY-----" not in Path(certificate).read_bytes():
            raise ClientConfigurationError(
                f"sslkey: there is a client certificate {certificate!r} but no key "
                f"for it; create {default_file('postgresql.key')} or set sslkey"
            )
        key = certificate
    _check_key_file(key)
    passphrase = config.sslpassword or ""
    try:
        # A callable, for without one OpenSSL asks at the terminal and blocks.
        context.load_cert_chain(certificate, key, password=lambda: passphrase)
    except (ssl.SSLError, OSError, ValueError) as error:
        hint = (
            "is the passphrase in sslpassword right?"
            if passphrase
            else ("if the key has a passphrase, set sslpassword")
        )
        raise ClientConfigurationError(
            f"sslcert, sslkey: cannot load {certificate!r} with {key!r}: "
            f"{type(error).__name__}; do they belong together? {hint}"
        ) from error


def _check_key_file(path: str) -> None:
    """Refuse a private key that others can read, by libpq's rules."""
    if os.name == "nt":
        return
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ClientConfigurationError(f"sslkey: {path!r} is not a regular file")
    is_roots = status.st_uid == 0
    forbidden = 0o037 if is_roots else 0o077
    if status.st_mode & forbidden:
        raise ClientConfigurationError(
            f"sslkey: {path!r} can be read by others; set its permissions to 0600, "
            "or to 0640 when root owns it"
        )


def _existing(argument: str, named: str | None, default: str) -> str | None:
    """Return the file named by the user, else the default file if there is one."""
    if named:
        path = os.path.expanduser(named)
        if not os.path.exists(path):
            raise ClientConfigurationError(f"{argument}: no file {path!r}")
        return path
    path = default_file(default)
    return path if os.path.exists(path) else None


def default_file(name: str) -> str:
    """Where a file is that the user does not name: below ``~/.postgresql``."""
    if os.name == "nt":
        return os.path.join(os.environ.get("APPDATA", ""), "postgresql", name)
    return os.path.join(os.path.expanduser("~"), ".postgresql", name)


def _unusable(argument: str, path: str, error: Exception) -> ClientConfigurationError:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return ClientConfigurationError(
        f"{argument}: cannot use {path!r}: {reason or type(error).__name__}"
    )


# --- the channel binding of a certificate -------------------------------------

_SEQUENCE = 0x30
_OBJECT_IDENTIFIER = 0x06
_CONTEXT_0 = 0xA0

_RSASSA_PSS = "1.2.840.113549.1.1.10"

# Signature algorithm -> hash. RFC 5929: MD5 and SHA-1 are replaced by SHA-256.
# Algorithms without a hash of their own (Ed25519, Ed448, ML-DSA) are not here.
_SIGNATURE_HASHES = {
    "1.2.840.113549.1.1.4": "sha256",  # md5WithRSAEncryption
    "1.2.840.113549.1.1.5": "sha256",  # sha1WithRSAEncryption
    "1.2.840.113549.1.1.11": "sha256",
    "1.2.840.113549.1.1.12": "sha384",
    "1.2.840.113549.1.1.13": "sha512",
    "1.2.840.113549.1.1.14": "sha224",
    "2.16.840.1.101.3.4.3.13": "sha3_224",  # id-rsassa-pkcs1-v1-5-with-sha3-*
    "2.16.840.1.101.3.4.3.14": "sha3_256",
    "2.16.840.1.101.3.4.3.15": "sha3_384",
    "2.16.840.1.101.3.4.3.16": "sha3_512",
    "1.2.840.10045.4.1": "sha256",  # ecdsa-with-SHA1
    "1.2.840.10045.4.3.1": "sha224",
    "1.2.840.10045.4.3.2": "sha256",
    "1.2.840.10045.4.3.3": "sha384",
    "1.2.840.10045.4.3.4": "sha512",
    "2.16.840.1.101.3.4.3.9": "sha3_224",  # id-ecdsa-with-sha3-*
    "2.16.840.1.101.3.4.3.10": "sha3_256",
    "2.16.840.1.101.3.4.3.11": "sha3_384",
    "2.16.840.1.101.3.4.3.12": "sha3_512",
}

# Hash algorithms as the parameters of RSASSA-PSS name them.
_HASHES = {
    "1.3.14.3.2.26": "sha256",  # sha1
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
    "2.16.840.1.101.3.4.2.4": "sha224",
    "2.16.840.1.101.3.4.2.7": "sha3_224",
    "2.16.840.1.101.3.4.2.8": "sha3_256",
    "2.16.840.1.101.3.4.2.9": "sha3_384",
    "2.16.840.1.101.3.4.2.10": "sha3_512",
}


def tls_server_end_point(der_certificate: bytes) -> bytes | None:
    """Return the ``tls-server-end-point`` channel binding of a certificate.

    Args:
        der_certificate: what ``SSLObject.getpeercert(binary_form=True)`` returns.

    Returns:
        The certificate's hash, by the hash of its own signature; None when the
        signature has none (Ed25519, Ed448), is not known, or cannot be read. No
        channel can be bound then, and `chopin.scram` decides what that means.

    Example:
        >>> tls_server_end_point(b"") is None
        True

    Source: RFC 5929 section 4.1; RFC 5280 section 4.1; RFC 4055 section 3.1.
    """
    try:
        name = _signature_hash(der_certificate)
    except _MalformedDerError:
        return None
    if name is None:
        return None
    return hashlib.new(name, der_certificate).digest()


class _MalformedDerError(Exception):
    """The bytes are not the DER that they should be."""


def _signature_hash(der: bytes) -> str | None:
    """Return the hash in Certificate.signatureAlgorithm."""
    certificate = _only(der, _SEQUENCE)
    tbs_tag, _tbs, rest = _element(certificate)
    algorithm_tag, algorithm, _signature = _element(rest)
    if tbs_tag != _SEQUENCE or algorithm_tag != _SEQUENCE:
        raise _MalformedDerError
    oid, parameters = _algorithm(algorithm)
    if oid == _RSASSA_PSS:
        return _pss_hash(parameters)
    return _SIGNATURE_HASHES.get(oid)


def _pss_hash(parameters: bytes) -> str | None:
    """Return hashAlgorithm of RSASSA-PSS-params, which is SHA-1 when left out."""
    fields = _only(parameters, _SEQUENCE)
    if fields:
        tag, field, _rest = _element(fields)
        if tag == _CONTEXT_0:
            oid, _parameters = _algorithm(_only(field, _SEQUENCE))
            return _HASHES.get(oid)
    return "sha256"


def _algorithm(content: bytes) -> tuple[str, bytes]:
    """Return the object identifier and the parameters of an AlgorithmIdentifier."""
    tag, oid, parameters = _element(content)
    if tag != _OBJECT_IDENTIFIER:
        raise _MalformedDerError
    return ".".join(map(str, _arcs(oid))), parameters


def _only(data: bytes, expected_tag: int) -> bytes:
    """Return the content of the one element that `data` consists of."""
    tag, content, rest = _element(data)
    if tag != expected_tag or rest:
        raise _MalformedDerError
    return content


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Split the first element off: tag, content, what follows.

    Lengths are 0 - 127 in one byte, else one byte 0x80 + n and n bytes. Four are
    more than any certificate needs; DER has no other forms.
    """
    if len(data) < 2:
        raise _MalformedDerError
    tag, length = data[0], data[1]
    start = 2
    if length >= 0x80:
        n_bytes = length - 0x80
        start += n_bytes
        if not 1 <= n_bytes <= 4 or len(data) < start:
            raise _MalformedDerError
        length = int.from_bytes(data[2:start], "big")
    end = start + length
    if end > len(data):
        raise _MalformedDerError
    return tag, data[start:end], data[end:]


def _arcs(content: bytes) -> Iterator[int]:
    """Yield the numbers of an object identifier, base 128 with a continuation bit."""
    if not content or len(content) > 32 or content[-1] & 0x80:
        raise _MalformedDerError
    value = 0
    is_first = True
    for byte in content:
        value = value << 7 | byte & 0x7F
        if byte & 0x80:
            continue
        if is_first:
            yield min(value // 40, 2)
            value -= min(value // 40, 2) * 40
            is_first = False
        yield value
        value = 0

"""Authentication exchanges: SCRAM-SHA-256, SCRAM-SHA-256-PLUS and MD5.

Owns: the client side of SASL (RFC 5802, RFC 7677), SASLprep of passwords
(RFC 4013) and the MD5 response. Which method may be answered at all is decided
in `chopin.auth`.

Imports: L0 and the standard library; no asyncio, socket, ssl or time (L3).

Rules:

- One `ScramClient` serves one exchange and is never used again.
- Every message goes one step further; a message out of turn is a ProtocolError.
- Nothing that the server says is believed until `verified` is true: only then
  has it shown that it knows the password (or its verifier).
- All lengths and numbers are checked before they cost anything.
- No error text holds the password, the salted password or a proof.

    client                                      server
    client_first()   n,,n=,r=<nonce>       ->
    server_first()                         <-   r=<nonce+>,s=<salt>,i=<count>
    hash_password()  the slow step, may run in a thread
    client_final()   c=<binding>,r=,p=     ->
    server_final()                         <-   v=<signature>  or  e=<error>

Source: PostgreSQL docs, "SASL Authentication".
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import hmac
import os
import re
import stringprep
import unicodedata
from collections.abc import MutableMapping, Sequence
from typing import Literal

from chopin.exceptions import InterfaceError, InvalidPasswordError, ProtocolError

ChannelBinding = Literal["disable", "prefer", "require"]
SaltedCache = MutableMapping[tuple[bytes, bytes, int], bytes]

SCRAM_SHA_256 = "SCRAM-SHA-256"
SCRAM_SHA_256_PLUS = "SCRAM-SHA-256-PLUS"

# PostgreSQL's default is 4,096. PBKDF2 at 100,000 rounds is some 30 ms of CPU;
# without a limit a hostile server decides how long this process is busy.
MAX_ITERATIONS = 100_000
# A server message of PostgreSQL has some 90 bytes.
MAX_MESSAGE_BYTES = 8192
# As many bytes as libpq takes; 24 characters in base64.
NONCE_BYTES = 18
# One role of one server has one salt: so many roles are remembered.
MAX_CACHED_KEYS = 64

#: What this process has worked out: SaltedPassword by password, salt and rounds, which
#: RFC 5802, section 3, lets a client keep. To the servers that know the password it is
#: worth as much; to all others nothing.
SALTED: SaltedCache = {}

# printable ASCII without the comma, RFC 5802 section 7
_NONCE = rb"[\x21-\x2b\x2d-\x7e]+"
_SERVER_FIRST = re.compile(rb"r=(" + _NONCE + rb"),s=([A-Za-z0-9+/=]+),i=([^,]*)")
_ITERATIONS = re.compile(rb"[1-9][0-9]{0,8}")
_SERVER_FINAL = re.compile(rb"v=([A-Za-z0-9+/=]+)")

# Keeps passwords themselves, and hashes that can be tried offline, out of caches.
_cache_key_secret = os.urandom(32)


class _Step(enum.Enum):
    """Which call comes next."""

    CLIENT_FIRST = "the client's first message"
    SERVER_FIRST = "the server's first message"
    CLIENT_FINAL = "the client's final message"
    SERVER_FINAL = "the server's final message"
    DONE = "no further message"


class ScramClient:
    """The client side of one SCRAM exchange.

    Args:
        mechanisms: what AuthenticationSASL offered, in the server's order.
        user: the role; PostgreSQL takes the name from the startup message and
            ignores the one in SCRAM, so it appears in error texts only.
        password: text, or the raw bytes of a password that is not UTF-8.
        channel_binding: ``disable``, ``prefer`` or ``require``, as in libpq.
        cbind_data: the ``tls-server-end-point`` hash of the server certificate
            (`chopin.tls.tls_server_end_point`); None when there is no TLS or
            the certificate has no such hash (Ed25519, Ed448).
        tls: whether the connection is encrypted.
        nonce: printable ASCII without comma, for tests only.
        salted_cache: a dictionary that connections with the same password
            share, so that the slow hash is computed once for all of them. It
            is filled only from exchanges in which the server proved itself.
        max_iterations: the largest iteration count to accept.

    Raises:
        InterfaceError: the password is empty, or channel binding is required
            and cannot be had.
        ProtocolError: the server offers nothing that we know, or offers channel
            binding on a connection that is not encrypted.

    Example:
        >>> client = ScramClient(["SCRAM-SHA-256"], "ada", "secret", tls=False,
        ...                      channel_binding="prefer", cbind_data=None,
        ...                      nonce=b"fyko+d2lbbFgONRv9qkxdawL")
        >>> client.mechanism
        'SCRAM-SHA-256'
        >>> client.client_first()
        b'n,,n=,r=fyko+d2lbbFgONRv9qkxdawL'

    Source: RFC 5802; PostgreSQL docs, "SASL Authentication".
    """

    def __init__(
        self,
        mechanisms: Sequence[str],
        user: str,
        password: str | bytes | None,
        *,
        channel_binding: ChannelBinding,
        cbind_data: bytes | None,
        tls: bool,
        nonce: bytes | None = None,
        salted_cache: SaltedCache | None = None,
        max_iterations: int = MAX_ITERATIONS,
    ) -> None:
        self._password = prepare_password(encode_password(password, user))
        self._user = user
        self.mechanism = _choose_mechanism(
            mechanisms, channel_binding, cbind_data is not None, tls
        )
        self._gs2_header, self._cbind_data = _gs2_header(
            self.mechanism, channel_binding, cbind_data if tls else None
        )
        self._nonce = nonce or base64.b64encode(os.urandom(NONCE_BYTES))
        self._salted_cache = salted_cache
        self._max_iterations = max_iterations
        self._step = _Step.CLIENT_FIRST
        self._server_first = b""
        self._server_nonce = b""
        self._salted_password: bytes | None = None
        self._auth_message = b""
        #: The salt of the server's first message.
        self.salt = b""
        #: The iteration count of the server's first message, 0 before it.
        self.iterations = 0
        #: Whether the server has proved that it knows the password.
        self.verified = False

    @property
    def is_channel_bound(self) -> bool:
        """Whether this exchange proves the TLS channel as well.

        Returns:
            True with SCRAM-SHA-256-PLUS. It counts once `verified` is true.
        """
        return self.mechanism == SCRAM_SHA_256_PLUS

    @property
    def is_hashed(self) -> bool:
        """Whether `hash_password` has nothing left to do.

        Returns:
            True after `hash_password`, or when the cache knew the result.
        """
        return self._salted_password is not None

    def client_first(self) -> bytes:
        """Return the data of SASLInitialResponse.

        Returns:
            The gs2 header, an empty user name (PostgreSQL ignores it) and the
            nonce.

        Raises:
            ProtocolError: called out of turn.
        """
        self._take_step(_Step.CLIENT_FIRST, _Step.SERVER_FIRST)
        return self._gs2_header + self._client_first_bare()

    def server_first(self, data: bytes) -> None:
        """Take the data of AuthenticationSASLContinue.

        Args:
            data: the server's first message; sets `salt` and `iterations`.

        Raises:
            ProtocolError: malformed, not an answer to our nonce, an extension
                that we do not know, or an iteration count out of bounds.
        """
        self._take_step(_Step.SERVER_FIRST, _Step.CLIENT_FINAL)
        match = None
        if len(data) <= MAX_MESSAGE_BYTES:
            match = _SERVER_FIRST.fullmatch(data)
        if match is None:
            raise ProtocolError("malformed SCRAM message: server's first message")
        nonce, salt, iterations = match.groups()
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise ProtocolError(
                "SCRAM nonce of the server does not continue the client's nonce"
            )
        self.iterations = _parse_iterations(iterations, self._max_iterations)
        self.salt = _decode_base64(salt, "salt")
        self._server_nonce = nonce
        self._server_first = bytes(data)
        if self._salted_cache is not None:
            self._salted_password = self._salted_cache.get(self._cache_key())

    def hash_password(self) -> None:
        """Compute SaltedPassword, unless it is known.

        This is the slow step: 4,096 rounds take about a millisecond. It touches
        nothing but this object and releases the GIL, so it may run in a thread.

        Raises:
            ProtocolError: called before `server_first`.
        """
        if self._step is not _Step.CLIENT_FINAL:
            raise ProtocolError(self._out_of_turn())
        if self._salted_password is None:
            self._salted_password = hashlib.pbkdf2_hmac(
                "sha256", self._password, self.salt, self.iterations
            )

    def client_final(self) -> bytes:
        """Return the data of SASLResponse, with the proof.

        Returns:
            The channel binding, the nonce and the proof. The password is hashed
            here when `hash_password` has not been called.

        Raises:
            ProtocolError: called out of turn.
        """
        self.hash_password()
        self._take_step(_Step.CLIENT_FINAL, _Step.SERVER_FINAL)
        binding = base64.b64encode(self._gs2_header + self._cbind_data)
        without_proof = b"c=" + binding + b",r=" + self._server_nonce
        self._auth_message = b",".join(
            (self._client_first_bare(), self._server_first, without_proof)
        )
        client_key = self._keyed(b"Client Key")
        stored_key = hashlib.sha256(client_key).digest()
        signature = hmac.digest(stored_key, self._auth_message, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return without_proof + b",p=" + base64.b64encode(proof)

    def server_final(self, data: bytes) -> None:
        """Take the data of AuthenticationSASLFinal and verify the server.

        Args:
            data: the server's final message; sets `verified`.

        Raises:
            InvalidPasswordError: the server says that the proof is wrong.
            ProtocolError: malformed, another error of the server, or a
                signature that does not come from our password.
        """
        self._take_step(_Step.SERVER_FINAL, _Step.DONE)
        if data.startswith(b"e="):
            raise self._server_error(data[2:])
        match = None
        if len(data) <= MAX_MESSAGE_BYTES:
            match = _SERVER_FINAL.fullmatch(data)
        if match is None:
            raise ProtocolError("malformed SCRAM message: server's final message")
        got = _decode_base64(match[1], "server signature")
        server_key = self._keyed(b"Server Key")
        want = hmac.digest(server_key, self._auth_message, "sha256")
        if not hmac.compare_digest(got, want):
            raise ProtocolError(
                "server could not prove that it knows the password: its SCRAM "
                "signature is wrong"
            )
        self.verified = True
        self._remember()

    def _take_step(self, expected: _Step, following: _Step) -> None:
        if self._step is not expected:
            raise ProtocolError(self._out_of_turn())
        self._step = following

    def _out_of_turn(self) -> str:
        return f"SCRAM message out of turn: expected {self._step.value}"

    def _client_first_bare(self) -> bytes:
        return b"n=,r=" + self._nonce

    def _keyed(self, label: bytes) -> bytes:
        assert self._salted_password is not None
        return hmac.digest(self._salted_password, label, "sha256")

    def _cache_key(self) -> tuple[bytes, bytes, int]:
        digest = hmac.digest(_cache_key_secret, self._password, "sha256")
        return digest, self.salt, self.iterations

    def _remember(self) -> None:
        cache = self._salted_cache
        if cache is None or self._salted_password is None:
            return
        # clear() is one step, so that threads that share the cache need no lock
        if len(cache) >= MAX_CACHED_KEYS:
            cache.clear()
        cache[self._cache_key()] = self._salted_password

    def _server_error(self, value: bytes) -> Exception:
        shown = ascii(value[:40].decode("ascii", "replace"))
        if value in (b"invalid-proof", b"unknown-user"):
            return InvalidPasswordError(
                f"password authentication failed for user {self._user!r}"
            )
        return ProtocolError(f"server refused the SCRAM exchange: {shown}")


def encode_password(password: str | bytes | None, user: str) -> bytes:
    """Return the bytes of the password, or say that there is none.

    An empty password is never sent and never hashed: PostgreSQL refuses it, and
    a proof made of it would be one that anybody can make.

    Args:
        password: what the configuration found.
        user: the role, for the error text.

    Returns:
        UTF-8; bytes that came through ``surrogateescape`` are themselves again.

    Raises:
        InterfaceError: it is None or empty, or holds what no UTF-8 can hold.

    Example:
        >>> encode_password("secret", "ada")
        b'secret'
    """
    if not password:
        raise InterfaceError(
            f"server asks for a password and none is given for user {user!r}; "
            "set password, PGPASSWORD or a line of the password file"
        )
    if isinstance(password, bytes):
        return password
    try:
        return password.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        pass  # raised below, for the codec's error carries the password
    raise InterfaceError("password holds characters that UTF-8 cannot encode")


def prepare_password(raw: bytes) -> bytes:
    r"""Return the password in the form that PostgreSQL hashes for SCRAM.

    SASLprep, with PostgreSQL's liberties: pure ASCII is left alone, and what
    SASLprep prohibits is used as it is instead of being refused. The server made
    its verifier by the same rules.

    Args:
        raw: UTF-8, or bytes in another encoding, which are left alone.

    Returns:
        UTF-8, or the bytes unchanged.

    Example:
        >>> prepare_password("pass\u00adword".encode())
        b'password'

    Source: RFC 4013; PostgreSQL, src/common/saslprep.c.
    """
    if raw.isascii():
        return raw
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char
        for char in text
        if stringprep.in_table_c12(char) or not stringprep.in_table_b1(char)
    )
    # PostgreSQL looks at the characters before normalisation, and so do we
    if not mapped or any(_is_prohibited(char) for char in mapped):
        return raw
    if not _is_bidi_sane(mapped):
        return raw
    return unicodedata.normalize("NFKC", mapped).encode("utf-8")


def md5_password(user: str, password: str | bytes | None, salt: bytes) -> bytes:
    """Return the answer to AuthenticationMD5Password, without the final NUL.

    Args:
        user: the role.
        password: text or bytes, never empty.
        salt: the four bytes of the request.

    Returns:
        ``md5`` and 32 hexadecimal digits.

    Raises:
        InterfaceError: the password is empty, or this Python has no MD5 (FIPS mode).
        ProtocolError: the salt has another length.

    Example:
        >>> md5_password("ada", "secret", b"abcd")
        b'md506e21122b2c0f4108f95d1329aea56d0'

    Source: PostgreSQL docs, "Message Flow", AuthenticationMD5Password.
    """
    if len(salt) != 4:
        raise ProtocolError(f"md5 salt has {len(salt)} bytes, expected 4")
    secret = encode_password(password, user)
    try:
        inner = hashlib.md5(secret + user.encode()).hexdigest()
        return b"md5" + hashlib.md5(inner.encode() + salt).hexdigest().encode()
    except ValueError as error:
        raise InterfaceError(
            f"the server asks for an MD5 hash, which this Python refuses: {error}",
            hint="Set the password anew with password_encryption=scram-sha-256.",
        ) from error


def _choose_mechanism(
    offered: Sequence[str], channel_binding: ChannelBinding, has_hash: bool, tls: bool
) -> str:
    required = channel_binding == "require"
    if required and not tls:
        raise InterfaceError(
            "channel_binding=require needs TLS, and this connection has none; "
            "set sslmode=require or better"
        )
    if SCRAM_SHA_256_PLUS in offered and not tls:
        # A server offers it under TLS only: somebody between took the TLS away.
        raise ProtocolError(
            "server offered SCRAM-SHA-256-PLUS on a connection without TLS"
        )
    if required and SCRAM_SHA_256_PLUS not in offered:
        raise InterfaceError(
            "channel_binding=require, but the server does not offer "
            "SCRAM-SHA-256-PLUS; use channel_binding=prefer to go without"
        )
    if required and not has_hash:
        raise InterfaceError(
            "channel_binding=require, but the server's certificate allows none "
            "(its signature has no hash, as with Ed25519); use another "
            "certificate or channel_binding=prefer"
        )
    if SCRAM_SHA_256_PLUS in offered and has_hash and channel_binding != "disable":
        return SCRAM_SHA_256_PLUS
    if SCRAM_SHA_256 in offered:
        return SCRAM_SHA_256
    shown = ", ".join(ascii(name[:40]) for name in offered[:8]) or "none"
    raise ProtocolError(
        f"server offers no SASL mechanism that can be used; it offers {shown}"
    )


def _gs2_header(
    mechanism: str, channel_binding: ChannelBinding, cbind_data: bytes | None
) -> tuple[bytes, bytes]:
    """Return the gs2 header and the data that belongs to it.

    ``y`` says: we could bind the channel and believe that the server cannot. A
    server that can knows then that its offer was taken out on the way.
    """
    if mechanism == SCRAM_SHA_256_PLUS:
        assert cbind_data is not None
        return b"p=tls-server-end-point,,", cbind_data
    if channel_binding != "disable" and cbind_data is not None:
        return b"y,,", b""
    return b"n,,", b""


def _parse_iterations(digits: bytes, limit: int) -> int:
    # The length is bounded first: int() of a million digits is an attack too.
    if not _ITERATIONS.fullmatch(digits):
        raise ProtocolError("malformed SCRAM message: iteration count out of bounds")
    iterations = int(digits)
    if iterations > limit:
        raise ProtocolError(
            f"server asks for {iterations} SCRAM iterations, more than the limit "
            f"of {limit}; set the password anew with a lower scram_iterations"
        )
    return iterations


def _decode_base64(data: bytes, what: str) -> bytes:
    try:
        decoded = base64.b64decode(data, validate=True)
    except binascii.Error:
        decoded = b""
    if not decoded:
        raise ProtocolError(f"malformed SCRAM message: {what} is not base64")
    return decoded


# C.1.2 is mapped to a space before, and so never found here.
_PROHIBITED = (
    stringprep.in_table_a1,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def _is_prohibited(char: str) -> bool:
    return any(is_in_table(char) for is_in_table in _PROHIBITED)


def _is_bidi_sane(text: str) -> bool:
    """Whether right-to-left text stands alone and at both ends, RFC 3454 6."""
    is_right_to_left = stringprep.in_table_d1
    if not any(is_right_to_left(char) for char in text):
        return True
    return (
        is_right_to_left(text[0])
        and is_right_to_left(text[-1])
        and not any(stringprep.in_table_d2(char) for char in text)
    )

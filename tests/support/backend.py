"""Server bytes and frontend messages, by the names of PostgreSQL's documentation.

Owns: builders of every backend message, a parser of every frontend message, and
the server's side of SCRAM. Nothing here knows of sockets, and nothing here comes
from the driver: a mistake of the driver's cannot cancel itself out.

Source: PostgreSQL docs, "Message Formats".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SSL_REQUEST_CODE = 80877103
GSSENC_REQUEST_CODE = 80877104
CANCEL_REQUEST_CODE = 80877102

# --- backend messages ---------------------------------------------------------


def message(kind: bytes, payload: bytes = b"", *, length: int | None = None) -> bytes:
    """Frame a payload; `length` lies about its size."""
    n = len(payload) + 4 if length is None else length
    return kind + struct.pack("!I", n) + payload


def _text(value: str | bytes) -> bytes:
    return (value.encode() if isinstance(value, str) else value) + b"\0"


def _authentication(code: int, data: bytes = b"") -> bytes:
    return message(b"R", struct.pack("!i", code) + data)


def authentication_ok() -> bytes:
    return _authentication(0)


def authentication_kerberos_v5() -> bytes:
    return _authentication(2)


def authentication_cleartext_password() -> bytes:
    return _authentication(3)


def authentication_md5_password(salt: bytes) -> bytes:
    return _authentication(5, salt)


def authentication_gss() -> bytes:
    return _authentication(7)


def authentication_gss_continue(data: bytes) -> bytes:
    return _authentication(8, data)


def authentication_sspi() -> bytes:
    return _authentication(9)


def authentication_sasl(mechanisms: Sequence[str]) -> bytes:
    return _authentication(10, b"".join(map(_text, mechanisms)) + b"\0")


def authentication_sasl_continue(data: bytes) -> bytes:
    return _authentication(11, data)


def authentication_sasl_final(data: bytes) -> bytes:
    return _authentication(12, data)


def backend_key_data(pid: int, key: bytes) -> bytes:
    return message(b"K", struct.pack("!i", pid) + key)


def parameter_status(name: str, value: str) -> bytes:
    return message(b"S", _text(name) + _text(value))


def negotiate_protocol_version(
    version: tuple[int, int], options: Sequence[str] = ()
) -> bytes:
    """The newest version that is served, and the options that are not known."""
    number = version[0] << 16 | version[1]
    texts = b"".join(map(_text, options))
    return message(b"v", struct.pack("!ii", number, len(options)) + texts)


def ready_for_query(status: bytes = b"I") -> bytes:
    return message(b"Z", status)


def row_description(columns: Sequence[Sequence[Any]]) -> bytes:
    """Columns are (name, type oid), and where it matters (..., format code)."""
    parts = [struct.pack("!h", len(columns))]
    for name, oid, *rest in columns:
        fmt = rest[0] if rest else 0
        parts.append(_text(name) + struct.pack("!ihIhih", 0, 0, oid, -1, -1, fmt))
    return message(b"T", b"".join(parts))


def data_row(values: Sequence[bytes | None]) -> bytes:
    parts = [struct.pack("!H", len(values))]
    for value in values:
        if value is None:
            parts.append(struct.pack("!i", -1))
        else:
            parts.append(struct.pack("!i", len(value)) + value)
    return message(b"D", b"".join(parts))


def command_complete(tag: str) -> bytes:
    return message(b"C", _text(tag))


def empty_query_response() -> bytes:
    return message(b"I")


def parse_complete() -> bytes:
    return message(b"1")


def bind_complete() -> bytes:
    return message(b"2")


def close_complete() -> bytes:
    return message(b"3")


def no_data() -> bytes:
    return message(b"n")


def portal_suspended() -> bytes:
    return message(b"s")


def parameter_description(oids: Sequence[int]) -> bytes:
    return message(b"t", struct.pack(f"!H{len(oids)}I", len(oids), *oids))


def notification_response(pid: int, channel: str, payload: str = "") -> bytes:
    return message(b"A", struct.pack("!i", pid) + _text(channel) + _text(payload))


def _copy_response(kind: bytes, fmt: int, column_formats: Sequence[int]) -> bytes:
    n = len(column_formats)
    return message(kind, struct.pack(f"!bh{n}h", fmt, n, *column_formats))


def copy_in_response(fmt: int = 0, column_formats: Sequence[int] = ()) -> bytes:
    return _copy_response(b"G", fmt, column_formats)


def copy_out_response(fmt: int = 0, column_formats: Sequence[int] = ()) -> bytes:
    return _copy_response(b"H", fmt, column_formats)


def copy_both_response(fmt: int = 0, column_formats: Sequence[int] = ()) -> bytes:
    return _copy_response(b"W", fmt, column_formats)


def copy_data(data: bytes) -> bytes:
    return message(b"d", data)


def copy_done() -> bytes:
    return message(b"c")


# The field codes of ErrorResponse and NoticeResponse.
ERROR_FIELDS = {
    "severity": b"S",
    "severity_unlocalized": b"V",
    "code": b"C",
    "message": b"M",
    "detail": b"D",
    "hint": b"H",
    "position": b"P",
    "internal_position": b"p",
    "internal_query": b"q",
    "where": b"W",
    "schema_name": b"s",
    "table_name": b"t",
    "column_name": b"c",
    "data_type_name": b"d",
    "constraint_name": b"n",
    "file": b"F",
    "line": b"L",
    "routine": b"R",
}


def _fields(values: Mapping[str, str]) -> bytes:
    parts = [ERROR_FIELDS[name] + _text(value) for name, value in values.items()]
    return b"".join(parts) + b"\0"


def error_response(
    text: str = "scripted error", *, code: str = "XX000", **fields: str
) -> bytes:
    """Keywords are the names in `ERROR_FIELDS`; severity is ERROR unless given."""
    severity = fields.setdefault("severity", "ERROR")
    fields.setdefault("severity_unlocalized", severity)
    return message(b"E", _fields({**fields, "code": code, "message": text}))


def notice_response(
    text: str = "scripted notice", *, code: str = "00000", **fields: str
) -> bytes:
    """Keywords are the names in `ERROR_FIELDS`; severity is NOTICE unless given."""
    severity = fields.setdefault("severity", "NOTICE")
    fields.setdefault("severity_unlocalized", severity)
    return message(b"N", _fields({**fields, "code": code, "message": text}))


# --- frontend messages --------------------------------------------------------


class MalformedMessageError(AssertionError):
    """The driver sent bytes that PostgreSQL would not take."""


@dataclass(frozen=True)
class FrontendMessage:
    """One message of the driver: its name, its fields, its payload."""

    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    raw: bytes = b""

    def __getitem__(self, key: str) -> Any:
        """Return a field."""
        return self.fields[key]


class _Reader:
    """Reads one payload and insists that nothing is left."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self.data = data
        self.at = 0

    def take(self, n: int) -> bytes:
        if n < 0 or self.at + n > len(self.data):
            raise MalformedMessageError(f"{self.name} is too short: {self.data!r}")
        self.at += n
        return self.data[self.at - n : self.at]

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)

    def int16(self) -> int:
        return int(struct.unpack("!h", self.take(2))[0])

    def count(self) -> int:
        return int(struct.unpack("!H", self.take(2))[0])

    def int32(self) -> int:
        return int(struct.unpack("!i", self.take(4))[0])

    def oid(self) -> int:
        return int(struct.unpack("!I", self.take(4))[0])

    def byte(self) -> str:
        return self.take(1).decode("ascii")

    def text(self) -> str:
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise MalformedMessageError(f"{self.name} has a text without end")
        value = self.take(end - self.at).decode()
        self.at += 1
        return value

    def value(self) -> bytes | None:
        n = self.int32()
        return None if n == -1 else self.take(n)

    def done(self) -> None:
        if self.at != len(self.data):
            raise MalformedMessageError(
                f"{self.name} has {len(self.data) - self.at} bytes too many"
            )


def _bind(r: _Reader) -> dict[str, Any]:
    return {
        "portal": r.text(),
        "statement": r.text(),
        "parameter_formats": [r.int16() for _ in range(r.count())],
        "parameters": [r.value() for _ in range(r.count())],
        "result_formats": [r.int16() for _ in range(r.count())],
    }


def _parse(r: _Reader) -> dict[str, Any]:
    return {
        "statement": r.text(),
        "query": r.text(),
        "parameter_types": [r.oid() for _ in range(r.count())],
    }


def _function_call(r: _Reader) -> dict[str, Any]:
    return {
        "oid": r.oid(),
        "argument_formats": [r.int16() for _ in range(r.count())],
        "arguments": [r.value() for _ in range(r.count())],
        "result_format": r.int16(),
    }


def _kind_and_name(r: _Reader) -> dict[str, Any]:
    return {"kind": r.byte(), "name": r.text()}


def _nothing(_r: _Reader) -> dict[str, Any]:
    return {}


_Parser = Callable[[_Reader], dict[str, Any]]
_FRONTEND: dict[bytes, tuple[str, _Parser]] = {
    b"B": ("Bind", _bind),
    b"C": ("Close", _kind_and_name),
    b"D": ("Describe", _kind_and_name),
    b"E": ("Execute", lambda r: {"portal": r.text(), "limit": r.int32()}),
    b"F": ("FunctionCall", _function_call),
    b"H": ("Flush", _nothing),
    b"P": ("Parse", _parse),
    b"Q": ("Query", lambda r: {"query": r.text()}),
    b"S": ("Sync", _nothing),
    b"X": ("Terminate", _nothing),
    b"c": ("CopyDone", _nothing),
    b"d": ("CopyData", lambda r: {"data": r.rest()}),
    b"f": ("CopyFail", lambda r: {"reason": r.text()}),
}

# The four messages that share the letter p; the last request decides.
_RESPONSES: dict[str, _Parser] = {
    "PasswordMessage": lambda r: {"password": r.text()},
    "GSSResponse": lambda r: {"data": r.rest()},
    "SASLInitialResponse": lambda r: {"mechanism": r.text(), "data": r.value()},
    "SASLResponse": lambda r: {"data": r.rest()},
}


def parse_frontend(
    kind: bytes, payload: bytes, *, response: str | None = None
) -> FrontendMessage:
    """Parse a message of a started session, or an answer to an authentication.

    Args:
        kind: the letter.
        payload: what follows the length.
        response: which of the messages with the letter p is meant.
    """
    if kind == b"p" and response is not None:
        name, parser = response, _RESPONSES[response]
    elif kind in _FRONTEND:
        name, parser = _FRONTEND[kind]
    else:
        raise MalformedMessageError(f"no frontend message begins with {kind!r}")
    reader = _Reader(name, payload)
    fields = parser(reader)
    reader.done()
    return FrontendMessage(name, fields, payload)


def parse_startup(payload: bytes) -> FrontendMessage:
    """Parse a first message, which has no letter."""
    reader = _Reader("StartupMessage", payload)
    code = reader.int32()
    if code == CANCEL_REQUEST_CODE:
        fields = {"pid": reader.int32(), "key": reader.rest()}
        return FrontendMessage("CancelRequest", fields, payload)
    if code in (SSL_REQUEST_CODE, GSSENC_REQUEST_CODE):
        reader.done()
        name = "SSLRequest" if code == SSL_REQUEST_CODE else "GSSENCRequest"
        return FrontendMessage(name, {}, payload)
    parameters: dict[str, str] = {}
    while name := reader.text():
        parameters[name] = reader.text()
    reader.done()
    version = (code >> 16, code & 0xFFFF)
    return FrontendMessage(
        "StartupMessage", {"version": version, "parameters": parameters}, payload
    )


# --- the server's side of SCRAM -----------------------------------------------


class ScramRefusedError(Exception):
    """The client's message is wrong; the argument is RFC 5802's error value."""


class ScramServer:
    """The server's side of one exchange, written from RFC 5802 alone.

    Args:
        mechanism: what the client chose.
        password: as PostgreSQL hashes it, so already through SASLprep.
        offers_plus: whether SCRAM-SHA-256-PLUS was offered (by this server; what
            the client saw may differ).
        cbind_data: the channel binding that this server has.
        salt, iterations, nonce: the verifier's; random when left out.
    """

    def __init__(
        self,
        mechanism: str,
        password: bytes,
        *,
        offers_plus: bool = False,
        cbind_data: bytes | None = None,
        salt: bytes | None = None,
        iterations: int = 4096,
        nonce: bytes | None = None,
    ) -> None:
        self.mechanism = mechanism
        self.offers_plus = offers_plus
        self.cbind_data = cbind_data
        self.iterations = iterations
        self.salt = os.urandom(16) if salt is None else salt
        self._nonce = nonce or base64.b64encode(os.urandom(18))
        self._salted = hashlib.pbkdf2_hmac("sha256", password, self.salt, iterations)
        self._gs2_header = b""
        self._bare = b""
        self._server_first = b""

    def first(self, client_first: bytes) -> bytes:
        """Answer the client's first message."""
        flag, authzid, user, nonce = client_first.split(b",", 3)
        if authzid or not user.startswith(b"n=") or not nonce.startswith(b"r="):
            raise ScramRefusedError("other-error")
        self._check_flag(flag)
        self._gs2_header = flag + b",,"
        self._bare = user + b"," + nonce
        self._nonce = nonce[2:] + self._nonce
        self._server_first = b"r=%s,s=%s,i=%d" % (
            self._nonce,
            base64.b64encode(self.salt),
            self.iterations,
        )
        return self._server_first

    def final(self, client_final: bytes) -> bytes:
        """Check the proof and answer with our own."""
        without_proof, _, encoded_proof = client_final.rpartition(b",p=")
        binding, nonce = without_proof.split(b",", 1)
        bound = self.cbind_data or b"" if self.mechanism.endswith("-PLUS") else b""
        if binding != b"c=" + base64.b64encode(self._gs2_header + bound):
            raise ScramRefusedError("channel-bindings-dont-match")
        if nonce != b"r=" + self._nonce:
            raise ScramRefusedError("other-error")
        auth_message = b",".join((self._bare, self._server_first, without_proof))
        client_key = self._mac(self._salted, b"Client Key")
        stored_key = hashlib.sha256(client_key).digest()
        signature = self._mac(stored_key, auth_message)
        proof = base64.b64decode(encoded_proof, validate=True)
        got = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        if hashlib.sha256(got).digest() != stored_key:
            raise ScramRefusedError("invalid-proof")
        server_key = self._mac(self._salted, b"Server Key")
        return b"v=" + base64.b64encode(self._mac(server_key, auth_message))

    def _check_flag(self, flag: bytes) -> None:
        is_plus = self.mechanism == "SCRAM-SHA-256-PLUS"
        if is_plus != (flag == b"p=tls-server-end-point"):
            raise ScramRefusedError("unsupported-channel-binding-type")
        if not is_plus and flag not in (b"n", b"y"):
            raise ScramRefusedError("other-error")
        if flag == b"y" and self.offers_plus:
            raise ScramRefusedError("server-does-support-channel-binding")

    @staticmethod
    def _mac(key: bytes, data: bytes) -> bytes:
        return hmac.new(key, data, hashlib.sha256).digest()


def md5_response(user: str, password: str, salt: bytes) -> str:
    """Return what PostgreSQL expects in PasswordMessage after an MD5 request."""
    inner = hashlib.md5((password + user).encode()).hexdigest()
    return "md5" + hashlib.md5(inner.encode() + salt).hexdigest()

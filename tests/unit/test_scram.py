"""SCRAM, MD5 and the rules of require_auth, without a server."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chopin.auth import METHODS, check_complete, check_method, parse_require_auth
from chopin.exceptions import (
    ClientConfigurationError,
    InterfaceError,
    InvalidPasswordError,
    ProtocolError,
)
from chopin.scram import (
    MAX_CACHED_KEYS,
    MAX_ITERATIONS,
    SCRAM_SHA_256,
    SCRAM_SHA_256_PLUS,
    ScramClient,
    encode_password,
    md5_password,
    prepare_password,
)
from tests.support.backend import ScramRefusedError, ScramServer, md5_response

BOTH = [SCRAM_SHA_256_PLUS, SCRAM_SHA_256]
HASH = hashlib.sha256(b"certificate").digest()
NONCE = b"rOprNGfwEbeRWgbNEkqO"


def new_client(mechanisms: list[str] | None = None, **options: Any) -> ScramClient:
    options = {
        "user": "ada",
        "password": "secret",
        "channel_binding": "prefer",
        "cbind_data": None,
        "tls": False,
        **options,
    }
    return ScramClient(mechanisms or [SCRAM_SHA_256], **options)


def converse(client: ScramClient, server: ScramServer) -> None:
    client.server_first(server.first(client.client_first()))
    client.server_final(server.final(client.client_final()))


def at_server_first(**options: Any) -> ScramClient:
    client = new_client(nonce=NONCE, **options)
    client.client_first()
    return client


def server_first(iterations: bytes = b"1", **parts: bytes) -> bytes:
    fields = {"r": NONCE + b"server", "s": base64.b64encode(b"salt"), **parts}
    return b"r=%b,s=%b,i=%b" % (fields["r"], fields["s"], iterations)


# --- the exchange -------------------------------------------------------------


class NamedClient(ScramClient):
    """Sends a user name, as the example of the RFC does and PostgreSQL ignores."""

    def _client_first_bare(self) -> bytes:
        return b"n=user,r=" + NONCE


def test_exchange_of_rfc_7677() -> None:
    """The example of RFC 7677 section 3 comes out byte by byte."""
    client = NamedClient(
        [SCRAM_SHA_256],
        "user",
        "pencil",
        channel_binding="disable",
        cbind_data=None,
        tls=False,
        nonce=NONCE,
    )
    assert client.client_first() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    client.server_first(
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    assert client.iterations == 4096
    assert client.client_final() == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert not client.verified
    client.server_final(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    assert client.verified


@settings(max_examples=60, deadline=None)
@given(
    password=st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])),
    salt=st.binary(min_size=1, max_size=40),
    iterations=st.integers(1, 40),
    plus=st.booleans(),
)
def test_any_password_is_proved_to_the_server(
    password: str, salt: bytes, iterations: int, plus: bool
) -> None:
    """Client and server agree for every password, salt and iteration count."""
    client = new_client(
        BOTH if plus else None,
        password=password,
        tls=plus,
        cbind_data=HASH if plus else None,
    )
    server = ScramServer(
        client.mechanism,
        prepare_password(password.encode()),
        offers_plus=plus,
        cbind_data=HASH if plus else None,
        salt=salt,
        iterations=iterations,
    )
    converse(client, server)
    assert client.verified
    assert client.is_channel_bound is plus
    assert (client.salt, client.iterations) == (salt, iterations)


def test_wrong_password_does_not_convince_the_server() -> None:
    """The proof depends on the password."""
    server = ScramServer(SCRAM_SHA_256, b"other", iterations=1)
    with pytest.raises(ScramRefusedError, match="invalid-proof"):
        converse(new_client(), server)


def test_nonces_are_new() -> None:
    """Two exchanges never begin alike, and a nonce is printable."""
    first, second = new_client().client_first(), new_client().client_first()
    assert first != second
    assert len(first) == len("n,,n=,r=") + 24


def test_order_of_messages_is_kept() -> None:
    """A message out of turn is a protocol error, whatever it says."""
    client = new_client(nonce=NONCE)
    for call in (client.server_first, client.server_final):
        with pytest.raises(ProtocolError, match="out of turn"):
            call(server_first())
    with pytest.raises(ProtocolError, match="out of turn"):
        client.hash_password()
    client.client_first()
    client.server_first(server_first())
    with pytest.raises(ProtocolError, match="out of turn"):
        client.server_first(server_first())
    client.client_final()
    with pytest.raises(ProtocolError, match="out of turn"):
        client.client_final()


def test_failed_server_final_cannot_be_repeated() -> None:
    """After a wrong signature a right one changes nothing."""
    client = new_client()
    server = ScramServer(SCRAM_SHA_256, b"secret", iterations=1)
    client.server_first(server.first(client.client_first()))
    right = server.final(client.client_final())
    with pytest.raises(ProtocolError, match="signature is wrong"):
        client.server_final(b"v=" + base64.b64encode(bytes(32)))
    with pytest.raises(ProtocolError, match="out of turn"):
        client.server_final(right)
    assert not client.verified


# --- what the server may say --------------------------------------------------


@pytest.mark.parametrize("iterations", [b"1", b"4096", b"%d" % MAX_ITERATIONS])
def test_iteration_counts_in_bounds_are_taken(iterations: bytes) -> None:
    """From 1 to the limit; PostgreSQL's own default is not a lower bound."""
    client = at_server_first()
    client.server_first(server_first(iterations))
    assert client.iterations == int(iterations)


@pytest.mark.parametrize(
    "iterations",
    [
        b"0",
        b"-1",
        b"+1",
        b"01",
        b" 1",
        b"1 ",
        b"1_0",
        b"",
        b"x",
        b"1.5",
        b"%d" % (MAX_ITERATIONS + 1),
        b"%d" % 2**31,
        b"9" * 40,
        b"9" * 1_000_000,
    ],
)
def test_iteration_counts_out_of_bounds_are_refused(iterations: bytes) -> None:
    """Nothing is computed for a count that is no count, or too large."""
    client = at_server_first()
    with pytest.raises(ProtocolError, match=r"iteration|server's first message"):
        client.server_first(server_first(iterations))
    assert client.iterations == 0


def test_limit_of_iterations_can_be_set() -> None:
    """A higher or lower limit than the default is obeyed."""
    at_server_first(max_iterations=200_000).server_first(server_first(b"150000"))
    with pytest.raises(ProtocolError, match="limit of 10;"):
        at_server_first(max_iterations=10).server_first(server_first(b"11"))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"r=",
        b"m=x," + server_first(),
        server_first() + b",x=1",
        server_first() + b"\0",
        server_first() + b"\n",
        server_first(r=NONCE),
        server_first(r=b"x" + NONCE),
        server_first(r=NONCE[:-1] + b"server"),
        server_first(r=NONCE + b"\xff"),
        server_first(r=NONCE + b" "),
        server_first(r=b""),
        server_first(s=b""),
        server_first(s=b"="),
        server_first(s=b"===="),
        server_first(s=b"abc"),
        server_first(s=b"a b="),
        server_first(s=b"A" * 100_000),
        b"s=" + server_first()[2:],
        b"e=other-error",
    ],
)
def test_bad_first_messages_are_refused(message: bytes) -> None:
    """Nonce, salt and shape are checked before the password is touched."""
    with pytest.raises(ProtocolError, match="SCRAM"):
        at_server_first().server_first(message)


@given(st.binary(max_size=200))
def test_no_first_message_does_more_than_fail(message: bytes) -> None:
    """Arbitrary bytes end in ProtocolError, never in another error."""
    with pytest.raises(ProtocolError):
        at_server_first().server_first(message)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"v=",
        b"v",
        b"v=====",
        b"v=" + base64.b64encode(bytes(31)),
        b"v=" + base64.b64encode(bytes(32)),
        b"v=" + base64.b64encode(bytes(32)) + b",x=1",
        b"v=" + b"A" * 65536,
        b"x=" + base64.b64encode(bytes(32)),
        b"e=",
        b"e=channel-bindings-dont-match",
        b"e=\xff\xfe",
    ],
)
def test_bad_final_messages_are_refused(message: bytes) -> None:
    """Empty, short, long, wrong or foreign: the server is not believed."""
    client = at_server_first()
    client.server_first(server_first())
    client.client_final()
    with pytest.raises(ProtocolError, match="SCRAM"):
        client.server_final(message)
    assert not client.verified


def test_final_message_with_a_tail_is_refused() -> None:
    """Even a right signature must stand alone."""
    client = new_client()
    server = ScramServer(SCRAM_SHA_256, b"secret", iterations=1)
    client.server_first(server.first(client.client_first()))
    with pytest.raises(ProtocolError, match="malformed"):
        client.server_final(server.final(client.client_final()) + b",x=1")


def test_invalid_proof_is_a_wrong_password() -> None:
    """RFC 5802's error for a wrong proof reads like PostgreSQL's own."""
    client = at_server_first()
    client.server_first(server_first())
    client.client_final()
    with pytest.raises(InvalidPasswordError, match="failed for user 'ada'"):
        client.server_final(b"e=invalid-proof")


# --- channel binding ----------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "binding", "data", "tls", "mechanism", "header"),
    [
        (BOTH, "prefer", HASH, True, SCRAM_SHA_256_PLUS, b"p=tls-server-end-point,,"),
        (BOTH, "require", HASH, True, SCRAM_SHA_256_PLUS, b"p=tls-server-end-point,,"),
        (BOTH[::-1], "prefer", HASH, True, SCRAM_SHA_256_PLUS, b"p=tls-server-end-"),
        (BOTH, "disable", HASH, True, SCRAM_SHA_256, b"n,,"),
        (BOTH, "prefer", None, True, SCRAM_SHA_256, b"n,,"),
        ([SCRAM_SHA_256], "prefer", HASH, True, SCRAM_SHA_256, b"y,,"),
        ([SCRAM_SHA_256], "disable", HASH, True, SCRAM_SHA_256, b"n,,"),
        ([SCRAM_SHA_256], "prefer", None, True, SCRAM_SHA_256, b"n,,"),
        ([SCRAM_SHA_256], "prefer", None, False, SCRAM_SHA_256, b"n,,"),
        ([SCRAM_SHA_256], "prefer", HASH, False, SCRAM_SHA_256, b"n,,"),
        (["X", SCRAM_SHA_256], "prefer", None, False, SCRAM_SHA_256, b"n,,"),
    ],
)
def test_mechanism_and_flag(
    offered: list[str],
    binding: str,
    data: bytes | None,
    tls: bool,
    mechanism: str,
    header: bytes,
) -> None:
    """p when bound, y when only the server seems unable, n when we are."""
    client = new_client(offered, channel_binding=binding, cbind_data=data, tls=tls)
    assert client.mechanism == mechanism
    assert client.client_first().startswith(header)


@pytest.mark.parametrize(
    ("offered", "data", "tls", "text"),
    [
        (BOTH, None, False, "needs TLS"),
        ([SCRAM_SHA_256], HASH, True, "does not offer"),
        (BOTH, None, True, "Ed25519"),
        ([SCRAM_SHA_256], None, True, "does not offer"),
        (["OAUTHBEARER"], HASH, True, "does not offer"),
    ],
)
def test_required_binding_that_cannot_be_had(
    offered: list[str], data: bytes | None, tls: bool, text: str
) -> None:
    """channel_binding=require never falls back."""
    with pytest.raises(InterfaceError, match=text):
        new_client(offered, channel_binding="require", cbind_data=data, tls=tls)


@pytest.mark.parametrize("binding", ["disable", "prefer"])
def test_plus_without_tls_is_refused(binding: str) -> None:
    """A server offers PLUS under TLS only, so somebody has taken the TLS away."""
    with pytest.raises(ProtocolError, match="without TLS"):
        new_client(BOTH, channel_binding=binding)


@pytest.mark.parametrize("offered", [["X"], [""], [SCRAM_SHA_256.lower()], ["Ü" * 99]])
def test_unknown_mechanisms_are_named(offered: list[str]) -> None:
    """The error shows what the server offers, cut and escaped."""
    with pytest.raises(ProtocolError, match="it offers '") as caught:
        new_client(offered)
    assert str(caught.value).isascii()


def test_downgrade_is_noticed_by_the_server() -> None:
    """PLUS taken out of the offer: the flag y tells the server of it."""
    client = new_client([SCRAM_SHA_256], cbind_data=HASH, tls=True)
    server = ScramServer(SCRAM_SHA_256, b"secret", offers_plus=True, cbind_data=HASH)
    with pytest.raises(ScramRefusedError, match="server-does-support"):
        converse(client, server)


def test_flag_changed_on_the_way_is_noticed() -> None:
    """y turned into n on the way: the binding in the final message tells."""
    client = new_client([SCRAM_SHA_256], cbind_data=HASH, tls=True)
    server = ScramServer(SCRAM_SHA_256, b"secret", offers_plus=True, cbind_data=HASH)
    changed = client.client_first().replace(b"y,,", b"n,,")
    client.server_first(server.first(changed))
    with pytest.raises(ScramRefusedError, match="bindings-dont-match"):
        server.final(client.client_final())


def test_other_certificate_is_noticed() -> None:
    """A man in the middle has another certificate, and so another binding."""
    client = new_client(BOTH, cbind_data=HASH, tls=True)
    server = ScramServer(
        SCRAM_SHA_256_PLUS, b"secret", offers_plus=True, cbind_data=HASH[::-1]
    )
    with pytest.raises(ScramRefusedError, match="bindings-dont-match"):
        converse(client, server)


# --- passwords ----------------------------------------------------------------


@pytest.mark.parametrize("password", ["", b"", None])
def test_empty_password_is_an_error(password: str | bytes | None) -> None:
    """No proof is ever made of nothing."""
    with pytest.raises(InterfaceError, match="none is given for user 'ada'"):
        new_client(password=password)
    with pytest.raises(InterfaceError, match="none is given for user 'ada'"):
        md5_password("ada", password, b"salt")


def test_password_that_utf8_cannot_hold() -> None:
    """The error does not carry the password, not even as its context."""
    with pytest.raises(InterfaceError, match="UTF-8") as caught:
        encode_password("geheim\ud800", "ada")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("password", "want"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("\u0007", "\u0007"),
        ("\u0627\u0031", "\u0627\u0031"),
        ("a\u3000b", "a b"),
        ("\u00ad", "\u00ad"),
        ("x\u0340", "x\u0340"),
        ("x\U0001f100", "x\U0001f100"),
        ("\u0627x\u0627", "\u0627x\u0627"),
    ],
)
def test_saslprep(password: str, want: str) -> None:
    """RFC 4013's examples; what it prohibits stays as it is, as in PostgreSQL."""
    assert prepare_password(password.encode()) == want.encode()


@pytest.mark.parametrize("password", [b"\xff", b"\xc3\x28", "é".encode("latin-1")])
def test_bytes_that_are_not_utf8_stay(password: bytes) -> None:
    """A password in another encoding is hashed as it is."""
    assert prepare_password(password) == password
    assert encode_password(password, "ada") == password


@pytest.mark.parametrize(
    "password",
    ["I\u00adX", "\u00aa", "x\u0340", "\u0627\u0031", "\u5d0a\u0627", "a\u200bé", "ﬃ"],
)
def test_saslprep_agrees_with_libpq(password: str) -> None:
    """libpq makes its verifier of the same bytes."""
    pq = pytest.importorskip("psycopg").pq
    unconnected = pq.PGconn.connect_start(b"host=/nonexistent")
    raw = password.encode()
    verifier = unconnected.encrypt_password(raw, b"ada", b"scram-sha-256")
    _, iterations_and_salt, keys = verifier.split(b"$")
    iterations, salt = iterations_and_salt.split(b":")
    salted = hashlib.pbkdf2_hmac(
        "sha256", prepare_password(raw), base64.b64decode(salt), int(iterations)
    )
    server_key = base64.b64decode(keys.split(b":")[1])
    assert hmac.digest(salted, b"Server Key", "sha256") == server_key


@given(st.text(min_size=1, alphabet="aé€"), st.binary(min_size=4, max_size=4))
def test_md5(password: str, salt: bytes) -> None:
    """The answer is the one that the server computes."""
    got = md5_password("ada", password, salt)
    assert got == md5_response("ada", password, salt).encode()


def test_md5_where_python_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """In FIPS mode hashlib refuses: the error says what to do, without the password."""

    def refuse(_: bytes) -> None:
        raise ValueError("[digital envelope routines] unsupported")

    monkeypatch.setattr("hashlib.md5", refuse)
    with pytest.raises(InterfaceError, match="this Python refuses: .* unsup") as caught:
        md5_password("ada", "secret", b"salt")
    assert "scram-sha-256" in caught.value.hint
    assert "secret" not in repr(caught.value)


def test_md5_salt_has_four_bytes() -> None:
    """Another length is a protocol error."""
    with pytest.raises(ProtocolError, match="3 bytes"):
        md5_password("ada", "secret", b"abc")


# --- the cache of salted passwords --------------------------------------------


def cached_exchange(cache: dict[Any, bytes], **options: Any) -> tuple[bool, bool]:
    """Run an exchange; return whether the hash was cached, and the outcome."""
    password = options.get("password", "secret")
    server = ScramServer(
        SCRAM_SHA_256,
        password.encode(),
        salt=options.pop("salt", b"salt"),
        iterations=options.pop("iterations", 5),
    )
    client = new_client(salted_cache=cache, **options)
    client.server_first(server.first(client.client_first()))
    was_cached = client.is_hashed
    client.server_final(server.final(client.client_final()))
    return was_cached, client.verified


def test_second_exchange_does_not_hash() -> None:
    """The slow step is done once for a password, salt and iteration count."""
    cache: dict[Any, bytes] = {}
    assert cached_exchange(cache) == (False, True)
    assert cached_exchange(cache) == (True, True)
    assert len(cache) == 1


@pytest.mark.parametrize(
    "change", [{"password": "other"}, {"salt": b"other"}, {"iterations": 6}]
)
def test_cache_is_not_used_for_anything_else(change: dict[str, Any]) -> None:
    """Another password, salt or count is hashed anew, and is right."""
    cache: dict[Any, bytes] = {}
    cached_exchange(cache)
    assert cached_exchange(cache, **change) == (False, True)


def test_cache_is_filled_by_verified_servers_only() -> None:
    """A server that proves nothing leaves no entry behind."""
    cache: dict[Any, bytes] = {}
    client = at_server_first(salted_cache=cache)
    client.server_first(server_first())
    client.client_final()
    with pytest.raises(ProtocolError):
        client.server_final(b"v=" + base64.b64encode(bytes(32)))
    assert cache == {}


def test_cache_is_bounded_and_tells_nothing() -> None:
    """Many salts do not fill the memory; no key holds the password or its hash."""
    cache: dict[Any, bytes] = {}
    for i in range(3 * MAX_CACHED_KEYS):
        cached_exchange(cache, salt=b"%d" % (i + 100))
        assert len(cache) <= MAX_CACHED_KEYS
    shown = repr(cache)
    assert "secret" not in shown
    assert repr(hashlib.sha256(b"secret").digest()) not in shown


def test_password_is_not_shown() -> None:
    """Neither repr nor an error text shows the password."""
    client = at_server_first(password="geheim")
    with pytest.raises(ProtocolError) as caught:
        client.server_first(b"x")
    assert "geheim" not in repr(client) + str(caught.value)


# --- require_auth and channel_binding -----------------------------------------


@pytest.mark.parametrize("value", [None, ""])
def test_no_require_auth_allows_all(value: str | None) -> None:
    """Unset and empty are the same, as in libpq."""
    assert parse_require_auth(value) is None


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        ("scram-sha-256", {"scram-sha-256"}),
        ("none", {"none"}),
        ("md5 , password", {"md5", "password"}),
        ("!none", METHODS - {"none", "password"}),
        ("!password", METHODS - {"password"}),
        ("!gss,!sspi,!oauth", {"md5", "scram-sha-256", "none"}),
    ],
)
def test_require_auth(value: str, allowed: set[str]) -> None:
    """Plain lists name what is allowed, negated ones what is not."""
    got = parse_require_auth(value)
    assert got is not None
    assert got & METHODS == allowed


@pytest.mark.parametrize(
    "value",
    [
        "x",
        "md5,",
        ",md5",
        "!",
        "md5,!password",
        "!md5,password",
        "md5,md5",
        "MD5",
        "!!md5",
    ],
)
def test_bad_require_auth(value: str) -> None:
    """Unknown, doubled, empty and mixed entries are errors."""
    with pytest.raises(ClientConfigurationError, match="require_auth: "):
        parse_require_auth(value)


def allowed(method: str, require_auth: str | None = None, **options: Any) -> bool:
    options = {"channel_binding": "prefer", "tls": False, **options}
    try:
        check_method(method, require_auth=parse_require_auth(require_auth), **options)
    except InterfaceError:
        return False
    return True


@pytest.mark.parametrize(
    ("require_auth", "options", "want"),
    [
        (None, {}, False),
        (None, {"tls": True}, True),
        (None, {"local": True}, True),
        ("password", {}, True),
        ("md5,password", {}, True),
        ("md5", {"tls": True}, False),
        ("!md5", {}, False),
        ("!md5", {"tls": True}, True),
        ("!password", {"tls": True}, False),
    ],
)
def test_cleartext_password(
    require_auth: str | None, options: dict[str, bool], want: bool
) -> None:
    """In clear text only where nobody listens, or where it is asked for by name."""
    assert allowed("password", require_auth, **options) is want


@pytest.mark.parametrize("method", sorted(METHODS - {"none", "password"}))
def test_other_methods_follow_require_auth(method: str) -> None:
    """Allowed unless require_auth leaves them out."""
    other = "gss" if method != "gss" else "md5"
    assert allowed(method)
    assert allowed(method, method)
    assert allowed(method, f"!{other}")
    assert not allowed(method, other)
    assert not allowed(method, f"!{method}")
    assert not allowed(method, "none")


@pytest.mark.parametrize("method", sorted(METHODS - {"none"}))
def test_required_binding_allows_scram_only(method: str) -> None:
    """Nothing else can bind the channel, and nothing can without TLS."""
    required = {"channel_binding": "require"}
    assert allowed(method, tls=True, **required) is (method == "scram-sha-256")
    assert not allowed(method, **required)


def complete(
    scram: ScramClient | None = None,
    answered: str | None = None,
    require_auth: str | None = None,
    channel_binding: Any = "prefer",
) -> None:
    check_complete(
        require_auth=parse_require_auth(require_auth),
        channel_binding=channel_binding,
        answered=answered,
        scram=scram,
    )


def finished_scram(plus: bool = False) -> ScramClient:
    data = HASH if plus else None
    client = new_client(BOTH if plus else None, tls=plus, cbind_data=data)
    server = ScramServer(
        client.mechanism, b"secret", offers_plus=plus, cbind_data=data, iterations=1
    )
    converse(client, server)
    return client


def test_ok_is_taken_when_all_is_done() -> None:
    """Without demands, with a verified server, or after the method asked for."""
    complete()
    complete(require_auth="none")
    complete(require_auth="!password")
    complete(answered="md5", require_auth="md5")
    complete(finished_scram(), "scram-sha-256", "scram-sha-256")
    complete(finished_scram(plus=True), "scram-sha-256", channel_binding="require")


@pytest.mark.parametrize("require_auth", [None, "none,scram-sha-256", "scram-sha-256"])
@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_ok_before_the_servers_proof_is_refused(
    require_auth: str | None, n_steps: int
) -> None:
    """At no step of the exchange, whatever require_auth allows."""
    client = new_client(nonce=NONCE)
    steps = [
        client.client_first,
        lambda: client.server_first(server_first()),
        client.client_final,
    ]
    for step in steps[:n_steps]:
        step()
    with pytest.raises(ProtocolError, match="before it proved"):
        complete(client, "scram-sha-256", require_auth)
    with pytest.raises(ProtocolError, match="before it proved"):
        complete(client, None, require_auth)


@pytest.mark.parametrize("require_auth", ["scram-sha-256", "!none", "password"])
def test_ok_unasked_is_refused_where_authentication_is_required(
    require_auth: str,
) -> None:
    """A server that lets everybody in is not the one that was meant."""
    with pytest.raises(InterfaceError, match="did not ask"):
        complete(require_auth=require_auth)


def test_ok_without_binding_is_refused_where_it_is_required() -> None:
    """Trust, MD5 and SCRAM without PLUS do not satisfy channel_binding=require."""
    for scram, answered in [
        (None, None),
        (None, "md5"),
        (finished_scram(), "scram-sha-256"),
    ]:
        with pytest.raises(InterfaceError, match="without channel"):
            complete(scram, answered, channel_binding="require")

"""What a hostile server, or somebody in the middle, can do until a session is open.

Every rule of the startup is tried with the attack that it is there for, played by the
scripted server against `chopin.connect`, on asyncio and on uvloop.
"""

import hashlib
import ssl
import threading

import pytest

import chopin
from chopin.dial import NoTLSError
from chopin.exceptions import (
    ClientConfigurationError,
    InterfaceError,
    InvalidPasswordError,
    ProtocolError,
    UnsupportedClientFeatureError,
)
from tests.support import backend as b
from tests.support.certificates import Authority
from tests.support.fakes import on_both_loops
from tests.support.handshake import ATTACKS
from tests.support.postmaster import Postmaster

RESPONSES = {"PasswordMessage", "SASLInitialResponse", "SASLResponse", "GSSResponse"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def certificate(authority):
    """For localhost, by name and by address."""
    return authority.issue(
        "localhost", dns_names=["localhost"], ip_addresses=["127.0.0.1"]
    )


def options(server, **more):
    return {
        "host": server.host,
        "port": server.port,
        "user": "ada",
        "password": "secret",
        "database": "ada",
        "sslmode": "disable",
        "timeout": 30,
        **more,
    }


async def connect(server, **more):
    return await chopin.connect(**options(server, **more))


async def refused(server, error, match=None, **more):
    """`connect` raises `error`; returns it once the server has seen us go."""
    with pytest.raises(error, match=match) as caught:
        await connect(server, **more)
    await server.finished()
    assert "secret" not in everything_said_by(caught.value)
    return caught.value


def everything_said_by(error):
    """The text of an error, of its notes, and of what it comes from."""
    texts = []
    while error is not None:
        texts += [repr(error), str(error), *getattr(error, "__notes__", ())]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


def answers(server):
    """The names of all answers to authentication requests."""
    names = [name for conn in server.connections for name in conn.names()]
    return [name for name in names if name in RESPONSES]


# -- before TLS ------------------------------------------------------------------------


@pytest.mark.parametrize("sslmode", ["prefer", "require", "verify-full"])
@pytest.mark.parametrize("attack", ["plaintext-with-s", "plaintext-after-s"])
@on_both_loops
async def test_bytes_ahead_of_the_handshake(attack, sslmode, certificate):
    """A session that somebody puts ahead of TLS, in the same segment or in the next."""
    trust = {"sslrootcert": str(certificate.root_path)}
    async with Postmaster(tls=certificate, attack=attack) as server:
        error = await refused(
            server, (ProtocolError, OSError), sslmode=sslmode, **trust
        )
        assert not isinstance(error, TimeoutError)
        assert server.sessions == []
        assert len(server.connections) == 1, "it was tried again without TLS"


@pytest.mark.parametrize("sslmode", ["prefer", "require"])
@on_both_loops
async def test_error_text_ahead_of_tls_is_not_shown(sslmode, certificate):
    """Anybody can have sent it."""
    async with Postmaster(tls=certificate, attack="error-before-tls") as server:
        error = await refused(server, ProtocolError, sslmode=sslmode)
        assert "evil.example" not in everything_said_by(error)
        assert "28000" not in everything_said_by(error)
        assert len(server.connections) == 1


@on_both_loops
async def test_server_that_cannot_fork_is_followed_by_another(certificate):
    """Its error is for now, and no reason to go without TLS; the next host may do."""
    async with (
        Postmaster(tls=certificate, attack="error-before-tls") as first,
        Postmaster(tls=certificate) as second,
    ):
        error = await refused(first, ConnectionRefusedError, sslmode="prefer")
        assert (error.kind, error.outcome) == ("transient", "not_sent")
        hosts = {"host": [first.host, second.host], "port": [first.port, second.port]}
        await (await connect(first, **hosts, sslmode="require")).close()
        assert (first.sessions, len(second.sessions)) == ([], 1)


@on_both_loops
async def test_odd_answer_to_the_request_for_tls(certificate):
    """Neither S nor N is no PostgreSQL."""
    async with Postmaster(tls=certificate, attack="odd-tls-answer") as server:
        await refused(server, ProtocolError, sslmode="require")


@pytest.mark.parametrize("sslmode", ["require", "verify-ca", "verify-full"])
@on_both_loops
async def test_server_without_tls_where_tls_is_insisted_on(sslmode, certificate):
    """No startup message leaves."""
    trust = {"sslrootcert": str(certificate.root_path)}
    async with Postmaster() as server:
        await refused(server, NoTLSError, "insists", sslmode=sslmode, **trust)
        assert server.sessions == []


# -- what is asked for -----------------------------------------------------------------


@pytest.mark.parametrize("sslmode", ["disable", "allow", "prefer"])
@on_both_loops
async def test_password_in_clear_text_without_tls(sslmode):
    """Whoever answers N gets to see no password."""
    async with Postmaster(auth="password") as server:
        await refused(server, InterfaceError, "clear text", sslmode=sslmode)
        assert answers(server) == []


@on_both_loops
async def test_password_in_clear_text_that_was_asked_for():
    """require_auth=password says that it is known."""
    async with Postmaster(auth="password") as server:
        connection = await connect(server, require_auth="password")
        await connection.close()


REQUIRED = [
    # what the server asks for, require_auth
    ("trust", "scram-sha-256"),
    ("trust", "password,md5"),
    ("trust", "!none"),
    ("password", "scram-sha-256"),
    ("password", "!password"),
    ("md5", "scram-sha-256"),
    ("md5", "password"),
    ("scram-sha-256", "md5"),
    ("scram-sha-256", "none"),
    ("scram-sha-256", "!scram-sha-256,!md5"),
    ("gss", "scram-sha-256"),
    ("sspi", "scram-sha-256"),
    ("oauth", "scram-sha-256"),
]


@pytest.mark.parametrize(("auth", "require_auth"), REQUIRED)
@on_both_loops
async def test_authentication_that_was_not_agreed_to(auth, require_auth, certificate):
    """Nothing is answered, with TLS neither."""
    async with Postmaster(auth=auth, tls=certificate) as server:
        await refused(
            server,
            (InterfaceError, UnsupportedClientFeatureError),
            sslmode="require",
            require_auth=require_auth,
        )
        assert answers(server) == []


@pytest.mark.parametrize("auth", ["gss", "sspi", "unknown", "oauth"])
@on_both_loops
async def test_authentication_that_we_do_not_have(auth):
    """It is named, and nothing is answered."""
    async with Postmaster(auth=auth) as server:
        await refused(server, (UnsupportedClientFeatureError, ProtocolError))
        assert answers(server) == []


# -- channel binding -------------------------------------------------------------------


@pytest.mark.parametrize("sslmode", ["disable", "require"])
@pytest.mark.parametrize(
    "auth", ["trust", "password", "md5", "gss", "sspi", "oauth", "scram-sha-256"]
)
@on_both_loops
async def test_channel_binding_is_required(auth, sslmode, certificate):
    """Whatever the server offers instead of SCRAM-SHA-256-PLUS is not taken."""
    async with Postmaster(auth=auth, tls=certificate) as server:
        await refused(
            server,
            (InterfaceError, ProtocolError),
            sslmode=sslmode,
            channel_binding="require",
        )
        assert answers(server) == []


@on_both_loops
async def test_channel_binding_is_required_and_there(certificate):
    """SCRAM-SHA-256-PLUS is what it takes."""
    async with Postmaster(auth="scram-sha-256-plus", tls=certificate) as server:
        connection = await connect(server, sslmode="require", channel_binding="require")
        await connection.close()
        initial = server.sessions[0].messages[2]
        assert initial["mechanism"] == "SCRAM-SHA-256-PLUS"


@pytest.mark.parametrize("kind", ["ed25519", "ed448"])
@on_both_loops
async def test_channel_binding_needs_a_certificate_with_a_hash(kind, tmp_path):
    """RFC 5929 defines none for these: require fails, prefer goes without."""
    certificate = Authority(tmp_path, kind).issue("localhost")
    async with Postmaster(auth="scram-sha-256-plus", tls=certificate) as server:
        await refused(
            server, InterfaceError, sslmode="require", channel_binding="require"
        )
        assert answers(server) == []
        connection = await connect(server, sslmode="require")
        await connection.close()


@on_both_loops
async def test_offer_of_channel_binding_is_taken_out_on_the_way(certificate):
    """The client says that it could have; the server knows that it was asked."""
    async with Postmaster(
        auth="scram-sha-256-plus", tls=certificate, attack="hide-plus"
    ) as server:
        await refused(server, InvalidPasswordError, sslmode="require")
        initial = server.sessions[0].messages[2]
        assert initial["mechanism"] == "SCRAM-SHA-256"
        assert initial["data"].startswith(b"y,,")


@on_both_loops
async def test_offer_of_channel_binding_without_a_channel():
    """Nobody can mean SCRAM-SHA-256-PLUS without TLS."""
    async with Postmaster(auth="scram-sha-256", attack="plus-without-tls") as server:
        await refused(server, ProtocolError)
        assert answers(server) == []


# -- SCRAM -----------------------------------------------------------------------------

# The attacks that need a SCRAM exchange, and how many of our messages they see.
SCRAM_ATTACKS = {
    "ok-after-sasl-continue": 2,
    "ok-without-sasl-final": 2,
    "bad-nonce": 1,
    "nonce-not-continued": 1,
    "mandatory-extension": 1,
    "zero-iterations": 1,
    "negative-iterations": 1,
    "too-many-iterations": 1,
    "huge-iterations": 1,
    "wrong-signature": 2,
    "empty-signature": 2,
    "empty-sasl-final": 2,
    "long-sasl-final": 2,
}


def test_every_attack_is_played():
    """A new attack of the scripted server needs a test here."""
    elsewhere = {
        "plaintext-with-s", "plaintext-after-s", "error-before-tls", "odd-tls-answer",
        "no-alpn", "scram-error", "hide-plus", "plus-without-tls",
    }  # fmt: skip
    assert set(ATTACKS) == elsewhere | set(SCRAM_ATTACKS)


@pytest.mark.parametrize("attack", SCRAM_ATTACKS)
@pytest.mark.parametrize("with_tls", [False, True])
@on_both_loops
async def test_server_that_does_not_prove_itself(attack, with_tls, certificate):
    """It is not believed, and learns no more than it has to."""
    async with Postmaster(
        auth="scram-sha-256-plus" if with_tls else "scram-sha-256",
        tls=certificate if with_tls else None,
        attack=attack,
    ) as server:
        await refused(
            server, ProtocolError, sslmode="require" if with_tls else "disable"
        )
        assert len(answers(server)) <= SCRAM_ATTACKS[attack]


@on_both_loops
async def test_server_that_refuses_the_proof():
    """The error of SCRAM is the error of the password."""
    async with Postmaster(auth="scram-sha-256", attack="scram-error") as server:
        await refused(server, InvalidPasswordError)


@pytest.mark.parametrize("auth", ["password", "md5", "scram-sha-256"])
@on_both_loops
async def test_wrong_password(auth, certificate):
    """28P01, whatever the method; it is not tried again without TLS."""
    async with Postmaster(auth=auth, tls=certificate, password="other") as server:
        await refused(server, InvalidPasswordError, sslmode="prefer")
        assert len(server.sessions) == 1


@pytest.mark.parametrize(
    ("iterations", "is_in_a_thread"), [(1, False), (4096, False), (100_000, True)]
)
@on_both_loops
async def test_hash_that_takes_long_leaves_the_loop_alone(
    iterations, is_in_a_thread, monkeypatch
):
    """100,000 rounds are the most that is accepted; they run in a thread."""
    threads = []
    pbkdf2_hmac = hashlib.pbkdf2_hmac

    def spy(*args):
        threads.append(threading.current_thread())
        return pbkdf2_hmac(*args)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", spy)
    async with Postmaster(auth="scram-sha-256", iterations=iterations) as server:
        connection = await connect(server)
        await connection.close()
    # one of them is the server's
    others = [thread for thread in threads if thread is not threading.main_thread()]
    assert (len(threads), len(others)) == (2, int(is_in_a_thread))


# -- who may say that we are in --------------------------------------------------------


async def _asks_twice(conn):
    conn.send(b.authentication_md5_password(b"salt"))
    await conn.expect_response("PasswordMessage")
    conn.send(b.authentication_cleartext_password())
    await conn.expect_closed()


async def _goes_on_after_ok(conn):
    conn.send(b.authentication_ok() + b.authentication_cleartext_password())
    conn.ready()
    await conn.expect_closed()


async def _is_ready_without_ok(conn):
    conn.ready()
    await conn.expect_closed()


async def _is_ready_instead_of_proving_itself(conn):
    conn.send(b.authentication_sasl(["SCRAM-SHA-256"]))
    await conn.expect_response("SASLInitialResponse")
    conn.ready()
    await conn.expect_closed()


async def _begins_with_sasl_continue(conn):
    conn.send(b.authentication_sasl_continue(b"r=a,s=YQ==,i=1"))
    await conn.expect_closed()


async def _begins_with_sasl_final(conn):
    conn.send(b.authentication_sasl_final(b"v=YQ=="))
    await conn.expect_closed()


async def _offers_nothing(conn):
    conn.send(b.authentication_sasl([]))
    await conn.expect_closed()


async def _offers_what_we_do_not_have(conn):
    conn.send(b.authentication_sasl(["SCRAM-SHA-1", "PLAIN"]))
    await conn.expect_closed()


async def _sends_rows(conn):
    conn.send(b.authentication_ok() + b.data_row([b"x"]))
    await conn.expect_closed()


async def _sends_a_short_salt(conn):
    conn.send(b.authentication_md5_password(b"abc"))
    await conn.expect_closed()


async def _sends_a_huge_error(conn):
    conn.send(b.error_response("x" * (1 << 20), code="28000", severity="FATAL"))
    await conn.expect_closed()


HANDSHAKES = [
    _asks_twice,
    _goes_on_after_ok,
    _is_ready_without_ok,
    _is_ready_instead_of_proving_itself,
    _begins_with_sasl_continue,
    _begins_with_sasl_final,
    _offers_nothing,
    _offers_what_we_do_not_have,
    _sends_rows,
    _sends_a_short_salt,
    _sends_a_huge_error,
]


@pytest.mark.parametrize("handshake", HANDSHAKES, ids=lambda hook: hook.__name__)
@on_both_loops
async def test_handshake_out_of_order(handshake):
    """Every step has its place; whoever leaves one out is not believed."""

    async def play(conn):
        await handshake(conn)
        await conn.close()

    async def nothing(conn):
        pass

    async with Postmaster(nothing, handshake=play) as server:
        await refused(server, (ProtocolError, UnsupportedClientFeatureError))


# -- certificates ----------------------------------------------------------------------


def verify_full(certificate, **more):
    return {
        "sslmode": "verify-full",
        "sslrootcert": str(certificate.root_path),
        "hostaddr": "127.0.0.1",
        **more,
    }


NAMES = [
    # how the certificate is issued, which host is asked for, whether that is right
    ({"dns_names": ["localhost"]}, "localhost", True),
    ({"dns_names": ["localhost"]}, "localhost.", True),
    ({"dns_names": ["other.example"]}, "localhost", False),
    ({"dns_names": ["*.example.org"]}, "db.example.org", True),
    ({"dns_names": ["*.example.org"]}, "a.db.example.org", False),
    ({"dns_names": ["*.example.org"]}, "example.org", False),
    ({"ip_addresses": ["127.0.0.1"]}, "127.0.0.1", True),
    ({"ip_addresses": ["127.0.0.2"]}, "127.0.0.1", False),
    ({"dns_names": ["127.0.0.1"]}, "127.0.0.1", False),
    ({}, "localhost", True),  # as in libpq, the common name counts when it is alone
    ({"dns_names": ["other.example"]}, "localhost", False),
    ({"dns_names": ["localhost"], "is_expired": True}, "localhost", False),
    ({"dns_names": ["localhost"], "is_client": True}, "localhost", False),
]


@pytest.mark.parametrize(("issue", "host", "is_right"), NAMES)
@on_both_loops
async def test_name_in_the_certificate(issue, host, is_right, authority):
    """verify-full compares the host that the user named, whatever is dialled."""
    certificate = authority.issue("localhost", **issue)
    async with Postmaster(tls=certificate) as server:
        settings = verify_full(certificate, host=host)
        if is_right:
            connection = await connect(server, **settings)
            await connection.close()
        else:
            await refused(server, ssl.SSLCertVerificationError, **settings)
            assert server.sessions == []


@pytest.mark.parametrize("host", ["a..b", f"{'n' * 64}.test", f"{'n' * 60}." * 5])
@on_both_loops
async def test_name_that_no_certificate_can_have(host, certificate):
    """Beside hostaddr it is but a name, and nothing is left of an attempt to verify it.

    uvloop would lose the socket of a handshake that cannot begin, and later close
    somebody else's.
    """
    there = {"host": host, "sslrootcert": str(certificate.root_path)}
    async with Postmaster(tls=certificate) as server:
        there["hostaddr"] = server.host
        await (await connect(server, **there, sslmode="verify-ca")).close()
        await refused(
            server,
            ClientConfigurationError,
            "empty part",
            **there,
            sslmode="verify-full",
        )


@on_both_loops
async def test_context_for_servers(certificate):
    """Neither can a handshake with it begin."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    async with Postmaster(tls=certificate) as server:
        more = {"sslmode": None, "ssl": context}
        await refused(server, ClientConfigurationError, "for servers", **more)


@pytest.mark.parametrize("sslmode", ["verify-ca", "verify-full"])
@on_both_loops
async def test_certificate_of_another_authority(sslmode, certificate, tmp_path):
    """Who has signed counts for both."""
    other = Authority(tmp_path).issue("localhost", dns_names=["localhost"])
    async with Postmaster(tls=other) as server:
        settings = verify_full(certificate, host="localhost", sslmode=sslmode)
        await refused(server, ssl.SSLCertVerificationError, **settings)
        assert server.sessions == []


@on_both_loops
async def test_verify_ca_does_not_compare_names(authority):
    """That is the difference."""
    certificate = authority.issue("other", dns_names=["other.example"])
    async with Postmaster(tls=certificate) as server:
        connection = await connect(
            server, **verify_full(certificate, host="localhost", sslmode="verify-ca")
        )
        await connection.close()


@on_both_loops
async def test_every_host_has_its_own_name_in_its_certificate(authority):
    """The name of one host does not let in another one."""
    one = authority.issue("one", dns_names=["one.example"])
    two = authority.issue("two", dns_names=["two.example"])
    async with Postmaster(tls=two) as wrong, Postmaster(tls=two) as right:
        hosts = {
            "host": ["one.example", "two.example"],
            "hostaddr": ["127.0.0.1", "127.0.0.1"],
        }
        connection = await connect(
            right, **verify_full(two, port=[wrong.port, right.port], **hosts)
        )
        await connection.close()
        assert (len(wrong.sessions), len(right.sessions)) == (0, 1)
        settings = verify_full(one, port=[wrong.port, wrong.port], **hosts)
        settings["host"] = ["one.example", "one.example"]
        await refused(wrong, ssl.SSLCertVerificationError, **settings)
        assert wrong.sessions == []


# -- direct TLS ------------------------------------------------------------------------


@on_both_loops
async def test_direct_tls(certificate):
    """The first byte is TLS; ALPN says that PostgreSQL is meant."""
    async with Postmaster(auth="scram-sha-256-plus", tls=certificate) as server:
        connection = await connect(
            server, **verify_full(certificate, host="localhost", direct_tls=True)
        )
        await connection.close()
        assert server.sessions[0].names()[0] == "StartupMessage"


@on_both_loops
async def test_direct_tls_without_alpn_is_refused(certificate):
    """A server of another protocol could be made to read ours."""
    async with Postmaster(tls=certificate, attack="no-alpn") as server:
        settings = verify_full(certificate, host="localhost", direct_tls=True)
        await refused(server, InterfaceError, "ALPN", **settings)
        assert server.sessions == []


@pytest.mark.parametrize("sslmode", ["disable", "allow", "prefer"])
@on_both_loops
async def test_direct_tls_needs_a_mode_that_insists(sslmode, certificate):
    """With a weaker one, whoever listens decides."""
    async with Postmaster(tls=certificate) as server:
        with pytest.raises(ClientConfigurationError):
            await connect(server, sslmode=sslmode, sslnegotiation="direct")
        assert server.connections == []


# -- protocol versions -----------------------------------------------------------------


@on_both_loops
async def test_protocol_3_0_is_asked_for_unless_told_otherwise():
    """As libpq 18."""
    async with Postmaster() as server:
        await (await connect(server)).close()
        assert server.sessions[0].startup["version"] == (3, 0)


@pytest.mark.parametrize("served", [(3, 0), (3, 2)])
@on_both_loops
async def test_protocol_3_2_or_what_is_there(served):
    """NegotiateProtocolVersion takes it back to 3.0."""
    async with Postmaster(protocol=served) as server:
        await (await connect(server, max_protocol_version="3.2")).close()
        (session,) = server.sessions
        assert session.startup["version"] == (3, 2)
        assert len(session.key) == (32 if served == (3, 2) else 4)


@on_both_loops
async def test_protocol_3_2_is_insisted_on():
    """min_protocol_version refuses an older server."""
    async with Postmaster(protocol=(3, 0)) as server:
        await refused(
            server, InterfaceError, "min_protocol_version", min_protocol_version="3.2"
        )


# -- what we send ----------------------------------------------------------------------

ZEROS = [
    {"user": "ada\0x"},
    {"database": "ada\0user\0root"},
    {"application_name": "x\0user\0root"},
    {"options": "-c a=b\0user\0root"},
    {"server_settings": {"a": "b\0user\0root"}},
    {"server_settings": {"a\0user": "root"}},
    {"client_encoding": "utf8\0user\0root"},
    {"password": "a\0b"},
]


@pytest.mark.parametrize("settings", ZEROS, ids=str)
@on_both_loops
async def test_zero_in_a_setting_sends_nothing(settings):
    """What follows it would be read as a setting of its own."""
    async with Postmaster(auth="password") as server:
        with pytest.raises((ValueError, InterfaceError)):
            await connect(server, require_auth="password", **settings)
        assert [conn.names() for conn in server.connections] == []


@on_both_loops
async def test_zero_in_a_password_that_is_asked_for_sends_nothing():
    """A callable is not known in advance: it ends before the answer."""
    async with Postmaster(auth="password") as server:
        await refused(
            server,
            (ValueError, InterfaceError),
            require_auth="password",
            password=lambda: "a\0b",
        )
        assert answers(server) == []


@pytest.mark.parametrize("auth", ["password", "md5", "scram-sha-256"])
@on_both_loops
async def test_password_that_is_no_utf_8(auth, certificate):
    """An error of Python's codec would have all of it as an attribute."""
    async with Postmaster(auth=auth, tls=certificate) as server:
        error = await refused(
            server, InterfaceError, sslmode="require", password=lambda: "secret\ud800"
        )
        assert error.__cause__ is None
        assert answers(server) in ([], ["SASLInitialResponse"])


@pytest.mark.parametrize("auth", ["password", "md5", "scram-sha-256"])
@pytest.mark.parametrize("password", [None, "", lambda: "", lambda: None])
@on_both_loops
async def test_empty_password_is_never_sent(password, auth):
    """An empty password is a mistake, and a proof made of it is anybody's."""
    async with Postmaster(auth=auth) as server:
        await refused(
            server, InvalidPasswordError, require_auth=auth, password=password
        )
        assert answers(server) == []


async def _awaited():
    return "secret"


@pytest.mark.parametrize(
    "make", [lambda: "secret", _awaited], ids=["plain", "coroutine"]
)
@on_both_loops
async def test_password_is_asked_for_once_per_connection(make):
    """A callable may return the password or an awaitable of it."""
    n_calls = 0

    def password():
        nonlocal n_calls
        n_calls += 1
        return make()

    async with Postmaster(auth="scram-sha-256") as server:
        await (await connect(server, password=password)).close()
        assert n_calls == 1
        await (await connect(server, password=password)).close()
        assert n_calls == 2


@on_both_loops
async def test_password_is_not_asked_for_when_the_server_does_not():
    """A token costs something."""

    def password():
        raise AssertionError("nobody needs it")

    async with Postmaster() as server:
        await (await connect(server, password=password)).close()


@pytest.mark.parametrize("password", [lambda: 5, lambda: b"secret"])
@on_both_loops
async def test_password_of_another_type(password):
    """It is an error of the caller, which names the type."""
    async with Postmaster(auth="md5") as server:
        await refused(server, InterfaceError, "int|bytes", password=password)


@on_both_loops
async def test_error_of_a_password_callable():
    """It comes out as it is, and the connection is closed."""

    async def password():
        raise LookupError("no token")

    async with Postmaster(auth="md5") as server:
        await refused(server, LookupError, "no token", password=password)

"""TLS contexts and channel bindings: handshakes over memory, without a socket."""

from __future__ import annotations

import hashlib
import os
import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chopin import _tlscontexts
from chopin._tlscontexts import shared_context
from chopin.exceptions import ClientConfigurationError, InterfaceError
from chopin.tls import (
    ALPN_PROTOCOL,
    check_negotiated,
    make_context,
    server_hostname_for,
    tls_server_end_point,
)
from tests.support.certificates import KINDS, Authority, Certificate

MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


@dataclass(frozen=True)
class Settings:
    """The TLS settings of a connection, at their defaults."""

    sslmode: str = "prefer"
    ssl_context: ssl.SSLContext | None = None
    sslcert: str | None = None
    sslkey: str | None = None
    sslpassword: str | None = None
    sslrootcert: str | None = None
    sslcrl: str | None = None
    sslcrldir: str | None = None
    sslsni: bool = True
    sslcertmode: str = "allow"
    ssl_min_protocol_version: str | None = None
    ssl_max_protocol_version: str | None = None
    sslkeylogfile: str | None = None


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give every test a home of its own, without ~/.postgresql."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    yield home


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Certificate:
    return authority.issue(
        "server",
        dns_names=["db.example.org", "*.wild.example.org"],
        ip_addresses=["192.0.2.7", "2001:db8::7"],
    )


def context_for(sslmode: str = "prefer", **options: Any) -> ssl.SSLContext:
    options = {k: str(v) if isinstance(v, Path) else v for k, v in options.items()}
    context = make_context(Settings(sslmode, **options))
    assert context is not None
    return context


def shake_hands(
    client_context: ssl.SSLContext,
    server_context: ssl.SSLContext,
    server_hostname: str | None,
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Run a whole handshake in memory; raise what the client raises first."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(
        to_client, to_server, server_hostname=server_hostname
    )
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    waiting = {client, server}
    for _ in range(10):
        for end in (client, server):
            if end in waiting:
                try:
                    end.do_handshake()
                    waiting.discard(end)
                except ssl.SSLWantReadError:
                    pass
        if not waiting:
            # TLS 1.3: what the server thinks of our certificate comes later
            for end in (client, server):
                with pytest.raises(ssl.SSLWantReadError):
                    end.read(1)
            return client, server
    raise AssertionError("the handshake does not end")


def connect(
    config: Settings, certificate: Certificate, host: str = "db.example.org"
) -> ssl.SSLObject:
    context = make_context(config)
    assert context is not None
    hostname = server_hostname_for(host, config)
    return shake_hands(context, certificate.server_context(), hostname)[0]


def install(home: Path, name: str, source: Path) -> Path:
    """Put a file where libpq would look for it."""
    directory = home / ".postgresql"
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.touch(mode=0o600)
    path.write_bytes(source.read_bytes())
    return path


# --- modes --------------------------------------------------------------------


def test_disable_means_no_tls() -> None:
    """There is no context without TLS."""
    assert make_context(Settings("disable")) is None


def test_own_context_is_used_untouched() -> None:
    """No setting changes a context that the user made."""
    own = ssl.create_default_context()
    before = (own.verify_mode, own.check_hostname, own.minimum_version)
    for mode in MODES:
        config = Settings(mode, ssl_context=own, ssl_min_protocol_version="TLSv1.3")
        assert make_context(config) is own
    assert (own.verify_mode, own.check_hostname, own.minimum_version) == before


@pytest.mark.parametrize("mode", ["allow", "prefer", "require"])
def test_weak_modes_take_any_certificate(mode: str, server: Certificate) -> None:
    """Without root certificates nothing is checked, not even the name."""
    client = connect(Settings(mode), server, "elsewhere.example.org")
    assert client.selected_alpn_protocol() == ALPN_PROTOCOL
    assert client.getpeercert(binary_form=True) == server.der


@pytest.mark.parametrize(
    ("mode", "is_checked"),
    [
        ("allow", False),
        ("prefer", False),
        ("require", True),
        ("verify-ca", True),
        ("verify-full", True),
    ],
)
def test_default_root_certificate(
    mode: str, is_checked: bool, home: Path, stranger: Authority, server: Certificate
) -> None:
    """~/.postgresql/root.crt makes require check the chain, as in libpq."""
    install(home, "root.crt", stranger.root_path)
    if not is_checked:
        connect(Settings(mode), server)
        return
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(Settings(mode), server)
    install(home, "root.crt", server.root_path)
    connect(Settings(mode), server)


@pytest.mark.parametrize("mode", MODES[1:])
def test_named_root_certificate_is_always_checked(
    mode: str, stranger: Authority, server: Certificate
) -> None:
    """sslrootcert counts in every mode that has TLS."""
    connect(Settings(mode, sslrootcert=str(server.root_path)), server)
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(Settings(mode, sslrootcert=str(stranger.root_path)), server)


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_verification_needs_roots(mode: str) -> None:
    """The error names the default file and says what else would do."""
    with pytest.raises(ClientConfigurationError, match="sslrootcert=system") as caught:
        make_context(Settings(mode))
    assert "root.crt" in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "db.example.org",
        "DB.example.org.",
        "a.wild.example.org",
        "192.0.2.7",
        "2001:db8::7",
        "2001:0db8:0::7",
        "2001:db8::7%eth0",
    ],
)
def test_verify_full_takes_the_right_host(host: str, server: Certificate) -> None:
    """DNS names, wildcards and addresses of the certificate are right."""
    connect(Settings("verify-full", sslrootcert=str(server.root_path)), server, host)


@pytest.mark.parametrize(
    "host",
    ["example.org", "wild.example.org", "a.b.wild.example.org", "192.0.2.8", "server"],
)
def test_verify_full_refuses_other_hosts(host: str, server: Certificate) -> None:
    """Neither a near miss nor the common name (server) is enough."""
    config = Settings("verify-full", sslrootcert=str(server.root_path))
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(config, server, host)
    connect(replace(config, sslmode="verify-ca"), server, host)


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_expired_certificate(mode: str, authority: Authority) -> None:
    """What is checked must not be expired."""
    expired = authority.issue("old", dns_names=["db.example.org"], is_expired=True)
    connect(Settings("require"), expired)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        connect(Settings(mode, sslrootcert=str(authority.root_path)), expired)


def test_system_roots() -> None:
    """system means the platform's authorities, for verify-full only."""
    context = context_for("verify-full", sslrootcert="system")
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    for mode in MODES[1:-1]:
        with pytest.raises(ClientConfigurationError, match="verify-full"):
            make_context(Settings(mode, sslrootcert="system"))


@pytest.mark.parametrize(
    "name", ["sslrootcert", "sslcrl", "sslcrldir", "sslcert", "sslkey"]
)
def test_named_files_must_exist(
    name: str, server: Certificate, authority: Authority
) -> None:
    """A file that was asked for is never silently left out."""
    client = authority.issue("ada", is_client=True)
    options = {
        "sslrootcert": str(server.root_path),
        "sslcert": str(client.cert_path),
        "sslkey": str(client.key_path),
        name: "/nonexistent/file",
    }
    with pytest.raises(ClientConfigurationError, match=f"^{name}: no .*/nonexistent"):
        make_context(Settings("require", **options))  # type: ignore[arg-type]


def test_files_that_are_no_certificates(tmp_path: Path) -> None:
    """An unusable file is named, with the argument."""
    path = tmp_path / "rubbish"
    path.write_text("rubbish")
    with pytest.raises(ClientConfigurationError, match=r"^sslrootcert: .*rubbish"):
        context_for("require", sslrootcert=path)


# --- revocation ---------------------------------------------------------------


def test_revoked_certificate(
    home: Path, authority: Authority, server: Certificate
) -> None:
    """A revocation list counts, named or as default file."""
    config = Settings("verify-ca", sslrootcert=str(server.root_path))
    nothing = authority.revoke()
    connect(replace(config, sslcrl=str(nothing)), server)
    revoked = authority.revoke(server)
    with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
        connect(replace(config, sslcrl=str(revoked)), server)
    install(home, "root.crl", revoked)
    with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
        connect(config, server)


def test_directory_of_revocations(tmp_path: Path, server: Certificate) -> None:
    """With an empty directory no certificate can be cleared of revocation."""
    config = Settings("verify-ca", sslrootcert=str(server.root_path))
    with pytest.raises(ssl.SSLCertVerificationError, match="CRL"):
        connect(replace(config, sslcrldir=str(tmp_path)), server)


# --- versions and names -------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "want"),
    [
        (None, None, (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.MAXIMUM_SUPPORTED)),
        ("TLSv1.3", None, (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.MAXIMUM_SUPPORTED)),
        ("tlsv1.2", "TLSv1.2", (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)),
    ],
)
def test_versions(low: str | None, high: str | None, want: tuple[Any, Any]) -> None:
    """TLS 1.2 is the lowest unless told otherwise; case does not matter."""
    context = context_for(ssl_min_protocol_version=low, ssl_max_protocol_version=high)
    assert (context.minimum_version, context.maximum_version) == want


@pytest.mark.parametrize(
    ("low", "high"),
    [("TLSv1.3", "TLSv1.2"), (None, "TLSv1.1"), ("SSLv3", None), (None, "1.3")],
)
def test_bad_versions(low: str | None, high: str | None) -> None:
    """Unknown versions and an empty range are errors."""
    with pytest.raises(ClientConfigurationError, match=r"ssl_m.._protocol_version: "):
        context_for(ssl_min_protocol_version=low, ssl_max_protocol_version=high)


@pytest.mark.parametrize(
    ("host", "sslsni", "want"),
    [
        ("db.example.org", True, "db.example.org"),
        ("db.example.org.", True, "db.example.org"),
        ("db.example.org", False, None),
        ("192.0.2.7", False, "192.0.2.7"),
        ("fe80::1%eth0", True, "fe80::1"),
        ("/run/postgresql", True, None),
        ("@abstract", True, None),
        ("", True, None),
        (None, True, None),
    ],
)
def test_server_hostname(host: str | None, sslsni: bool, want: str | None) -> None:
    """The name goes to the handshake, without zone, dot, or against sslsni=0."""
    assert server_hostname_for(host, Settings("require", sslsni=sslsni)) == want


def test_names_that_cannot_be_verified() -> None:
    """verify-full without a name to compare is an error, never a weaker check."""
    with pytest.raises(ClientConfigurationError, match="^host: "):
        server_hostname_for(None, Settings("verify-full"))
    with pytest.raises(ClientConfigurationError, match="^sslsni: "):
        server_hostname_for("db.example.org", Settings("verify-full", sslsni=False))
    own = Settings("require", ssl_context=ssl.create_default_context())
    with pytest.raises(ClientConfigurationError, match="^host: "):
        server_hostname_for("", own)


@pytest.mark.parametrize(("host", "want"), [("192.0.2.7", None), ("a.b", "a.b")])
def test_addresses_are_not_sent(
    host: str, want: str | None, server: Certificate
) -> None:
    """SNI carries names only."""
    seen: list[str | None] = []
    server_context = server.server_context()
    server_context.sni_callback = lambda _, name, __: seen.append(name)
    hostname = server_hostname_for(host, Settings("require"))
    shake_hands(context_for("require"), server_context, hostname)
    assert seen == [want]


@pytest.mark.parametrize(
    ("alpn", "direct", "is_right"),
    [
        (ALPN_PROTOCOL, True, True),
        (ALPN_PROTOCOL, False, True),
        (None, False, True),
        (None, True, False),
        ("http/1.1", False, False),
    ],
)
def test_negotiated_protocol(alpn: str | None, direct: bool, is_right: bool) -> None:
    """Servers before 17 know no ALPN, but a direct handshake insists on it."""
    if is_right:
        check_negotiated(alpn, direct=direct)
        return
    with pytest.raises(InterfaceError, match="ALPN"):
        check_negotiated(alpn, direct=direct)


def test_key_log(tmp_path: Path, server: Certificate) -> None:
    """sslkeylogfile gets the secrets; a place that cannot be written is an error."""
    path = tmp_path / "keys"
    connect(Settings("require", sslkeylogfile=str(path)), server)
    assert "CLIENT_TRAFFIC_SECRET_0" in path.read_text()
    with pytest.raises(ClientConfigurationError, match="^sslkeylogfile: "):
        context_for(sslkeylogfile=tmp_path / "no" / "keys")


# --- client certificates ------------------------------------------------------


def peer_of(config: Settings, server: Certificate) -> str | None:
    """Return the common name that the server sees."""
    context = make_context(config)
    assert context is not None
    server_context = server.server_context(client_certificates=ssl.CERT_OPTIONAL)
    peer = shake_hands(context, server_context, "x")[1].getpeercert()
    if not peer:
        return None
    subject: Any = peer["subject"]
    return str(dict(name for (name,) in subject)["commonName"])


@pytest.fixture(scope="module")
def client(authority: Authority) -> Certificate:
    return authority.issue("ada", is_client=True)


def test_client_certificate(server: Certificate, client: Certificate) -> None:
    """Certificate and key are sent when named, and not with sslcertmode=disable."""
    config = Settings(
        "require", sslcert=str(client.cert_path), sslkey=str(client.key_path)
    )
    assert peer_of(Settings("require"), server) is None
    assert peer_of(config, server) == "ada"
    assert peer_of(replace(config, sslcertmode="disable"), server) is None


def test_default_client_certificate(
    home: Path, server: Certificate, client: Certificate
) -> None:
    """The files of ~/.postgresql are taken; a certificate alone is an error."""
    install(home, "postgresql.crt", client.cert_path)
    with pytest.raises(ClientConfigurationError, match="^sslkey: "):
        peer_of(Settings("require"), server)
    install(home, "postgresql.key", client.key_path)
    assert peer_of(Settings("require"), server) == "ada"


def test_key_in_the_certificate_file(
    tmp_path: Path, server: Certificate, client: Certificate
) -> None:
    """One file may hold both, and is then as secret as a key."""
    both = tmp_path / "both.pem"
    both.write_bytes(client.cert_path.read_bytes() + client.key_path.read_bytes())
    both.chmod(0o600)
    config = Settings("require", sslcert=str(both))
    assert peer_of(config, server) == "ada"
    both.chmod(0o644)
    with pytest.raises(ClientConfigurationError, match="0600"):
        make_context(config)


def test_key_with_a_passphrase(authority: Authority, server: Certificate) -> None:
    """sslpassword opens the key; without it nobody is asked at a terminal."""
    locked = authority.issue("bob", is_client=True, passphrase=b"geheim")
    config = Settings(
        "require", sslcert=str(locked.cert_path), sslkey=str(locked.key_path)
    )
    assert peer_of(replace(config, sslpassword="geheim"), server) == "bob"
    for wrong in (None, "", "falsch", "x" * 2000):
        with pytest.raises(ClientConfigurationError, match="sslpassword") as caught:
            make_context(replace(config, sslpassword=wrong))
        assert "falsch" not in str(caught.value)


def test_key_of_another_certificate(client: Certificate, server: Certificate) -> None:
    """Files that do not belong together are named."""
    with pytest.raises(ClientConfigurationError, match="belong together"):
        context_for(sslcert=client.cert_path, sslkey=server.key_path)


@pytest.mark.skipif(os.name == "nt", reason="no such permissions on Windows")
@pytest.mark.parametrize(
    ("mode", "uid", "is_right"),
    [
        (0o600, 1000, True),
        (0o400, 1000, True),
        (0o700, 1000, True),
        (0o640, 1000, False),
        (0o604, 1000, False),
        (0o600, 0, True),
        (0o640, 0, True),
        (0o660, 0, False),
        (0o644, 0, False),
    ],
)
def test_permissions_of_the_key(
    mode: int,
    uid: int,
    is_right: bool,
    client: Certificate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """0600 or less, or 0640 when root owns it, as libpq has it."""
    key = str(client.key_path)
    real_stat = os.stat

    def fake_stat(path: Any, **options: Any) -> os.stat_result:
        status = real_stat(path, **options)
        if path != key:
            return status
        fields = list(status)
        fields[stat.ST_MODE] = stat.S_IFREG | mode
        fields[stat.ST_UID] = uid
        return os.stat_result(fields)

    config = Settings("require", sslcert=str(client.cert_path), sslkey=key)
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", fake_stat)
        if is_right:
            assert make_context(config) is not None
            return
        with pytest.raises(ClientConfigurationError, match="^sslkey: .*0600"):
            make_context(config)


def test_key_is_a_file(client: Certificate, tmp_path: Path) -> None:
    """A directory is no key."""
    with pytest.raises(ClientConfigurationError, match="regular file"):
        context_for(sslcert=client.cert_path, sslkey=tmp_path)


def test_required_client_certificate_is_refused() -> None:
    """Python cannot tell whether the server asked, and we do not pretend."""
    with pytest.raises(ClientConfigurationError, match="sslcertmode=require"):
        make_context(Settings("require", sslcertmode="require"))


# --- contexts that are shared --------------------------------------------------


def is_shared(config: Settings) -> bool:
    """Whether two connections in a row get the same context."""
    first, second = shared_context(config), shared_context(config)
    assert first is not None
    return first is second


@pytest.mark.parametrize(
    "config",
    [
        Settings("require"),
        Settings("require", ssl_context=ssl.create_default_context()),
    ],
)
def test_context_is_made_once(config: Settings) -> None:
    """Files are read for the first connection and not for those after it."""
    assert is_shared(config)


def test_contexts_of_other_settings_are_other_ones(server: Certificate) -> None:
    """Whatever counts for the handshake tells contexts apart."""
    root = str(server.root_path)
    configs = [
        Settings("prefer"),
        Settings("require"),
        Settings("require", ssl_min_protocol_version="TLSv1.3"),
        Settings("require", ssl_max_protocol_version="TLSv1.2"),
        Settings("require", sslrootcert=root),
        Settings("verify-ca", sslrootcert=root),
        Settings("verify-full", sslrootcert=root),
    ]
    contexts = [shared_context(config) for config in configs]
    assert len({id(context) for context in contexts}) == len(configs)
    assert shared_context(Settings("disable")) is None


def test_replaced_authority_is_noticed(
    home: Path, server: Certificate, stranger: Authority
) -> None:
    """A root certificate that is new, another one or gone counts at once."""
    config = Settings("verify-ca")

    def try_it() -> None:
        context = shared_context(config)
        assert context is not None
        shake_hands(context, server.server_context(), "db.example.org")

    with pytest.raises(ClientConfigurationError, match="root.crt"):
        try_it()
    path = install(home, "root.crt", server.root_path)
    try_it()
    install(home, "root.crt", stranger.root_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        try_it()
    path.unlink()
    with pytest.raises(ClientConfigurationError, match="root.crt"):
        try_it()


def test_new_revocations_are_noticed(
    home: Path, server: Certificate, authority: Authority
) -> None:
    """A list of revoked certificates may come at any time."""
    config = Settings("verify-ca", sslrootcert=str(server.root_path))
    before = shared_context(config)
    assert shared_context(config) is before
    install(home, "root.crl", authority.revoke())
    assert shared_context(config) is not before


def test_authorities_of_the_system_are_watched(
    server: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sets SSL_CERT_FILE later gets what stands there."""
    config = Settings("verify-full", sslrootcert="system")
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    before = shared_context(config)
    monkeypatch.setenv("SSL_CERT_FILE", str(server.root_path))
    after = shared_context(config)
    assert after is not before
    assert after is shared_context(config)
    assert after is not None
    shake_hands(after, server.server_context(), "db.example.org")


def test_directories_of_the_user_are_read_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL looks into SSL_CERT_DIR when it wants to, and remembers what it saw."""
    config = Settings("verify-full", sslrootcert="system")
    first = shared_context(config)
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path}{os.pathsep}{tmp_path / 'home'}")
    assert shared_context(config) is not first
    assert not is_shared(config)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert not is_shared(config)
    # without a file there is nothing that takes long, and a directory all the same
    monkeypatch.delenv("SSL_CERT_DIR")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    assert not is_shared(config)


def test_file_that_comes_while_a_context_is_made(
    home: Path, client: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read is not what had been looked for, so it is not kept."""
    config = Settings("require")
    _tlscontexts._kept.clear()

    def make(config: Settings) -> ssl.SSLContext | None:
        install(home, "postgresql.crt", client.cert_path)
        install(home, "postgresql.key", client.key_path)
        return make_context(config)

    with monkeypatch.context() as patched:
        patched.setattr(_tlscontexts, "make_context", make)
        with_key = shared_context(config)
    (home / ".postgresql" / "postgresql.crt").unlink()
    assert shared_context(config) is not with_key


def test_secrets_are_not_kept(tmp_path: Path, home: Path, client: Certificate) -> None:
    """A context with a client's key, or that writes secrets, ends with its session."""
    named = Settings(
        "require", sslcert=str(client.cert_path), sslkey=str(client.key_path)
    )
    assert not is_shared(named)
    assert not is_shared(Settings("require", sslkeylogfile=str(tmp_path / "keys")))
    install(home, "postgresql.crt", client.cert_path)
    install(home, "postgresql.key", client.key_path)
    assert not is_shared(Settings("require"))
    assert is_shared(Settings("require", sslcertmode="disable"))


def test_kept_contexts_are_bounded(home: Path, server: Certificate) -> None:
    """Files that change all the time do not fill the memory."""
    for i in range(40):
        path = install(home, "root.crt", server.root_path)
        os.utime(path, ns=(i, i))
        assert shared_context(Settings("verify-ca")) is not None
        assert len(_tlscontexts._kept) <= _tlscontexts._MOST_KEPT


# --- channel binding ----------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_channel_binding(kind: str, tmp_path: Path) -> None:
    """Every signature algorithm has the hash that RFC 5929 gives it, or none."""
    certificate = Authority(tmp_path, kind).issue("server", dns_names=["a"])
    assert tls_server_end_point(certificate.der) == certificate.channel_binding


def der(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    n = len(content)
    if n < 128:
        return bytes([tag, n]) + content
    return bytes([tag, 0x82]) + n.to_bytes(2, "big") + content


def certificate_of(algorithm: bytes, *, tbs: bytes = bytes(200)) -> bytes:
    return der(0x30, der(0x30, tbs), algorithm, der(0x03, bytes(64)))


def oid(hexadecimal: str) -> bytes:
    return der(0x06, bytes.fromhex(hexadecimal))


SHA1_RSA = "2a864886f70d010105"
MD5_RSA = "2a864886f70d010104"
PSS = "2a864886f70d01010a"
NULL = b"\x05\x00"


@pytest.mark.parametrize(
    ("algorithm", "want"),
    [
        (der(0x30, oid(SHA1_RSA), NULL), "sha256"),
        (der(0x30, oid(MD5_RSA), NULL), "sha256"),
        (der(0x30, oid("2a8648ce3d0401")), "sha256"),  # ecdsa-with-SHA1
        (der(0x30, oid(PSS), der(0x30)), "sha256"),  # SHA-1 left out
        (der(0x30, oid(PSS), der(0x30, der(0xA2, b"\x02\x01\x20"))), "sha256"),
        (
            der(
                0x30,
                oid(PSS),
                der(0x30, der(0xA0, der(0x30, oid("608648016503040203"), NULL))),
            ),
            "sha512",
        ),
        (der(0x30, oid(PSS), der(0x30, der(0xA0, der(0x30, oid("2a0304"))))), None),
        (der(0x30, oid(PSS)), None),
        (der(0x30, oid("2b6570")), None),  # Ed25519
        (der(0x30, oid("608648016503040312")), None),  # ML-DSA-65
        (der(0x30, oid("2a8648ce3d0402")), None),
        (der(0x30, oid("")), None),
        (der(0x30, oid("2a86")), None),
        (der(0x30, oid("ff" * 40 + "01")), None),
        (der(0x30, NULL), None),
        (der(0x31, oid(SHA1_RSA)), None),
    ],
)
def test_signature_algorithms(algorithm: bytes, want: str | None) -> None:
    """Hashes that no certificate here can have, and algorithms without one."""
    data = certificate_of(algorithm)
    digest = hashlib.new(want, data).digest() if want else None
    assert tls_server_end_point(data) == digest


GOOD = certificate_of(der(0x30, oid(SHA1_RSA), NULL))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x30\x80" + GOOD[4:] + b"\0\0",
        b"\x30\x85\x00\x00\x00\x01\x00" + GOOD[4:],
        b"\x30\x84\xff\xff\xff\xff" + GOOD[4:],
        b"\x31" + GOOD[1:],
        GOOD + b"\0",
        GOOD[:-1],
        der(0x30),
        der(0x30, der(0x30, b"tbs")),
    ],
)
def test_malformed_certificates_have_no_binding(data: bytes) -> None:
    """Whatever cannot be read is not bound to."""
    assert tls_server_end_point(GOOD) is not None
    assert tls_server_end_point(data) is None


@given(st.data())
def test_no_bytes_do_harm(data: st.DataObject) -> None:
    """Changed and cut certificates give a hash of themselves or none."""
    raw = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    assert tls_server_end_point(cut) in (
        None,
        *(
            hashlib.new(n, cut).digest()
            for n in ("sha224", "sha256", "sha384", "sha512")
        ),
        *(hashlib.new(f"sha3_{n}", cut).digest() for n in (224, 256, 384, 512)),
    )


def test_binding_of_a_real_session(server: Certificate) -> None:
    """What the handshake hands over is what the server binds."""
    client = connect(Settings("require"), server)
    got = client.getpeercert(binary_form=True)
    assert got is not None
    assert tls_server_end_point(got) == server.channel_binding

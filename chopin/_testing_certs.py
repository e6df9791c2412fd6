"""Throw-away certificates: an authority that signs for a test and is forgotten.

Owns: `Authority`, made with the ``openssl`` command or the package ``cryptography``,
whichever there is.

Imports: the standard library; ``cryptography`` only when it is used (L6).

Rules:

- Keys are P-256, files are PEM, everything is valid for two days.
- Certificates carry what strict checks ask for: key usage, key identifiers, and the
  host names as alternative names.
- Key files are readable for their owner only.

Source: PostgreSQL docs, "Secure TCP/IP Connections with SSL"; RFC 5280, 4.2.
"""

from __future__ import annotations

import importlib.util
import secrets
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from chopin._testing_binaries import TemporaryServerError

if TYPE_CHECKING:
    from cryptography import x509

DAYS_VALID = 2
COMMAND_LIMIT_S = 60

_CONFIG = """\
[req]
distinguished_name = name
prompt = no
[name]
CN = {common_name}
[extensions]
basicConstraints = critical, CA:{is_authority}
keyUsage = critical, {key_usage}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
{more}
"""


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key.

    Attributes:
        cert_file: the certificate, PEM.
        key_file: the key, PEM without a passphrase.
    """

    cert_file: Path
    key_file: Path


@dataclass(frozen=True)
class Request:
    """What a certificate is to say: an authority's own, or one that it signs."""

    common_name: str
    hosts: Sequence[str] = ()
    is_authority: bool = False


Maker = Callable[[Request, Certificate, Certificate | None], None]


class Authority:
    """A certificate authority for one test.

    Args:
        directory: where its files go; must exist.
        name: its common name.
        maker: ``"openssl"`` or ``"cryptography"``; by default the first there is.

    Raises:
        TemporaryServerError: there is neither; the text says what to install.

    Example:
        >>> authority = Authority(tmp_path)  # doctest: +SKIP
        >>> authority.issue("server", hosts=["localhost"]).cert_file  # doctest: +SKIP
        PosixPath('.../server.crt')
    """

    def __init__(
        self,
        directory: Path,
        name: str = "chopin test authority",
        maker: str | None = None,
    ) -> None:
        self._directory = directory
        self._make = _choose_maker(maker)
        self._own = self._files("ca")
        self._make(Request(name, is_authority=True), self._own, None)

    @property
    def ca_file(self) -> Path:
        """The authority's certificate, PEM: what a client trusts."""
        return self._own.cert_file

    def issue(
        self, common_name: str, *, hosts: Sequence[str] = (), name: str | None = None
    ) -> Certificate:
        """Sign a certificate.

        Args:
            common_name: the subject; for client certificates the database user.
            hosts: DNS names and IP addresses that a server answers for.
            name: stem of the two files; the common name by default.

        Returns:
            The files, in the authority's directory.
        """
        files = self._files(name or common_name)
        self._make(Request(common_name, hosts), files, self._own)
        return files

    def _files(self, name: str) -> Certificate:
        return Certificate(
            self._directory / f"{name}.crt", self._directory / f"{name}.key"
        )


def _choose_maker(name: str | None) -> Maker:
    """The function that makes certificates, by name or by what is installed."""
    available: dict[str, Maker] = {}
    if shutil.which("openssl"):
        available["openssl"] = _make_with_openssl
    if importlib.util.find_spec("cryptography"):
        available["cryptography"] = _make_with_cryptography
    if name is None and available:
        return next(iter(available.values()))
    if name in available:
        return available[name]
    raise TemporaryServerError(
        "certificates need the openssl command or the package cryptography:"
        " install one of them, or use tls=False"
    )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _make_with_openssl(
    request: Request, files: Certificate, issuer: Certificate | None
) -> None:
    """Run ``openssl req`` for key and request, and ``openssl x509`` to sign."""
    more = ""
    if request.hosts:
        names = [f"{'IP' if _is_address(h) else 'DNS'}:{h}" for h in request.hosts]
        more = "subjectAltName = " + ",".join(names)
    config = files.cert_file.with_suffix(".cnf")
    config.write_text(
        _CONFIG.format(
            common_name=request.common_name,
            is_authority=str(request.is_authority).upper(),
            key_usage="keyCertSign, cRLSign"
            if request.is_authority
            else "digitalSignature",
            more=more,
        )
    )
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    new = ["-new", *curve, "-nodes", "-sha256", "-config", str(config)]
    new += ["-keyout", str(files.key_file)]
    days = ["-days", str(DAYS_VALID), "-extensions", "extensions"]
    if issuer is None:
        _openssl("req", *new, "-x509", *days, "-out", files.cert_file)
    else:
        signing_request = files.cert_file.with_suffix(".csr")
        _openssl("req", *new, "-out", signing_request)
        serial = str(secrets.randbits(63) + 1)
        signer = ["-CA", str(issuer.cert_file), "-CAkey", str(issuer.key_file)]
        sign = ["-req", "-sha256", *signer, "-set_serial", serial, *days]
        sign += ["-extfile", str(config), "-in", str(signing_request)]
        _openssl("x509", *sign, "-out", files.cert_file)
        signing_request.unlink()
    config.unlink()
    files.key_file.chmod(0o600)


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(
        ["openssl", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT_S,
    )
    if done.returncode:
        raise TemporaryServerError(
            f"openssl {arguments[0]} failed: {done.stderr.strip()}"
        )


def _make_with_cryptography(
    request: Request, files: Certificate, issuer: Certificate | None
) -> None:
    """The same with the package ``cryptography``."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pem = serialization.Encoding.PEM
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _x509_name(request.common_name)
    issuer_name, issuer_key = subject, key
    if issuer is not None:
        issuer_cert = x509.load_pem_x509_certificate(issuer.cert_file.read_bytes())
        issuer_name = issuer_cert.subject
        loaded = serialization.load_pem_private_key(issuer.key_file.read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        issuer_key = loaded
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=DAYS_VALID))
        .add_extension(x509.BasicConstraints(request.is_authority, None), True)
        .add_extension(_x509_key_usage(request.is_authority), True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            False,
        )
    )
    if request.hosts:
        names = x509.SubjectAlternativeName(
            x509.IPAddress(ip_address(host))
            if _is_address(host)
            else x509.DNSName(host)
            for host in request.hosts
        )
        builder = builder.add_extension(names, False)
    signed = builder.sign(issuer_key, hashes.SHA256())
    files.cert_file.write_bytes(signed.public_bytes(pem))
    files.key_file.touch(0o600)
    form = serialization.PrivateFormat.PKCS8
    files.key_file.write_bytes(
        key.private_bytes(pem, form, serialization.NoEncryption())
    )


def _x509_name(common_name: str) -> x509.Name:
    from cryptography import x509

    attribute = x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)
    return x509.Name([attribute])


def _x509_key_usage(is_authority: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )

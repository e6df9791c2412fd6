"""Throw-away authorities and certificates for the TLS tests.

Owns: an `Authority` that signs server and client certificates and revocation
lists, written as PEM files into a directory of the test. Keys are new in every
run, files are readable by their owner only.

Example:
    authority = Authority(tmp_path, "ecdsa-sha384")
    server = authority.issue("server", dns_names=["localhost"])
    context = server.server_context()
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Kind:
    """A signature algorithm: how to make a key, how it signs, its RFC 5929 hash."""

    make_key: Callable[[], Any]
    hash_algorithm: Any
    binding_hash: str | None
    padding: padding.PSS | None = None


def _rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def _pss(hash_algorithm: hashes.HashAlgorithm) -> padding.PSS:
    return padding.PSS(padding.MGF1(hash_algorithm), padding.PSS.DIGEST_LENGTH)


KINDS = {
    "rsa-sha256": Kind(_rsa_key, hashes.SHA256(), "sha256"),
    "rsa-sha512": Kind(_rsa_key, hashes.SHA512(), "sha512"),
    "rsa-pss-sha256": Kind(_rsa_key, hashes.SHA256(), "sha256", _pss(hashes.SHA256())),
    "rsa-pss-sha384": Kind(_rsa_key, hashes.SHA384(), "sha384", _pss(hashes.SHA384())),
    "ecdsa-sha224": Kind(_ec_key, hashes.SHA224(), "sha224"),
    "ecdsa-sha256": Kind(_ec_key, hashes.SHA256(), "sha256"),
    "ecdsa-sha384": Kind(_ec_key, hashes.SHA384(), "sha384"),
    "ecdsa-sha512": Kind(_ec_key, hashes.SHA512(), "sha512"),
    "ecdsa-sha3-256": Kind(_ec_key, hashes.SHA3_256(), "sha3_256"),
    "ed25519": Kind(ed25519.Ed25519PrivateKey.generate, None, None),
    "ed448": Kind(ed448.Ed448PrivateKey.generate, None, None),
}


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key, as files and as bytes."""

    cert_path: Path
    key_path: Path
    root_path: Path
    der: bytes
    serial: int
    #: the tls-server-end-point hash, made without the code under test
    channel_binding: bytes | None

    def server_context(
        self,
        *,
        client_certificates: ssl.VerifyMode = ssl.CERT_NONE,
        has_alpn: bool = True,
    ) -> ssl.SSLContext:
        """Return a context for the server's side."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert_path, self.key_path)
        if has_alpn:
            context.set_alpn_protocols(["postgresql"])
        context.load_verify_locations(self.root_path)
        context.verify_mode = client_certificates
        return context


class Authority:
    """A certificate authority whose signatures are of one kind (see `KINDS`)."""

    def __init__(self, directory: Path, kind: str = "ecdsa-sha256") -> None:
        self.directory = directory
        self.kind = KINDS[kind]
        self._key = self.kind.make_key()
        self._n_issued = 0
        self._prefix = f"{kind}-{os.urandom(4).hex()}"
        self._name = _name(f"Chopin test authority {self._prefix}")
        builder = _builder(self._name, self._name, self._key.public_key())
        builder = builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()),
            critical=False,
        )
        builder = builder.add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                crl_sign=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        self._certificate = self._sign(builder)
        #: the PEM file for sslrootcert
        self.root_path = self._write("root.crt", _pem(self._certificate))

    def issue(
        self,
        common_name: str,
        *,
        dns_names: Sequence[str] = (),
        ip_addresses: Sequence[str] = (),
        is_client: bool = False,
        is_expired: bool = False,
        passphrase: bytes | None = None,
    ) -> Certificate:
        """Sign a certificate and write it with its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(
            _name(common_name), self._name, key.public_key(), is_expired=is_expired
        )
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns_names]
        names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ip_addresses]
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(names), critical=False
            )
        usage = (
            ExtendedKeyUsageOID.CLIENT_AUTH
            if is_client
            else ExtendedKeyUsageOID.SERVER_AUTH
        )
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        certificate = self._sign(builder)
        self._n_issued += 1
        stem = f"{common_name}-{self._n_issued}"
        der = certificate.public_bytes(serialization.Encoding.DER)
        binding = self.kind.binding_hash
        return Certificate(
            cert_path=self._write(f"{stem}.crt", _pem(certificate)),
            key_path=self._write(f"{stem}.key", _key_pem(key, passphrase)),
            root_path=self.root_path,
            der=der,
            serial=certificate.serial_number,
            channel_binding=hashlib.new(binding, der).digest() if binding else None,
        )

    def revoke(self, *certificates: Certificate) -> Path:
        """Write a revocation list of these certificates, or an empty one."""
        now = _now()
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(now - _DAY)
            .next_update(now + 30 * _DAY)
        )
        for certificate in certificates:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(certificate.serial)
                .revocation_date(now - _DAY)
                .build()
            )
        revocations = builder.sign(self._key, self.kind.hash_algorithm)
        return self._write(
            f"{len(certificates)}.crl",
            revocations.public_bytes(serialization.Encoding.PEM),
        )

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        # Python 3.13 and later verify strictly and want to know who has signed
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
            critical=False,
        )
        return builder.sign(
            self._key, self.kind.hash_algorithm, rsa_padding=self.kind.padding
        )

    def _write(self, name: str, data: bytes) -> Path:
        path = self.directory / f"{self._prefix}-{name}"
        path.touch(mode=0o600)
        path.write_bytes(data)
        return path


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: Any, *, is_expired: bool = False
) -> x509.CertificateBuilder:
    now = _now()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 10 * _DAY)
        .not_valid_after(now - _DAY if is_expired else now + 30 * _DAY)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None) -> bytes:
    encryption: serialization.KeySerializationEncryption
    if passphrase is None:
        encryption = serialization.NoEncryption()
    else:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )

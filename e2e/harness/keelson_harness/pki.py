"""The certificate authority of a run: serving and client certificates, service-account key.

Certificates are valid for a day; all files are in the run directory. No network.
"""

import datetime
import ipaddress
import shutil
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = datetime.timedelta(days=1)
# So that a new certificate is valid even if the clock is set back a little.
BACKDATED = datetime.timedelta(hours=1)


@dataclass(frozen=True)
class Pair:
    """The files of a certificate and its key."""

    cert: Path
    key: Path


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )


def _name(common_name: str, organizations: tuple[str, ...] = ()) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in organizations]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


class Authority:
    """A certificate authority with its files in one directory."""

    def __init__(self, directory: Path, name: str, existing: Path | None = None):
        """existing: the directory of an authority of the same name, which this one continues with a copy of its files."""
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._name = _name(name)
        self.cert_file = directory / f"{name}.crt"
        key_file = directory / f"{name}.key"
        if existing:
            for file in (self.cert_file, key_file):
                shutil.copy(existing / file.name, file)
            self._key = serialization.load_pem_private_key(key_file.read_bytes(), None)
            return
        self._key = ec.generate_private_key(ec.SECP256R1())
        _write_key(key_file, self._key)
        certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
            .add_extension(_ca_key_usage(), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, public_key) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + LIFETIME)
        )

    def _issue(self, file_name: str, subject: x509.Name, extensions) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(subject, key.public_key()).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
            critical=False,
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        pair = Pair(self.directory / f"{file_name}.crt", self.directory / f"{file_name}.key")
        _write_key(pair.key, key)
        pair.cert.write_bytes(
            builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        return pair

    def serving(self, file_name: str, names: tuple[str, ...] = ()) -> Pair:
        """A server certificate for loopback and the given names."""
        alternatives: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            *(x509.DNSName(name) for name in ("localhost", *names)),
        ]
        return self._issue(
            file_name,
            _name(file_name),
            [
                (x509.SubjectAlternativeName(alternatives), False),
                (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
            ],
        )

    def client(self, file_name: str, user: str, groups: tuple[str, ...] = ()) -> Pair:
        """A client certificate: Kubernetes reads the user from CN and the groups from O."""
        return self._issue(
            file_name,
            _name(user, groups),
            [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)],
        )

    def service_account_key(self, file_name: str) -> Path:
        """A key that signs service-account tokens."""
        path = self.directory / f"{file_name}.key"
        _write_key(path, ec.generate_private_key(ec.SECP256R1()))
        return path


def _ca_key_usage() -> x509.KeyUsage:
    used = {"key_cert_sign", "crl_sign", "digital_signature"}
    every = (
        "digital_signature content_commitment key_encipherment data_encipherment "
        "key_agreement key_cert_sign crl_sign encipher_only decipher_only"
    ).split()
    return x509.KeyUsage(**{name: name in used for name in every})

"""Keys that close the inner listeners of SeaweedFS to everybody but itself.

Master, volume server and filer listen on loopback with no authentication of their own: any process
of the machine could read every bucket at the filer's port and walk around every S3 policy. So all
of them get mutual TLS with a private authority made here, and signed requests on top
(``weed scaffold -config=security``). Everything is made once and kept, mode 0600 in a 0700 folder.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import os
import secrets
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = datetime.timedelta(days=3650)
_JWT_SECTIONS = (
    "jwt.signing",
    "jwt.signing.read",
    "jwt.filer_signing",
    "jwt.filer_signing.read",
)
_GRPC_SECTIONS = ("master", "volume", "filer", "s3", "client", "admin", "worker")
_HTTPS_SECTIONS = ("master", "volume", "filer")


def write_private(path: Path, content: str | bytes) -> None:
    """Write a file with mode 0600, whole or not at all."""
    data = content.encode() if isinstance(content, str) else content
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def private_folder(path: Path) -> Path:
    """The folder, made if needed, with mode 0700."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.chmod(0o700)
    return path


def write_json(path: Path, document: dict[str, Any]) -> None:
    """A private JSON file."""
    write_private(path, json.dumps(document, indent=1))


def signing_key(folder: Path) -> str:
    """The key that signs STS sessions (base64 of 32 bytes), made on first use."""
    path = folder / "sts-signing-key"
    if not path.exists():
        write_private(path, base64.b64encode(secrets.token_bytes(32)))
    return path.read_text(encoding="ascii").strip()


def seal(folder: Path, host: str) -> None:
    """Make sure the folder holds ``security.toml``, ``master.toml`` and the certificates."""
    if not (folder / "security.toml").exists():
        _certificates(folder, host)
        write_private(folder / "security.toml", _security(folder))
    # One volume file at a time per bucket; the default grows seven at once.
    write_private(folder / "master.toml", "[master.volume_growth]\ncopy_1 = 1\n")


def _security(folder: Path) -> str:
    ca, cert, key = (json.dumps(str(folder / name)) for name in ("ca.pem", "cert.pem", "key.pem"))
    lines = []
    for section in _JWT_SECTIONS:
        lines += [f"[{section}]", f'key = "{secrets.token_urlsafe(32)}"']
        lines += ["expires_after_seconds = 60"]
    lines += ["[grpc]", f"ca = {ca}"]
    for section in _GRPC_SECTIONS:
        lines += [f"[grpc.{section}]", f"cert = {cert}", f"key = {key}"]
    lines += ["[https.client]", "enabled = true"]
    lines += [f"cert = {cert}", f"key = {key}", f"ca = {ca}"]
    for section in _HTTPS_SECTIONS:
        lines += [f"[https.{section}]", f"cert = {cert}", f"key = {key}", f"ca = {ca}"]
    return "\n".join(lines) + "\n"


def _certificates(folder: Path, host: str) -> None:
    """A private authority, and one certificate for servers and clients alike.

    The authority's key is not kept: nothing else can ever be signed by it.
    """
    now = datetime.datetime.now(datetime.UTC)
    authority_key, own_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name = _name("C-SCALE local object store authority")

    def builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + _LIFETIME)
        )

    authority = (
        builder(authority_name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    addresses = [x509.IPAddress(ipaddress.ip_address(host)), x509.DNSName("localhost")]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    own = (
        builder(_name("C-SCALE local object store"), own_key)
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    write_private(folder / "ca.pem", authority.public_bytes(pem))
    write_private(folder / "cert.pem", own.public_bytes(pem))
    write_private(
        folder / "key.pem",
        own_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

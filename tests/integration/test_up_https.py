"""`proxy.https` on one machine: the certificate of the configuration file is what browsers get."""

import asyncio
import signal
import ssl
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from perijove.cli.listening import free_port
from perijove.testing.hub import OPEN, write_config


def certificate() -> tuple[str, str]:
    """Certificate and key for 127.0.0.1, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


async def test_a_manual_certificate_of_the_file_protects_the_public_port(tmp_path: Path):
    cert, key = certificate()
    https = {"proxy": {"https": {"enabled": True, "type": "manual", "manual": {"key": key, "cert": cert}}}}
    config = tmp_path / "config.yaml"
    write_config(config, {**OPEN, **https})
    port = free_port()
    up = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "perijove.cli", "up", "-f", str(config), "--data-dir", str(tmp_path / "data")),
        *("--port", str(port), "--hub-port", str(free_port())),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        assert up.stdout is not None
        async with asyncio.timeout(30):
            while b"Perijove is running at" not in (line := await up.stdout.readline()):
                assert line, "it ended before it ran"
        assert f"https://127.0.0.1:{port}/".encode() in line
        trust = ssl.create_default_context(cadata=cert)
        url = f"https://127.0.0.1:{port}/hub/login"
        async with aiohttp.ClientSession() as session, session.get(url, ssl=trust) as response:
            assert response.status == 200
            assert "; Secure" in response.headers["set-cookie"]
    finally:
        up.send_signal(signal.SIGTERM)
        await asyncio.wait_for(up.communicate(), 30)

"""Secrets that configuration holds or causes: decoding what is given, making what is not.

Nothing here is ever part of a message.
"""

import base64
import binascii
import getpass
import os
import pwd
import re
import secrets
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_KEY_BYTES: Final = 32
_PASSWORD_LENGTH: Final = 40  # SharedPasswordAuthenticator wants at least 32
_ALPHABET: Final = string.ascii_letters + string.digits


def cookie_secret(text: str) -> bytes:
    """64 hex digits as bytes, or more: old guides made 128. Raises ValueError saying what is wrong."""
    stripped = text.strip()
    if not re.fullmatch(r"([0-9a-fA-F]{2})+", stripped) or len(stripped) < 2 * _KEY_BYTES:
        raise ValueError(f"{2 * _KEY_BYTES} hex digits, as `openssl rand -hex 32` makes them")
    return bytes.fromhex(stripped)


def crypt_keys(text: str) -> tuple[bytes, ...]:
    """`JUPYTERHUB_CRYPT_KEY`: keys of 32 bytes, plain, in hex or base64, divided by `;`; the first encrypts."""
    return tuple(crypt_key(part.strip()) for part in text.split(";") if part.strip())


def crypt_key(given: str | bytes) -> bytes:
    """One key. Raises ValueError saying what is wrong."""
    if isinstance(given, bytes) and len(given) == _KEY_BYTES:
        return given
    text = given.decode(errors="replace") if isinstance(given, bytes) else given
    if len(text) == _KEY_BYTES and text.isascii():
        # 32 letters of somebody's choice are a key to JupyterHub too: what it encrypted must stay readable.
        return text.encode()
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text)
    try:
        key = base64.urlsafe_b64decode(text.replace("+", "-").replace("/", "_"))
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise ValueError("32 bytes, in hex or base64, as `openssl rand -hex 32` makes them")
    return key


@dataclass(frozen=True, slots=True)
class AdminPassword:
    password: str
    path: Path
    # False: it was there already.
    created: bool


def load_or_create_admin_password(data_dir: Path) -> AdminPassword:
    """The password kept in the data directory; made at first use, readable by its owner only."""
    path = data_dir / "admin-password"
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    password = "".join(secrets.choice(_ALPHABET) for _ in range(_PASSWORD_LENGTH))
    # O_EXCL decides between two hubs that start at once: one writes, the other reads.
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        kept = path.read_text(encoding="utf-8").strip()
        if len(kept) >= 32:  # noqa: PLR2004 - the authenticator's own limit
            return AdminPassword(kept, path, created=False)
        path.unlink()
        return load_or_create_admin_password(data_dir)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(password + "\n")
    return AdminPassword(password, path, created=True)


def os_user() -> str:
    """The name of the account that runs this, lower case as JupyterHub has names; "admin" if it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name.lower()
    except KeyError:
        # A container that runs under a number without an account.
        try:
            return getpass.getuser().lower()
        except (KeyError, OSError):
            return "admin"

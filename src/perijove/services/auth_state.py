"""Encrypted auth state: what an authenticator remembers of a user (provider tokens, claims).

Fernet under `JUPYTERHUB_CRYPT_KEY`; the first key encrypts, all decrypt, so a key is rotated by
putting the new one in front: rows move to it when they are next saved, at every login. Without a key
nothing is stored, ever. State that no key opens reads as None: the person logs in again.
"""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from perijove.domain.errors import Unavailable
from perijove.lib.log import get_logger

log = get_logger(__name__)

# Above this, encryption leaves the event loop (1 MB takes about 5 ms).
HEAVY_BYTES = 64 * 1024


class Crypt:
    """Encrypts JSON objects for the database."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """`keys`: 32 bytes each, the first encrypts; empty: auth state cannot be kept."""
        self._fernets = [Fernet(base64.urlsafe_b64encode(key)) for key in keys]
        self._multi = MultiFernet(self._fernets) if self._fernets else None

    @property
    def available(self) -> bool:
        return self._multi is not None

    async def encrypt(self, state: Mapping[str, Any]) -> bytes:
        """Raises `Unavailable` without keys."""
        if self._multi is None:
            raise Unavailable("Auth state cannot be kept: JUPYTERHUB_CRYPT_KEY is not set.")
        plain = msgspec.json.encode(state)
        if len(plain) > HEAVY_BYTES:
            return await asyncio.to_thread(self._multi.encrypt, plain)
        return self._multi.encrypt(plain)

    async def decrypt(self, sealed: bytes | None) -> dict[str, Any] | None:
        """None for nothing stored, and for what no current key opens (logged)."""
        if sealed is None or self._multi is None:
            return None
        try:
            if len(sealed) > HEAVY_BYTES:
                plain = await asyncio.to_thread(self._multi.decrypt, sealed)
            else:
                plain = self._multi.decrypt(sealed)
            state = msgspec.json.decode(plain)
        except (InvalidToken, msgspec.DecodeError) as error:
            log.warning("auth_state_unreadable", error=type(error).__name__)
            return None
        return state if isinstance(state, dict) else None

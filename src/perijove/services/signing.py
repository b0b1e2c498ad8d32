"""Signed strings for browsers: login cookies, form tokens, the state of the login bridge.

One secret, one derived key per purpose: a value signed for one use is noise for every other. The
signatures hide nothing and expire nothing by themselves; rows decide whether a session lives.
Every replica has the same secret (configured, or made with the database), so any of them verifies.
"""

import hashlib
from functools import lru_cache

from itsdangerous import BadSignature
from itsdangerous import Signer as _Signer


class Signer:
    """Signs and verifies short strings under the hub's cookie secret."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < 16:  # noqa: PLR2004 - 128 bits
            raise ValueError("the cookie secret needs at least 16 bytes")
        self._secret = secret
        # Few purposes, used by every request: deriving a key each time would double the cost.
        self._plain = lru_cache(maxsize=64)(self._make_plain)

    def _make_plain(self, purpose: str) -> _Signer:
        return _Signer(
            self._secret,
            salt=f"perijove.{purpose}".encode(),
            key_derivation="hmac",
            digest_method=hashlib.sha256,
        )

    def sign(self, purpose: str, value: str) -> str:
        """`value.signature`; `value` stays readable."""
        return self._plain(purpose).sign(value).decode()

    def unsign(self, purpose: str, signed: str) -> str | None:
        """The value, or None when it was not signed here for this purpose."""
        try:
            return self._plain(purpose).unsign(signed).decode()
        except (BadSignature, UnicodeError):
            return None

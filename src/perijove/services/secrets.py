"""Random credentials and how they are stored.

Everything made here has at least 122 random bits, so one round of SHA-256 keeps a stolen database from
being a stolen hub, and the hash can be an index: a lookup compares hashes inside the database and its
time says nothing about a token.
"""

import hashlib
import secrets
import string

MAX_TOKEN_LENGTH = 64
_ALPHANUMERIC = string.ascii_letters + string.digits


def new_token() -> str:
    """An API token: 32 hexadecimal characters."""
    return secrets.token_hex(16)


def new_oauth_secret() -> str:
    """An OAuth code or access token: 30 letters and digits."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(30))


def new_session_secret() -> str:
    return secrets.token_urlsafe(24)


def new_browser_session() -> str:
    """The value of `jupyterhub-session-id`: 32 hexadecimal characters."""
    return secrets.token_hex(16)


def hash_token(token: str) -> str:
    """As stored: `sha256:<hex>`."""
    return f"sha256:{hashlib.sha256(token.encode('utf-8', 'surrogatepass')).hexdigest()}"


def hash_session(secret: str) -> str:
    """64 hexadecimal characters; also used for OAuth codes."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()

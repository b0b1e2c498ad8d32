"""Reading requests: what the browser really asked (the proxy speaks for it), and bodies within limits.

Only the proxy and machines of the operator talk to the hub, so `X-Forwarded-*` is believed. Everything that
a client can send is checked here before it reaches a service: sizes, encodings, JSON, numbers.
"""

import ipaddress
import re
import secrets
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Scope

from perijove.domain.errors import Invalid
from perijove.services.context import HubContext
from perijove.services.login import RequestFacts

T = TypeVar("T")

MAX_JSON_BYTES = 1024 * 1024
MAX_FORM_BYTES = 256 * 1024
# A URL longer than this, or a head larger than that, is no browser's and no client's.
MAX_TARGET_BYTES = 16 * 1024
MAX_HEAD_BYTES = 64 * 1024
_INTEGER = re.compile(r"-?[0-9]{1,18}")


def check_head(scope: Scope) -> tuple[int, str] | None:
    """Status and message for a request whose head is too large, else None."""
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_TARGET_BYTES:
        return 414, "The address of this request is too long."
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEAD_BYTES:
        return 431, "The headers of this request are too large."
    return None


def request_id(scope: Scope) -> str:
    """The proxy's, if it gave one that is safe to print; else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and 0 < len(value) <= 64 and value.replace(b"-", b"").isalnum():  # noqa: PLR2004
            return str(value.decode("ascii"))
    return secrets.token_hex(8)


def scheme(request: Request) -> str:
    """As the browser sees it: the first proxy's word counts."""
    forwarded = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return forwarded if forwarded in {"http", "https"} else request.url.scheme


def is_secure(hub: HubContext, request: Request) -> bool:
    """Whether the browser came by https: as the operator says, else as the proxies do."""
    public = hub.options.public_url
    return public.startswith("https:") if public else scheme(request) == "https"


def host(request: Request) -> str:
    """As the browser sees it, with port."""
    return request.headers.get("host", "")


def remote_ip(hub: HubContext, request: Request) -> str:
    """The browser's address: the last in `X-Forwarded-For` that is not a trusted proxy of the operator's.

    The last entry is written by our proxy; those before it may be the client's own invention.
    """
    hops = [hop.strip() for hop in request.headers.get("x-forwarded-for", "").split(",") if hop.strip()]
    trusted = frozenset(hub.options.trusted_downstream_ips)
    for hop in reversed(hops):
        if hop not in trusted and _is_address(hop):
            return hop
    return request.client.host if request.client else ""


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def facts(hub: HubContext, request: Request) -> RequestFacts:
    return RequestFacts(
        method=request.method,
        path=request.url.path,
        query=request.url.query,
        headers=dict(request.headers),
        remote_ip=remote_ip(hub, request),
        scheme=scheme(request),
    )


def check_length(request: Request, limit: int) -> None:
    """Raises 413 when the body is said to be longer, whether or not anybody would read it."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared[:19]) > limit:
        raise HTTPException(413, f"The body of this request is larger than {limit} bytes.")


async def read_body(request: Request, limit: int) -> bytes:
    """Raises 413 before more than `limit` bytes were kept."""
    check_length(request, limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise HTTPException(413, f"The body of this request is larger than {limit} bytes.")
        chunks.append(chunk)
    return b"".join(chunks)


async def read_json(request: Request, kind: type[T], *, limit: int = MAX_JSON_BYTES) -> T:
    """The JSON body as `kind` (a `msgspec.Struct`, usually). Raises `Invalid` saying what is wrong where."""
    return decode_json(await read_body(request, limit), kind)


def decode_json(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise Invalid(f"Invalid request body: {error}") from error
    except msgspec.DecodeError as error:
        raise Invalid(f"Invalid JSON in body of request: {error}") from error
    except RecursionError as error:
        raise Invalid("Invalid JSON in body of request: nested too deeply") from error
    except UnicodeDecodeError as error:
        raise Invalid("Invalid JSON in body of request: not UTF-8") from error


async def read_optional_json(request: Request, kind: type[T], default: T) -> T:
    """As `read_json`; an absent body is `default`."""
    body = await read_body(request, MAX_JSON_BYTES)
    return decode_json(body, kind) if body.strip() else default


def integer(text: str, name: str) -> int:
    """Plain decimal digits. Raises `Invalid`."""
    if not _INTEGER.fullmatch(text):
        raise Invalid(f"{name} must be an integer, not {text[:40]!r}", field=name)
    return int(text)


def safe_next(hub: HubContext, request: Request, url: str) -> str:
    """`next` reduced to a path on this host, or "": never a way to another site.

    Browsers read a backslash as a slash and skip control characters, so the former is escaped and the
    latter refused before anything is parsed.
    """
    if not url or len(url) > MAX_TARGET_BYTES or any(ord(character) < 32 or ord(character) == 127 for character in url):  # noqa: PLR2004 - ASCII control characters
        return ""
    url = url.strip().replace("\\", "%5C")
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if parts.scheme or parts.netloc:
        own = {host(request), urlsplit(hub.options.public_url).netloc} - {""}
        known = parts.netloc in own or hub.addresses.is_elsewhere(parts.netloc)
        if parts.scheme not in {"http", "https"} or not known:
            return ""
        url = parts._replace(scheme="", netloc="").geturl()
    return url if url.startswith("/") and not url.startswith("//") else ""


def as_object(value: Any, name: str) -> dict[str, Any]:
    """Raises `Invalid` unless `value` is a JSON object."""
    if not isinstance(value, dict):
        raise Invalid(f"{name} must be a JSON object", field=name)
    return value

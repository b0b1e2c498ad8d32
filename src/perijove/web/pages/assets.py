"""Static files: read once, named by content, compressed when first asked for.

`url("hub.css")` carries a hash of the content, so browsers keep the file for a year and fetch it
again when it changes; without the hash it is revalidated. Everything is in memory (about half a
megabyte): no request touches the disk, and a package upgraded under a running hub cannot mix two versions.
"""

import asyncio
import gzip
import hashlib
import mimetypes
from dataclasses import dataclass, field
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

STATIC_DIR = Path(__file__).parent.parent / "static"
_YEAR = "public, max-age=31536000, immutable"
_REVALIDATE = "no-cache"
_COMPRESSIBLE = frozenset({"text/css", "text/javascript", "application/javascript", "image/svg+xml", "text/plain"})
_NOT_MODIFIED = 304


@dataclass(slots=True)
class Asset:
    body: bytes
    media_type: str
    digest: str
    _packed: asyncio.Task[bytes] | None = field(default=None)

    async def packed(self) -> bytes:
        """Compressed, in a thread, by the first who asks: start-up need not wait for it, nor the event loop."""
        if self._packed is None:
            self._packed = asyncio.create_task(asyncio.to_thread(gzip.compress, self.body, 9, mtime=0))
        return await asyncio.shield(self._packed)


class Assets:
    """The files below `static/`, and the logo."""

    def __init__(self, prefix: str, *, logo_file: str = "") -> None:
        """`prefix`: URL of the directory, with a slash at its end."""
        self._prefix = prefix
        self._files = {
            path.relative_to(STATIC_DIR).as_posix(): _load(path)
            for path in sorted(STATIC_DIR.rglob("*"))
            if path.is_file()
        }
        self._urls = {name: f"{prefix}{name}?v={asset.digest[:16]}" for name, asset in self._files.items()}
        self._logo = _load(Path(logo_file)) if logo_file else self._files["logo.svg"]

    def url(self, name: str, **_: object) -> str:
        """`static_url()` of templates. A name that is not ours comes back without a hash."""
        return self._urls.get(name) or f"{self._prefix}{name}"

    async def file(self, request: Request) -> Response:
        """`<hub>static/{path}`."""
        asset = self._files.get(request.path_params["path"])
        if asset is None:
            raise HTTPException(404)
        return await _respond(request, asset, forever=request.query_params.get("v") == asset.digest[:16])

    async def logo(self, request: Request) -> Response:
        """`<hub>logo`, which single-user servers link to as well."""
        return await _respond(request, self._logo, forever=False)


def _load(path: Path) -> Asset:
    body = path.read_bytes()
    media_type = mimetypes.guess_type(path.name)[0] or "text/plain"
    return Asset(body, media_type, hashlib.sha256(body).hexdigest())


async def _respond(request: Request, asset: Asset, *, forever: bool) -> Response:
    headers = {
        "ETag": f'"{asset.digest[:32]}"',
        "Cache-Control": _YEAR if forever else _REVALIDATE,
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        # An SVG opened as a page of its own must not run anything.
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    }
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=_NOT_MODIFIED, headers=headers)
    body = asset.body
    if asset.media_type in _COMPRESSIBLE and "gzip" in request.headers.get("accept-encoding", ""):
        body = await asset.packed()
        headers["Content-Encoding"] = "gzip"
    return Response(body, media_type=asset.media_type, headers=headers)

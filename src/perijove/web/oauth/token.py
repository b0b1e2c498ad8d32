"""The token endpoint: a program exchanges a code. No cookies, no XSRF; the client's secret is in the body.

A client is told `invalid_grant` only when that is known. When the database does not answer it gets 503, so that
it can try again: single-user servers remember a refusal for minutes.
"""

from dataclasses import dataclass
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from perijove.services import oauth
from perijove.services.context import HubContext
from perijove.web.errors import api_headers
from perijove.web.requests import read_body

MAX_BODY_BYTES = 64 * 1024
MAX_FIELDS = 50


async def exchange(hub: HubContext, request: Request) -> Response:
    try:
        issued = await _issue(hub, await _read_form(request))
    except Refused as refused:
        return _error(hub, refused.status, refused.error, refused.description)
    except oauth.InvalidClient:
        return _error(hub, 401, "invalid_client")
    except oauth.InvalidGrant as error:
        return _error(hub, 400, "invalid_grant", error.message)
    answer = {
        "access_token": issued.access_token,
        "expires_in": issued.expires_in_seconds,
        "token_type": "Bearer",
        "scope": " ".join(issued.scopes),
    }
    return _json(hub, 200, answer)


@dataclass(frozen=True, slots=True)
class Refused(Exception):
    """An OAuth error that needs no look at rows."""

    status: int
    error: str
    description: str = ""


async def _read_form(request: Request) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await read_body(request, MAX_BODY_BYTES)
    if kind not in {"", "application/x-www-form-urlencoded"}:
        raise Refused(400, "invalid_request", "A form (application/x-www-form-urlencoded) is needed.")
    try:
        fields = parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise Refused(400, "invalid_request", "The form could not be read.") from error
    form = dict(fields)
    if len(form) != len(fields):
        raise Refused(400, "invalid_request", "A parameter is given twice.")
    return form


async def _issue(hub: HubContext, form: dict[str, str]) -> oauth.Issued:
    client = await oauth.check_client(hub, form.get("client_id", ""), form.get("client_secret", ""))
    grant_type = form.get("grant_type", "")
    if grant_type != "authorization_code":
        raise Refused(400, "unsupported_grant_type" if grant_type else "invalid_request")
    if not form.get("code"):
        raise Refused(400, "invalid_request", "Missing code parameter.")
    return await oauth.exchange(
        hub,
        client,
        code=form["code"],
        # A client has one address: to leave it out says that one, here as in the request before.
        redirect_uri=form.get("redirect_uri") or client.redirect_uri,
        verifier=form.get("code_verifier", ""),
    )


def _error(hub: HubContext, status: int, error: str, description: str = "") -> Response:
    answer = {"error": error}
    if description:
        answer["error_description"] = description
    return _json(hub, status, answer)


def _json(hub: HubContext, status: int, answer: dict[str, object] | dict[str, str]) -> Response:
    headers = {**api_headers(hub), "Cache-Control": "no-store", "Pragma": "no-cache"}
    return Response(msgspec.json.encode(answer), status, headers, media_type="application/json")

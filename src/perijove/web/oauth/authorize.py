"""The authorize endpoint: may this browser's user go on to that server or service, and with which scopes?

What is wrong with the client is told to the person here (400); everything else is told to the client, by a
redirect to its registered address, never to another.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from perijove.domain.errors import Forbidden, HubError, Invalid
from perijove.domain.scopes import parse
from perijove.services import login as logins
from perijove.services import oauth
from perijove.services.context import HubContext
from perijove.services.identity import Identity, allows
from perijove.services.oauth import IDENTIFY, Client
from perijove.web import cookies, xsrf
from perijove.web.identity import identify
from perijove.web.requests import MAX_FORM_BYTES, read_body

Render = Callable[..., Awaitable[Response]]

MAX_FIELDS = 1200
# Challenges are 43 characters for S256, 43 to 128 plain.
MAX_CHALLENGE = 128


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    """An OAuth error for the client."""

    error: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked authorization request."""

    client: Client
    redirect_uri: str
    state: str | None
    scopes: tuple[str, ...] = field(default=())
    challenge: str = ""
    challenge_method: str = ""


class Authorize:
    def __init__(self, hub: HubContext, render: Render) -> None:
        self.hub = hub
        self.render = render

    async def show(self, request: Request) -> Response:
        """GET: redirect with a code at once, or ask the person first."""
        asked, refused = await self._read(request)
        if refused is not None:
            return self._refuse(asked, refused)
        user = await self._user(request)
        if user is None:
            return self._log_in(request)
        await self._require_access(user, asked.client)
        granted = await oauth.grantable(self.hub, user, asked.client, asked.scopes)
        if await self._without_asking(user, asked.client, granted):
            return await self._allow(request, user, asked, granted)
        return await self._ask(request, user, asked, granted)

    async def confirm(self, request: Request) -> Response:
        """POST of the confirmation: the scopes left in the form, cut to what may be granted."""
        form = await _form(request)
        user = await self._user(request)
        if user is None:
            return self._log_in(request)
        tokens = [value for name, value in form if name == "_xsrf"]
        xsrf.check(self.hub, request, tokens[-1] if tokens else request.query_params.get("_xsrf"))
        asked, refused = await self._read(request)
        if refused is not None:
            return self._refuse(asked, refused)
        await self._require_access(user, asked.client)
        chosen = [value for name, value in form if name == "scopes"]
        # Nothing chosen: to know who it is, and that is all.
        if not chosen:
            return await self._allow(request, user, asked, IDENTIFY)
        granted = await oauth.grantable(self.hub, user, asked.client, asked.scopes)
        return await self._allow(
            request, user, asked, [scope for scope in granted if scope in chosen or scope in IDENTIFY]
        )

    # -- steps

    async def _user(self, request: Request) -> Identity | None:
        """By cookie only: a token is no person at a browser."""
        identity = await identify(self.hub, request, page=True)
        if identity is None or identity.kind != "user" or identity.session_id is None:
            return None
        return identity

    def _log_in(self, request: Request) -> Response:
        back = f"{request.url.path}?{request.url.query}"
        url = logins.login_url(self.hub, next_url=back)
        authenticator = self.hub.authenticator
        if authenticator.auto_login_oauth2_authorize and not authenticator.auto_login:
            own = authenticator.login_url(self.hub.hub_prefix)
            url = f"{own}{'&' if '?' in own else '?'}{urlencode({'next': back})}"
        return _redirect(url)

    async def _read(self, request: Request) -> tuple[Asked, Refusal | None]:
        """The request, and what is wrong with it if the client is to be told. Raises `Invalid` for the person."""
        query = _once(request)
        identifier = query.get("client_id", "")
        client = await oauth.get_client(self.hub, identifier) if identifier else None
        if client is None:
            raise Invalid("Unknown OAuth client. The server or service that sent you here may have been stopped.")
        redirect_uri = query.get("redirect_uri") or client.redirect_uri
        if redirect_uri != client.redirect_uri:
            raise Invalid("The OAuth client asks to be answered at an address that is not its own.")
        asked = Asked(client, redirect_uri, query.get("state"))
        try:
            return self._checked(asked, query), None
        except Refusal as refusal:
            return asked, refusal

    def _checked(self, asked: Asked, query: dict[str, str]) -> Asked:
        if "response_type" not in query:
            raise Refusal("invalid_request", "Missing response_type parameter.")
        if query["response_type"] != "code":
            raise Refusal("unsupported_response_type")
        challenge, method = query.get("code_challenge", ""), query.get("code_challenge_method", "")
        if not challenge and (method or self.hub.options.oauth_require_pkce):
            raise Refusal("invalid_request", "Code challenge required.")
        if challenge and (method or "plain") not in {"S256", "plain"}:
            raise Refusal("invalid_request", "Transform algorithm not supported.")
        if len(challenge) > MAX_CHALLENGE:
            raise Refusal("invalid_request", "Code challenge too long.")
        return Asked(
            asked.client,
            asked.redirect_uri,
            asked.state,
            self._scopes(asked.client, query.get("scope", "")),
            challenge,
            (method or "plain") if challenge else "",
        )

    def _scopes(self, client: Client, text: str) -> tuple[str, ...]:
        """`identify` is what clients before scopes asked for; nothing asked means all that is allowed."""
        wanted = [scope for scope in text.split() if scope != "identify"]
        for scope in wanted:
            try:
                self.hub.identities.catalogue.check(scope)
            except Invalid as error:
                raise Refusal("invalid_scope", error.message) from error
        return tuple(wanted or client.allowed_scopes)

    async def _require_access(self, user: Identity, client: Client) -> None:
        if not client.access_scope:
            raise HubError("OAuth configuration error: this client belongs to no server and no service.")
        if not await allows(self.hub, user, client.access_scope):
            raise Forbidden(f"You do not have permission to access {self._described(client)}")

    def _described(self, client: Client) -> str:
        if client.server_id is None:
            return f"Service {client.service_name}"
        return f"Server at {self.hub.addresses.server_url(client.user_name, client.server_name)}"

    async def _without_asking(self, user: Identity, client: Client, granted: Sequence[str]) -> bool:
        """One's own servers, trusted services, and what was agreed to before."""
        if client.server_id is not None and client.user_name == user.name:
            return True
        return client.no_confirm or await oauth.has_consented(self.hub, user, client, granted)

    async def _allow(self, request: Request, user: Identity, asked: Asked, scopes: Sequence[str]) -> Response:
        carrier = Response()
        mark = cookies.ensure_browser_session(self.hub, request, carrier)
        code = await oauth.issue_code(
            self.hub,
            user,
            asked.client,
            scopes=scopes,
            redirect_uri=asked.redirect_uri,
            browser_session=user.browser_session or mark,
            challenge=asked.challenge,
            challenge_method=asked.challenge_method,
        )
        response = _redirect(_with_query(asked.redirect_uri, code=code, state=asked.state))
        for header in carrier.headers.getlist("set-cookie"):
            cookies.add(response, header)
        return response

    def _refuse(self, asked: Asked, refusal: Refusal) -> Response:
        return _redirect(
            _with_query(
                asked.redirect_uri,
                error=refusal.error,
                error_description=refusal.description or None,
                state=asked.state,
            )
        )

    async def _ask(self, request: Request, user: Identity, asked: Asked, granted: Sequence[str]) -> Response:
        client = asked.client
        response = await self.render(
            request,
            "oauth.html",
            oauth_client={
                "identifier": client.id,
                "description": client.description or self._described(client),
                "redirect_uri": asked.redirect_uri,
                # On the hub's own host or one below it, so no third party.
                "own": asked.redirect_uri.startswith("/")
                or self.hub.addresses.is_elsewhere(urlsplit(asked.redirect_uri).netloc),
            },
            redirect_host=urlsplit(asked.redirect_uri).netloc,
            form_action=f"{request.url.path}?{request.url.query}",
            allowed_scopes=list(granted),
            scope_descriptions=[self._description(scope, user) for scope in granted if scope not in IDENTIFY],
            role_names=[],
        )
        response.headers["Cache-Control"] = "no-store"
        return response

    def _description(self, text: str, user: Identity) -> dict[str, Any]:
        scope = parse(text)
        description = self.hub.identities.catalogue.describe(scope.base)
        shown = f"{scope.kind} {scope.value}" if scope.value else ("yourself" if scope.kind == "user" else scope.kind)
        return {"scope": text, "description": description, "filter": shown.replace(f"user {user.name}", "yourself")}


def _once(request: Request) -> dict[str, str]:
    """The query, in which OAuth forbids that anything is said twice. Raises `Invalid`."""
    pairs = request.query_params.multi_items()
    query = dict(pairs)
    names = [name for name, _ in pairs]
    for name in ("client_id", "redirect_uri", "response_type", "state", "scope", "code_challenge"):
        if names.count(name) > 1:
            raise Invalid(f"The parameter {name} is given twice.")
    return query


async def _form(request: Request) -> list[tuple[str, str]]:
    body = await read_body(request, MAX_FORM_BYTES)
    try:
        return parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise Invalid("The form could not be read.") from error


def _with_query(url: str, **parameters: str | None) -> str:
    parts = urlsplit(url)
    query = [*parse_qsl(parts.query, keep_blank_values=True), *((k, v) for k, v in parameters.items() if v is not None)]
    return urlunsplit(parts._replace(query=urlencode(query)))


def _redirect(url: str) -> Response:
    return RedirectResponse(url, HTTPStatus.FOUND, headers={"Cache-Control": "no-store"})

"""What every page handler works with: who asks, what templates get to see, and the response around the HTML."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from perijove.domain import names
from perijove.domain.errors import HubError, Invalid, NotFound
from perijove.lib.log import get_logger
from perijove.services import login as logins
from perijove.services.context import HubContext
from perijove.services.hook_user import GroupName
from perijove.services.identity import Identity, allows
from perijove.web import xsrf
from perijove.web.identity import identify
from perijove.web.login import next_url
from perijove.web.pages.assets import Assets
from perijove.web.pages.policy import Policy
from perijove.web.pages.render import Templates

log = get_logger(__name__)
Action = TypeVar("Action")

MAX_FIELDS = 2000
MAX_FILES = 50
MAX_FIELD_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class PageUser:
    """`user` of templates."""

    name: str
    admin: bool
    groups: tuple[GroupName, ...]
    url: str
    escaped_name: str


@dataclass(frozen=True, slots=True)
class NavService:
    """A link of the navigation bar."""

    name: str
    prefix: str


class LoginNeeded(Exception):
    """Nobody is logged in, or not as a user."""


@dataclass(frozen=True)
class Pages:
    """The hub as page handlers see it. One per process: templates and assets are read when it is made."""

    hub: HubContext
    assets: Assets = field(init=False)
    templates: Templates = field(init=False)
    policy: Policy = field(init=False)
    # Rendered login forms, see `login.py`.
    login_forms: dict[tuple[str, bool], str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        options = self.hub.options
        assets = Assets(f"{self.prefix}static/", logo_file=options.logo_file)
        templates = Templates(
            options,
            assets,
            now=self.hub.clock.now,
            logout_url=self.hub.authenticator.logout_url(self.prefix),
            version=self.hub.version,
        )
        policy = Policy(
            report_uri=f"{self.prefix}security/csp-report",
            headers=options.headers,
            custom_templates=bool(options.template_paths),
        )
        object.__setattr__(self, "assets", assets)
        object.__setattr__(self, "templates", templates)
        object.__setattr__(self, "policy", policy)

    @property
    def prefix(self) -> str:
        """`/hub/` below the base URL."""
        return self.hub.hub_prefix

    # -- who asks

    async def visitor(self, request: Request) -> Identity | None:
        return await identify(self.hub, request, page=True)

    async def user(self, request: Request) -> Identity:
        """The user who is logged in with this browser. Raises `LoginNeeded`.

        A token does not count, however wide: forms would let the holder of a narrow one do (and, on the
        token page, become) whatever its owner may.
        """
        identity = await self.visitor(request)
        if identity is None or identity.kind != "user" or identity.session_id is None:
            raise LoginNeeded
        return identity

    async def may(self, identity: Identity, scope: str) -> bool:
        return await allows(self.hub, identity, scope)

    async def require_server(self, identity: Identity, scope: str, user: str, name: str) -> None:
        """Raises `NotFound`: whether a server exists is told to nobody who may not act on it."""
        if not await self.may(identity, f"{scope}!server={names.full_name(user, name)}"):
            raise NotFound("No such server, or not yours to use.")

    # -- what was sent

    async def form(self, request: Request) -> FormData:
        """The form of a POST by somebody logged in, its XSRF proof checked. Raises `Forbidden`, `Invalid`."""
        form = await read_form(request)
        token = form.get("_xsrf")
        xsrf.check(self.hub, request, token if isinstance(token, str) else request.query_params.get("_xsrf"))
        return form

    def next(self, request: Request, default: str = "") -> str:
        return next_url(self.hub, request, default=default)

    # -- what is answered

    def redirect(self, path: str, *, status: int = HTTPStatus.FOUND) -> Response:
        """To a path of the hub's, or to a server or service wherever its host is."""
        return RedirectResponse(
            self.hub.addresses.located(path), status_code=status, headers={"Cache-Control": "no-store"}
        )

    def login_redirect(self, request: Request) -> Response:
        """To the login page and back here. Only what a GET shows can be come back to."""
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        back = path if request.method in {"GET", "HEAD"} else f"{self.prefix}home"
        return self.redirect(logins.login_url(self.hub, next_url=back))

    async def render(
        self,
        request: Request,
        template: str,
        *,
        status: int = HTTPStatus.OK,
        foreign: Iterable[str] = (),
        headers: dict[str, str] | None = None,
        **namespace: Any,
    ) -> Response:
        """One page. `foreign`: markup in it that is not from our templates, which may need a laxer policy."""
        inline = self.policy.needs_inline([*foreign, *self._announcements(template)])
        namespace = await self.namespace(request) | {"compat": inline} | namespace
        body = self.templates.render(template, namespace)
        return self.respond(request, body, status=status, headers=self.headers(inline=inline) | (headers or {}))

    def respond(self, request: Request, body: str, *, status: int = HTTPStatus.OK, headers: dict[str, str]) -> Response:
        """A rendered page with what every page has around it."""
        response = HTMLResponse(body, status_code=status, headers=headers)
        xsrf.set_cookie(self.hub, request, response)
        return response

    def headers(self, *, inline: bool = False) -> dict[str, str]:
        return {
            "Content-Security-Policy": self.policy(inline=inline),
            "Cache-Control": "no-store",
            # A page of a user's server, of the same origin, must not keep a hold on the window it opens.
            "Cross-Origin-Opener-Policy": "noopener-allow-popups",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
        }

    async def namespace(self, request: Request) -> dict[str, Any]:
        """What every template sees of this request. A hub in trouble still renders: as for nobody."""
        try:
            identity = await self.visitor(request)
        except HubError as error:
            log.warning("page rendered without its visitor", error=str(error))
            identity = None
        if identity is None or identity.kind != "user":
            return {"xsrf": xsrf.token_for(self.hub, request)}
        return {
            "xsrf": xsrf.token_for(self.hub, request),
            "user": self.page_user(identity),
            "parsed_scopes": identity.scopes,
            "services": self.services(identity),
        }

    def page_user(self, identity: Identity) -> PageUser:
        return PageUser(
            name=identity.name,
            admin=identity.admin,
            groups=tuple(map(GroupName, identity.groups)),
            url=self.hub.addresses.server_url(identity.name),
            escaped_name=names.escape(identity.name),
        )

    def services(self, identity: Identity) -> list[NavService]:
        """Configured services with a URL that this user may open."""
        return [
            NavService(service.name, self.hub.addresses.service_url(service.name))
            for service in self.hub.options.services
            if service.display and service.url and f"access:services!service={service.name}" in identity.scopes
        ]

    def _announcements(self, template: str) -> list[str]:
        names_ = ("announcement", f"announcement_{template.removesuffix('.html')}")
        return [value for value in map(self.templates.variable, names_) if isinstance(value, str)]


async def read_form(request: Request) -> FormData:
    """Fields and files of a form, with limits. Raises `Invalid` for what cannot be read."""
    try:
        return await request.form(max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES)
    except HTTPException as error:
        raise Invalid(f"The form could not be read: {error.detail}") from error


def text(form: FormData, field_name: str, default: str = "") -> str:
    """A text field; a file sent in its place counts as nothing."""
    value = form.get(field_name)
    return value if isinstance(value, str) else default


def names_in(form: FormData, field_name: str) -> list[str]:
    """Each once. Names may have spaces, so they are on lines of their own or between commas."""
    found = (name.strip() for name in re.split(r"[\n,]", text(form, field_name)))
    return list(dict.fromkeys(filter(None, found)))


def chosen(actions: Mapping[str, Action], form: FormData) -> Action:
    """What the field `action` of a form with several buttons says. Raises `Invalid`."""
    action = actions.get(text(form, "action"))
    if action is None:
        raise Invalid("Unknown action.", field="action")
    return action

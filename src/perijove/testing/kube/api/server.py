"""The API server behind its sockets.

Of what there is, kmock (PyPI) comes nearest, and was tried first: its emulator merges JSON without resource versions,
conflicts, apply or roles, which is all that this server is for, so it carries nothing here; schemas and JSON Patch
come from kept packages (kubernetes-validate, jsonpatch).
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web

from perijove.testing.kube.api import discovery
from perijove.testing.kube.api.deletion import Deletion
from perijove.testing.kube.api.dispatch import Dispatch, answer
from perijove.testing.kube.api.faults import Dropped, Faults
from perijove.testing.kube.api.identity import ADMIN, Tokens, User
from perijove.testing.kube.api.listing import Lists
from perijove.testing.kube.api.objects import Objects
from perijove.testing.kube.api.rbac import Authorizer
from perijove.testing.kube.api.request import RequestInfo, understand
from perijove.testing.kube.api.requestlog import LoggedRequest, RequestLog
from perijove.testing.kube.api.store import Store
from perijove.testing.kube.api.subresources import Subresources
from perijove.testing.kube.api.watching import Watches
from perijove.testing.kube.objects import failures
from perijove.testing.kube.objects.resources import Object, Registry

_LARGEST_BODY = 3 * 1024 * 1024
_SHUTDOWN_SECONDS = 0.01


@dataclass
class ApiServer:
    """Start it, point clients at `url`, and look at `log`, `faults`, `watches` and `objects`."""

    store: Store = field(default_factory=Store)
    registry: Registry = field(default_factory=Registry)
    tokens: Tokens = field(default_factory=Tokens)
    faults: Faults = field(default_factory=Faults)
    log: RequestLog = field(default_factory=RequestLog)
    host: str = "127.0.0.1"
    port: int = 0
    url: str = ""
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        self.authorizer = Authorizer(self.store, self.registry)
        self.objects = Objects(self.store, self.registry, self.authorizer)
        self.deletion = Deletion(self.objects)
        self.watches = Watches(self.store)
        subresources = Subresources(self.objects, self.deletion, self.tokens)
        self.dispatch = Dispatch(self.objects, self.deletion, Lists(self.store), self.watches, subresources)
        self.admin_token = self.tokens.mint(ADMIN)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """May be called again after `stop`, on the same port."""
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_SECONDS, handler_cancellation=True
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port, ssl_context=self.tls, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]
        self.url = f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    async def stop(self) -> None:
        """Breaks everything under way; objects are kept."""
        if self._runner is not None:
            self.watches.disconnect()
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        info = understand(request.method, request.path, _query(request))
        agent = request.headers.get("User-Agent", "")
        entry = self.log.add(LoggedRequest(info, request.method, "", agent))
        try:
            response = await self._answer(request, info, agent, entry)
        except failures.ApiFailure as failure:
            response = answer(failure.body(), failure.code, failure.headers)
        except Dropped:
            _break(request)
            raise
        entry.status = response.status
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            entry.sent_bytes = len(response.body)
        return response

    async def _answer(
        self, request: web.Request, info: RequestInfo, agent: str, entry: LoggedRequest
    ) -> web.StreamResponse:
        late = await self.faults.strike(info, agent)
        user = self.tokens.user(request.headers.get("Authorization", ""))
        entry.user = user.name
        response = await self._permitted(request, info, user, entry)
        if late is not None and late.drop_answer:
            raise Dropped
        return response

    async def _permitted(
        self, request: web.Request, info: RequestInfo, user: User, entry: LoggedRequest
    ) -> web.StreamResponse:
        if not info.is_resource:
            self.authorizer.check(user, info)
            return self._document(request)
        resource = self.registry.find(info.group, info.version, info.plural)
        if resource is None:
            raise failures.no_such_path()
        if info.verb not in resource.verbs:
            raise failures.method_not_supported(info.verb)
        self.authorizer.check(user, info)
        return await self.dispatch.serve(request, resource, info, user, entry)

    def _document(self, request: web.Request) -> web.StreamResponse:
        parts = [part for part in request.path.split("/") if part]
        if request.path in ("/healthz", "/livez", "/readyz"):
            return web.Response(text="ok")
        if (body := self._discovered(parts, request.host)) is None:
            raise failures.no_such_path()
        return answer(body)

    def _discovered(self, parts: list[str], host: str) -> Object | None:
        body: Object | None = None
        match parts:
            case ["version"]:
                body = discovery.version()
            case ["api"]:
                body = discovery.api_versions(host)
            case ["apis"]:
                body = discovery.groups(self.registry)
            case ["api", version]:
                body = discovery.resources(self.registry, "", version)
            case ["apis", group]:
                body = discovery.group(self.registry, group)
            case ["apis", group, version]:
                body = discovery.resources(self.registry, group, version)
            case ["openapi", *rest]:
                body = discovery.openapi(self.registry, rest)
        return body


def _query(request: web.Request) -> Mapping[str, str]:
    return dict(request.query)


def _break(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.close()

"""Services: those of the configuration to read, others to make and delete too."""

from dataclasses import fields
from typing import Any

import msgspec
from starlette.responses import Response

from perijove.domain.errors import Invalid
from perijove.services import registry, runtime_services
from perijove.services.runtime_services import NewService
from perijove.services.service_health import health_of_all
from perijove.web.api.endpoint import Call, Endpoint, Operation
from perijove.web.errors import json_error
from perijove.web.models import service_model
from perijove.web.requests import read_json


class ServiceRequest(msgspec.Struct, forbid_unknown_fields=True):
    name: str | None = None
    url: str | None = None
    api_token: str | None = None
    apiToken: str | None = None  # noqa: N815 - as z2jh writes it
    admin: bool = False
    info: dict[str, Any] | None = None
    display: bool = True
    oauth_client_id: str | None = None
    oauth_redirect_uri: str | None = None
    oauth_no_confirm: bool = False
    oauth_client_allowed_scopes: list[str] | None = None
    # Of managed services, which only the configuration has.
    command: list[str] | str | None = None
    cwd: str | None = None
    environment: dict[str, str] | None = None
    user: str | None = None


_TEXTS = {f.name for f in fields(NewService)} & {"url", "oauth_client_id", "oauth_redirect_uri"}


async def list_services(call: Call) -> Response:
    grant = call.identity.scopes.grant("list:services")
    assert grant is not None
    found = await registry.list_services(call.hub, names=None if grant.everything else grant.service)
    health = await health_of_all(call.hub)
    return call.json(
        {service.name: service_model(call.hub, call.identity, service, health.get(service.name)) for service in found}
    )


async def read_service(call: Call) -> Response:
    service = await registry.get_service(call.hub, call.path["service"])
    health = await health_of_all(call.hub)
    return call.json(service_model(call.hub, call.identity, service, health.get(service.name)))


async def create_service(call: Call) -> Response:
    """The token is in the answer when none was given: it is shown once."""
    name = call.path["service"]
    given = await read_json(call.request, ServiceRequest)
    if given.command:
        raise Invalid(f"Can not create managed service {name} at runtime", field="command")
    if given.name is not None and given.name != name:
        raise Invalid("The name in the body is another than in the path", field="name")
    wanted = NewService(
        name=name,
        api_token=given.api_token or given.apiToken or "",
        admin=given.admin,
        info=given.info or {},
        display=given.display,
        oauth_no_confirm=given.oauth_no_confirm,
        oauth_client_allowed_scopes=given.oauth_client_allowed_scopes or (),
        **{key: getattr(given, key) or "" for key in _TEXTS},
    )
    service, token = await runtime_services.create_service(call.hub, wanted, by=call.identity, actor=call.actor)
    model = service_model(call.hub, call.identity, service)
    return call.json({**model, "api_token": token} if token else model, 201)


async def delete_service(call: Call) -> Response:
    name = call.path["service"]
    service = await registry.get_service(call.hub, name)
    if service.from_config:
        return json_error(call.hub, 405, f"Service {name} is not modifiable at runtime")
    await runtime_services.delete_service(call.hub, name, by=call.identity, actor=call.actor)
    return call.empty()


ENDPOINTS = [
    Endpoint("/services", GET=Operation(list_services, "list:services", listing=True)),
    Endpoint(
        "/services/{service}",
        GET=Operation(
            read_service, "read:services!service", "read:services:name!service", "read:roles:services!service"
        ),
        POST=Operation(create_service, "admin:services!service"),
        DELETE=Operation(delete_service, "admin:services!service"),
    ),
]

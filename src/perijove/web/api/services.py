"""Services: read. Creating them through the API comes with the rest of their life."""

from starlette.responses import Response

from perijove.services import registry
from perijove.web.api.endpoint import Call, Endpoint, Operation
from perijove.web.models import service_model


async def list_services(call: Call) -> Response:
    grant = call.identity.scopes.grant("list:services")
    assert grant is not None
    found = await registry.list_services(call.hub, names=None if grant.everything else grant.service)
    return call.json({service.name: service_model(call.hub, call.identity, service) for service in found})


async def read_service(call: Call) -> Response:
    service = await registry.get_service(call.hub, call.path["service"])
    return call.json(service_model(call.hub, call.identity, service))


ENDPOINTS = [
    Endpoint("/services", GET=Operation(list_services, "list:services", listing=True)),
    Endpoint(
        "/services/{service}",
        GET=Operation(
            read_service, "read:services!service", "read:services:name!service", "read:roles:services!service"
        ),
    ),
]

"""The three kinds of patch a client may send, besides server-side apply."""

from typing import Any

import jsonpatch

from perijove.testing.kube.objects import schema as schemas
from perijove.testing.kube.objects.failures import ApiFailure, bad_request
from perijove.testing.kube.objects.resources import Object, Resource

JSON = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = ("application/apply-patch+yaml", "application/apply-patch+json", "application/apply-patch+cbor")

_DIRECTIVE = "$patch"
_DELETE_MEMBERS = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"
_RETAIN = "$retainKeys"


def patched(content_type: str, resource: Resource, live: Object, patch: Any) -> Object:
    """A new object. Raises 400, 415 or 422 as the server does."""
    if content_type == JSON:
        return _json(live, patch)
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: the patch is not an object")
    if content_type == MERGE:
        result: Object = merge(live, patch)
        return result
    if content_type == STRATEGIC:
        schema = schemas.of_resource(resource)
        if not resource.definition or schema is None:
            raise _unsupported(content_type, (JSON, MERGE, *APPLY[:1]))
        return _strategic(schema, live, patch)
    raise _unsupported(content_type, (JSON, MERGE, STRATEGIC, *APPLY[:1]))


def _unsupported(content_type: str, known: tuple[str, ...]) -> ApiFailure:
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(known)}"
    return ApiFailure(415, "UnsupportedMediaType", message, details={"given": content_type})


def _json(live: Object, patch: Any) -> Object:
    try:
        result: Object = jsonpatch.JsonPatch(patch).apply(live)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError) as error:
        message = f"the server rejected our request due to an error in our request: {error}"
        raise ApiFailure(422, "Invalid", message) from error
    return result


def merge(live: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(live) if isinstance(live, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def _strategic(schema: schemas.Schema | None, live: Object, patch: Object) -> Object:
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != _DIRECTIVE}
    if directive == "delete":
        return {}
    result = dict(live)
    if (kept := patch.get(_RETAIN)) is not None:
        result = {key: value for key, value in result.items() if key in kept}
    for key, value in patch.items():
        if key in (_DIRECTIVE, _RETAIN) or key.startswith(_ORDER):
            continue
        if key.startswith(_DELETE_MEMBERS):
            name = key.removeprefix(_DELETE_MEMBERS)
            result[name] = [member for member in result.get(name) or () if member not in value]
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = _strategic_value(schemas.child(schema, key), result.get(key), value)
    return result


def _strategic_value(schema: schemas.Schema | None, live: Any, patch: Any) -> Any:
    if isinstance(patch, dict):
        if "replace" in schemas.patch_strategy(schema).split(","):
            return patch
        return _strategic(schema, live if isinstance(live, dict) else {}, patch)
    if isinstance(patch, list) and "merge" in schemas.patch_strategy(schema).split(","):
        present = live if isinstance(live, list) else []
        if key := schemas.patch_key(schema):
            return _strategic_items(schemas.items(schema), key, present, patch)
        return present + [member for member in patch if member not in present]
    return patch


def _strategic_items(schema: schemas.Schema | None, key: str, live: list[Object], patch: list[Object]) -> list[Object]:
    if any(item == {_DIRECTIVE: "replace"} for item in patch):
        return [item for item in patch if _DIRECTIVE not in item]
    result = list(live)
    for item in patch:
        if key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        place = next((index for index, one in enumerate(result) if one.get(key) == item[key]), None)
        if item.get(_DIRECTIVE) == "delete":
            if place is not None:
                del result[place]
        elif place is None:
            result.append(_strategic(schema, {}, item))
        else:
            result[place] = _strategic(schema, result[place], item)
    return result

"""`imagePullSecret`: a Secret for pulling images, made from what the configuration says."""

import base64
import json
from typing import Final

from perijove.deploy.render.scope import Manifest, Scope, present

_DOCKER_HUB: Final = "https://index.docker.io/v1/"


def manifests(scope: Scope) -> list[Manifest]:
    section = scope.settings.image_pull_secret
    if not section.create:
        return []
    for name, value in (("username", section.username), ("password", section.password)):
        if not value:
            path = ("imagePullSecret", name)
            scope.problem(path, f"imagePullSecret is to be made, but has no {name}", f"add `{name}:`")
    login = f"{section.username}:{section.password}"
    account = {
        "username": section.username,
        "password": section.password,
        **present(email=section.email),
        "auth": base64.b64encode(login.encode()).decode(),
    }
    content = json.dumps({"auths": {section.registry or _DOCKER_HUB: account}}, ensure_ascii=False)
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": scope.metadata(scope.names["image-pull-secret"], "image-pull-secret"),
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": base64.b64encode(content.encode()).decode()},
        }
    ]

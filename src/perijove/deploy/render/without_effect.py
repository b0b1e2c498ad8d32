"""Keys of z2jh that make something there and nothing here, and why; a file that sets one gets a note.

What a key would have done is said with what does it here, so that nobody waits for an effect.
"""

from typing import Final

from perijove.config.problems import KeyPath, NoteKind
from perijove.config.rewrite import is_empty
from perijove.config.schema.proxy import Traefik
from perijove.config.validate import section_fields
from perijove.deploy.render.scope import Scope

_OWN_IMAGE: Final = "Perijove's own image runs; to add packages, build on it and name that in `perijove.image`"
_NO_TRAEFIK: Final = "there is no traefik: the proxies end TLS themselves, and `proxy.chp` is about them"
_OWN_PROXY: Final = "configurable-http-proxy does not run here, and Perijove's proxy has no such setting"

# Below `proxy.traefik`.
_HEEDED: Final = ("hsts",)
_STOCK_IMAGES: Final = ("jupyterhub/k8s-hub", "jupyterhub/configurable-http-proxy")

_REASONS: Final[dict[str, str]] = {
    "hub.image.name": _OWN_IMAGE,
    "hub.image.tag": _OWN_IMAGE,
    "proxy.chp.image.name": _OWN_IMAGE,
    "proxy.chp.image.tag": _OWN_IMAGE,
    "proxy.chp.command": _OWN_PROXY,
    "proxy.chp.extraCommandLineFlags": _OWN_PROXY,
    "proxy.chp.defaultTarget": _OWN_PROXY,
    "proxy.chp.errorTarget": _OWN_PROXY,
    **{f"proxy.traefik.{name}": _NO_TRAEFIK for name in section_fields(Traefik) if name not in _HEEDED},
    "proxy.secretSync": "there is nothing to synchronise: all proxies read one Secret",
    "enabled": "it is for charts that contain this one",
    "global": "it is for Helm's own messages",
}


def notes(scope: Scope) -> None:
    said: set[KeyPath] = set()
    for text, reason in _REASONS.items():
        path: KeyPath = tuple(text.split("."))
        node = scope.given.at(path)
        # Name and tag of one image are one thing to say, and so is all of traefik.
        topic = path[:-1] if path[-1] in ("name", "tag") or path[:2] == ("proxy", "traefik") else path
        if node is None or is_empty(node) or topic in said:
            continue
        said.add(topic)
        # Copies of the chart's defaults have its images; nobody waits for an effect of that.
        if not str(node.value).endswith(_STOCK_IMAGES):
            scope.note(path, f"has no effect: {reason}", NoteKind.UNUSED)

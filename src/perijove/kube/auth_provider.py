"""Users of a kubeconfig with an `auth-provider` (OpenID Connect, Google of old), which kubernetes-asyncio can refresh.

Imported when such a user is met: it takes half a second, and is optional.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from perijove.kube.kubeconfig import Unusable

_INSTALL: Final = "it takes the package kubernetes-asyncio: `pip install 'perijove[kubernetes]'`"


async def proof(files: str, context: str | None) -> Callable[[bool], Awaitable[str]]:
    """The value of the header `Authorization`. Raises `Unusable`."""
    try:
        from kubernetes_asyncio import client, config  # noqa: PLC0415 - see above
        from kubernetes_asyncio.config.config_exception import ConfigException  # noqa: PLC0415 - see above
    except ImportError as exc:
        raise Unusable(f"its user has an auth-provider, and {_INSTALL}") from exc

    async def load() -> Any:
        configuration = client.Configuration()
        try:
            await config.load_kube_config(files, context, configuration)
        except (ConfigException, ValueError, LookupError, TypeError, AssertionError) as exc:
            raise Unusable(str(exc)) from exc
        return configuration

    holder = [await load()]

    async def authorization(fresh: bool) -> str:
        if fresh:
            holder[0] = await load()
        return str(await holder[0].get_api_key_with_prefix("BearerToken") or "")

    return authorization

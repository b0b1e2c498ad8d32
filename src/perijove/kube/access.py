"""Where the cluster is, and how to prove who asks: kubeconfig files, a pod's own account, or told outright.

The order is kubectl's: what is named, else `KUBECONFIG` or `~/.kube/config`, else the account of the pod that
this runs in.
"""

import os
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from perijove.kube.errors import ClusterNotFound

if TYPE_CHECKING:
    from kubernetes_asyncio.client import Configuration

_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_HOST_VARIABLE: Final = "KUBERNETES_SERVICE_HOST"
_INSTALL: Final = "Install it with `pip install 'perijove[kubernetes]'`."

# The value of the header `Authorization`, "" for none; with True, newly fetched.
Authorization = Callable[[bool], Awaitable[str]]


@dataclass(frozen=True, kw_only=True)
class Access:
    """How one cluster is reached."""

    url: str
    authorization: Authorization
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    http_proxy: str | None = None
    # The namespace that a context or a pod is about, or "".
    namespace: str = ""
    # Where all this was found, for messages.
    origin: str = ""


def explicit(url: str, token: str = "", *, ca_file: Path | None = None, origin: str = "") -> Access:
    """Told outright."""

    async def authorization(_: bool) -> str:
        return f"Bearer {token}" if token else ""

    tls = _context(str(ca_file) if ca_file else None) if url.startswith("https") else None
    return Access(url=url.rstrip("/"), authorization=authorization, tls=tls, origin=origin or url)


async def find(kubeconfig: Path | None = None, context: str | None = None) -> Access:
    """Raises `ClusterNotFound`, which says where was looked."""
    if kubeconfig is not None:
        return await _from_files(str(kubeconfig), context)
    if files := os.environ.get("KUBECONFIG"):
        return await _from_files(files, context)
    standard = Path.home() / ".kube" / "config"
    # A pod's user may have a home that it may not look into.
    if os.access(standard, os.R_OK) or context is not None:
        return await _from_files(str(standard), context)
    if os.environ.get(_HOST_VARIABLE) and (_ACCOUNT / "token").exists():
        return _from_pod()
    raise ClusterNotFound(
        f"there is no cluster to talk to: no {standard}, KUBECONFIG is not set, and this is no pod",
        remedy="Name a file with --kubeconfig, or get one from whoever runs the cluster.",
    )


async def _from_files(files: str, context: str | None) -> Access:
    client, config, problem = _library()
    if not _any_exists(files):
        raise ClusterNotFound(f"there is no file {files}", remedy="Name another with --kubeconfig.")

    async def load() -> tuple[Any, str]:
        configuration = client.Configuration()
        try:
            loader = await config.load_kube_config(files, context, configuration)
        except (problem, ValueError, LookupError, TypeError, AssertionError, OSError) as exc:
            raise ClusterNotFound(
                f"{files} does not lead to a cluster: {exc}", remedy="`kubectl config view` shows what the file says."
            ) from exc
        current = loader.current_context or {}
        return configuration, str((current.get("context") or {}).get("namespace") or "")

    configuration, namespace = await load()
    holder = [configuration]

    async def authorization(fresh: bool) -> str:
        if fresh:
            holder[0], _ = await load()
        return str(await holder[0].get_api_key_with_prefix("BearerToken") or "")

    words = f"context {context}" if context else "the current context"
    return _access(configuration, authorization, namespace, f"{words} of {files}")


def _any_exists(files: str) -> bool:
    return any(Path(name).exists() for name in files.split(os.pathsep) if name)


def _from_pod() -> Access:
    client, config, problem = _library()
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except problem as exc:
        raise ClusterNotFound(f"this pod's account cannot be used: {exc}") from exc

    async def authorization(_: bool) -> str:
        # Reads the file again every minute: the kubelet renews it.
        return str(await configuration.get_api_key_with_prefix("BearerToken") or "")

    namespace = (_ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
    return _access(configuration, authorization, namespace, f"the account of this pod in {namespace}")


def _access(configuration: "Configuration", authorization: Authorization, namespace: str, origin: str) -> Access:
    url = str(configuration.host)
    tls = None
    if url.startswith("https"):
        tls = _context(configuration.ssl_ca_cert)
        if configuration.cert_file:
            tls.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
        if not configuration.verify_ssl:
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
    return Access(
        url=url.rstrip("/"),
        authorization=authorization,
        tls=tls,
        server_name=configuration.tls_server_name,
        http_proxy=configuration.proxy,
        namespace=namespace,
        origin=origin,
    )


def _context(ca_file: str | None) -> ssl.SSLContext:
    tls = ssl.create_default_context(cafile=ca_file)
    # Python 3.13 asks of certificates what many clusters' own authorities never wrote; kubectl does not ask it.
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return tls


def _library() -> tuple[Any, Any, type[Exception]]:
    """Imported when it is needed: it takes a second, and is optional."""
    try:
        from kubernetes_asyncio import client, config  # noqa: PLC0415 - see above
        from kubernetes_asyncio.config.config_exception import ConfigException  # noqa: PLC0415
    except ImportError as exc:
        raise ClusterNotFound("the package kubernetes-asyncio is not installed", remedy=_INSTALL) from exc
    return client, config, ConfigException

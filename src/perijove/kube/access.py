"""Where the cluster is, and how to prove who asks: kubeconfig files, a pod's own account, or told outright.

The order is kubectl's: what is named, else `KUBECONFIG` or `~/.kube/config`, else the account of the pod that
this runs in.
"""

import base64
import os
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from perijove.kube import auth_provider, exec_plugin
from perijove.kube import kubeconfig as kubeconfig_files
from perijove.kube.errors import ClusterNotFound
from perijove.kube.exec_plugin import Credential
from perijove.kube.kubeconfig import Chosen, Entry

_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_HOST_VARIABLE: Final = "KUBERNETES_SERVICE_HOST"
_PORT_VARIABLE: Final = "KUBERNETES_SERVICE_PORT"

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
    if not _any_exists(files):
        raise ClusterNotFound(f"there is no file {files}", remedy="Name another with --kubeconfig.")
    words = f"context {context}" if context else "the current context"
    try:
        chosen = kubeconfig_files.read(files, context)
        if "auth-provider" in chosen.user.values:
            proof = await auth_provider.proof(files, context)
            return _access(chosen, proof, None, f"{words} of {files}")
        return await _proven(chosen, f"{words} of {files}")
    except (kubeconfig_files.Unusable, OSError, ValueError, LookupError, TypeError) as exc:
        raise ClusterNotFound(
            f"{files} does not lead to a cluster: {exc}", remedy="`kubectl config view` shows what the file says."
        ) from exc


def _any_exists(files: str) -> bool:
    return any(Path(name).expanduser().exists() for name in files.split(os.pathsep) if name)


async def _proven(chosen: Chosen, origin: str) -> Access:
    user = chosen.user
    if user.values.get("as"):
        # To go on with more rights than were asked for would be worse.
        raise kubeconfig_files.Unusable("its user acts `as` another, which is not supported")
    tls = _tls(chosen)
    if "exec" in user.values:
        return _access(chosen, await _of_plugin(chosen, tls), tls, origin)
    if tls is not None and (certificate := user.content("client-certificate")):
        _present(tls, certificate, user.content("client-key"))
    return _access(chosen, _of_user(user), tls, origin)


def _of_user(user: Entry) -> Authorization:
    token_file = user.path("tokenFile")

    async def authorization(_: bool) -> str:
        if token_file is not None:
            # Renewed by whoever wrote it.
            return f"Bearer {token_file.read_text(encoding='utf-8').strip()}"
        if token := user.text("token"):
            return f"Bearer {token}"
        if name := user.text("username"):
            return "Basic " + base64.b64encode(f"{name}:{user.text('password')}".encode()).decode()
        return ""

    return authorization


async def _of_plugin(chosen: Chosen, tls: ssl.SSLContext | None) -> Authorization:
    async def ask() -> Credential:
        credential = await exec_plugin.run(chosen)
        if tls is not None and credential.certificate:
            # Connections made from now on show it.
            _present(tls, credential.certificate, credential.key)
        return credential

    holder = [await ask()]

    async def authorization(fresh: bool) -> str:
        if fresh:
            try:
                holder[0] = await ask()
            except kubeconfig_files.Unusable as exc:
                raise ClusterNotFound(f"the credentials could not be renewed: {exc}") from exc
        return f"Bearer {holder[0].token}" if holder[0].token else ""

    return authorization


def _from_pod() -> Access:
    host, port = os.environ[_HOST_VARIABLE], os.environ.get(_PORT_VARIABLE, "443")
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        tls = _context(str(_ACCOUNT / "ca.crt"))
        namespace = (_ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
    except OSError as exc:
        raise ClusterNotFound(f"this pod's account cannot be used: {exc}") from exc

    async def authorization(_: bool) -> str:
        # Every time: the kubelet renews it, and it is a read from memory.
        return f"Bearer {(_ACCOUNT / 'token').read_text(encoding='utf-8').strip()}"

    origin = f"the account of this pod in {namespace}"
    return Access(url=f"https://{where}", authorization=authorization, tls=tls, namespace=namespace, origin=origin)


def _access(chosen: Chosen, authorization: Authorization, tls: ssl.SSLContext | None, origin: str) -> Access:
    return Access(
        url=chosen.cluster.text("server").rstrip("/"),
        authorization=authorization,
        tls=tls or _tls(chosen),
        server_name=chosen.cluster.text("tls-server-name") or None,
        http_proxy=chosen.cluster.text("proxy-url") or None,
        namespace=chosen.namespace,
        origin=origin,
    )


def _tls(chosen: Chosen) -> ssl.SSLContext | None:
    if not chosen.cluster.text("server").startswith("https"):
        return None
    authority = chosen.cluster.content("certificate-authority").decode()
    tls = _context(authority=authority)
    if chosen.cluster.values.get("insecure-skip-tls-verify"):
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    return tls


def _present(tls: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """OpenSSL takes them from files alone."""
    with tempfile.NamedTemporaryFile(prefix="perijove-") as both:
        both.write(certificate.rstrip() + b"\n" + key)
        both.flush()
        tls.load_cert_chain(both.name)


def _context(ca_file: str | None = None, authority: str = "") -> ssl.SSLContext:
    tls = ssl.create_default_context(cafile=ca_file, cadata=authority or None)
    # Python 3.13 asks of certificates what many clusters' own authorities never wrote; kubectl does not ask it.
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return tls

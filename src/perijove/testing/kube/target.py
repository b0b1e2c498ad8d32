"""What tests of Kubernetes run against: the cluster in this process, or a namespace of a real one.

A test that only asks the API and waits holds on both. One that needs what no real cluster offers (faults on demand,
a request log, evictions by word) asks for `target.fake`, which skips it where there is none, and says why.
"""

import json
import os
import secrets
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from kubernetes_asyncio import client, config

from perijove.testing.kube.cluster import Cluster, run_cluster
from perijove.testing.kube.kubelet.images import Image

REAL_CLUSTER = "PERIJOVE_TEST_KUBECONFIG"
# Read when this is imported: suites rightly take every PERIJOVE_ variable out of their environment before they begin.
_REAL_KUBECONFIG = os.environ.get(REAL_CLUSTER, "")


@dataclass
class Target:
    kubeconfig: Path
    namespace: str
    api: client.ApiClient
    _fake: Cluster | None = None

    @property
    def is_real(self) -> bool:
        return self._fake is None

    @property
    def fake(self) -> Cluster:
        """The cluster's own controls. Skips the test on a real one."""
        if self._fake is None:
            pytest.skip(f"needs controls that no real cluster has, and {REAL_CLUSTER} names one")
        return self._fake

    ApiException = client.ApiException

    @property
    def tls(self) -> ssl.SSLContext | bool:
        """For clients of one's own."""
        authority = self.api.configuration.ssl_ca_cert
        return ssl.create_default_context(cafile=authority) if authority else True

    async def authorization(self) -> str:
        """The header's value."""
        found: str = await self.api.configuration.get_api_key_with_prefix("BearerToken")
        return found

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str = "",
        content_type: str = "application/json",
        **query: str,
    ) -> tuple[int, Any]:
        """Status and decoded answer, past the client library; with a token, as somebody else."""
        headers = {"Authorization": f"Bearer {token}" if token else await self.authorization()}
        if body is not None:
            headers["Content-Type"] = content_type
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self.tls)) as session,
            session.request(
                method,
                f"{self.api.configuration.host}{path}",
                data=None if body is None else json.dumps(body),
                params=query,
                headers=headers,
            ) as response,
        ):
            return response.status, json.loads(await response.read())

    async def token_for(self, account: str) -> str:
        """Of a service account that exists."""
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{account}/token"
        _, answer = await self.request("POST", path, {"spec": {"expirationSeconds": 3600}})
        return str(answer["status"]["token"])

    async def as_account(self, account: str) -> "Target":
        """The same cluster, with a kubeconfig of a service account for what reads one; `api` stays ours."""
        configuration = self.api.configuration
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "test",
                    "cluster": {"server": configuration.host, "certificate-authority": configuration.ssl_ca_cert},
                }
            ],
            "users": [{"name": account, "user": {"token": await self.token_for(account)}}],
            "contexts": [
                {"name": "test", "context": {"cluster": "test", "user": account, "namespace": self.namespace}}
            ],
            "current-context": "test",
        }
        path = self.kubeconfig.with_name(f"{account}-{self.namespace}.json")
        path.touch(mode=0o600)
        # JSON is YAML.
        path.write_text(json.dumps(content), encoding="utf-8")
        return replace(self, kubeconfig=path)

    @property
    def core(self) -> Any:
        return client.CoreV1Api(self.api)

    @property
    def apps(self) -> Any:
        return client.AppsV1Api(self.api)

    @property
    def batch(self) -> Any:
        return client.BatchV1Api(self.api)

    def use_for_kubespawner(self, patch: pytest.MonkeyPatch) -> None:
        """KubeSpawner in this process finds this cluster: it reads its configuration once and for all otherwise."""
        from kubernetes_asyncio.config import kube_config  # noqa: PLC0415 - for those who have it
        from kubespawner.clients import load_config  # noqa: PLC0415 - the same

        patch.setenv("KUBECONFIG", str(self.kubeconfig))
        patch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(self.kubeconfig))
        load_config.cache_clear()


@asynccontextmanager
async def open_target(images: Mapping[str, Image] | None = None) -> AsyncIterator[Target]:
    """A cluster for one test; of a real one, a namespace that is deleted afterwards."""
    if _REAL_KUBECONFIG:
        async with _real(Path(_REAL_KUBECONFIG)) as target:
            yield target
        return
    async with run_cluster(images=images) as cluster:
        kubeconfig = cluster.kubeconfig()
        async with await _connect(kubeconfig) as api:
            yield Target(kubeconfig, cluster.namespace, api, cluster)


@asynccontextmanager
async def _real(kubeconfig: Path) -> AsyncIterator[Target]:
    namespace = f"perijove-test-{secrets.token_hex(4)}"
    async with await _connect(kubeconfig) as api:
        core: Any = client.CoreV1Api(api)
        await core.create_namespace({"metadata": {"name": namespace, "labels": {"perijove.test": "true"}}})
        try:
            yield Target(kubeconfig, namespace, api)
        finally:
            await core.delete_namespace(namespace)


async def _connect(kubeconfig: Path) -> client.ApiClient:
    configuration = client.Configuration()
    await config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
    return client.ApiClient(configuration)

"""The claims of KubeSpawner's users: found whatever they are called, never lost, never another user's.

KubeSpawner looks for a claim of its old naming scheme only where a server's remembered state came along from
JupyterHub's database. A hub that begins with an empty database would give everybody a new, empty volume; so this
looks for all who have nothing remembered. And it believes what it remembers even after somebody deleted it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from kubernetes_asyncio.client import ApiException

from perijove.domain.errors import Conflict
from perijove.domain.ports import Volume
from perijove.plugins.kube_claims import USERNAME, claims_of, label_values, may_be_of, owner_of
from perijove.plugins.kube_life import is_over
from perijove.plugins.kube_reading import Reading

_GONE, _CONFLICT = 404, 409


class ClaimKeeping:
    """Mixed in front of a `KubeSpawner`. What is not defined here is its."""

    def load_state(self: Any, state: dict[str, Any]) -> None:
        super().load_state(state)  # type: ignore[misc]  # KubeSpawner's
        if self._state_kubespawner_version is None:
            # As for a server whose state is of before the scheme changed.
            self._state_kubespawner_version = "unknown"

    async def _start(self: Any) -> Any:
        if self._pvc_exists and self.storage_pvc_ensure:
            # Deleted since: made again, under the name that is remembered.
            self._pvc_exists = await self._check_pvc_exists(self.pvc_name, self.namespace)
        return await super()._start()  # type: ignore[misc]  # KubeSpawner's

    async def _check_pvc_exists(self: Any, pvc_name: str, namespace: str) -> bool:
        if not await super()._check_pvc_exists(pvc_name, namespace):  # type: ignore[misc]  # KubeSpawner's
            return False
        # `a.b` of the old scheme is `a-2eb`, which is also what the current one calls the user `a-2eb`.
        return pvc_name == self.pvc_name or not _anothers(await self._claims.claim(pvc_name), self.user.name)

    async def delete_forever(self: Any) -> None:
        if self.delete_pvc and not self._pvc_exists:
            # Never started by this hub: what KubeSpawner would look for first in a start.
            legacy = self._legacy_name()
            if not await self._check_pvc_exists(self.pvc_name, self.namespace) and await self._check_pvc_exists(
                legacy, self.namespace
            ):
                self.pvc_name = legacy
        await super().delete_forever()  # type: ignore[misc]  # KubeSpawner's

    async def _make_delete_pvc_request(self: Any, pvc_name: str, request_timeout: Any) -> bool:
        """Not of somebody else, as a template without the user's name has it for everybody but the first."""
        claim = await self._claims.claim(pvc_name)
        if _anothers(claim, self.user.name):
            self.log.warning("Not deleting pvc %s: it belongs to %s", pvc_name, owner_of(claim))
            return True
        done: bool = await super()._make_delete_pvc_request(pvc_name, request_timeout)  # type: ignore[misc]  # KubeSpawner's
        return done

    # -- for those who look

    async def volumes_of_user(self: Any, others: Sequence[Any]) -> Sequence[Volume]:
        """Of this server and of the user's other ones, given instances of them."""
        holders, found = await self._holders(), {}
        for namespace in dict.fromkeys(one.namespace for one in (self, *others)):
            servers = [one for one in (self, *others) if one.namespace == namespace]
            for claim in await self._found(Reading(self.api, namespace, self._claims.timeout_seconds), servers):
                found[claim["metadata"]["uid"]] = _volume(claim, servers, holders)
        return sorted(found.values(), key=lambda volume: (volume.namespace, volume.name))

    async def _found(self: Any, reading: Reading, servers: Sequence[Any]) -> list[Mapping[str, Any]]:
        user, names = self.user.name, {one.pvc_name for one in servers} | {one._legacy_name() for one in servers}  # noqa: SLF001 - of this class
        labelled = await reading.claims(f"{USERNAME} in ({','.join(label_values(user))})")
        # Labels of two users may be the same; names that a server remembers or would use are theirs.
        claims = {
            claim["metadata"]["name"]: claim
            for claim in labelled
            if claim["metadata"]["name"] in names or may_be_of(claim, user)
        }
        own = {one.pvc_name for one in servers if self.storage_pvc_ensure or one._pvc_exists}  # noqa: SLF001 - of this class
        for name in sorted(names - claims.keys()):
            claim = await reading.claim(name)
            if claim is not None and (name in own or not _anothers(claim, user)):
                claims[name] = claim
        return list(claims.values())

    async def delete_volume(self: Any, volume: Volume) -> None:
        body = {"preconditions": {"uid": volume.uid}}
        try:
            await self.api.delete_namespaced_persistent_volume_claim(volume.name, volume.namespace, body=body)
        except ApiException as exc:
            if exc.status == _CONFLICT:
                raise Conflict(f"The volume {volume.name} was replaced meanwhile.") from exc
            if exc.status != _GONE:
                raise

    @property
    def _claims(self: Any) -> Reading:
        return Reading(self.api, self.namespace, float(self.k8s_api_request_timeout))

    def _legacy_name(self: Any) -> str:
        return str(self._expand_user_properties(self.pvc_name_template, slug_scheme="escape"))

    async def _holders(self: Any) -> Mapping[tuple[str, str], list[str]]:
        """Pods by the claim that they hold. From the watch that is there anyway: it costs the API server nothing.

        It sees servers only. What else has a volume mounted the cluster itself protects.
        """
        reflector = await self._start_watching_pods()
        holders: dict[tuple[str, str], list[str]] = {}
        for pod in reflector.pods.values():
            phase, metadata = pod.get("status", {}).get("phase", "Unknown"), pod["metadata"]
            for name in claims_of(pod) if not is_over(pod) else ():
                holders.setdefault((metadata["namespace"], name), []).append(f"pod {metadata['name']} ({phase})")
        return holders


def _anothers(claim: Mapping[str, Any] | None, user: str) -> bool:
    owner = owner_of(claim) if claim is not None else None
    return owner is not None and owner[0] != user


def _volume(claim: Mapping[str, Any], servers: Sequence[Any], holders: Mapping[tuple[str, str], list[str]]) -> Volume:
    metadata, spec, status = claim["metadata"], claim.get("spec", {}), claim.get("status", {})
    name, namespace = metadata["name"], metadata["namespace"]
    user = servers[0].user.name
    owner = owner_of(claim)
    used = tuple(one.name for one in servers if one.pvc_name == name)
    if not used and owner is not None and owner[0] == user:
        used = (owner[1],)
    remembered = any(one._pvc_exists and one.pvc_name == name for one in servers)  # noqa: SLF001 - of this class
    return Volume(
        name=name,
        uid=metadata["uid"],
        namespace=namespace,
        servers=used,
        size=str((status.get("capacity") or spec.get("resources", {}).get("requests") or {}).get("storage", "")),
        storage_class=str(spec.get("storageClassName") or ""),
        phase=str(status.get("phase", "")),
        bound_to=str(spec.get("volumeName") or ""),
        created=datetime.fromisoformat(metadata["creationTimestamp"]),
        used_by=tuple(holders.get((namespace, name), ())),
        deleting="deletionTimestamp" in metadata,
        shared=_anothers(claim, user) and not remembered,
    )

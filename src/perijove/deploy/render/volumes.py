"""A pod's volumes and where its main container mounts them.

z2jh hands `extraVolumes` through; a name that Kubernetes refuses (`jupyterhubSSHKey`, as one of the
guides for it has) then fails the whole installation. A volume's name means nothing outside of its pod,
so it is made right here, wherever it is mentioned.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from perijove.config.problems import KeyPath
from perijove.config.schema.pod import ExtraFile
from perijove.deploy.render.scope import Manifest, Scope, dns_label


class Volumes:
    """Collects them."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.volumes: list[Manifest] = []
        self.mounts: list[Manifest] = []
        self._renamed: dict[str, str] = {}
        self._scratch: dict[PurePosixPath, str] = {}

    def add(self, name: str, source: Manifest, *mounts: tuple[str, Manifest]) -> None:
        self.volumes.append({"name": name, **source})
        self.mounts += [{"name": name, "mountPath": path, **more} for path, more in mounts]

    def add_scratch(self, name: str, path: str) -> None:
        """A writable directory that lives as long as the pod; a volume that somebody mounts there replaces it."""
        self.add(name, {"emptyDir": {}}, (path, {}))
        self._scratch[PurePosixPath(path)] = name

    def add_files(self, name: str, secret: str, files: Mapping[str, ExtraFile]) -> None:
        """`extraFiles`: entries of a Secret, each mounted at its path alone."""
        if not files:
            return
        items = [
            {"key": entry, "path": entry, **({} if file.mode is None else {"mode": file.mode})}
            for entry, file in files.items()
        ]
        mounts = [(file.mount_path, {"subPath": entry}) for entry, file in files.items()]
        self.add(name, {"secret": {"secretName": secret, "items": items}}, *mounts)

    def add_extra(self, volumes: Sequence[Manifest], mounts: Sequence[Manifest], path: KeyPath) -> None:
        """`extraVolumes` and `extraVolumeMounts` below `path`."""
        for volume in volumes:
            given = str(volume.get("name", ""))
            right = dns_label(given)
            if right != given:
                self._renamed[given] = right
                text = f"the volume `{given}` is called `{right}`: Kubernetes takes no other letters"
                self.scope.note((*path, "extraVolumes"), text)
            self.volumes.append({**volume, "name": right})
        for mount in self._mounts(mounts):
            self._add_extra_mount(mount, (*path, "extraVolumeMounts"))

    def _add_extra_mount(self, mount: Manifest, path: KeyPath) -> None:
        where = PurePosixPath(str(mount.get("mountPath")))
        if scratch := self._scratch.pop(where, None):
            self.volumes = [volume for volume in self.volumes if volume["name"] != scratch]
            self.mounts = [other for other in self.mounts if other["name"] != scratch]
        elif any(PurePosixPath(other["mountPath"]) == where for other in self.mounts):
            self.scope.note(path, f"{where} is mounted already, so this mount is left out")
            return
        self.mounts.append(mount)

    def _mounts(self, mounts: Iterable[Manifest]) -> list[Manifest]:
        return [{**mount, "name": self._name(mount.get("name"))} for mount in mounts]

    def _name(self, given: Any) -> Any:
        return self._renamed.get(given, given)

    def renamed(self, containers: Sequence[Manifest]) -> list[Manifest]:
        """Other containers of the pod, mentioning volumes by the names they have."""
        return [
            {**container, "volumeMounts": self._mounts(container["volumeMounts"])}
            if container.get("volumeMounts")
            else dict(container)
            for container in containers
        ]

    def renamed_pod(self, spec: Mapping[str, Any]) -> Manifest:
        """`extraPodSpec`, which wins over what is said elsewhere; its volumes are added."""
        extra = dict(spec)
        if extra_volumes := extra.pop("volumes", None):
            self.volumes += extra_volumes
        return extra

"""A pod's volumes as directories, to be mounted or, where that cannot be, pointed at."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from perijove.testing.kube.api.objects import Objects
from perijove.testing.kube.kubelet.environment import Resolver, contents, expanded
from perijove.testing.kube.objects.resources import Object

_FILE_MODE = 0o644


class MountFailed(Exception):
    """FailedMount: what a volume is made from is not there (yet)."""


@dataclass(frozen=True)
class Mount:
    source: Path
    target: str
    read_only: bool = False


@dataclass
class Volumes:
    """Of one pod, below a directory of its own; claims live in the cluster's, and outlive it."""

    objects: Objects
    pod: Object
    directory: Path
    persistent: Path
    resolver: Resolver
    token: Callable[[], str]

    def prepare(self) -> None:
        """Raises `MountFailed`."""
        for volume in self.pod["spec"].get("volumes") or ():
            self._prepare(volume)

    def refresh(self) -> None:
        """Files of configMaps and secrets again, after those have changed."""
        for volume in self.pod["spec"].get("volumes") or ():
            if volume.keys() & {"configMap", "secret", "projected"}:
                self._prepare(volume)

    def mounts(self, container: Object, environment: Mapping[str, str]) -> list[Mount]:
        """Outer before inner, so that one mount does not hide another."""
        found = [self._mount(mount, environment) for mount in container.get("volumeMounts") or ()]
        return sorted(found, key=lambda mount: mount.target)

    def _mount(self, mount: Object, environment: Mapping[str, str]) -> Mount:
        volume = next(one for one in self.pod["spec"]["volumes"] if one["name"] == mount["name"])
        source = self._path(volume)
        sub_path = mount.get("subPath") or expanded(mount.get("subPathExpr") or "", environment)
        if sub_path:
            source = source / sub_path
            if not source.exists():
                # A directory, as the kubelet makes one.
                source.mkdir(parents=True)
                self._own(source)
        never_written = bool(volume.keys() & {"configMap", "secret", "projected", "downwardAPI"})
        return Mount(source, mount["mountPath"], bool(mount.get("readOnly")) or never_written)

    def _path(self, volume: Object) -> Path:
        if (claim := volume.get("persistentVolumeClaim")) is not None:
            return self.persistent / self._volume_name(claim["claimName"])
        if (host := volume.get("hostPath")) is not None:
            return Path(host["path"])
        if (share := volume.get("nfs")) is not None:
            return self.persistent / "nfs" / str(share["server"]) / str(share["path"]).strip("/")
        return self.directory / str(volume["name"])

    def _prepare(self, volume: Object) -> None:
        path = self._path(volume)
        if "hostPath" in volume:
            if not path.exists() and volume["hostPath"].get("type") in ("", "DirectoryOrCreate"):
                path.mkdir(parents=True)
            elif not path.exists():
                raise MountFailed(f"hostPath type check failed: {path} is not a directory")
            return
        path.mkdir(parents=True, exist_ok=True)
        if files := dict(self._files(volume)):
            _write(path, files)
        self._own(path)

    def _files(self, volume: Object) -> Iterator[tuple[str, tuple[bytes, int]]]:
        for kind in ("configMap", "secret", "downwardAPI"):
            if (source := volume.get(kind)) is not None:
                yield from self._source(volume["name"], kind, source, source.get("defaultMode") or _FILE_MODE)
        if (projected := volume.get("projected")) is not None:
            mode = projected.get("defaultMode") or _FILE_MODE
            for entry in projected.get("sources") or ():
                for kind, source in entry.items():
                    yield from self._source(volume["name"], kind, source, mode)

    def _source(self, volume: str, kind: str, source: Object, mode: int) -> Iterator[tuple[str, tuple[bytes, int]]]:
        if kind == "serviceAccountToken":
            yield source["path"], (self.token().encode(), mode)
        elif kind == "downwardAPI":
            for item in source.get("items") or ():
                yield item["path"], (self.resolver.field(item["fieldRef"]["fieldPath"]).encode(), mode)
        elif kind in ("configMap", "secret"):
            plural = f"{kind.lower()}s"
            name = source.get("secretName") or source.get("name", "")
            namespace = self.pod["metadata"]["namespace"]
            found = self.objects.store.get(self.objects.resource(plural), namespace, name)
            if found is None:
                if not source.get("optional"):
                    why = f'MountVolume.SetUp failed for volume "{volume}" : {kind.lower()} "{name}" not found'
                    raise MountFailed(why)
                return
            yield from _chosen(volume, contents(plural, found), source, mode)

    def _volume_name(self, claim: str) -> str:
        namespace = self.pod["metadata"]["namespace"]
        found = self.objects.store.get(self.objects.resource("persistentvolumeclaims"), namespace, claim)
        if found is None or not found["spec"].get("volumeName"):
            raise MountFailed(f"error processing PVC {namespace}/{claim}: PVC is not bound")
        return str(found["spec"]["volumeName"])

    def _own(self, path: Path) -> None:
        """To the pod's group, which may write."""
        context = self.pod["spec"].get("securityContext") or {}
        group = context.get("fsGroup")
        if os.geteuid() == 0:
            if group is not None:
                os.chown(path, -1, group)
            path.chmod(0o2775 if group is not None else 0o777)

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


def _chosen(
    volume: str, data: Mapping[str, bytes], source: Object, mode: int
) -> Iterator[tuple[str, tuple[bytes, int]]]:
    if (items := source.get("items")) is None:
        for key, value in data.items():
            yield key, (value, mode)
        return
    for item in items:
        if item["key"] in data:
            yield item["path"], (data[item["key"]], item.get("mode") or mode)
        elif not source.get("optional"):
            why = f'MountVolume.SetUp failed for volume "{volume}" : references non-existent secret key: {item["key"]}'
            raise MountFailed(why)


def _write(path: Path, files: Mapping[str, tuple[bytes, int]]) -> None:
    """In place where the file is there: whoever mounted one by itself sees the new content as well."""
    for name, (content, mode) in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_bytes() != content:
            file.write_bytes(content)
        # Readable for whichever user the container runs as: there is no root file system to hide it in.
        file.chmod(mode | 0o444)
    for old in path.iterdir():
        if old.is_file() and old.name not in files:
            old.unlink()

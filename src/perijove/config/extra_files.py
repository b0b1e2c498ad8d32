"""`hub.extraFiles` on one machine: written below `<data dir>/files`, never to the path itself.

In a pod the path belongs to the hub alone; on a machine it may belong to something else. What looks
files up at their mount path (templates, a logo, `jupyterhub_config.d`) is pointed here instead.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml import YAML

from perijove.config.problems import ConfigError, KeyPath, Problem
from perijove.config.schema.pod import ExtraFile
from perijove.config.yaml import Node

CONFIG_DIRECTORY = PurePosixPath("/usr/local/etc/jupyterhub/jupyterhub_config.d")


def below(root: Path, mount_path: str) -> Path:
    """Where a file with this mount path goes. Raises ValueError for one that would leave `root`."""
    path = PurePosixPath(mount_path)
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError("an absolute path without ..")
    return root.joinpath(*path.parts[1:])


def _toml(value: Mapping[str, Any], prefix: str = "") -> str:
    """Enough TOML for configuration: tables of scalars and lists."""
    lines = [
        f"{json.dumps(key)} = {json.dumps(item, ensure_ascii=False)}"
        for key, item in value.items()
        if not isinstance(item, Mapping) and item is not None
    ]
    for key, item in value.items():
        if isinstance(item, Mapping):
            name = f"{prefix}{json.dumps(key)}"
            lines += ["", f"[{name}]", _toml(item, f"{name}.")]
    return "\n".join(lines).strip() + "\n"


def content(file: ExtraFile) -> bytes:
    """What the file holds. Raises ValueError with what was expected."""
    if file.string_data is not None:
        return file.string_data.encode()
    if file.binary_data is not None:
        try:
            return base64.b64decode("".join(file.binary_data.split()), validate=True)
        except (binascii.Error, ValueError) as exc:
            raise ValueError("base64 in binaryData") from exc
    suffix = PurePosixPath(file.mount_path).suffix
    if suffix == ".json":
        return json.dumps(file.data, indent=2, ensure_ascii=False).encode()
    if suffix in (".yaml", ".yml"):
        stream = StringIO()
        YAML(typ="safe", pure=True).dump(file.data, stream)
        return stream.getvalue().encode()
    if suffix == ".toml" and isinstance(file.data, Mapping):
        return _toml(file.data).encode()
    raise ValueError("a mountPath that ends in .yaml, .yml, .json or .toml where `data` is used")


def write(files: Mapping[str, ExtraFile], root: Path, given: Node) -> dict[str, Path]:
    """Write all files; mount path -> where it is. Raises `ConfigError`."""
    problems: list[Problem] = []
    written: dict[str, Path] = {}
    for name, file in files.items():
        path: KeyPath = ("hub", "extraFiles", name)
        try:
            target = below(root, file.mount_path)
            data = content(file)
        except ValueError as exc:
            problems.append(Problem(path, "this file cannot be made", given.nearest(path).where, str(exc)))
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        # It may hold secrets; the hub is the only one that needs it.
        target.touch(mode=0o600)
        target.write_bytes(data)
        target.chmod(file.mode if file.mode is not None else 0o600)
        written[file.mount_path] = target
    if problems:
        raise ConfigError(problems)
    return written


def relocated(path: str, root: Path) -> str:
    """`path`, or its stand-in below `root` where only that exists."""
    try:
        stand_in = below(root, path)
    except ValueError:
        return path
    return str(stand_in) if stand_in.exists() and not Path(path).exists() else path

"""What one machine makes of a configuration that was written for pods.

z2jh implies KubeSpawner. Where nobody chose a spawner, servers here are processes of this machine
(`perijove.spawners.local.LocalSpawner`), and what the configuration says about KubeSpawner is taken
over as far as a process can have it.
"""

import os
import pwd
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from traitlets.config import Config

from perijove.config.fluent import FluentConfig
from perijove.config.problems import Note, NoteKind, Position


class ImpliedClass(str):
    """A class name that the chart implies and nobody chose."""

    __slots__ = ()


IMPLIED_SPAWNER: Final = ImpliedClass("kubespawner.KubeSpawner")
LOCAL_SPAWNER: Final = "perijove.spawners.local.LocalSpawner"
# Traits of KubeSpawner that a process can have too.
_SHARED: Final = frozenset(
    [
        "apply_user_options",
        "args",
        "auth_state_hook",
        "cmd",
        "consecutive_failure_limit",
        "cpu_guarantee",
        "cpu_limit",
        "debug",
        "default_url",
        "disable_user_config",
        "environment",
        "group_overrides",
        "http_timeout",
        "mem_guarantee",
        "mem_limit",
        "notebook_dir",
        "oauth_client_allowed_scopes",
        "options_form",
        "options_from_form",
        "poll_interval",
        "post_stop_hook",
        "pre_spawn_hook",
        "profile_list",
        "progress_ready_hook",
        "server_token_scopes",
        "start_timeout",
    ]
)
_COMMAND: Final = "jupyterhub-singleuser"


def _beside_us(name: str) -> str:
    """A command of the environment we run in, which nobody may have activated."""
    own = Path(sys.executable).parent / name
    return str(own) if "/" not in name and own.is_file() else name


def without_files(config: Config, data_dir: Path, user: str) -> None:
    """JupyterHub's own process spawner, for the person who starts the hub."""
    has_account = _has_account(user)
    config.JupyterHub.spawner_class = "localprocess" if has_account else LOCAL_SPAWNER
    if not has_account:
        config.LocalSpawner.homes_dir = str(data_dir / "homes")
    config.Spawner.cmd = [_beside_us(_COMMAND)]
    if os.geteuid() == 0 and has_account:
        config.Spawner.args = ["--allow-root"]


def _has_account(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def finish(config: FluentConfig, data_dir: Path, where: Callable[[str, str], Position | None]) -> list[Note]:
    """After code ran: the spawner of this machine, its command, and what of KubeSpawner it takes."""
    notes: list[Note] = []
    hub = config.JupyterHub
    implied = isinstance(hub.spawner_class, ImpliedClass)
    if implied:
        hub.spawner_class = LOCAL_SPAWNER
        config.LocalSpawner.setdefault("homes_dir", str(data_dir / "homes"))
        notes += _take_over(config)
        if os.geteuid() == 0:
            text = "servers of users without a system account of their own run as root here"
            notes.append(Note(NoteKind.INFO, text))
    if _starts_processes(hub.spawner_class):
        notes += _command(config, where, implied=implied)
        notes += _secret_variables(config)
    return notes


def _starts_processes(spawner_class: Any) -> bool:
    """Whether servers run on this machine: only then is its own command the right one."""
    if isinstance(spawner_class, type):
        return any(parent.__name__ == "LocalProcessSpawner" for parent in spawner_class.__mro__)
    name = str(spawner_class)
    return name.lower() in ("default", "localprocess", "simple") or name.endswith(
        ("LocalProcessSpawner", "LocalSpawner")
    )


def _take_over(config: FluentConfig) -> list[Note]:
    """Copy what LocalSpawner can use; name the rest that somebody set in code, once."""
    pod, target = config.KubeSpawner, config.LocalSpawner
    without = []
    for trait in list(pod):
        if trait in _SHARED:
            if pod[trait] not in (None, [], {}, ""):
                target[trait] = pod[trait]
        elif ("KubeSpawner", trait) in config.origins.at:
            without.append(trait)
    if not without:
        return []
    text = f"applies on Kubernetes, not on one machine: c.KubeSpawner.{', '.join(sorted(without))}"
    return [Note(NoteKind.KUBERNETES, text)]


def _command(config: FluentConfig, where: Callable[[str, str], Position | None], *, implied: bool) -> list[Note]:
    """The command of servers, as this machine has it."""
    for section in ("LocalSpawner", "Spawner"):
        command: Any = config[section].get("cmd") if section in config else None
        if isinstance(command, str):
            command = [command]
        if not isinstance(command, list) or not command:
            continue
        first = _beside_us(command[0])
        if implied and shutil.which(first) is None:
            config[section]["cmd"] = [_beside_us(_COMMAND)]
            text = f"the command {command[0]} of images is not on this machine; servers run {_COMMAND}"
            return [Note(NoteKind.KUBERNETES, text, ("singleuser", "cmd"), where(section, "cmd"))]
        config[section]["cmd"] = [first, *command[1:]]
        return []
    config.Spawner.cmd = [_beside_us(_COMMAND)]
    return []


def _secret_variables(config: FluentConfig) -> list[Note]:
    """`valueFrom` names a Secret or a field of the pod; a process has neither."""
    missing: set[str] = set()
    for section in ("LocalSpawner", "Spawner"):
        values = config[section].get("environment") if section in config else None
        if not isinstance(values, dict):
            continue
        for name, value in list(values.items()):
            if isinstance(value, dict):
                missing.add(name)
                del values[name]
    if not missing:
        return []
    text = f"singleuser.extraEnv: valueFrom applies on Kubernetes: {', '.join(sorted(missing))}"
    return [Note(NoteKind.KUBERNETES, text, ("singleuser", "extraEnv"))]

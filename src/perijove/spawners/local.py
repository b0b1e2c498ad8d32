"""Servers as processes of this machine, for configurations that were written for pods.

JupyterHub's process spawner needs a system account for each user and a hub that may switch to it. Where
that is so, this class does the same. Where it is not, a server runs as the hub's own account with a
home directory of its own: users are kept apart by good manners only, as with JupyterHub's `simple`
spawner, but their files stay where the hub's are and not in /tmp. It knows profiles in KubeSpawner's
format, and leaves out what only a pod can have.

    c.JupyterHub.spawner_class = "perijove.spawners.local.LocalSpawner"
"""

import contextlib
import hashlib
import os
import pwd
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from jupyterhub.spawner import LocalProcessSpawner
from jupyterhub.utils import maybe_future
from tornado.web import HTTPError
from traitlets import Callable as CallableTrait
from traitlets import List, TraitError, Unicode, Union, default

from perijove.spawners import profiles

_MOST_BYTES_OF_A_NAME = 200
_VARIABLE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


def directory_name(user: str) -> str:
    """A user's name as the name of a directory: readable, never a path, never too long."""
    name = quote(user, safe="@ +")
    if name.strip(".") == "":
        name = name.replace(".", "%2E")
    if len(name) > _MOST_BYTES_OF_A_NAME:
        digest = hashlib.sha256(user.encode()).hexdigest()[:16]
        name = f"{name[:_MOST_BYTES_OF_A_NAME]}-{digest}"
    return name


class LocalSpawner(LocalProcessSpawner):  # type: ignore[misc]  # jupyterhub ships no types
    """A process for each server, as the user's account where there is one."""

    homes_dir = Unicode(
        config=True,
        help="Directory under which users without a system account of their own have their homes.",
    )
    profile_list = Union(
        [List(), CallableTrait()],
        config=True,
        help="Choices offered before a start, in KubeSpawner's format: a list, or a function of the "
        "spawner that returns one. Of `kubespawner_override`, what a process can have is applied.",
    )

    notebook_dir: Any
    # What was left out is said once, not at every start of everybody.
    _said: ClassVar[set[str]] = set()
    # Traits as they were before a profile changed them: an instance may start more than once.
    _before_profile: Mapping[str, Any] = {}

    @default("homes_dir")
    def _default_homes_dir(self) -> str:
        return str(Path.cwd() / "homes")

    @default("apply_user_options")
    def _default_apply_user_options(self) -> Callable[..., Any]:
        return type(self)._apply_profile  # noqa: SLF001 - called as (spawner, options)

    @default("options_from_form")
    def _default_options_from_form(self) -> Callable[..., Any]:
        return profiles.from_form if self.profile_list else self._passthrough_options_from_form

    # -- where a server lives --------------------------------------------------------------------

    @property
    def home(self) -> Path:
        """The user's home here, when it is not that of a system account."""
        return Path(self.homes_dir) / directory_name(self.user.name)

    def _account(self) -> pwd.struct_passwd | None:
        """The system account that the server runs as, if it is one of its own."""
        if os.geteuid() != 0:
            return None
        try:
            return pwd.getpwnam(self.user.name)
        except KeyError:
            return None

    def make_preexec_fn(self, name: str) -> Callable[[], None]:
        if self._account() is not None:
            stock: Callable[[], None] = super().make_preexec_fn(name)
            return stock
        home = str(self.home)

        def enter_home() -> None:
            # Between fork and exec: nothing but system calls. The directory was made before.
            os.chdir(home)

        return enter_home

    def user_env(self, env: dict[str, Any]) -> dict[str, Any]:
        if self._account() is not None:
            stock: dict[str, Any] = super().user_env(env)
            return stock
        env["USER"] = self.user.name
        env["HOME"] = str(self.home)
        env["SHELL"] = os.environ.get("SHELL", "/bin/sh")
        return env

    async def move_certs(self, paths: dict[str, str]) -> dict[str, str]:
        if self._account() is not None:
            moved: dict[str, str] = await super().move_certs(paths)
            return moved
        return paths

    async def start(self) -> Any:
        if self._account() is None:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._forget_missing_directory()
        return await super().start()

    def _forget_missing_directory(self) -> None:
        directory = self.format_string(self.notebook_dir) if self.notebook_dir else ""
        if directory.startswith("/") and not Path(directory).is_dir():
            self._say_once(f"notebook_dir {directory} of images is not on this machine; the home is used")
            self.notebook_dir = ""

    # -- command and environment -----------------------------------------------------------------

    def get_args(self) -> list[str]:
        args: list[str] = list(super().get_args())
        account = self._account()
        as_root = os.geteuid() == 0 and (account is None or account.pw_uid == 0)
        command = Path(self.cmd[0]).name if self.cmd else ""
        # Jupyter refuses to run as root by itself; here that is what the machine's owner decided.
        if as_root and command.startswith("jupyter") and "--allow-root" not in args:
            args.append("--allow-root")
        return args

    def get_env(self) -> dict[str, Any]:
        env: dict[str, Any] = super().get_env()
        for name in self.environment:
            if isinstance(value := env.get(name), str):
                env[name] = self._expanded(value, env)
        return env

    def _expanded(self, value: str, env: Mapping[str, Any]) -> str:
        """`{username}` as KubeSpawner, and `$(VARIABLE)` as Kubernetes would expand them."""
        # Braces may mean something else; KubeSpawner would refuse to start.
        with contextlib.suppress(KeyError, IndexError, ValueError, AttributeError):
            value = value.format(**self._names())
        return _VARIABLE.sub(lambda match: str(env.get(match[1], match[0])), value)

    def _names(self) -> dict[str, Any]:
        server = f"{self.user.name}--{self.name}" if self.name else self.user.name
        return {
            "username": self.user.name,
            "unescaped_username": self.user.name,
            "userid": self.user.id,
            "servername": self.name,
            "unescaped_servername": self.name,
            "user_server": server,
        }

    # -- profiles --------------------------------------------------------------------------------

    async def _profiles(self) -> Sequence[profiles.Profile]:
        found = self.profile_list
        if callable(found):
            found = await maybe_future(found(self))
        return found or []

    async def get_options_form(self) -> str:
        configured = await super().get_options_form()
        if configured:
            return str(configured)
        offered = await self._profiles()
        return profiles.form(offered) if offered else ""

    async def _apply_profile(self, options: Mapping[str, Any]) -> None:
        """Set the traits that the chosen profile asks for; what a process cannot have is left out."""
        for name, value in self._before_profile.items():
            setattr(self, name, value)
        self._before_profile = {}
        try:
            chosen = list(profiles.overrides(await self._profiles(), options))
        except profiles.UnknownChoice as exc:
            raise HTTPError(400, str(exc)) from exc
        for override in chosen:
            for name, value in override.items():
                await self._override(name, value)

    async def _override(self, name: str, value: Any) -> None:
        if name not in self.trait_names(config=True):
            self._say_once(f"profiles set {name}, which a process of this machine cannot have")
            return
        if callable(value):
            value = await maybe_future(value(self))
        present = getattr(self, name)
        self._before_profile = {name: present, **self._before_profile}
        if isinstance(present, dict) and isinstance(value, dict):
            merged = {**present, **value}
            value = {key: item for key, item in merged.items() if item is not None}
        try:
            setattr(self, name, value)
        except TraitError as exc:
            self._say_once(f"profiles set {name} to something it cannot be: {exc}")

    def _say_once(self, text: str) -> None:
        if text not in LocalSpawner._said:
            LocalSpawner._said.add(text)
            self.log.warning("%s", text)

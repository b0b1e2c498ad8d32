"""Compiling files: chart keys, class traits, code, in z2jh's order (see `compile.py`)."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from traitlets.config import Config

import z2jh
from perijove.config import chart_traits, cluster, database_keys, extra_files, local
from perijove.config.app_options import read_options
from perijove.config.class_traits import unknown_classes, unknown_traits
from perijove.config.compile import Compiled, Target
from perijove.config.execute import Piece, Runner, environment
from perijove.config.fluent import FluentConfig
from perijove.config.loaded import Loaded
from perijove.config.options import CullOptions, HubOptions
from perijove.config.problems import ConfigError, KeyPath, Note, NoteKind, Position, Problem, at_text
from perijove.config.profiles import Profiles
from perijove.config.protection import missing_protection
from perijove.config.release_names import release_names
from perijove.config.scalars import STAND_IN
from perijove.config.schema.settings import Cull
from perijove.config.singleuser_traits import KEYS_OF_TRAITS
from perijove.config.trait_settings import TraitReport, report
from perijove.config.yaml import Node


class Compiler:
    """One compilation; what its steps share."""

    def __init__(
        self, loaded: Loaded, data_dir: Path, around: dict[str, str], target: Target, *, trial: bool, run_code: bool
    ) -> None:
        self.loaded = loaded
        self.settings = loaded.settings
        self.given = loaded.given
        self.data_dir = data_dir
        self.around = around
        self.target = target
        self.trial = trial
        self.run_code = run_code
        self.problems: list[Problem] = []
        # Some code could not be run to its end, so what it would have set is not known.
        self.interrupted = False
        self.config = FluentConfig()
        self.notes = list(loaded.notes_for(target))
        self.files_dir = data_dir / "files"

    def compile(self) -> Compiled:
        names = release_names(self.settings, cluster.release_of(self.around))
        z2jh.install(self._values(), _service_addresses(), names)
        if self.target == "kubernetes":
            cluster.apply(self.config, self.settings, names, self.around)
        chart = chart_traits.apply(
            self.config, self.loaded, data_dir=self.data_dir, kubernetes=self.target == "kubernetes"
        )
        self.notes += chart.notes
        self._class_traits()
        files = extra_files.write(self.settings.hub.extra_files, self.files_dir, self.given)
        if files and self.target == "local":
            text = f"hub.extraFiles are below {self.files_dir} on one machine, not at their mountPath"
            self.notes.append(Note(NoteKind.INFO, text))
        extra, set_by_code = self._environment(), {}
        pieces = self._pieces(files) if self.run_code else []
        if pieces:
            with environment({**extra, **self._stand_ins()}) as set_by_code:
                self._run(pieces)
            set_by_code = {name: value for name, value in set_by_code.items() if value != STAND_IN}
        traits = self._finish()
        process = {**extra, **set_by_code}
        options, notes = read_options(
            traits,
            data_dir=self.data_dir,
            environment={**self.around, **process},
            where=self._where,
            cull=cull_options(self.settings.cull),
            proxy_options=chart.proxy_options,
        )
        self.notes += [*notes, *self._unknown_traits(traits, options)]
        if self.target == "kubernetes":
            profiles = Profiles(options.spawner_class, self.given.nearest)
            profiles.check(traits)
            self.notes += profiles.notes
            self.problems += profiles.problems if self.trial else []
        report = self._report(traits, options)
        return Compiled(
            options=self._relocated(options),
            traits=traits,
            notes=tuple(self.notes),
            environment=process,
            files=files,
            unprotected=missing_protection(options.authenticator_class, traits),
            problems=tuple(self.problems),
            trait_settings=tuple(report.settings),
        )

    def _values(self) -> dict[str, Any]:
        """What `z2jh.get_config` reads; a pod knows which release it belongs to."""
        values = self.loaded.values
        if self.target == "local":
            return values
        namespace = self.around.get(cluster.NAMESPACE_VARIABLE) or values["Release"]["Namespace"]
        release = {"Name": cluster.release_of(self.around), "Namespace": namespace}
        return {**values, "Release": {**values["Release"], **release}}

    def _class_traits(self) -> None:
        """`hub.config.<Class>.<trait>`; nulls over defaults are gone from the values already."""
        for class_name, traits in (self.loaded.values["hub"].get("config") or {}).items():
            for trait, value in (traits or {}).items():
                self.config[class_name][trait] = value

    def _environment(self) -> dict[str, str]:
        """`hub.extraEnv`; what a Secret holds on Kubernetes may be in our own environment here."""
        values = {name: value for name, value in self.settings.hub.extra_env.items() if isinstance(value, str)}
        missing = self._only_in_secrets()
        if missing and self.target == "local":
            at = self.given.nearest(("hub", "extraEnv")).where
            text = f"from a Secret on Kubernetes; here set them before starting: {', '.join(missing)}"
            self.notes.append(Note(NoteKind.KUBERNETES, f"hub.extraEnv: {text}", ("hub", "extraEnv"), at))
        return values

    def _only_in_secrets(self) -> list[str]:
        return [
            name
            for name, value in sorted(self.settings.hub.extra_env.items())
            if not isinstance(value, str) and name not in self.around
        ]

    def _stand_ins(self) -> dict[str, str]:
        return dict.fromkeys(self._only_in_secrets(), STAND_IN) if self.trial else {}

    def _pieces(self, files: Mapping[str, Path]) -> list[Piece]:
        return [*self._config_directory(files), *self._extra_config(), *self._extra_config_files()]

    def _config_directory(self, files: Mapping[str, Path]) -> list[Piece]:
        here = [
            (PurePosixPath(path).name, path, file)
            for path, file in files.items()
            if PurePosixPath(path).parent == extra_files.CONFIG_DIRECTORY and path.endswith(".py")
        ]
        return [
            Piece(file.read_text(encoding="utf-8"), file, 1, ("hub", "extraFiles", path))
            for _, path, file in sorted(here)
        ]

    def _extra_config(self) -> list[Piece]:
        pieces = []
        for name, code in sorted(self.settings.hub.extra_config.items()):
            path: KeyPath = ("hub", "extraConfig", name)
            node = self.given.nearest(path)
            pieces.append(Piece(code, node.position.file, node.code_line(), path))
        return pieces

    def _extra_config_files(self) -> list[Piece]:
        pieces, problems = [], []
        for index, name in enumerate(self.settings.hub.extra_config_files):
            path: KeyPath = ("hub", "extraConfigFiles", index)
            node = self.given.nearest(path)
            file = node.position.file.parent / name
            try:
                pieces.append(Piece(file.read_text(encoding="utf-8"), file, 1, path))
            except (OSError, UnicodeDecodeError) as exc:
                reason = exc.strerror if isinstance(exc, OSError) else str(exc)
                text = f"{file} cannot be read: {reason}"
                problems.append(Problem(path, text, node.position, remedy="the path is relative to this file"))
        if problems:
            raise ConfigError(problems, self.notes)
        return pieces

    def _run(self, pieces: list[Piece]) -> None:
        directory = self.loaded.files[0].resolve().parent
        mounted = self.files_dir.joinpath(*extra_files.CONFIG_DIRECTORY.parent.parts[1:])
        for path in (str(directory), str(mounted)):
            # For the life of the process: hooks may import such modules when a server starts.
            if path not in sys.path:
                sys.path.append(path)
        try:
            runner = Runner(self.config, directory, self.notes.append if self.trial else None)
            runner.run(pieces)
            self.interrupted = runner.interrupted
        except ConfigError as exc:
            raise ConfigError(exc.problems, [*self.notes, *exc.notes]) from exc

    def _finish(self) -> Config:
        self._admin_users()
        self._old_spawner_traits()
        problem = database_keys.missing_url(self.loaded)
        if problem and not self.config.JupyterHub.get("db_url"):
            self._absent(problem)
        chart_traits.finish(self.config, self.loaded)
        if self.target == "local":
            self.notes += local.finish(self.config, self.data_dir, self._where)
        return self.config.finished()

    def _absent(self, problem: Problem) -> None:
        """In a trial a Secret that is not here, or code that was not run, may still say it."""
        if not self.trial:
            raise ConfigError([problem], self.notes)
        not_run = self.interrupted or not self.run_code
        if self.settings.hub.existing_secret:
            elsewhere = "hub.existingSecret"
        elif not_run and database_keys.has_code(self.settings):
            elsewhere = "code, which was not run,"
        else:
            self.problems.append(problem)
            return
        text = f"{problem.message}; {elsewhere} must say it"
        self.notes.append(Note(NoteKind.MISSING, text, problem.path, problem.position))

    def _report(self, traits: Config, options: HubOptions) -> TraitReport:
        """A trial: what would be set, and as problems what a hub would only log."""
        if not self.trial:
            return TraitReport()
        found = report(traits, self._where, authenticator=options.authenticator_class, spawner=options.spawner_class)
        self.problems += found.problems
        self.notes += found.notes
        if not self.interrupted:
            unknown = [note for note in self.notes if note.kind is NoteKind.UNKNOWN_TRAIT]
            self.problems += map(_as_problem, unknown)
            self.notes = [note for note in self.notes if note not in unknown]
        return found

    def _unknown_traits(self, traits: Config, options: HubOptions) -> list[Note]:
        chosen = {"authenticator": options.authenticator_class, "spawner": options.spawner_class}
        return [*unknown_traits(traits, self._where, **chosen), *unknown_classes(traits, self._where, **chosen)]

    def _admin_users(self) -> None:
        """`c.JupyterHub.admin_users` is the old place of the authenticator's."""
        hub = self.config.JupyterHub
        if "admin_users" not in hub:
            return
        admins = self.config.Authenticator.admin_users
        for name in hub.pop("admin_users"):
            admins.add(name)
        self.config.Authenticator.admin_users = admins
        text = "`JupyterHub.admin_users` is now `Authenticator.admin_users`"
        path: KeyPath = ("hub", "config", "JupyterHub", "admin_users")
        self.notes.append(Note(NoteKind.TRANSLATED, text, path, self._where("JupyterHub", "admin_users")))

    def _old_spawner_traits(self) -> None:
        """What code for charts before 0.9 sets: KubeSpawner has dropped these names since."""
        pod = self.config.KubeSpawner
        for old in [name for name in pod if name.startswith(_OLD_SPAWNER_TRAITS)]:
            new = _renamed(old)
            value = pod.pop(old)
            at = self._where("KubeSpawner", old)
            text = f"`c.KubeSpawner.{old}` is now `c.KubeSpawner.{new}`"
            self.notes.append(Note(NoteKind.TRANSLATED, text, ("hub", "config", "KubeSpawner", old), at))
            present = pod.get(new)
            if isinstance(present, dict) and isinstance(value, Mapping):
                present.update(value)
            elif isinstance(present, list) and isinstance(value, list):
                present.extend(value)
            else:
                pod[new] = value
                if at is not None:
                    self.config.origins.at["KubeSpawner", new] = at

    def _where(self, section: str, trait: str) -> Position | None:
        """The line that set a trait: in code, in `hub.config`, or by the chart's key for it."""
        if (at := self.config.origins.at.get((section, trait))) is not None:
            return at_text(at)
        node: Node | None = self.given.at(("hub", "config", section, trait))
        if node is None and section == "JupyterHub":
            node = self.given.at(("hub", z2jh.camelCaseify(trait)))
        if node is None and section.endswith("Spawner"):
            node = self.given.at(KEYS_OF_TRAITS.get(trait, ()) or ("singleuser", z2jh.camelCaseify(trait)))
        return node.where if node is not None else None

    def _relocated(self, options: HubOptions) -> HubOptions:
        """Templates and logo from `hub.extraFiles`, where they are here."""
        paths = tuple(extra_files.relocated(path, self.files_dir) for path in options.template_paths)
        own = extra_files.relocated("/usr/local/share/jupyterhub/templates", self.files_dir)
        if own.startswith(str(self.files_dir)):
            paths = (*paths, own)
        logo = extra_files.relocated(options.logo_file, self.files_dir) if options.logo_file else ""
        return replace(options, template_paths=paths, logo_file=logo)


_OLD_SPAWNER_TRAITS: Final = ("singleuser_", "user_storage_")


def _renamed(trait: str) -> str:
    new = trait.removeprefix("singleuser_").removeprefix("user_")
    return "image" if new == "image_spec" else new


def _as_problem(note: Note) -> Problem:
    message, _, hint = note.message.partition("; ")
    return Problem(note.path, message, note.position, remedy=hint)


def cull_options(cull: Cull) -> CullOptions:
    """`cull.*`; a key set to null falls back to what jupyterhub-idle-culler does by itself."""
    timeout = 600 if cull.timeout is None else cull.timeout
    return CullOptions(
        enabled=cull.enabled,
        timeout_seconds=timeout,
        every_seconds=cull.every or timeout / 2,
        max_age_seconds=cull.max_age or 0,
        users=bool(cull.users),
        admin_users=bool(cull.admin_users),
        remove_named_servers=bool(cull.remove_named_servers),
        concurrency=cull.concurrency or 10,
    )


def _service_addresses() -> dict[str, str]:
    """What Kubernetes would put into the hub's environment for the chart's services."""
    return {
        "HUB_SERVICE_HOST": "127.0.0.1",
        "HUB_SERVICE_PORT": "8081",
        "PROXY_API_SERVICE_HOST": "127.0.0.1",
        "PROXY_API_SERVICE_PORT": "8001",
        "PROXY_PUBLIC_SERVICE_HOST": "127.0.0.1",
        "PROXY_PUBLIC_SERVICE_PORT": "8000",
    }

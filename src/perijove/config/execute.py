"""Running the Python in a configuration: pieces of `hub.extraConfig` and whole files, one namespace.

It runs in the hub's process, with everything the hub may do; that is its purpose. `perijove check`
runs it too, because otherwise nobody could be shown what will be set. A failure is a `Problem` that
names the line in the file where the code stands, not a line of some string.
"""

import ast
import glob
import importlib
import os
import re
import sys
import traceback
from binascii import a2b_hex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import z2jh
from perijove.config.fluent import FluentConfig
from perijove.config.problems import ConfigError, KeyPath, Note, NoteKind, Position, Problem, at_text, dotted
from perijove.config.scalars import STAND_IN

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Piece:
    """Code, and where its first line stands."""

    code: str
    file: Path
    line: int = 1
    path: KeyPath = ()


class _LazyModule(ModuleType):
    """A module that is imported when first used: loading the Kubernetes client takes a second."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


def namespace(config: FluentConfig, directory: Path, run_file: Callable[[Path], None]) -> dict[str, Any]:
    """The names that z2jh's own jupyterhub_config.py has defined when it runs extraConfig."""
    # Imported here: only configurations with code pay for it.
    from jupyterhub.utils import url_path_join  # noqa: PLC0415
    from tornado.httpclient import AsyncHTTPClient  # noqa: PLC0415

    def get_config(key: Any = _MISSING, default: Any = None) -> Any:
        # In z2jh's file the name means its own function, which needs a key; in plain JupyterHub
        # files it means traitlets' one, which takes none. Both kinds of code are found in the field.
        return config if key is _MISSING else z2jh.get_config(key, default)

    def load_subconfig(fname: str, path: str | None = None) -> None:
        run_file(Path(path or directory) / fname)

    return {
        "__name__": "jupyterhub_config",
        "__file__": str(directory / "jupyterhub_config.py"),
        "c": config,
        "get_config": get_config,
        "load_subconfig": load_subconfig,
        "configuration_directory": str(directory),
        "get_name": z2jh.get_name,
        "get_name_env": z2jh.get_name_env,
        "get_secret_value": z2jh.get_secret_value,
        "set_config_if_not_none": z2jh.set_config_if_not_none,
        "camelCaseify": z2jh.camelCaseify,
        "z2jh": z2jh,
        "glob": glob,
        "os": os,
        "re": re,
        "sys": sys,
        "a2b_hex": a2b_hex,
        "url_path_join": url_path_join,
        "AsyncHTTPClient": AsyncHTTPClient,
        "client": _LazyModule("kubernetes_asyncio.client"),
    }


class Runner:
    """Runs pieces in one namespace, in the order given."""

    def __init__(self, config: FluentConfig, directory: Path, absent: Callable[[Note], None] | None = None) -> None:
        """`absent`: given, what only the cluster has is told to it, and the pieces behind are run all the same."""
        self.config = config
        self.directory = directory
        self.absent = absent
        self.interrupted = False
        self.files = config.origins.files
        self.names = namespace(config, directory, self._sub_file)

    def run(self, pieces: Sequence[Piece]) -> None:
        """Raises `ConfigError`: all syntax errors, or the first failure."""
        compiled: list[tuple[Piece, CodeType]] = []
        problems: list[Problem] = []
        for piece in pieces:
            try:
                compiled.append((piece, self._compile(piece)))
            except (SyntaxError, ValueError) as exc:
                problems.append(_syntax_problem(piece, exc))
        if problems:
            raise ConfigError(problems)
        for piece, code in compiled:
            try:
                exec(code, self.names)  # noqa: S102 - the feature itself
            except (Exception, SystemExit) as exc:
                why = self._why_absent(exc) if self.absent else ""
                if self.absent is None or not why:
                    raise ConfigError([self._failure(piece, exc)]) from exc
                text = f"{dotted(piece.path)}: run only up to here, {_described(exc)}; {why}"
                self.absent(Note(NoteKind.MISSING, text, piece.path, self._failure(piece, exc).position))
                self.interrupted = True

    def _why_absent(self, exc: BaseException) -> str:
        """Why this may be no mistake of the code, or ""."""
        if isinstance(exc, KeyError) and exc.args and str(exc.args[0]).isupper():
            return "the cluster may set it"
        if isinstance(exc, ImportError | FileNotFoundError):
            return "the hub's image or a volume must have it"
        if isinstance(exc, ValueError) and STAND_IN in os.environ.values():
            return "variables from Secrets have made-up values here"
        return "a piece before this one was not run to its end" if self.interrupted else ""

    def _compile(self, piece: Piece) -> CodeType:
        file = str(piece.file)
        self.files[file] = piece.file
        tree = ast.parse(piece.code, file)
        ast.increment_lineno(tree, piece.line - 1)
        return compile(tree, file, "exec", dont_inherit=True)

    def _sub_file(self, file: Path) -> None:
        piece = Piece(file.read_text(encoding="utf-8"), file)
        # Its own names, as traitlets has it; only `c` is shared.
        names = namespace(self.config, file.parent, self._sub_file)
        exec(self._compile(piece), {**names, "__file__": str(file)})  # noqa: S102 - the feature itself

    def _failure(self, piece: Piece, exc: BaseException) -> Problem:
        """The last line of configuration on the way to the exception."""
        at = Position(piece.file, piece.line, 1)
        for frame, line in traceback.walk_tb(exc.__traceback__):
            if (file := self.files.get(frame.f_code.co_filename)) is not None:
                at = Position(file, line, 1)
        return Problem(piece.path, f"the code failed: {_described(exc)}", at_text(at), remedy=_failure_remedy(exc))


def _described(exc: BaseException) -> str:
    text = str(exc)
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def _failure_remedy(exc: BaseException) -> str:
    if isinstance(exc, ModuleNotFoundError) and exc.name:
        package = exc.name.partition(".")[0]
        wanted = {"kubespawner": "jupyterhub-kubespawner", "kubernetes_asyncio": "kubernetes-asyncio"}
        return f"install it beside Perijove: {sys.executable} -m pip install {wanted.get(package, package)}"
    if isinstance(exc, KeyError) and exc.args and exc.args[0] in ("HUB_SERVICE_HOST", "POD_NAMESPACE"):
        return f"{exc.args[0]} is set by Kubernetes only"
    return ""


def _syntax_problem(piece: Piece, exc: SyntaxError | ValueError) -> Problem:
    if not isinstance(exc, SyntaxError):
        return Problem(piece.path, f"not Python: {exc}", Position(piece.file, piece.line, 1))
    line = piece.line + (exc.lineno or 1) - 1
    at = at_text(Position(piece.file, line, 1))
    return Problem(piece.path, f"not Python: {exc.msg}", at)


@contextmanager
def environment(extra: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """`os.environ` with `extra` while code runs; yields what code added, once it is over."""
    before = dict(os.environ)
    added: dict[str, str] = {}
    os.environ.update(extra)
    try:
        yield added
    finally:
        added.update({name: value for name, value in os.environ.items() if before.get(name) != value})
        for name in added:
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})

"""Settings to what a hub runs with: options for our code, a traitlets `Config` for plug-ins.

The order is z2jh's: its keys become traits, then `hub.config`, then the files in
`jupyterhub_config.d`, then `hub.extraConfig` in the order of the pieces' names, then
`hub.extraConfigFiles`; each may change what the ones before it set. Compiling therefore runs the code
in the configuration, with the hub's own rights, and writes `hub.extraFiles` into the data directory;
`perijove check` does both with a directory that is thrown away.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from traitlets.config import Config

from perijove.config.loaded import Loaded
from perijove.config.options import HubOptions
from perijove.config.problems import Note, Problem

if TYPE_CHECKING:
    from perijove.config.trait_settings import TraitSetting

Target = Literal["local", "kubernetes"]


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """What a hub runs with."""

    options: HubOptions
    # Its own `repr` shows secrets; so do those below.
    traits: Config = field(repr=False)
    notes: tuple[Note, ...] = ()
    # Variables for the hub's own process: `hub.extraEnv`, and what the code in the configuration set.
    environment: Mapping[str, str] = field(repr=False)
    # `hub.extraFiles`: mount path -> where it was written.
    files: Mapping[str, Path]
    # Why anybody who reaches the port gets in, or "".
    unprotected: str = ""
    # Without a configuration: who may log in, and where the password is kept; it itself when it is new.
    generated_admin: str = ""
    password_file: str = ""
    new_password: str = field(default="", repr=False)
    # Of a trial only: mistakes that would show when a plug-in is made, and what plug-ins are set to.
    problems: tuple[Problem, ...] = ()
    trait_settings: "tuple[TraitSetting, ...]" = ()


def compile_config(
    loaded: Loaded,
    *,
    data_dir: Path,
    environment: Mapping[str, str] | None = None,
    target: Target = "local",
    trial: bool = False,
    run_code: bool = True,
) -> Compiled:
    """Raises `ConfigError`. `environment` is that of the process; the configuration adds to it.

    A `trial` is not run with: what only the cluster has (modules of the hub's image, mounted files,
    variables from Secrets) is noted where it is missing, and the rest is looked at all the same.
    """
    around = dict(os.environ if environment is None else environment)
    # Each way is imported when it is taken: a hub without files starts without the schema.
    if not loaded.files:
        from perijove.config.unconfigured import compile_nothing  # noqa: PLC0415

        return compile_nothing(data_dir, around)
    from perijove.config.compiler import Compiler  # noqa: PLC0415

    return Compiler(loaded, data_dir, around, target, trial=trial, run_code=run_code).compile()

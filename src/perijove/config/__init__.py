"""From config.yaml to what a hub runs with: `load`, then `compile_config`."""

from perijove.config.compile import Compiled, compile_config
from perijove.config.load import Loaded, load
from perijove.config.options import HubOptions
from perijove.config.problems import ConfigError, Note, NoteKind, Problem, render
from perijove.config.read_options import read_options

__all__ = [
    "Compiled",
    "ConfigError",
    "HubOptions",
    "Loaded",
    "Note",
    "NoteKind",
    "Problem",
    "compile_config",
    "load",
    "read_options",
    "render",
]

"""From config.yaml to what a hub runs with: `load`, then `compile_config`.

The names below are imported when first used: most of the program only needs `config.options`, and a
start should not pay for a schema it does not read.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perijove.config.app_options import read_options
    from perijove.config.compile import Compiled, compile_config
    from perijove.config.loaded import Loaded, load
    from perijove.config.options import HubOptions
    from perijove.config.problems import ConfigError, Note, NoteKind, Problem, render

_HOMES = {
    "Compiled": "compile",
    "ConfigError": "problems",
    "HubOptions": "options",
    "Loaded": "loaded",
    "Note": "problems",
    "NoteKind": "problems",
    "Problem": "problems",
    "compile_config": "compile",
    "load": "loaded",
    "read_options": "app_options",
    "render": "problems",
}

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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

"""The process that `perijove proxy` becomes: the data plane and nothing of the command line.

The command's libraries are a third of the memory that the proxy itself takes, so it replaces itself by a fresh
interpreter (same process id, same descriptors) and hands the options over in memory. `python -P -m
perijove.cli.proxy_process proxy <descriptor>` is for it alone.
"""

import os
import sys

import msgspec

import perijove.lib.plain_tracebacks  # noqa: F401 - before anything that logs
from perijove.cli.control import Control
from perijove.proxy.main import serve
from perijove.proxy.options import ProxyOptions
from perijove.proxy.worker_wire import path_from


def run(options: ProxyOptions) -> int:
    """Serve, and tell who started us; the exit code."""
    control = Control.attach()
    if control is not None:
        control.end_with_parent()
    return serve(options, ready=lambda _: control.ready() if control is not None else None)


def main() -> int:
    with os.fdopen(int(sys.argv[2]), "rb") as file:
        options = msgspec.json.decode(file.read(), type=ProxyOptions, dec_hook=path_from)
    return run(options)


if __name__ == "__main__":
    sys.exit(main())

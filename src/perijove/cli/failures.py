"""What the layers below raise, as the end of a command: one message, one exit code, no traceback.

Whatever is not listed here is a bug, and a bug keeps its traceback.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from perijove.cli.exits import CommandFailed, Exit


@contextmanager
def explained() -> Iterator[None]:
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    from perijove.domain.errors import HubError, Unavailable
    from perijove.plugins.load import PluginMisconfigured, PluginNotFound

    try:
        yield
    except Unavailable as error:
        raise CommandFailed(str(error), code=Exit.UNAVAILABLE) from error
    except HubError as error:
        raise CommandFailed(str(error), code=Exit.FAILURE) from error
    except (PluginMisconfigured, PluginNotFound) as error:
        raise CommandFailed(str(error), code=Exit.USAGE) from error
    except (ArgumentError, NoSuchModuleError) as error:
        raise CommandFailed(
            f"The database URL cannot be used: {error}", remedy="Check hub.db.", code=Exit.USAGE
        ) from error

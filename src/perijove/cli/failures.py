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
        raise CommandFailed(f"{error}{_reason(error)}", code=Exit.UNAVAILABLE) from error
    except HubError as error:
        raise CommandFailed(str(error), code=Exit.FAILURE) from error
    except (PluginMisconfigured, PluginNotFound) as error:
        raise CommandFailed(str(error), code=Exit.USAGE) from error
    except (ArgumentError, NoSuchModuleError) as error:
        raise CommandFailed(
            f"The database URL cannot be used: {error}", remedy="Check hub.db.", code=Exit.USAGE
        ) from error


def _reason(error: BaseException) -> str:
    """What the database's driver said, which is for operators alone."""
    cause = getattr(error.__cause__, "orig", None) or error.__cause__
    return f" ({cause})" if cause is not None and str(cause) else ""

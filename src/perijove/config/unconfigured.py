"""A hub without a configuration: safe to leave running, for the person who starts it."""

from collections.abc import Mapping
from pathlib import Path

from traitlets.config import Config

from perijove.config import local
from perijove.config.app_options import read_options
from perijove.config.compile import Compiled
from perijove.config.keys import load_or_create_admin_password, os_user


def compile_nothing(data_dir: Path, around: Mapping[str, str]) -> Compiled:
    """One admin named after the account, one long password, JupyterHub's own process spawner."""
    admin, kept = os_user(), load_or_create_admin_password(data_dir)
    config = Config()
    config.JupyterHub.authenticator_class = "shared-password"
    config.JupyterHub.concurrent_spawn_limit = 64
    config.SharedPasswordAuthenticator.admin_users = {admin}
    config.SharedPasswordAuthenticator.allowed_users = {admin}
    config.SharedPasswordAuthenticator.admin_password = kept.password
    # The first thing a person sees is their home and its Start, not a server that starts by itself.
    config.JupyterHub.redirect_to_server = False
    local.without_files(config, data_dir, admin)
    options, notes = read_options(config, data_dir=data_dir, environment=around)
    return Compiled(
        options=options,
        traits=config,
        notes=tuple(notes),
        environment={},
        files={},
        generated_admin=admin,
        password_file=str(kept.path),
        new_password=kept.password if kept.created else "",
    )

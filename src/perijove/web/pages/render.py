"""Templates to HTML, for pages here and for the Tornado handlers of authenticators.

Template names, blocks and variables are those that JupyterHub's custom templates use. Templates of
the operator's `template_paths` come first; `{% extends "templates/page.html" %}` reaches ours.
Files are read once: a changed template shows after a restart, or at once with `debug`.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, ChainableUndefined, ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, Template

from perijove.config.options import HubOptions
from perijove.web.pages.assets import Assets
from perijove.web.pages.times import ago, utc

TEMPLATES_DIR = Path(__file__).parent.parent / "templates"


class Templates:
    """The jinja environment and what every template sees."""

    def __init__(
        self,
        options: HubOptions,
        assets: Assets,
        *,
        now: Callable[[], datetime],
        logout_url: str = "",
        version: str = "",
    ) -> None:
        """`template_vars` of the operator become globals, over ours."""
        self.environment = Environment(
            loader=_loader(options.template_paths),
            autoescape=True,
            # Custom templates may ask for what only JupyterHub's objects have (`user.spawner.active`): that is
            # false and empty here, not an error page.
            undefined=ChainableUndefined,
            # The operator's last: their templates may want other marks around tags.
            **{"trim_blocks": True, "lstrip_blocks": True, "auto_reload": options.debug, **options.jinja_options},
        )
        self._texts: dict[str, Template] = {}
        self.environment.filters |= {"ago": lambda moment: ago(moment, now()), "utc": utc}
        hub_prefix = f"{options.base_url}hub/"
        self.environment.globals |= {
            "base_url": hub_prefix,
            "prefix": options.base_url,
            "static_url": assets.url,
            "login_url": f"{hub_prefix}login",
            "logout_url": logout_url or f"{hub_prefix}logout",
            "version": version,
            "services": (),
            "parsed_scopes": frozenset[str](),
            "user": None,
            "here": "",
        } | dict(options.template_vars)

    def render(self, name: str, namespace: Mapping[str, Any]) -> str:
        return self.environment.get_template(name).render(namespace)

    def from_text(self, source: str) -> Template:
        """A template that a plug-in brings as text; compiled once."""
        if source not in self._texts:
            self._texts[source] = self.environment.from_string(source)
        return self._texts[source]

    def variable(self, name: str) -> Any:
        """A global as templates see it: what the operator put into `template_vars`."""
        return self.environment.globals.get(name)


def _loader(custom: tuple[str, ...]) -> BaseLoader:
    ours = FileSystemLoader(TEMPLATES_DIR)
    loaders: list[BaseLoader] = [PrefixLoader({"templates": ours})]
    if custom:
        loaders.append(FileSystemLoader(list(custom)))
    return ChoiceLoader([*loaders, ours])

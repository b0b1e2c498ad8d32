"""Content-Security-Policy of pages.

Our own templates need nothing inline and nothing from elsewhere, so the policy allows neither. Markup
that is not ours (an options form of a spawner, `custom_html`, an announcement, custom templates) was
written for JupyterHub, which restricts no scripts; where it has inline scripts or styles, the page
that shows it, and only that page, allows them.

No `form-action`: browsers apply it to the redirects after a form as well, and a POST may end at an
identity provider or at the callback of a service on another origin.
"""

import re
from collections.abc import Iterable, Mapping

_INLINE = re.compile(r"<\s*(?:script|style)\b|\s(?:style|on[a-z]+)\s*=", re.IGNORECASE)


class Policy:
    """The header's value, precomputed for pages of our own."""

    def __init__(self, *, report_uri: str, headers: Mapping[str, str], custom_templates: bool) -> None:
        """`headers`: the operator's; directives in a `Content-Security-Policy` there replace ours one by one,
        all of them when it sets `default-src`. `custom_templates`: there are some, so any page may be theirs."""
        overrides = next((value for name, value in headers.items() if name.lower() == "content-security-policy"), "")
        self._overrides = _directives(overrides)
        self._report_uri = report_uri
        self._custom_templates = custom_templates
        self._relaxed = self._build(inline=True, elsewhere=custom_templates)
        self._strict = self._build(inline=False, elsewhere=False)

    def needs_inline(self, foreign: Iterable[str] = ()) -> bool:
        """Whether a page may have inline scripts. `foreign`: markup in it that is not from our templates."""
        return self._custom_templates or any(_INLINE.search(text) for text in foreign)

    def __call__(self, *, inline: bool) -> str:
        return self._relaxed if inline else self._strict

    def _build(self, *, inline: bool, elsewhere: bool) -> str:
        sources = "'self'" + (" 'unsafe-inline'" if inline else "") + (" https:" if elsewhere else "")
        directives = {
            "default-src": "'none'",
            "script-src": sources,
            "style-src": sources,
            "img-src": "'self' data: https:" if inline else "'self' data:",
            "font-src": "'self' data: https:" if elsewhere else "'self'",
            "connect-src": "'self'",
            "base-uri": "'none'",
            "frame-ancestors": "'none'",
            "report-uri": self._report_uri,
        }
        if "default-src" in self._overrides:
            directives = {"frame-ancestors": "'none'", "report-uri": self._report_uri}
        merged = directives | self._overrides
        return "; ".join(f"{name} {value}".rstrip() for name, value in merged.items())


def _directives(policy: str) -> dict[str, str]:
    found = {}
    for part in policy.split(";"):
        name, _, value = part.strip().partition(" ")
        if name:
            found[name.lower()] = value.strip()
    return found

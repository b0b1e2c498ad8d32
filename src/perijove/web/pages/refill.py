"""Puts what was typed back into an options form, when the spawner refused it.

The form is the plug-in's own HTML, so the fields are found by parsing, and only the tags of fields are
rewritten; everything else stays as it was, character by character. Passwords and files stay empty.
"""

from collections.abc import Mapping
from html import escape
from html.parser import HTMLParser

_CHECKED = frozenset({"checkbox", "radio"})
_UNFILLED = frozenset({"password", "file", "submit", "button", "image", "reset"})


def refill(html: str, values: Mapping[str, list[str]]) -> str:
    """`html` with the fields named in the form set to `values`, text fields in order of appearance.

    A checkbox without values is unchecked: browsers send nothing for it.
    """
    filler = _Filler({name: list(found) for name, found in values.items()})
    filler.feed(html)
    filler.close()
    return filler.result


class _Filler(HTMLParser):
    def __init__(self, values: dict[str, list[str]]) -> None:
        super().__init__(convert_charrefs=False)
        self.result = ""
        self._values = values
        self._select: str | None = None
        # Inside a textarea whose content is replaced, its old content is dropped.
        self._dropping = False

    def _emit(self, raw: str) -> None:
        if not self._dropping:
            self.result += raw

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        raw = self.get_starttag_text() or ""
        attributes = {name: value or "" for name, value in attrs}
        name = attributes.get("name", "")
        if tag == "input":
            raw = self._input(raw, attrs, attributes, name)
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select in self._values:
            # An option without a value means its text, which only follows: left as the plug-in wrote it.
            if "value" in attributes:
                raw = _tag(tag, attrs, "selected", on=attributes["value"] in self._values[self._select or ""])
        elif tag == "textarea" and self._values.get(name):
            self._emit(raw)
            self._emit(escape(self._values[name].pop(0), quote=False))
            self._dropping = True
            return
        self._emit(raw)

    def _input(self, raw: str, attrs: list[tuple[str, str | None]], attributes: dict[str, str], name: str) -> str:
        kind = attributes.get("type", "text").lower()
        if not name or kind in _UNFILLED:
            return raw
        if kind in _CHECKED:
            return _tag("input", attrs, "checked", on=attributes.get("value", "on") in self._values.get(name, ()))
        if kind != "hidden" and self._values.get(name):
            value = self._values[name].pop(0)
            return _tag(
                "input", [(key, old) for key, old in attrs if key != "value"], f'value="{escape(value)}"', on=True
            )
        return raw

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = None
        if tag == "textarea":
            self._dropping = False
        self._emit(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self._emit(data)

    def handle_entityref(self, name: str) -> None:
        self._emit(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self._emit(f"&#{name};")

    def handle_comment(self, data: str) -> None:
        self._emit(f"<!--{data}-->")

    def handle_decl(self, decl: str) -> None:
        self._emit(f"<!{decl}>")


def _tag(tag: str, attrs: list[tuple[str, str | None]], flag: str, *, on: bool) -> str:
    flag_name = flag.partition("=")[0]
    kept = [name if value is None else f'{name}="{escape(value)}"' for name, value in attrs if name != flag_name]
    return "<" + " ".join([tag, *kept, *([flag] if on else [])]) + ">"

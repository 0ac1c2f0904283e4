"""HTML of a user's renderer, brought down to elements and attributes that can do nothing."""

import re
from html import escape
from html.parser import HTMLParser
from typing import Final

_NAMES: Final = (
    "abbr b blockquote br caption cite code dd del dfn div dl dt em figcaption figure h1 h2 h3 h4 "
    "h5 h6 hr i img ins kbd li mark ol p pre q rp rt ruby s samp small span strong sub sup table "
    "tbody td tfoot th thead time tr u ul var wbr"
)
_ELEMENTS: Final = frozenset(_NAMES.split())
_VOID: Final = frozenset({"br", "hr", "img", "wbr"})
_DROPPED: Final = frozenset({"script", "style", "template", "title", "noscript"})  # with content
_ATTRIBUTES: Final = frozenset({"alt", "colspan", "dir", "lang", "rowspan", "title"})
_PICTURE: Final = re.compile(r"data:image/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/=\s]*\Z")


def safe_html(text: str) -> str:
    """``text`` without scripts, styles, links, forms and whatever else is not plain marked-up text.

    Pictures stay where they are data URIs. Elements that were left open are closed.
    """
    cleaner = _Cleaner()
    cleaner.feed(text)
    cleaner.close()
    return cleaner.result()


class _Cleaner(HTMLParser):
    """Writes down what is allowed, and escapes all text anew."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._open: list[str] = []
        self._dropped = 0  # depth of elements whose content is dropped too

    def result(self) -> str:
        return "".join([*self._parts, *(f"</{tag}>" for tag in reversed(self._open))])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED:
            self._dropped += 1
        if self._dropped or tag not in _ELEMENTS:
            return
        self._parts.append(f"<{tag}{''.join(_attribute(tag, *attr) for attr in attrs)}>")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _DROPPED:
            self._dropped = max(0, self._dropped - 1)
        elif tag in self._open and not self._dropped:
            while True:
                last = self._open.pop()
                self._parts.append(f"</{last}>")
                if last == tag:
                    return

    def handle_data(self, data: str) -> None:
        if not self._dropped:
            self._parts.append(escape(data))


def _attribute(tag: str, name: str, value: str | None) -> str:
    value = value or ""
    if name in _ATTRIBUTES or (tag == "img" and name == "src" and _PICTURE.match(value)):
        return f' {name}="{escape(value)}"'
    return ""

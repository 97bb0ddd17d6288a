"""The text of documents that are not plain text (HTML, RTF), for the note encoder. Never raises, whatever the bytes."""

import codecs
import re
from collections.abc import Iterator
from html import unescape
from string import ascii_lowercase, ascii_uppercase

LONGEST = 1 << 20
"""Bytes of a document up to which its text is read: what reads notes looks at some thousand characters."""

_CHARSET = re.compile(
    r"(utf-?(8|16(le|be)?)|us-ascii|iso-?8859-\d+|latin-?1|(windows-|cp)\d+|gb\w+|big5|shift_jis|euc-\w\w)\Z"
)
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_META = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?([\w-]{1,40})", re.IGNORECASE)


def decoded(payload: bytes, charset: str = "") -> str:
    """Text in the set that its byte-order mark tells, else that is named, where it fits; else UTF-8, else Windows-1252.

    Line ends become LF.
    """
    marked = next((codec for mark, codec in _MARKS if payload.startswith(mark)), "")
    named = charset.strip().strip("\"'").lower()
    for name in (marked or (named if _CHARSET.match(named) else "utf-8"), "utf-8"):
        try:
            return _lines(payload.decode(name))
        except (LookupError, ValueError):
            continue
    return _lines(payload.decode("cp1252", "replace"))


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def html_text(payload: bytes, charset: str = "") -> str:
    """What a browser would show of an HTML document, a block a line; '' for one longer than LONGEST."""
    if len(payload) > LONGEST:
        return ""
    told = _META.search(payload[:1024])
    source = decoded(payload, charset or (told[1].decode("ascii") if told else ""))
    return _tidy(unescape("".join(_shown(source))))


_TAG = re.compile(r"<(?P<end>/?)(?P<name>[a-zA-Z][a-zA-Z0-9]*)(?:[^>\"']++|\"[^\"]*+\"|'[^']*+')*+>")
_LONGEST_TAG = 4096
"""Characters in which a tag is looked for with its quoted values; a longer one ends at the next `>`."""
_HIDDEN = frozenset({"script", "style", "title", "template", "noscript"})
_BLOCKS = frozenset(
    {
        *("p", "div", "br", "li", "ul", "ol", "tr", "table", "section", "article", "header", "footer", "pre"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "dt", "dd", "hr", "blockquote", "caption"),
    }
)


def _shown(source: str) -> Iterator[str]:
    """The text between tags, with blocks parted by line ends. One pass: html.parser is quadratic on unclosed tags."""
    lower = source.translate(_LOWER)  # ASCII alone, so that places stay the same
    at = 0
    while (start := source.find("<", at)) >= 0:
        yield _SPACE.sub(" ", source[at:start])
        if source.startswith("<!--", start):
            at = _after(source, "-->", start)
        elif (tag := _TAG.match(source, start, start + _LONGEST_TAG)) is not None:
            name = tag["name"].lower()
            at = tag.end()
            if name in _HIDDEN and not tag["end"]:
                at = _after(source, ">", _after(lower, f"</{name}", at) - 1)
            yield _BREAKS.get(name, "")
        elif source[start + 1 : start + 2].isalpha() or source[start + 1 : start + 2] in ("/", "!", "?"):
            at = _after(source, ">", start)
        else:
            yield "<"
            at = start + 1
    yield _SPACE.sub(" ", source[at:])


_SPACE = re.compile(r"\s+")
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
_BREAKS = {**dict.fromkeys(_BLOCKS, "\n"), "td": " ", "th": " "}


def _after(source: str, mark: str, start: int) -> int:
    """Where the mark's next occurrence ends; the end of the source when there is none."""
    found = source.find(mark, start)
    return found + len(mark) if found >= 0 else len(source)


def rtf_text(payload: bytes) -> str:
    """What a word processor would show of an RTF document (Microsoft's RTF 1.9.1); '' for one longer than LONGEST."""
    if len(payload) > LONGEST or not payload.startswith(b"{\\rtf"):
        return ""
    return _tidy(_Rtf(payload.decode("latin-1")).text())


_RTF_TOKEN = re.compile(
    r"\\(?P<word>[a-zA-Z]{1,32})(?P<number>-?\d{1,9})? ?|\\'(?P<byte>[0-9a-fA-F]{2})|\\(?P<symbol>[^a-zA-Z])"
    r"|(?P<brace>[{}])|(?P<plain>[^\\{}\r\n]+)|[\\\r\n]"
)
_RTF_SHOWN = {
    **dict.fromkeys(("par", "line", "sect", "page", "row", "nestrow", "softline"), "\n"),
    **dict.fromkeys(("tab", "cell", "nestcell", "emspace", "enspace", "qmspace"), " "),
    **{"emdash": "—", "endash": "–", "bullet": "•"},
    **{"lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”"},
}
_RTF_SYMBOLS = {"~": " ", "_": "-", "\\": "\\", "{": "{", "}": "}", "\n": "\n", "\r": "\n"}
_RTF_HIDDEN = frozenset(
    {
        *(
            "fonttbl",
            "colortbl",
            "stylesheet",
            "info",
            "pict",
            "object",
            "themedata",
            "colorschememapping",
            "datastore",
        ),
        *("latentstyles", "listtable", "listoverridetable", "rsidtbl", "generator", "xmlnstbl", "filetbl", "revtbl"),
        *("header", "headerl", "headerr", "headerf", "footer", "footerl", "footerr", "footerf", "fldinst"),
    }
)
"""Destinations that hold no text of the document."""


class _Rtf:
    """One pass over the tokens. A group (`{...}`) has two properties: whether it shows, and how many characters stand
    after each \\u for readers that know no Unicode."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._codec = "cp1252"
        self._found: list[str] = []
        self._bytes = bytearray()  # of \'hh, which may be halves of a character
        self._shown, self._instead = True, 1
        self._groups: list[tuple[bool, int]] = []
        self._passing = 0  # characters that stand for the last \u

    def text(self) -> str:
        at = 0
        while (token := _RTF_TOKEN.match(self._source, at)) is not None:
            at = token.end()
            if token["byte"]:
                self._byte(int(token["byte"], 16))
                continue
            self._flush()
            if token["word"]:
                number = int(token["number"]) if token["number"] else None
                at += max(0, number or 0) if token["word"] == "bin" else 0
                self._word(token["word"], number)
            elif token["symbol"]:
                self._symbol(token["symbol"])
            elif token["brace"]:
                self._brace(token["brace"])
            elif token["plain"]:
                self._plain(token["plain"])
        self._flush()
        return "".join(self._found).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def _word(self, word: str, number: int | None) -> None:
        self._passing = 0
        if word in _RTF_HIDDEN:
            self._shown = False
        elif word == "u" and number is not None:
            self._show(chr(number % 0x10000))
            self._passing = self._instead
        elif word == "uc" and number is not None:
            self._instead = max(0, number)
        elif word == "ansicpg" and number:
            self._codec = f"cp{number}" if _known(f"cp{number}") else self._codec
        else:
            self._show(_RTF_SHOWN.get(word, ""))

    def _symbol(self, symbol: str) -> None:
        if symbol == "*":  # a destination that only newer readers know
            self._shown = False
        else:
            self._plain(_RTF_SYMBOLS.get(symbol, ""))

    def _brace(self, brace: str) -> None:
        self._passing = 0
        if brace == "{":
            self._groups.append((self._shown, self._instead))
        elif self._groups:
            self._shown, self._instead = self._groups.pop()

    def _plain(self, text: str) -> None:
        passed = min(self._passing, len(text))
        self._passing -= passed
        self._show(text[passed:])

    def _byte(self, value: int) -> None:
        if self._passing:
            self._passing -= 1
        elif self._shown:
            self._bytes.append(value)

    def _flush(self) -> None:
        if self._bytes:
            self._found.append(self._bytes.decode(self._codec, "replace"))
            self._bytes.clear()

    def _show(self, text: str) -> None:
        if self._shown and text:
            self._found.append(text)


def _known(codec: str) -> bool:
    try:
        return b"a".decode(codec) == "a"
    except LookupError:
        return False


_BLANKS = re.compile(r"[ \t\xa0]+")
_EMPTY_LINES = re.compile(r"\n{3,}")


def _tidy(text: str) -> str:
    """Runs of blanks as one, no blanks at the ends of lines, at most one empty line in a row."""
    lines = (line.strip() for line in _BLANKS.sub(" ", text.replace("\x00", "")).split("\n"))
    return _EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip()

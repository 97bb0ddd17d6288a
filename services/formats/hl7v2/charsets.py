"""From the bytes on the wire to text: byte-order marks, MSH-18 (HL7 table 0211) and the site's default.

HL7 v2.8 chapter 2.14.9.18. The header itself is readable in every set that the table allows, so MSH-18 is looked up
in the bytes before anything is decoded.
"""

import codecs
import re
from functools import lru_cache

from services.domain.reasons import Rejected, RejectReason

_BOMS = (  # UTF-32's first: its little-endian mark begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_UNMARKED = (("MSH".encode(c), c) for c in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"))
_UNMARKED_WIDE = tuple(_UNMARKED)

FRAMING = b" \t\r\n\x0b\x1c\x00"
"""What may stand around a message in a file or frame: white space, MLLP's start and end blocks, NUL padding."""

_BLANK = " \t\r\n\x0b\x1c\x00\ufeff"

_CODECS = {
    "ASCII": "ascii",
    "USASCII": "ascii",
    "ISOIR6": "ascii",
    "UNICODE": "utf-8",  # withdrawn from the table; what senders mean by it today
    "UNICODEUTF8": "utf-8",
    "UTF8": "utf-8",
    "UNICODEUTF16": "utf-16",
    "UTF16": "utf-16",
    "UNICODEUTF32": "utf-32",
    "UTF32": "utf-32",
    "GB180302000": "gb18030",
    "GB18030": "gb18030",
    "KSX1001": "euc_kr",
    "BIG5": "big5",
    "ISOIR14": "shift_jis",  # JIS X 0201: ASCII and half-width katakana, which Shift-JIS keeps in place
    "ISOIR87": "iso2022_jp_1",
    "ISOIR159": "iso2022_jp_1",
    "WINDOWS1252": "cp1252",
    "CP1252": "cp1252",
    "WINDOWS1250": "cp1250",
    "WINDOWS1251": "cp1251",
    "WINDOWS31J": "cp932",
} | {f"{prefix}{n}": f"iso8859-{n}" for n in (*range(1, 12), 13, 14, 15, 16) for prefix in ("8859", "ISO8859")}

_WIDE = frozenset({"utf-16", "utf-32"})
_NOT_IN_NAMES = re.compile(r"[^A-Z0-9]")


@lru_cache(maxsize=256)
def codec_of(charset: str) -> str | None:
    """The Python codec for a name of table 0211, or for a common spelling of one; None when we do not have it."""
    return _CODECS.get(_NOT_IN_NAMES.sub("", charset.upper()))


@lru_cache(maxsize=256)
def _declared(msh18: bytes, repetition: bytes, default: str) -> str | None:
    """Codec for a raw MSH-18: its first repetition, unless a later one switches in a two-byte set (ISO 2022)."""
    names = msh18.decode("ascii", "replace").split(repetition.decode("latin-1")) if repetition else [msh18.decode()]
    names = [n.strip() for n in names if n.strip() not in ("", '""')]
    if not names:
        return codec_of(default)
    found = [codec_of(name) for name in names]
    if any(codec is None for codec in found):
        return None
    return next((c for c in found if c and c.startswith("iso2022")), found[0])


def decode(raw: bytes, default_charset: str = "utf-8") -> tuple[str, str] | Rejected:
    """Text that begins with MSH, without byte-order mark or framing, and the codec it was read with.

    Rejects: EMPTY, NOT_HL7, UNKNOWN_CHARSET, UNDECODABLE_TEXT. A byte-order mark is stronger than MSH-18.
    """
    if not raw.startswith(b"MSH"):
        raw = raw.lstrip(FRAMING) if raw[:1] in (b"\x0b", b"\r", b"\n", b" ", b"\t") else raw
        if not raw.startswith(b"MSH"):
            return _decode_marked(raw, default_charset)
    codec = _declared(*_msh18(raw), default_charset)
    if codec is None:
        return Rejected(RejectReason.UNKNOWN_CHARSET, "MSH-18", "name a set of HL7 table 0211, e.g. UNICODE UTF-8")
    if codec in _WIDE:
        return Rejected(RejectReason.UNDECODABLE_TEXT, "MSH-18", f"the bytes are not {codec.upper()}")
    return _strictly(raw, codec)


def _msh18(raw: bytes) -> tuple[bytes, bytes]:
    """Raw MSH-18 and the repetition separator, found in the undecoded header."""
    end = raw.find(b"\r")
    if end < 0:
        end = len(raw)
    newline = raw.find(b"\n", 0, end)
    fields = raw[: newline if newline >= 0 else end].split(raw[3:4] or b"|", 18)
    return (fields[17] if len(fields) > 17 else b""), fields[1][1:2] if len(fields) > 1 else b""


def _decode_marked(raw: bytes, default_charset: str) -> tuple[str, str] | Rejected:
    """Messages that do not begin with the bytes of MSH: with a mark, in UTF-16 or UTF-32, or no HL7 at all."""
    if not raw.strip(FRAMING):
        return Rejected(RejectReason.EMPTY)
    for mark, codec in _BOMS:
        if raw.startswith(mark):
            return _strictly(raw[len(mark) :], codec)
    for start, codec in _UNMARKED_WIDE:
        if raw.startswith(start):
            return _strictly(raw, codec)
    return Rejected(RejectReason.NOT_HL7, "MSH", "a message begins with MSH")


def _strictly(raw: bytes, codec: str) -> tuple[str, str] | Rejected:
    try:
        text = raw.decode(codec)
    except UnicodeDecodeError as error:
        where = f"byte {error.start}"
        return Rejected(RejectReason.UNDECODABLE_TEXT, where, f"the bytes are not {codec}; MSH-18 names what is sent")
    if not text.startswith("MSH"):
        text = text.lstrip(_BLANK)
        if not text:
            return Rejected(RejectReason.EMPTY)
        if not text.startswith("MSH"):
            return Rejected(RejectReason.NOT_HL7, "MSH", "a message begins with MSH")
    return text, codec

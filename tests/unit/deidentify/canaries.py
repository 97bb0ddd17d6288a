"""Marks that stand for identifiers: seeded into messages, and looked for in what comes out, in every disguise.

Every mark holds one of three cores (a word, digits, a day), so that a part of a mark is found too, and so that the
search does not grow with their number.
"""

import base64
import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from urllib.parse import quote

WORD, DIGITS, DAY = "Zqxvjk", "7305519", "1947-08-13"
"""No vocabulary has the word, no result the number, and no shift of at least a day leads from the day to itself."""

_numbers = count(100)
KINDS: tuple[Callable[[], str], ...] = (
    lambda: f"{WORD}{next(_numbers)}",
    lambda: f"{DIGITS}{next(_numbers) % 900 + 100}",
    lambda: DAY.replace("-", ""),
    lambda: f"{DAY.replace('-', '')}142233",
    lambda: f"{DAY}T14:22:33+01:00",
    lambda: f"{WORD} {DIGITS}4 {DAY}",
    lambda: f"{DIGITS[:3]}-{DIGITS[3:5]}-{DIGITS[5:]}{next(_numbers)}",
    lambda: base64.b64encode(f"see {WORD}{next(_numbers)}".encode()).decode(),
)
"""Names, numbers, dates, time stamps, free text, hyphenated numbers, encapsulated text."""


def word() -> str:
    """A new name."""
    return KINDS[0]()


_FORMS: tuple[Callable[[str], bytes], ...] = (
    str.encode,
    lambda text: text.upper().encode(),
    lambda text: text.lower().encode(),
    lambda text: text[::-1].encode(),
    lambda text: text.encode("utf-16-le"),
    lambda text: text.encode("utf-16-be"),
    lambda text: text.encode().hex().encode(),
    lambda text: text.encode().hex().upper().encode(),
    lambda text: quote(text, safe="").encode(),
    lambda text: "".join(f"%{byte:02X}" for byte in text.encode()).encode(),
    lambda text: "".join(f"\\u{ord(c):04x}" for c in text).encode(),
    lambda text: "".join(f"&#{ord(c)};" for c in text).encode(),
)


def disguises(core: str) -> set[bytes]:
    """Forms in which a text may hide: other case, backwards, UTF-16, hex, percent-encoded, escaped, base64."""
    found = {form(core) for form in _FORMS}
    for plain in (core.encode(), core.encode("utf-16-le")):
        for before in range(3):  # what stands before it moves base64's phase
            first = -(-before * 8 // 6)
            usable = (before + len(plain)) * 8 // 6
            found.add(base64.b64encode(b"\0" * before + plain)[first:usable])
    return {form for form in found if len(form) > 4}


_CORES = (
    WORD,
    DIGITS,
    DAY,
    DAY.replace("-", ""),
    DAY.replace("-", "."),
    "-".join((DIGITS[:3], DIGITS[3:5], DIGITS[5:])),
)
PATTERN = re.compile(b"|".join(map(re.escape, sorted({form for core in _CORES for form in disguises(core)}))))


def leaks(folder: Path) -> list[tuple[str, bytes]]:
    """(file, what was found) for every mark in the names, the bytes or the unpacked content of a folder's files."""
    found = []
    for path in sorted(folder.rglob("*")):
        for content in (path.name.encode(), *(_unpacked(path.read_bytes()) if path.is_file() else ())):
            found += [(path.name, match) for match in PATTERN.findall(content)]
    return found


def _unpacked(data: bytes) -> Iterator[bytes]:
    """The bytes, and what base64 in them holds, compressed or not."""
    yield data
    for run in re.findall(rb"[A-Za-z0-9+/_-]{40,}={0,2}", data):
        try:
            plain = base64.b64decode(run + b"===", altchars=b"-_" if b"-" in run or b"_" in run else None)
        except ValueError:
            continue
        yield plain
        for unpack in (gzip.decompress, zlib.decompress):
            try:
                yield unpack(plain)
            except (OSError, EOFError, zlib.error):
                continue

"""Escape sequences of ER7 text (HL7 v2.8 chapter 2.7), decoded only where there are any."""

import re
from functools import lru_cache

_BREAKS = {".br": "\n", ".ce": "\n", ".fi": "", ".nf": "", "H": "", "N": ""}
_SPACES = re.compile(r"\.(sp|sk|in|ti)([+-]?\d{0,2})\Z")
_HEX = re.compile(r"X(?:[0-9A-Fa-f]{2})+\Z")
_CHARSET_SWITCH = re.compile(r"(?:C[0-9A-Fa-f]{4}|M[0-9A-Fa-f]{4}(?:[0-9A-Fa-f]{2})?)\Z")


class Escapes:
    """Decoder and encoder for one set of delimiters and one codec."""

    def __init__(
        self, field: str, component: str, repetition: str, escape: str, subcomponent: str, truncation: str, codec: str
    ) -> None:
        self._escape = escape
        self._codec = codec
        self._plain = {"F": field, "S": component, "T": subcomponent, "R": repetition, "E": escape, "P": truncation}
        mark = re.escape(escape)
        self._sequence = re.compile(f"{mark}([^{mark}]*){mark}") if escape else None
        special = {char: f"{escape}{name}{escape}" for name, char in self._plain.items() if char and escape}
        self._encode = {ord(char): text for char, text in special.items()}
        if escape:
            self._encode |= {ord("\r"): f"{escape}.br{escape}", ord("\n"): f"{escape}.br{escape}"}

    def decode(self, text: str) -> str:
        """The text meant: delimiters, hexadecimal data, line breaks. Unknown sequences stay as they are."""
        if self._sequence is None or self._escape not in text:
            return text
        return self._sequence.sub(self._replace, text)

    def encode(self, text: str) -> str:
        """ER7 for any text: what `decode` gives back, but that CR, LF and CRLF come back as LF."""
        return text.replace("\r\n", "\n").translate(self._encode)

    def _replace(self, match: re.Match[str]) -> str:
        name = match[1]
        plain = self._plain.get(name)
        if plain is not None:
            return plain or match[0]
        if name in _BREAKS:
            return _BREAKS[name]
        if _HEX.match(name):
            return bytes.fromhex(name[1:]).decode(self._codec, "replace")
        if spaces := _SPACES.match(name):
            return _spaces(spaces[1], spaces[2])
        return "" if _CHARSET_SWITCH.match(name) else match[0]


def _spaces(command: str, count: str) -> str:
    """`.sp n` skips lines, `.sk n` skips columns; indents have no meaning outside a printed page."""
    times = abs(int(count)) if count.strip("+-") else 1
    return {"sp": "\n", "sk": " "}.get(command, "") * times


@lru_cache(maxsize=64)
def escapes(
    field: str, component: str, repetition: str, escape: str, subcomponent: str, truncation: str, codec: str
) -> Escapes:
    """The shared decoder for these delimiters."""
    return Escapes(field, component, repetition, escape, subcomponent, truncation, codec)

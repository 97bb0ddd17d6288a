"""HL7 v2 messages in files: one or many, framed or not, in batches or separated by blank lines."""

import re
from itertools import pairwise

_START = re.compile(rb"(?:\A|(?<=[\r\n\x0b]))(?:\xef\xbb\xbf)?(?=MSH[^\w\s])")
_BATCH = re.compile(rb"(?:\A|(?<=[\r\n\x0b\x1c]))(?:\xef\xbb\xbf)?(?:FHS|BHS|BTS|FTS)[^\w\s][^\r\n]*(?=[\r\n]|\Z)")
_AROUND = b" \t\r\n\x0b\x1c\x00"


def split_messages(data: bytes) -> list[bytes]:
    """The file's messages as bytes, without MLLP framing and batch envelopes (HL7 v2.5.1 section 2.10.3).

    What stands before the first MSH and is no envelope comes back as a message too, and so does a file in UTF-16 or
    without any MSH, for the reader to judge: nothing is dropped.
    """
    plain = _BATCH.sub(b"", data)
    starts = [match.start() for match in _START.finditer(plain)]
    if not starts:
        return [plain] if plain.strip(_AROUND) else []
    bounds = [0, *starts, len(plain)]
    pieces = (plain[a:b].strip(_AROUND) for a, b in pairwise(bounds))
    return [piece for piece in pieces if piece]

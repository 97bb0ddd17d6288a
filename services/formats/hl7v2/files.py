"""HL7 v2 messages in files: one or many, framed or not, in batches or separated by blank lines."""

import re

_FRAMING = bytes.maketrans(b"\x0b\x1c", b"\r\r")  # MLLP start and end blocks
_START = re.compile(rb"(?:^|(?<=[\r\n]))(?=MSH[^\w\s])")
_BATCH = re.compile(rb"(?:^|(?<=[\r\n]))(?:FHS|BHS|BTS|FTS)[^\r\n]*[\r\n]*")
_BOMS = (b"\xef\xbb\xbf",)


def split_messages(data: bytes) -> list[bytes]:
    """The file's messages as bytes, without MLLP framing and batch envelopes (HL7 v2.5.1 section 2.10.3).

    A file in UTF-16 or without any MSH segment comes back as one message, for the reader to judge.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return [data]
    for bom in _BOMS:
        data = data.removeprefix(bom)
    plain = _BATCH.sub(b"", data.translate(_FRAMING))
    starts = [match.start() for match in _START.finditer(plain)]
    if not starts:
        return [data] if data.strip() else []
    head = plain[: starts[0]].strip()
    messages = [plain[a:b].strip(b"\r\n \t") + b"\r" for a, b in zip(starts, [*starts[1:], len(plain)], strict=True)]
    return [head, *messages] if head else messages

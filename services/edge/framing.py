"""MLLP framing: <VT> message <FS><CR> (HL7 v2 Transport Specification: MLLP, Release 1, section 2).

The deframer takes whatever chunks the network gives and always finds the same frames in the same bytes. What is not
a frame is not thrown away: it comes back as a `BadFrame`, to be kept and answered.
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from services.domain.reasons import RejectReason

VT = b"\x0b"
FS = b"\x1c"
CR = b"\r"
_NEW_FRAME = b"\x0bMSH"
_BETWEEN = b"\r\n\t \x00"  # what may stand between frames: a late CR, keep-alive line feeds, padding


class Frame(NamedTuple):
    """The content of one whole frame, without its framing bytes."""

    content: bytes


class BadFrame(msgspec.Struct, frozen=True):
    """Bytes that are no frame: why, how the sender can mend it, and the bytes (cut to the cap when too large)."""

    reason: RejectReason
    hint: str
    content: bytes

    def __repr__(self) -> str:
        return f"<BadFrame {self.reason} of {len(self.content)} bytes>"


def framed(message: bytes) -> bytes:
    """The message in its frame."""
    return b"".join((VT, message, FS, CR))


class Deframer:
    """Finds frames in a stream of bytes. Holds at most `max_bytes` of content and one chunk.

    FS ends a frame, whether or not a CR follows it. A VT inside a frame is part of the text, unless MSH follows:
    then the earlier frame was cut off and a new one begins. A frame above `max_bytes` is read to its end, so that
    the next one is found, and comes back as a BadFrame with its first `max_bytes` bytes.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._buffer = bytearray()
        self._inside = False
        self._overflowed = False
        self._searched = 0  # how far the buffer has been looked through

    @property
    def waiting(self) -> bool:
        """True while bytes have come whose end has not."""
        return self._inside or bool(self._buffer)

    def feed(self, chunk: bytes) -> Iterator[Frame | BadFrame]:
        """What the bytes so far complete, in order. The iterator must be exhausted before the next call."""
        self._buffer += chunk
        while (item := self._next()) is not None:
            yield item

    def end(self) -> BadFrame | None:
        """What is left when the connection closes or the sender has stopped: None, or the bytes kept so far."""
        content, inside, too_large = bytes(self._buffer), self._inside, self._overflowed
        self._restart(len(self._buffer), inside=False)
        if not inside:
            return self._outside(content, too_large)
        if too_large or len(content) > self._max:
            return self._too_large(content)
        return BadFrame(RejectReason.MALFORMED, "the frame has no end block (FS CR)", content)

    def _next(self) -> Frame | BadFrame | None:
        return self._inner() if self._inside else self._outer()

    def _outer(self) -> Frame | BadFrame | None:
        """Skip to the start of the next frame; bytes on the way that are more than blanks are a bad frame."""
        while True:
            start = self._buffer.find(VT, self._searched)
            end = self._buffer.find(FS, self._searched, start if start >= 0 else None)
            stop = end if end >= 0 else start
            if stop < 0:
                del self._buffer[: len(self._buffer) - len(self._buffer.lstrip(_BETWEEN))]
                self._searched = len(self._buffer)
                self._trim()
                return None
            stray, too_large = bytes(self._buffer[:stop]), self._overflowed
            self._restart(stop + 1, inside=stop == start)
            if bad := self._outside(stray, too_large):
                return bad
            if self._inside:
                return self._inner()

    def _inner(self) -> Frame | BadFrame | None:
        end = self._buffer.find(FS, self._searched)
        again = self._buffer.find(_NEW_FRAME, max(0, self._searched - 3), end if end >= 0 else None)
        stop = again if again >= 0 else end
        if stop < 0:
            self._searched = len(self._buffer)
            self._trim()
            return None
        content, too_large = bytes(self._buffer[:stop]), self._overflowed
        self._restart(stop + 1, inside=stop == again)
        if too_large or len(content) > self._max:
            return self._too_large(content)
        if stop == again:
            return BadFrame(RejectReason.MALFORMED, "a new frame began before the end block (FS CR)", content)
        return Frame(content)

    def _restart(self, taken: int, *, inside: bool) -> None:
        del self._buffer[:taken]
        self._inside, self._overflowed, self._searched = inside, False, 0

    def _trim(self) -> None:
        """Let go of what is above the cap, but for the last bytes, in which a mark may begin."""
        if len(self._buffer) > self._max + len(_NEW_FRAME):
            del self._buffer[self._max : -len(_NEW_FRAME)]
            self._overflowed = True
            self._searched = len(self._buffer)

    def _too_large(self, content: bytes) -> BadFrame:
        return BadFrame(
            RejectReason.TOO_LARGE, f"a message may have {self._max} bytes; this is its beginning", content[: self._max]
        )

    def _outside(self, stray: bytes, too_large: bool) -> BadFrame | None:
        stray = stray.lstrip(_BETWEEN)
        if too_large or len(stray) > self._max:
            return self._too_large(stray)
        stray = stray.rstrip(_BETWEEN)
        hint = "bytes outside of a frame: a message begins with VT"
        return BadFrame(RejectReason.MALFORMED, hint, stray) if stray else None

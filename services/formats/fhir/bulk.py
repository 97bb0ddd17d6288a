"""Bulk Data: newline-delimited JSON, one resource a line (FHIR Bulk Data Access IG, "ndjson")."""

from collections.abc import Iterator

CONTENT_TYPES = frozenset(
    {"application/fhir+ndjson", "application/ndjson", "application/x-ndjson", "application/jsonl"}
)


class TooLong(ValueError):
    """A line is longer than it may be. `number` counts from 1."""

    def __init__(self, number: int) -> None:
        super().__init__(f"line {number} is too long")
        self.number = number


class Lines:
    """Cuts a stream of bytes into its lines, holding at most one of them.

    >>> lines = Lines(100)
    >>> [*lines.feed(b'{"a":1}\\n\\n{"b"'), *lines.feed(b':2}'), *lines.end()]
    [(1, b'{"a":1}'), (3, b'{"b":2}')]
    """

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._rest: list[bytes] = []
        self._size = 0
        self._number = 0

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """(line number, line) of each line that the chunk ends; blank lines are passed over. Raises TooLong."""
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            yield from self._line(piece)
        self._hold(rest)

    def end(self) -> Iterator[tuple[int, bytes]]:
        """The last line, which may lack its end."""
        yield from self._line(b"")

    def _hold(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._max:
            raise TooLong(self._number + 1)
        if piece:
            self._rest.append(piece)

    def _line(self, piece: bytes) -> Iterator[tuple[int, bytes]]:
        self._hold(piece)
        line = b"".join(self._rest).strip()
        self._rest.clear()
        self._size = 0
        self._number += 1
        if line:
            yield self._number, line


def lines(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """(line number, line) of every line of a whole file that is not blank; a byte-order mark is passed over."""
    cutter = Lines(len(raw))
    yield from cutter.feed(raw.removeprefix(b"\xef\xbb\xbf"))
    yield from cutter.end()

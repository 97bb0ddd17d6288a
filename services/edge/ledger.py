"""Which messages have been acknowledged, so that a repeat gets the same answer and is not published again.

An entry maps a sender and its MSH-10 to the digest of the message's bytes and the acknowledgement sent. It is written
after the broker has acknowledged and, for the file, a moment later in a batch: a crash in between forgets the entry,
the sender's repeat is then published twice, and the record drops it by its event id. So the ledger saves work and keeps
answers the same, and nothing rests on it. Sender and control id are kept as digests.

The file is SQLite in WAL mode (https://sqlite.org/wal.html), bounded by age and number of entries.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)

MAX_AGE_S = 24 * 3600.0
"""How long a repeat is recognised. Senders repeat within minutes; an interface engine's manual resend within a day."""
MAX_ENTRIES = 500_000
"""About 200 MiB of file; the oldest go first."""
FLUSH_S = 0.05
SWEEP_S = 10.0
REOPEN_S = 5.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    message BLOB PRIMARY KEY, digest BLOB NOT NULL, answer BLOB NOT NULL, at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_at ON answers (at);
"""


class Entry(msgspec.Struct, frozen=True):
    """What was answered to a message: the digest of its bytes, the answer's bytes, when (epoch seconds)."""

    digest: bytes
    answer: bytes
    at: float


def name_of(sender: tuple[str, str], control_id: str) -> bytes:
    """Digest that stands for a sending application and facility and their MSH-10."""
    return blake2b("\x1f".join((*sender, control_id)).encode(), digest_size=16).digest()


def digest_of(message: bytes) -> bytes:
    """Digest of a message's bytes."""
    return blake2b(message, digest_size=16).digest()


class Ledger:
    """Answers by message, in memory until they are flushed and in the file from then on.

    `path` None keeps them in memory alone. `get` and `put` do not wait for anything; `run` flushes and sweeps.
    A file that cannot be read is set aside and begun anew: repeats from before are then published twice. That goes
    for one that breaks later, too: to `get` what cannot be read is unknown, and `run` opens the file again.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        max_age: float = MAX_AGE_S,
        max_entries: int = MAX_ENTRIES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._max_age, self._max_entries, self._clock = max_age, max_entries, clock
        self._unflushed: dict[bytes, Entry] = {}
        self._writing: dict[bytes, Entry] = {}
        self._path = path
        self._failed: sqlite3.Error | None = None  # of a read, for `run` to mend
        self._file = _open(path)
        self._reader = _connect(str(path)) if path else self._file  # a reader of its own never waits for the writer
        self._count: int = self._file.execute("SELECT count(*) FROM answers").fetchone()[0]
        self._swept = clock()

    def __len__(self) -> int:
        return self._count + len(self._unflushed) + len(self._writing)

    def get(self, message: bytes) -> Entry | None:
        """The entry of a message (see `name_of`), unless it has grown too old."""
        entry = self._unflushed.get(message) or self._writing.get(message)
        if entry is None:
            entry = self._read(message)
        return entry if entry and entry.at > self._clock() - self._max_age else None

    def _read(self, message: bytes) -> Entry | None:
        try:
            row = self._reader.execute(
                "SELECT digest, answer, at FROM answers WHERE message = ?", (message,)
            ).fetchone()
        except sqlite3.Error as error:
            self._failed = error
            return None
        return Entry(*row) if row else None

    def put(self, message: bytes, digest: bytes, answer: bytes) -> None:
        """Remember an answer. Call it after the broker has acknowledged."""
        self._unflushed[message] = Entry(digest, answer, self._clock())

    async def run(self) -> None:
        """Flush, sweep, and mend the file, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            if self._failed is not None:  # before what is new is written to a file that then is set aside
                await self._reopen(self._failed)
            try:
                await self.flush()
            except sqlite3.Error as error:
                # Where the disk is full or the file locked, answers stay in memory (see `flush`): it is tried again.
                if not isinstance(error, sqlite3.OperationalError) or not self._usable():
                    self._failed = error

    def _usable(self) -> bool:
        try:
            self._reader.execute("SELECT message FROM answers LIMIT 1").fetchone()
        except sqlite3.Error:
            return False
        return True

    async def _reopen(self, failed: sqlite3.Error) -> None:
        """New connections in the place of those that failed; after REOPEN_S again when there are none to be had."""
        log.warning("the ledger of acknowledgements failed (%s) and is opened again", type(failed).__name__)
        # sqlite3.DatabaseError itself, none of its subclasses: SQLite says that the file is damaged or no database.
        damaged = type(failed) is sqlite3.DatabaseError
        self._reader.close()
        self._file.close()
        try:
            self._file = await asyncio.to_thread(_open, self._path, damaged)
            self._reader = _connect(str(self._path)) if self._path else self._file
            self._count = self._file.execute("SELECT count(*) FROM answers").fetchone()[0]
            self._failed = None
        except (sqlite3.Error, OSError) as error:
            log.warning("the ledger of acknowledgements cannot be opened: %s", type(error).__name__)
            await asyncio.sleep(REOPEN_S)

    async def flush(self) -> None:
        """Write what is new to the file and delete what is too old or too many."""
        now = self._clock()
        sweep = now - self._swept >= SWEEP_S or self._count > self._max_entries
        if not self._unflushed and not self._writing and not sweep:
            return
        self._writing |= self._unflushed
        self._unflushed = {}
        if len(self._writing) > self._max_entries:  # the file cannot be written: stay bounded
            self._writing = dict(list(self._writing.items())[-self._max_entries :])
        self._count = await asyncio.to_thread(self._write, list(self._writing.items()), sweep, now)
        self._writing = {}
        if sweep:
            self._swept = now

    async def close(self) -> None:
        """Flush and close the file."""
        with suppress(sqlite3.Error):
            await self.flush()
        self._reader.close()
        self._file.close()

    def _write(self, entries: list[tuple[bytes, Entry]], sweep: bool, now: float) -> int:
        with self._file as transaction:
            transaction.executemany(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)",
                [(message, e.digest, e.answer, e.at) for message, e in entries],
            )
            if not sweep:
                return self._count + len(entries)
            oldest = "DELETE FROM answers WHERE message IN (SELECT message FROM answers ORDER BY at LIMIT ?)"
            transaction.execute("DELETE FROM answers WHERE at <= ?", (now - self._max_age,))
            count: int = transaction.execute("SELECT count(*) FROM answers").fetchone()[0]
            if (surplus := count - self._max_entries) > 0:
                count -= transaction.execute(oldest, (surplus,)).rowcount
        return count


def _open(path: Path | None, damaged: bool = False) -> sqlite3.Connection:
    if path is None:
        return _connect(":memory:")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not damaged:
        try:
            return _connect(str(path))
        except sqlite3.DatabaseError:
            pass
    log.warning("the ledger of acknowledgements cannot be read and is begun anew")
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{path}{suffix}.unreadable")
    return _connect(str(path))


def _connect(address: str) -> sqlite3.Connection:
    file = sqlite3.connect(address, check_same_thread=False, timeout=5.0)
    try:
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = NORMAL")
        file.executescript(_SCHEMA)
        file.execute("SELECT count(*) FROM answers").fetchone()
    except sqlite3.DatabaseError:
        file.close()
        raise
    return file

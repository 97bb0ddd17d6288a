"""A partition's state on local disk: RocksDB, with the changelog offset up to which it is complete.

The truth is the changelog topic; the store is a cache of it that makes a restart short. A store that is lost or
torn is rebuilt from the changelog.
"""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteBatch

CHECKPOINT = b"\x00checkpoint"  # no patient key begins with a NUL
WRITE_BUFFER_BYTES = 4 << 20  # one store a partition: RocksDB's own 64 MiB would be a gigabyte for a dozen
BLOOM_BITS = 10
"""Of a key in each file's filter. Without one a read looks into a block of every file that could hold the key: with
100,000 patients of 14 KB that took 157 microseconds instead of 24."""
CACHE_BYTES = 64 << 20  # of uncompressed blocks, for all stores of the process together


class StateStore(Protocol):
    """State by key, and the next changelog offset to read."""

    def get(self, key: bytes) -> bytes | None: ...

    def apply(self, states: Mapping[bytes, bytes | None], checkpoint: int) -> None:
        """Write states (None removes) and the checkpoint, together."""

    def checkpoint(self) -> int: ...

    def close(self) -> None: ...


def options() -> Options:
    """RocksDB options of a small store among many, keys and values as raw bytes."""
    chosen = Options(raw_mode=True)
    chosen.create_if_missing(True)
    chosen.set_write_buffer_size(WRITE_BUFFER_BYTES)
    chosen.set_max_write_buffer_number(2)
    chosen.set_max_background_jobs(2)
    chosen.set_keep_log_file_num(2)
    table = BlockBasedOptions()
    table.set_bloom_filter(BLOOM_BITS, block_based=False)
    table.set_block_cache(_cache())
    chosen.set_block_based_table_factory(table)
    return chosen


@functools.cache
def _cache() -> Cache:
    return Cache(CACHE_BYTES)


class RocksStore:
    """The state of one partition in a RocksDB of its own."""

    def __init__(self, path: Path) -> None:
        """Open or make it. Raises an exception of RocksDB when another process has it open."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._db = Rdict(str(path), options())

    def get(self, key: bytes) -> bytes | None:
        value: bytes | None = self._db.get(key)
        return value

    def apply(self, states: Mapping[bytes, bytes | None], checkpoint: int) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, state in states.items():
            if state is None:
                batch.delete(key)
            else:
                batch.put(key, state)
        batch.put(CHECKPOINT, str(checkpoint).encode())
        self._db.write(batch)

    def checkpoint(self) -> int:
        found = self._db.get(CHECKPOINT)
        return int(found) if found is not None else 0

    def clear(self) -> None:
        """Forget everything (the changelog begins anew)."""
        self._db.close()
        Rdict.destroy(str(self._path), options())
        self._db = Rdict(str(self._path), options())

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key and state."""
        for key, value in self._db.items():
            if isinstance(key, bytes) and key != CHECKPOINT:
                yield key, value

    def close(self) -> None:
        self._db.close()

"""Arrays that are worked out once: kept in a file that is whole, or not there."""

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def kept(file: Path | None, make: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
    """What `make` gives, from the .npy file where it has been kept; without a file it is made."""
    if file is None:
        return make()
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.npy")  # NumPy would add the last of it
        np.save(part, make())
        part.replace(file)
    found: NDArray[Any] = np.load(file)
    return found


def mark_of(*facts: object) -> str:
    """Names what an array or a booster was made from."""
    return blake2b(repr(facts).encode(), digest_size=6).hexdigest()


def digest_of(array: NDArray[Any]) -> str:
    """Names the array's content."""
    return blake2b(np.ascontiguousarray(array).tobytes(), digest_size=6).hexdigest()

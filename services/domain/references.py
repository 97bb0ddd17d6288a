"""The name of an object in the object store, made from its bytes: known before the object is kept."""

from hashlib import sha256
from typing import NewType

Reference = NewType("Reference", str)


def reference_of(data: bytes) -> Reference:
    """`sha256/<first two digits>/<64 hex digits>` of these bytes."""
    name = sha256(data).hexdigest()
    return Reference(f"sha256/{name[:2]}/{name}")

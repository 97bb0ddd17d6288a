"""The manifest of a de-identified folder: how it was made, and the hash of every file in it.

It is what training asks for. It is written last, so that a run that was cut short leaves a folder that nobody takes.
"""

from hashlib import sha256
from pathlib import Path

import msgspec

NAME = "manifest.json"
KIND = "wardstream-deidentified"
VERSION = 1
EVENTS = "events.ndjson"
OBJECTS = "objects"


class NotDeidentified(Exception):
    """A folder is no de-identified training set, or not the one that was made. The text says why and what to do."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was done. `secret` is a fingerprint: sets of one secret can be joined, sets of two cannot."""

    kind: str = KIND
    version: int = VERSION
    software: str
    secret: str
    max_shift_days: int
    free_text: bool  # notes were kept as they were: they may name people
    unstated_pixels: int  # images of which nobody says that there is no writing in them
    people: int
    events: int
    files: dict[str, str]  # path below the folder -> SHA-256


_ENCODER = msgspec.json.Encoder(order="deterministic")


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        found = sha256()
        while chunk := file.read(1 << 20):
            found.update(chunk)
    return found.hexdigest()


def write(folder: Path, manifest: Manifest) -> None:
    """Put the manifest into the folder, whole or not at all."""
    part = folder / f"{NAME}.part"
    part.write_bytes(msgspec.json.format(_ENCODER.encode(manifest), indent=1) + b"\n")
    part.replace(folder / NAME)


def content(folder: Path) -> dict[str, str]:
    """Path and SHA-256 of every file below the folder but the manifest; raises NotDeidentified for a link."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise NotDeidentified(f"{folder}: it holds a link, which may lead to anything")
        if path.is_file() and path != folder / NAME:
            found[path.relative_to(folder).as_posix()] = sha256_of(path)
    return found


def verify(folder: Path) -> Manifest:
    """The folder's manifest, when the folder is what the manifest says. Raises NotDeidentified."""
    try:
        raw = (folder / NAME).read_bytes()
    except OSError:
        raise NotDeidentified(
            f"{folder}: no {NAME}. Training reads recorded traffic only when it is de-identified: "
            "`wardstream deidentify IN --out FOLDER --secret-file FILE`"
        ) from None
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except msgspec.MsgspecError:
        raise NotDeidentified(f"{folder}: its {NAME} is not one of `wardstream deidentify`") from None
    if (manifest.kind, manifest.version) != (KIND, VERSION):
        raise NotDeidentified(f"{folder}: its {NAME} is of another kind or version; de-identify it anew")
    found = content(folder)
    if changed := sorted(set(found.items()) ^ set(manifest.files.items())):
        raise NotDeidentified(
            f"{folder}: it is not as it was made: {changed[0][0]} has been added, changed or taken away"
        )
    return manifest

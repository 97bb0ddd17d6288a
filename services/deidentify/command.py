"""`wardstream deidentify IN... --out FOLDER --secret-file FILE`."""

import argparse
import os
import secrets
import sys
import time
from dataclasses import replace
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress

from services.bus.settings import BadSetting, Settings, load, site_from_settings
from services.deidentify.manifest import NAME
from services.deidentify.pseudonyms import MIN_SECRET_BYTES
from services.deidentify.recording import Files, RawTopics
from services.deidentify.run import Deidentifier, Options, Recording, Told
from services.domain.site import Site


def command(args: argparse.Namespace) -> int:
    """Exit status: 0, 1 when a message or image was refused or a file could not be read, 2 when nothing was done."""
    try:
        settings = load()
        recording = _recording(args, settings)
        out = _empty(args.out)
        run = Deidentifier(
            _site(settings, _secret(args.secret_file)),
            Options(args.max_shift_days, args.keep_text, args.strict_pixels),
            time.time_ns() // 1_000_000,
        )
    except (BadSetting, ValueError, OSError) as error:
        sys.stderr.write(f"wardstream deidentify: {error}\n")
        return 2
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as shown:
        report = run(recording, out, _shown(shown))
    report.print(sys.stderr)
    sys.stderr.write(f"wrote {out / NAME}\n")
    return int(bool(report.refused or report.unreadable_files))


def _recording(args: argparse.Namespace, settings: Settings) -> Recording:
    if bool(args.paths) == bool(args.topics):
        raise ValueError("name files and folders, or give --topics to read the raw topics")
    inside = [path for path in args.paths if args.out.resolve().is_relative_to(path.resolve())]
    if inside:
        raise ValueError(f"--out must not lie in {inside[0]}, which is read")
    return RawTopics(settings) if args.topics else Files(args.paths)


def _empty(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ValueError(f"--out {folder} is not empty")
    return folder


def _site(settings: Settings, secret: bytes) -> Site:
    """The site's conventions under the secret of this training set, which is not the running system's."""
    site = site_from_settings(replace(settings, pseudonym_secret="not used"))
    return msgspec.structs.replace(site, secret=secret, check_structure=False, check_fhir=False)


def _secret(path: Path) -> bytes:
    """The secret in a file, made at the first use. Raises ValueError for one that is short or that others can read."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            raise ValueError(f"{path} can be read by others: chmod 600 {path}") from None
        secret = path.read_bytes().strip()
        if len(secret) < MIN_SECRET_BYTES:
            raise ValueError(f"{path} must hold at least {MIN_SECRET_BYTES} bytes") from None
        return secret
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_hex(32).encode())
    sys.stderr.write(f"made {path}: keep it apart from the training set, or delete it to cut every way back\n")
    return path.read_bytes()


def _shown(progress: Progress) -> Told:
    tasks = {name: progress.add_task(name, total=None) for name in ("reading", "writing")}

    def told(name: str, done: int, total: int) -> None:
        progress.update(tasks[name], completed=done, total=total)

    return told

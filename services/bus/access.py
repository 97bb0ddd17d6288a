"""Who may call over HTTP: bearer tokens (RFC 6750) from a file, and where a server may listen without any.

A token is 256 random bits, made by `wardstream token NAME`; the file holds its SHA-256, so that reading the file lets
nobody in. Each line is `NAME SCOPES sha256:HEX`, `#` begins a comment. The file is read again when it changes: who is
taken out of it is out. A token stands in the Authorization header or a form's body, never in an address or a log.
"""

import argparse
import hashlib
import hmac
import ipaddress
import logging
import os
import re
import secrets
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from aiohttp import hdrs, web

from services.bus import metrics
from services.bus.settings import BadSetting, Settings, load

log = logging.getLogger(__name__)

MARK = "ws_"
"""What every token begins with, so that scanners for leaked secrets know one."""
CHALLENGE = 'Bearer realm="wardstream"'

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Scope(StrEnum):
    """What a token lets its holder do."""

    SEND = "send"  # the edge: FHIR and STOW-RS
    READ = "read"  # deliver: the page, FHIR RiskAssessment, CDS Hooks


@dataclass(frozen=True, slots=True)
class Client:
    """One line of the file. `digest` is the token's SHA-256."""

    name: str
    scopes: frozenset[Scope]
    digest: bytes = field(repr=False)


_LINE = re.compile(r"(?P<name>[\w.@-]{1,64})\s+(?P<scopes>[a-z,]+)\s+sha256:(?P<digest>[0-9a-f]{64})", re.ASCII)


class Tokens:
    """The file of tokens."""

    def __init__(self, path: Path) -> None:
        """Raises BadSetting when it cannot be read."""
        self._path = path
        self._stamp, self._clients = _stamp(path), _read(path)

    def client(self, token: str) -> Client | None:
        """Whose token this is. Takes as long for any token: every line is compared in constant time."""
        digest = hashlib.sha256(token.encode()).digest()
        found = [one for one in self.clients() if hmac.compare_digest(one.digest, digest)]
        return found[0] if found else None

    def clients(self) -> list[Client]:
        """The lines as they stand. A file that has become unreadable leaves those that were read last."""
        try:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._clients = _read(self._path)
                self._stamp = stamp
        except BadSetting as error:
            log.error("%s: those that were read last are still let in", error)
        return self._clients


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise BadSetting(f"WARDSTREAM_TOKENS: {path} cannot be read ({type(error).__name__})") from error
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read(path: Path) -> list[Client]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"WARDSTREAM_TOKENS: {path} cannot be read ({type(error).__name__})") from error
    clients = []
    for number, line in enumerate(lines, 1):
        content = line.partition("#")[0].strip()
        if content:
            clients.append(_client(content, f"WARDSTREAM_TOKENS: {path}, line {number}"))
    return clients


def _client(content: str, place: str) -> Client:
    match = _LINE.fullmatch(content)
    if match is None:
        raise BadSetting(f"{place} is not `NAME SCOPES sha256:HEX` (see `wardstream token --help`)")
    words = set(match["scopes"].split(","))
    if not words <= set(Scope):
        raise BadSetting(f"{place}: scopes are {', '.join(Scope)}, separated by commas")
    return Client(match["name"], frozenset(map(Scope, words)), bytes.fromhex(match["digest"]))


def tokens_for(settings: Settings, host: str, variable: str, *, guarded: bool = False) -> Tokens | None:
    """The tokens that let callers in at `host`; None where whoever reaches it may call.

    That is so on loopback, where TLS asks for a certificate (`guarded`), and where WARDSTREAM_AUTH=proxy says that a
    proxy asks who calls. Otherwise raises BadSetting naming `variable`: nothing listens for strangers by default.
    """
    if settings.tokens:
        return Tokens(Path(settings.tokens))
    if guarded or settings.auth == "proxy" or is_loopback(host):
        return None
    raise BadSetting(
        f"{variable}={host} can be reached from other machines: name a file in WARDSTREAM_TOKENS (`wardstream token`), "
        "or say WARDSTREAM_AUTH=proxy where an authenticating proxy stands before it"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address that is listened on."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bearer(request: web.Request) -> str:
    """The token of the Authorization header; empty where there is none."""
    kind, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def status_of(client: Client | None, scope: Scope, service: str) -> int:
    """0 when the caller may, 401 when nobody knows who it is, 403 when it may do other things; counts the last two."""
    status = 401 if client is None else 0 if scope in client.scopes else 403
    if status:
        metrics.HTTP_REFUSED.labels(service, str(status)).inc()
    return status


def command(args: argparse.Namespace) -> int:
    """`wardstream token NAME`: make a token, put its line into the file, print the token once. Status 1: name taken."""
    path = args.file or (Path(settings) if (settings := load().tokens) else None)
    if path is None:
        raise BadSetting("give --file FILE, or name the file in WARDSTREAM_TOKENS")
    token = MARK + secrets.token_urlsafe(32)
    digest = hashlib.sha256(token.encode()).hexdigest()
    client = _client(f"{args.name} {args.scopes} sha256:{digest}", "the new line")
    if path.exists() and any(one.name == client.name for one in _read(path)):
        print(f"{path} has a token of that name: take its line out first", file=sys.stderr)
        return 1
    with path.open("a") as file:
        file.write(f"{args.name} {args.scopes} sha256:{digest}{os.linesep}")
    print(token)
    print(f"That is the only time it is shown; {path} holds its SHA-256.", file=sys.stderr)
    return 0

"""Keyed names: the same input has the same name under one secret, and without the secret nobody can try them all."""

import hmac
from hashlib import sha256

MIN_SECRET_BYTES = 16


class Pseudonyms:
    """All names and numbers that stand in for others. `days` is the largest shift, in whole days."""

    def __init__(self, secret: bytes, days: int) -> None:
        """Raises ValueError for a secret that could be guessed, or a shift of no days."""
        if len(secret) < MIN_SECRET_BYTES:
            raise ValueError(f"the secret must have at least {MIN_SECRET_BYTES} bytes")
        if days < 1:
            raise ValueError("the largest shift must be at least one day")
        self._secret = secret
        self.days = days

    def __repr__(self) -> str:
        return f"Pseudonyms(days={self.days})"

    def _mac(self, purpose: str, text: str) -> bytes:
        return hmac.new(self._secret, f"wardstream deidentify\x1f{purpose}\x1f{text}".encode(), sha256).digest()

    @property
    def fingerprint(self) -> str:
        """Tells whether two training sets were made under one secret, and nothing of the secret."""
        return self._mac("fingerprint", "").hex()[:16]

    def token(self, purpose: str, text: str, size: int = 12) -> str:
        """A name of `2 * size` hex digits for a text; '' stays ''."""
        return self._mac(purpose, text).hex()[: 2 * size] if text else ""

    def uid(self, text: str) -> str:
        """A DICOM UID below 2.25 (PS3.5 B.2: a UUID as one integer) for another."""
        raw = bytearray(self._mac("uid", text)[:16])
        raw[6], raw[8] = raw[6] & 0x0F | 0x40, raw[8] & 0x3F | 0x80  # a valid version 4 UUID
        return f"2.25.{int.from_bytes(raw, 'big')}"

    def shift(self, group: str) -> int:
        """Whole days, from -days to days and never 0, by which a patient's times move."""
        found = int.from_bytes(self._mac("shift", group)[:8], "big") % (2 * self.days) - self.days
        return found if found < 0 else found + 1

"""Certificates for tests, made by OpenSSL's command line as an operator would."""

import shutil
import subprocess
from pathlib import Path

import pytest

NEW = ("-newkey", "rsa:2048", "-nodes", "-days", "2")


class Authority:
    """A certificate authority in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not here")
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self._openssl("req", "-x509", *NEW, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, name: str, *addresses: str) -> Path:
        """One PEM file with key and certificate of `name`: a server at `addresses` (IP:127.0.0.1), or a client."""
        key, request, signed, whole = (self.folder / f"{name}.{suffix}" for suffix in ("key", "csr", "crt", "pem"))
        self._openssl("req", "-new", *NEW[:3], "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        authority = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={','.join(addresses)}\n" if addresses else "")
        self._openssl("x509", "-req", "-in", request, *authority, "-extfile", extensions, "-out", signed)
        whole.write_bytes(key.read_bytes() + signed.read_bytes())
        return whole

    def _openssl(self, *arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, cwd=self.folder)

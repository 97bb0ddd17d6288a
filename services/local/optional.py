"""Code that needs the development environment (torch, scikit-learn), which services do without."""

import importlib
from types import ModuleType


class MissingEnvironment(SystemExit):
    """Raised with a sentence for the user; exits with status 1."""


def training(module: str) -> ModuleType:
    """Import a module of the training code, or say which environment has what it needs."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingEnvironment(f"wardstream: {lacking(error.name)}") from error


def lacking(package: str | None) -> str:
    """What to tell a user whose environment has no `package`."""
    return (
        f"this command needs the package {package!r}, which the runtime environment does not have.\n"
        "Run `make .venv-dev` once: `./wardstream train`, `evaluate` and `deidentify` then use that environment."
    )

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
        raise MissingEnvironment(
            f"wardstream: this command needs the package {error.name!r}, which the runtime environment does not have.\n"
            "Run `make .venv-dev` once, then `.venv-dev/bin/python -m services.cli` in place of `./wardstream`."
        ) from error

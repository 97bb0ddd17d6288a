"""The model repository as the local tritonserver reads it: links to `model_repository/` plus the Python runner."""

import shutil
from pathlib import Path

RUNNER = Path(__file__).with_name("onnx_runner.py")
MANIFEST = "manifest.json"


def complete(model: Path) -> bool:
    """True when the folder holds all that a served model needs: both configurations, manifest, a version's weights."""
    parts = (model / "config.pbtxt", model / "configs" / "cpu.pbtxt", model / MANIFEST)
    return all(part.is_file() for part in parts) and bool(versions(model))


def versions(model: Path) -> list[Path]:
    """The numbered version folders that hold a `model.onnx`, oldest first."""
    found = [folder for folder in model.iterdir() if folder.name.isdigit() and (folder / "model.onnx").is_file()]
    return sorted(found, key=lambda folder: int(folder.name))


def prepare(repository: Path, target: Path) -> list[str]:
    """Lay out `target` afresh and return the names of the models in it.

    Each complete model becomes a folder of links; every version also gets the runner as `model.py`, so that the
    repository itself holds nothing that only the local server needs. Incomplete folders are left out.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    models = sorted(path for path in repository.iterdir() if path.is_dir() and complete(path))
    for model in models:
        _link(model, target / model.name)
    return [model.name for model in models]


def _link(model: Path, target: Path) -> None:
    target.mkdir()
    for name in ("config.pbtxt", "configs", MANIFEST):
        (target / name).symlink_to((model / name).resolve())
    for version in versions(model):
        folder = target / version.name
        folder.mkdir()
        for file in version.iterdir():
            if file.name != "model.py" and file.is_file():
                (folder / file.name).symlink_to(file.resolve())
        (folder / "model.py").symlink_to(RUNNER)

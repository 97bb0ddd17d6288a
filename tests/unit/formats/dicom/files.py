"""DICOM files for the tests: radiographs made here, and the public test files that pydicom and pydicom-data carry."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import data_store
import numpy as np
import pydicom

from services.domain.site import Site
from services.formats.dicom.write import chest_radiograph

SITE = Site(secret=b"a secret of the tests")
RECEIVED_MS = 1_790_000_000_000
STUDY_TIME = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
FOLDERS = {
    "pydicom-data": Path(data_store.__file__).parent / "data",
    "pydicom": Path(pydicom.__file__).parent / "data",
}
CHEST = FOLDERS["pydicom-data"] / "RG1_UNCR.dcm"


def corpus(name: str) -> Iterator[Path]:
    """All data files that a package carries, DICOM or not (text, JSON and colour profiles among them)."""
    for path in sorted(FOLDERS[name].rglob("*")):
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            yield path


def picture(rows: int = 48, columns: int = 40, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    """A smooth gradient with some noise, from 0 to the type's largest value."""
    top = np.iinfo(dtype).max
    slope = np.add.outer(np.arange(rows), np.arange(columns)) / (rows + columns - 2)
    noise = np.random.default_rng(seed).uniform(-0.02, 0.02, slope.shape)
    return np.round(np.clip(slope + noise, 0, 1) * top).astype(dtype)


def radiograph(pixels: np.ndarray | None = None, **changes: Any) -> bytes:
    """A file of `chest_radiograph` with defaults for everything."""
    given: dict[str, Any] = {
        "patient_id": "MRN-77",
        "issuer": "WARDS",
        "accession": "ACC-1",
        "study_time": STUDY_TIME,
        "sex": "female",
        "birth_date": date(1950, 5, 6),
    }
    return chest_radiograph(picture() if pixels is None else pixels, **(given | changes))


def edited(data: bytes, **elements: Any) -> bytes:
    """The file with elements set by keyword, removed where None."""
    dataset = pydicom.dcmread(BytesIO(data))
    for name, value in elements.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    out = BytesIO()
    dataset.save_as(out)
    return out.getvalue()

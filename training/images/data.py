"""NIH ChestX-ray14 in its public form: a folder of pictures and `labels.csv`. Needs neither torch nor pandas."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.domain.images import SIZE, prepare_image

Names = NDArray[np.object_]


@dataclass(frozen=True)
class Radiographs:
    """N radiographs: `images` float32 [N, 1, H, W], `pneumonia` bool [N], and who is on them.

    `ages` in years (NaN unknown), `sexes` male/female/unknown, `views` PA/AP.
    """

    images: NDArray[np.float32]
    pneumonia: NDArray[np.bool_]
    patients: Names
    ages: NDArray[np.float64]
    sexes: Names
    views: Names

    def __len__(self) -> int:
        return len(self.images)


def read_radiographs(folder: Path, size: int = SIZE, limit: int | None = None) -> Radiographs:
    """Reads `labels.csv` and the pictures that it names, below `folder` or `folder/images`.

    Kept are images whose label string holds `Pneumonia` or is `No Finding`. Raises FileNotFoundError when the
    table or a picture is missing, KeyError naming a missing column, ValueError when a picture is blank or none, or when
    a line of the table is cut off.
    """
    rows = [row for row in _table(folder / "labels.csv") if _kept(row["labels"].split("|"))][:limit]
    images = [_read(_locate(folder, row["image"]), size) for row in rows]
    return Radiographs(
        images=np.stack(images) if images else np.zeros((0, 1, size, size), np.float32),
        pneumonia=np.asarray(["Pneumonia" in row["labels"].split("|") for row in rows], dtype=bool),
        patients=np.asarray([row["patient"] for row in rows], dtype=object),
        ages=np.asarray([_number(row.get("age")) for row in rows], dtype=np.float64),
        sexes=np.asarray(
            [{"M": "male", "F": "female"}.get(row.get("sex", ""), "unknown") for row in rows], dtype=object
        ),
        views=np.asarray([row.get("view", "") for row in rows], dtype=object),
    )


def _table(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        raise FileNotFoundError(f"no {path.name} in {path.parent}")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows, start=1):
        for column in ("image", "patient", "labels"):
            if row[column] is None:
                raise ValueError(f"row {number} of {path.name} is cut off")
    return rows


def _kept(findings: list[str]) -> bool:
    return "Pneumonia" in findings or findings == ["No Finding"]


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def _locate(folder: Path, name: str) -> Path:
    for path in (folder / "images" / name, folder / name):
        if path.exists():
            return path
    raise FileNotFoundError(f"{name} is in labels.csv and not in {folder}")


def _read(path: Path, size: int) -> NDArray[np.float32]:
    try:
        with Image.open(path) as picture:
            prepared = prepare_image(np.asarray(picture.convert("L")), size=size)
    except OSError as error:
        raise ValueError(f"{path.name} is not a picture, or cut off") from error
    if prepared is None:
        raise ValueError(f"{path.name} is blank")
    return prepared

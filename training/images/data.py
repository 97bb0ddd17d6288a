"""NIH ChestX-ray14 in its public form: a folder of pictures and `labels.csv`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from services.domain.images import SIZE, prepare_image


@dataclass(frozen=True)
class Radiographs:
    """N radiographs: `images` float32 [N, 1, H, W], `pneumonia` bool [N], and one row each in `table`.

    `table` has `image`, `patient`, `age`, `sex`, `view` (PA or AP).
    """

    images: NDArray[np.float32]
    pneumonia: NDArray[np.bool_]
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.table)

    @property
    def patients(self) -> NDArray[np.object_]:
        return np.asarray(self.table["patient"].astype(str), dtype=object)


def read_radiographs(folder: Path, size: int = SIZE) -> Radiographs:
    """Reads `labels.csv` and the pictures that it names, below `folder` or `folder/images`.

    Kept are images whose label string holds `Pneumonia` or is `No Finding`. Raises FileNotFoundError when the
    table or a picture is missing, ValueError when a picture is blank.
    """
    table = pd.read_csv(folder / "labels.csv", dtype={"patient": str})
    labels = table["labels"].str.split("|")
    pneumonia = labels.map(lambda found: "Pneumonia" in found)
    kept = pneumonia | labels.map(lambda found: found == ["No Finding"])
    table = table[kept].reset_index(drop=True)
    images = [_read(_locate(folder, name), size) for name in table["image"]]
    stacked = np.stack(images) if images else np.zeros((0, 1, size, size), dtype=np.float32)
    return Radiographs(stacked, pneumonia[kept].to_numpy(dtype=bool), table)


def _locate(folder: Path, name: str) -> Path:
    for path in (folder / "images" / name, folder / name):
        if path.exists():
            return path
    raise FileNotFoundError(f"{name} is in labels.csv and not in {folder}")


def _read(path: Path, size: int) -> NDArray[np.float32]:
    with Image.open(path) as picture:
        prepared = prepare_image(np.asarray(picture.convert("L")), size=size)
    if prepared is None:
        raise ValueError(f"{path.name} is blank")
    return prepared

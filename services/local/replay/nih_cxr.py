"""NIH ChestX-ray14 as a hospital's traffic: each patient registered, each radiograph sent by C-STORE.

    arrival            ADT^A04 (outpatient registration) with age at the first image
    an hour after, and then a day apart, in the order of the images' numbers: C-STORE of the radiograph
    a day after an image labelled Pneumonia: ADT^A08 with DG1 J18.9, for monitoring

The images are the data set's own, wrapped as a modality would send them; patient, age, sex and view are from
`labels.csv`. Its labels were mined from reports by a language model: they are not a clinician's diagnoses.
"""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from services.formats.dicom.write import chest_radiograph
from services.local.replay.births import birth_date
from services.local.replay.chart import Chart
from services.local.replay.source import HOUR_MS, Item, Stay, arrival_ms

FACILITY = "NIH-CXR"
PNEUMONIA = ("J18.9", "Pneumonia, unspecified organism")


class Radiograph(NamedTuple):
    """One row of labels.csv and its file."""

    file: Path
    patient: str
    age: float
    sex: str
    view: str
    labels: frozenset[str]


class NihCxr:
    """The folder that holds `labels.csv` and `images/`."""

    name = "nih_cxr"
    synthetic = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def stays(self, limit: int | None) -> Iterator[Stay]:
        """Patients in the order of their numbers. Raises FileNotFoundError, KeyError for a missing column."""
        shots = sorted(radiographs(self._path), key=lambda shot: (shot.patient.zfill(9), shot.file.name))
        for patient, group in islice(groupby(shots, key=lambda shot: shot.patient), limit):
            arrival = arrival_ms(self.name, patient)
            yield Stay(patient, arrival, arrival, partial(_items, patient, list(group), arrival))


def radiographs(folder: Path) -> Iterator[Radiograph]:
    """The rows of labels.csv whose image is there."""
    with (folder / "labels.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            file = next((p for p in (folder / "images" / row["image"], folder / row["image"]) if p.exists()), None)
            if file is not None:
                labels = frozenset(row["labels"].split("|"))
                yield Radiograph(file, row["patient"], float(row["age"]), row["sex"], row["view"], labels)


def _items(patient: str, shots: list[Radiograph], arrival: int) -> Iterator[Item]:
    sex = {"M": "male", "F": "female"}.get(shots[0].sex)
    born = birth_date(shots[0].age, arrival)
    chart = Chart(
        application="REPLAY", facility=FACILITY, patient=patient, birth_date=born, sex=sex, admitted_ms=arrival
    )
    registered = chart.adt("A04", arrival, f"{patient}-A04", "RADIOLOGY", more=[chart.age(shots[0].age, arrival)])
    yield Item(arrival, "hl7v2", patient, registered, "ADT^A04")
    for number, shot in enumerate(shots):
        at = arrival + HOUR_MS + number * 48 * HOUR_MS
        yield Item(at, "dicom", patient, partial(instance, shot, at, born), "CR")
        if "Pneumonia" in shot.labels:
            later = at + 24 * HOUR_MS
            diagnosis = chart.diagnosis(*PNEUMONIA, later)
            message = chart.adt("A08", later, f"{patient}-DG{number:03d}", "RADIOLOGY", more=[diagnosis])
            yield Item(later, "hl7v2", patient, message, "ADT^A08")


def instance(shot: Radiograph, at_ms: int, born: str | None) -> bytes:
    """The radiograph as a DICOM file; the same arguments give the same bytes."""
    data = shot.file.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image.convert("L"), np.uint8)
    return chest_radiograph(
        pixels,
        patient_id=shot.patient,
        issuer=FACILITY,
        accession=shot.file.stem[:16],
        study_time=datetime.fromtimestamp(at_ms // 1000, UTC),
        sex=shot.sex,
        birth_date=date.fromisoformat(born) if born else None,
        view_position=shot.view,
        jpeg_source_ratio=round(pixels.nbytes / len(data), 2),
    )

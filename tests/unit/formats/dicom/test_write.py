"""Written radiographs: valid, deterministic, and honest about what they are."""

import shutil
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from tests.unit.formats.dicom.files import picture, radiograph


def dataset(**changes: Any) -> pydicom.FileDataset:
    return pydicom.dcmread(BytesIO(radiograph(**changes)))


def test_the_same_arguments_make_the_same_file() -> None:
    assert radiograph() == radiograph()


def test_images_of_one_study_share_it_and_differ_in_their_instance() -> None:
    one, two = dataset(), dataset(pixels=picture(seed=1))
    assert one.StudyInstanceUID == two.StudyInstanceUID
    assert one.SOPInstanceUID != two.SOPInstanceUID
    assert dataset(accession="ACC-2").StudyInstanceUID != one.StudyInstanceUID
    assert dataset(patient_id="MRN-78").StudyInstanceUID != one.StudyInstanceUID


@pytest.mark.parametrize(
    ("zone", "offset"), [(UTC, "+0000"), (timezone(timedelta(hours=-3, minutes=-30)), "-0330"), (None, None)]
)
def test_the_offset_is_written_when_it_is_known(zone: timezone | None, offset: str | None) -> None:
    assert dataset(study_time=datetime(2020, 1, 1, tzinfo=zone)).get("TimezoneOffsetFromUTC") == offset


def test_an_image_that_had_been_compressed_says_so() -> None:
    found = dataset(jpeg_source_ratio=12.34)
    assert (found.LossyImageCompression, found.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert dataset().LossyImageCompression == "00"


@pytest.mark.parametrize(
    "changes",
    [
        {"pixels": np.zeros((2, 2, 3), np.uint8)},
        {"pixels": np.zeros((2, 2), np.float32)},
        {"modality": "CT"},
        {"modality": "DX"},
        {"syntax": "png"},
        {"syntax": "jpeg2000", "pixels": np.zeros((31, 40), np.uint8)},
    ],
)
def test_what_no_valid_file_can_be_made_of_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|demands"):
        radiograph(**changes)


@pytest.mark.peer
@pytest.mark.parametrize("syntax", ["explicit", "rle", "jpeg2000"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("modality", ["CR", "DX"])
def test_dciodvfy_finds_no_error(tmp_path: Path, modality: str, dtype: type, syntax: str) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian's dicom3tools) is not here")
    path = tmp_path / "file.dcm"
    spacing = 0.2 if modality == "DX" else None
    path.write_bytes(radiograph(picture(dtype=dtype), modality=modality, pixel_spacing_mm=spacing, syntax=syntax))
    said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, timeout=30)
    assert "Error" not in said.stderr + said.stdout
    assert "Image" in said.stderr + said.stdout  # it names the information object that it checked

"""A valid DICOM radiograph from a grey image: for replaying public image sets as a modality would send them."""

import uuid
from datetime import date, datetime
from hashlib import sha256
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

SYNTAXES = {
    "explicit": "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "rle": "1.2.840.10008.1.2.5",  # RLE Lossless
    "jpeg2000": "1.2.840.10008.1.2.4.90",  # JPEG 2000, lossless only
}
MIN_JPEG2000_SIDE = 32
"""OpenJPEG's six resolutions need so many rows and columns."""
SEXES = {"male": "M", "female": "F", "other": "O", "M": "M", "F": "F", "O": "O"}
IMPLEMENTATION = "2.25.198304722735218560471150392814117461287"
"""Implementation Class UID of files written here (a UUID-derived UID, PS3.5 B.2)."""

Grey = NDArray[np.uint8] | NDArray[np.uint16]


def chest_radiograph(
    pixels: Grey,
    *,
    patient_id: str,
    issuer: str,
    accession: str,
    study_time: datetime,
    sex: str = "",
    birth_date: date | None = None,
    view_position: str = "PA",
    study: str = "",
    modality: str = "CR",
    pixel_spacing_mm: float | None = None,
    jpeg_source_ratio: float | None = None,
    syntax: str = "explicit",
) -> bytes:
    """A Part 10 file of one frontal chest radiograph (PS3.3 A.2 CR or A.26 DX, for presentation).

    `pixels` [rows, columns], MONOCHROME2; 8-bit values get the window that shows them as they are. An aware
    `study_time` also writes its offset (0008,0201). `study` names the study (the accession does by default): its
    UIDs, and the instance's, are functions of the arguments, so a replay makes the same files. DX demands
    `pixel_spacing_mm` at the detector. `jpeg_source_ratio` says that the image had been JPEG-compressed before.
    Raises ValueError for arguments that no valid file can be made of.
    """
    _check(pixels, modality, pixel_spacing_mm, syntax)
    dataset = _file(modality)
    uid = _Uids(issuer, patient_id, study or accession, sha256(pixels.tobytes()).hexdigest())
    _patient(dataset, patient_id, issuer, sex, birth_date)
    _study(dataset, uid, accession, study_time)
    _series(dataset, uid, modality, view_position)
    if modality == "DX":
        _detector(dataset, pixel_spacing_mm)
    elif pixel_spacing_mm:
        dataset.ImagerPixelSpacing = [pixel_spacing_mm, pixel_spacing_mm]
    _image(dataset, pixels, jpeg_source_ratio)
    return _written(dataset, syntax)


def _check(pixels: Grey, modality: str, spacing: float | None, syntax: str) -> None:
    if pixels.ndim != 2 or 0 in pixels.shape or max(pixels.shape) > 0xFFFF:
        raise ValueError(f"pixels must be [rows, columns], not {pixels.shape}")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"pixels must be uint8 or uint16, not {pixels.dtype}")
    if modality not in ("CR", "DX"):
        raise ValueError(f"modality must be CR or DX, not {modality!r}")
    if modality == "DX" and not spacing:
        raise ValueError("DX demands pixel_spacing_mm (PS3.3 C.8.11.4, Imager Pixel Spacing is type 1)")
    if syntax not in SYNTAXES:
        raise ValueError(f"syntax must be one of {', '.join(SYNTAXES)}")
    if syntax == "jpeg2000" and min(pixels.shape) < MIN_JPEG2000_SIDE:
        raise ValueError(f"JPEG 2000 pixels must be at least {MIN_JPEG2000_SIDE} on each side")


class _Uids:
    """UIDs made from UUIDs of what they stand for (PS3.5 B.2)."""

    def __init__(self, issuer: str, patient: str, study: str, image: str) -> None:
        self.study = _uid(issuer, patient, study)
        self.series = _uid(issuer, patient, study, "series")
        self.instance = _uid(issuer, patient, study, image)


def _uid(*parts: str) -> str:
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, chr(31).join(parts)).int}"


def _file(modality: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = (
        DigitalXRayImageStorageForPresentation if modality == "DX" else ComputedRadiographyImageStorage
    )
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION)
    meta.ImplementationVersionName = "WARDSTREAM"
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)  # type: ignore[arg-type]
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    return dataset


def _patient(dataset: Dataset, patient_id: str, issuer: str, sex: str, birth_date: date | None) -> None:
    dataset.PatientName = ""
    dataset.PatientID = patient_id
    dataset.IssuerOfPatientID = issuer
    dataset.PatientBirthDate = f"{birth_date:%Y%m%d}" if birth_date else ""
    dataset.PatientSex = SEXES.get(sex, "")


def _study(dataset: Dataset, uid: _Uids, accession: str, when: datetime) -> None:
    dataset.StudyInstanceUID = uid.study
    dataset.StudyID = accession[:16]
    dataset.AccessionNumber = accession
    dataset.ReferringPhysicianName = ""
    if when.utcoffset() is not None:
        dataset.TimezoneOffsetFromUTC = f"{when:%z}"[:5]
    for name in ("Study", "Acquisition", "Content", "InstanceCreation"):
        setattr(dataset, f"{name}Date", f"{when:%Y%m%d}")
        setattr(dataset, f"{name}Time", f"{when:%H%M%S.%f}")


def _series(dataset: Dataset, uid: _Uids, modality: str, view_position: str) -> None:
    dataset.SeriesInstanceUID = uid.series
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(uid.instance)
    dataset.Modality = modality
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.Manufacturer = ""
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = view_position
    dataset.PatientOrientation = ["R", "F"] if view_position == "AP" else ["L", "F"]


def _detector(dataset: Dataset, spacing: float | None) -> None:
    """What DX asks for beyond CR (PS3.3 C.8.11.1 to C.8.11.4)."""
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImageLaterality = "U"
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "51185008", "SCT", "Chest"
    dataset.AnatomicRegionSequence = [region]
    dataset.DetectorType = dataset.PositionerType = ""
    dataset.ImagerPixelSpacing = [spacing, spacing]
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.AcquisitionContextSequence = []


def _image(dataset: Dataset, pixels: Grey, jpeg_ratio: float | None) -> None:
    bits = 8 * pixels.dtype.itemsize
    dataset.ImageType = ["DERIVED" if jpeg_ratio else "ORIGINAL", "PRIMARY", ""]
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "01" if jpeg_ratio else "00"
    if jpeg_ratio:
        dataset.LossyImageCompressionRatio = round(jpeg_ratio, 1)
        dataset.LossyImageCompressionMethod = "ISO_10918_1"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, 0
    low, high = (0, 255) if bits == 8 else (int(pixels.min()), int(pixels.max()))
    dataset.WindowCenter, dataset.WindowWidth = (low + high + 1) / 2, max(high - low + 1, 2)
    raw = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    dataset["PixelData"].VR = "OW" if bits == 16 else "OB"


def _written(dataset: FileDataset, syntax: str) -> bytes:
    if syntax != "explicit":
        dataset.compress(SYNTAXES[syntax], generate_instance_uid=False)
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()

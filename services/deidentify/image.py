"""A DICOM object without anything that names a person, by PS3.15 annex E and an allow-list that is stricter.

A new object is built of the elements of `KEPT` alone, so that no private element, sequence, overlay, preamble, sender's
file meta or element after the pixels can pass. On it acts the Basic Application Level Confidentiality Profile (the
tables of PS3.15 2026c, from dicom-anonymizer) with the options that retain patient characteristics (sex, age) and
temporal information with modified dates; in that order, because the library meets a hostile data set with an exception.
The pixels are decoded and written anew, uncompressed: a codestream can carry comments, and unused bits overlays.
"""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from dicomanonymizer import simpledicomanonymizer as profile
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from services.deidentify import words
from services.deidentify.people import People
from services.deidentify.pseudonyms import Pseudonyms
from services.domain.events import ClinicalEvent, Imaging, Patient
from services.domain.reasons import Rejected
from services.formats.dicom.codestream import frame_size
from services.formats.dicom.parse import parse
from services.formats.dicom.pixels import MAX_FRAMES, MAX_PIXELS

AUTHORITY = "wardstream-deidentified"
"""Issuer of the pseudonymous patient ids."""
EDITION = "dicomfields_2026c"
MAX_SAMPLES = 256 << 20
"""Samples of all frames of one object, which are in memory at once."""
_IMPLEMENTATION = "2.25.305828488182831875890203105390285383139"
_METHOD = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113108", "Retain Patient Characteristics Option"),
)
"""PS3.16 CID 7050."""

_CODED: dict[str, frozenset[str]] = {
    "Modality": frozenset({"CR", "DX", "CT", "MR"}),
    "PatientSex": frozenset({"M", "F", "O"}),
    "BodyPartExamined": words.BODY_PARTS,
    "ViewPosition": words.VIEWS,
    "PhotometricInterpretation": frozenset({"MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422"}),
    "PresentationIntentType": frozenset({"FOR PRESENTATION", "FOR PROCESSING"}),
    "PixelIntensityRelationship": frozenset({"LIN", "LOG", "DISP"}),
    "RescaleType": frozenset({"HU", "US", "OD"}),
    "PresentationLUTShape": frozenset({"IDENTITY", "INVERSE"}),
    "PatientPosition": frozenset({"HFS", "HFP", "FFS", "FFP", "HFDR", "HFDL", "FFDR", "FFDL"}),
    "VOILUTFunction": frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"}),
}
_WHOLE = ("SamplesPerPixel", "NumberOfFrames", "PixelRepresentation", "PixelIntensityRelationshipSign")
_DECIMAL = (
    *("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "SliceThickness", "PixelSpacing"),
    *("ImagerPixelSpacing", "KVP", "SpacingBetweenSlices", "PixelAspectRatio"),
)
_MAX_WHOLE = 1 << 16
KEPT = frozenset(
    {*_CODED, *_WHOLE, *_DECIMAL}
    | {"SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"}
    | {"PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "AccessionNumber", "ReferringPhysicianName"}
    | {"StudyDate", "StudyTime", "AcquisitionDateTime", "TimezoneOffsetFromUTC", "StudyID", "Rows", "Columns"}
    | {"BitsAllocated", "BitsStored", "HighBit", "PixelData", "BurnedInAnnotation", "PlanarConfiguration"}
    | {"PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"}
    | {"LongitudinalTemporalInformationModified", "PixelPaddingValue"}
)
"""Every element of an object that leaves, by keyword."""


class ImageRefused(Exception):
    """The object must not leave; the text is the reason's code."""


class Image:
    """An object that may leave. `flagged`: nobody says whether there is writing in its pixels."""

    def __init__(self, data: bytes, flagged: bool) -> None:
        self.data = data
        self.flagged = flagged


def deidentified(data: bytes, event: ClinicalEvent, people: People, names: Pseudonyms, strict: bool) -> Image:
    """The object of a DICOM event (`event` as read, not yet de-identified). With `strict`, unstated pixels are refused.

    Raises ImageRefused: burned_in_annotation, burned_in_unstated, secondary_capture, unreadable_pixels,
    unreadable_object, unsupported_pixels, impossible_time.
    """
    parsed = parse(data, with_pixels=True)
    if isinstance(parsed, Rejected):
        raise ImageRefused("unreadable_object")
    try:
        return _deidentified(parsed.dataset, event, people, names, strict)
    except ImageRefused:
        raise
    except Exception:  # noqa: BLE001 -- pydicom, its codecs and the profile raise whatever hostile bytes make them hit
        raise ImageRefused("unreadable_object") from None


def _deidentified(dataset: FileDataset, event: ClinicalEvent, people: People, names: Pseudonyms, strict: bool) -> Image:
    flagged = _examine(dataset, strict)
    pixels, photometric = _pixels(dataset)
    bits, padding = int(dataset.BitsStored), dataset.get("PixelPaddingValue")
    uids = {k: names.uid(str(dataset.get(k) or f"{event.event_id} {k}")) for k in _UIDS}
    made = _rebuilt(dataset)
    profile.anonymize_dataset(made, _options(), True, lambda: profile.initialize_actions(EDITION))
    for keyword, uid in uids.items():
        setattr(made, keyword, uid)
    _identity(made, event, people)
    _times(made, event, people)
    _declared(made, dataset)
    _put_pixels(made, pixels, photometric, bits)
    if isinstance(padding, int) and abs(padding) < _MAX_WHOLE:
        made.PixelPaddingValue = padding
    unexpected = {element.keyword for element in made} - KEPT
    assert not unexpected, "an element outside the allow-list"
    return Image(_written(made), flagged)


_UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


def _options() -> dict[tuple[int, int], Callable[..., None]]:
    """PS3.15 E.3.6 and E.3.5: Patient's Sex stays; times are set anew in `_times`, whatever the profile leaves."""
    return {(0x0010, 0x0040): profile.keep}


def _examine(dataset: Dataset, strict: bool) -> bool:
    """Whether the pixels are to be flagged. Writing in the pixels is what no header profile can take away."""
    said = str(dataset.get("BurnedInAnnotation") or "").strip().upper()
    if said == "YES":
        raise ImageRefused("burned_in_annotation")
    if said == "NO":
        return False
    image_type = [str(part).upper() for part in _values(dataset.get("ImageType"))]
    if dataset.get("ConversionType") or "SECONDARY" in image_type[1:2]:
        raise ImageRefused("secondary_capture")
    if strict:
        raise ImageRefused("burned_in_unstated")
    return True


def _values(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)


def _pixels(dataset: FileDataset) -> tuple[NDArray[Any], str]:
    """All frames' stored values, [frames, rows, columns(, samples)], and their photometric interpretation."""
    frames, rows, columns = int(dataset.get("NumberOfFrames") or 1), int(dataset.Rows), int(dataset.Columns)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    if "PixelData" not in dataset or str(dataset.PhotometricInterpretation) == "PALETTE COLOR":
        raise ImageRefused("unsupported_pixels")
    if min(rows, columns, frames) < 1 or rows * columns * samples > MAX_PIXELS or frames > MAX_FRAMES:
        raise ImageRefused("unreadable_pixels")
    if frames * rows * columns * samples > MAX_SAMPLES:
        raise ImageRefused("unsupported_pixels")
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    if syntax.is_encapsulated and syntax != RLELossless:
        for n in range(frames):
            inside = frame_size(get_frame(dataset.PixelData, n, number_of_frames=frames))
            if inside is None or inside != (rows, columns, samples):
                raise ImageRefused("unreadable_pixels")
    stored, description = get_decoder(syntax).as_array(dataset, raw=True)
    stored = stored.reshape((frames, rows, columns) + ((samples,) if samples > 1 else ()))
    if stored.dtype.kind not in "iu" or stored.dtype.itemsize > 2:
        raise ImageRefused("unsupported_pixels")
    return _masked(stored, int(dataset.BitsStored)), str(description["photometric_interpretation"])


def _masked(stored: NDArray[Any], bits: int) -> NDArray[Any]:
    """Without what stands in the bits above the stored ones: old overlays do (PS3.3 C.9.2, retired)."""
    wide = stored.dtype.itemsize * 8
    if not 1 <= bits <= wide:
        raise ImageRefused("unreadable_pixels")
    if bits == wide:
        return stored
    unsigned = stored.view(f"u{stored.dtype.itemsize}") & ((1 << bits) - 1)
    if stored.dtype.kind == "u":
        return unsigned
    sign = unsigned & (1 << (bits - 1))
    extended: NDArray[Any] = (unsigned.astype("i4") - (sign.astype("i4") << 1)).astype(stored.dtype)
    return extended


def _rebuilt(dataset: Dataset) -> Dataset:
    """Coded and numeric elements whose values are of the closed lists or plausible sizes; nothing else."""
    made = Dataset()
    sop_class = UID(str(dataset.get("SOPClassUID") or ""))
    if not sop_class.name.endswith("Storage"):  # a registered class has a name
        raise ImageRefused("unsupported_pixels")
    made.SOPClassUID = sop_class
    for keyword, allowed in _CODED.items():
        value = str(dataset.get(keyword) or "").strip().upper()
        if value and value in allowed:
            setattr(made, keyword, value)
    for keyword in _WHOLE:
        whole = _numbers(dataset, keyword)
        if whole and whole[0].is_integer():
            setattr(made, keyword, int(whole[0]))
    for keyword in _DECIMAL:
        if numbers := _numbers(dataset, keyword):
            setattr(made, keyword, numbers if len(numbers) > 1 else numbers[0])
    return made


def _numbers(dataset: Dataset, keyword: str) -> list[float]:
    """An element's one or two numbers, to six digits; none where one is too large or no number at all."""
    try:
        numbers = [float(f"{float(part):.6g}") for part in _values(dataset.get(keyword))]
    except (TypeError, ValueError):
        return []
    return numbers if len(numbers) <= 2 and all(abs(part) < _MAX_WHOLE for part in numbers) else []


def _identity(made: Dataset, event: ClinicalEvent, people: People) -> None:
    made.PatientName, made.PatientID, made.IssuerOfPatientID = event.patient, event.patient, AUTHORITY
    made.AccessionNumber, made.ReferringPhysicianName, made.StudyID, made.PatientBirthDate = "", "", "", ""
    for fact in event.facts:
        if isinstance(fact, Patient) and isinstance(fact.birth_date, str):
            born = people.birth_date(event.patient, fact.birth_date) or ""
            made.PatientBirthDate = (born.replace("-", "") + "0701")[:8] if born else ""  # DA has no year alone


def _times(made: Dataset, event: ClinicalEvent, people: People) -> None:
    when = next((fact.time for fact in event.facts if isinstance(fact, Imaging)), event.occurred)
    try:
        moved = when + people.shift(event.patient)
    except OverflowError:
        raise ImageRefused("impossible_time") from None
    made.StudyDate, made.StudyTime = moved.strftime("%Y%m%d"), moved.strftime("%H%M%S.%f")
    made.AcquisitionDateTime = moved.strftime("%Y%m%d%H%M%S.%f%z")[:26]
    made.TimezoneOffsetFromUTC = moved.strftime("%z")[:5]


def _declared(made: Dataset, dataset: Dataset) -> None:
    """What PS3.15 E.1.1 asks to be said of the object."""
    if str(dataset.get("BurnedInAnnotation") or "").strip().upper() == "NO":
        made.BurnedInAnnotation = "NO"
    made.PatientIdentityRemoved = "YES"
    made.DeidentificationMethod = "Wardstream: PS3.15 basic profile 2026c, allow-list, pixels written anew"
    made.LongitudinalTemporalInformationModified = "MODIFIED"
    items = []
    for value, meaning in _METHOD:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
        items.append(item)
    made.DeidentificationMethodCodeSequence = Sequence(items)


def _put_pixels(made: Dataset, pixels: NDArray[Any], photometric: str, bits: int) -> None:
    wide = pixels.dtype.itemsize * 8
    made.Rows, made.Columns = pixels.shape[1:3]
    photometric = "YBR_FULL" if photometric == "YBR_FULL_422" else photometric  # decoded: no longer subsampled
    made.PhotometricInterpretation = words.one_of(photometric, _CODED["PhotometricInterpretation"])
    if not made.PhotometricInterpretation:
        raise ImageRefused("unsupported_pixels")
    if pixels.ndim == 4:
        made.PlanarConfiguration = 0
    made.BitsAllocated = wide
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.BitsStored, made.HighBit = bits, bits - 1
    raw = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("<"))).tobytes()
    made.PixelData = raw + b"\0" * (len(raw) % 2)
    made["PixelData"].VR = "OW" if wide == 16 else "OB"


def _written(made: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = made.SOPClassUID, made.SOPInstanceUID
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ExplicitVRLittleEndian, UID(_IMPLEMENTATION)
    made.file_meta = meta
    out = BytesIO()
    made.save_as(out, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return out.getvalue()

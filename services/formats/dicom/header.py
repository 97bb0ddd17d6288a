"""A DICOM file to the header that goes on `dicom.raw`."""

import hashlib
from typing import Any

import msgspec
from pydicom.dataset import Dataset

from services.domain.reasons import Rejected, RejectReason
from services.formats.dicom.model import HEADER_TAGS, DicomObject, Element, Header, text
from services.formats.dicom.parse import parse


def read_header(data: bytes) -> DicomObject | Rejected:
    """The header, SHA-256 and size of a Part 10 file, read up to its pixels; `object` is left to who keeps it.

    Rejected: EMPTY, NOT_DICOM, MALFORMED (cannot be parsed, cut short, or without SOP Instance UID), TOO_LARGE.
    """
    parsed = parse(data, tags=HEADER_TAGS)
    if isinstance(parsed, Rejected):
        return parsed
    header = _header(parsed.dataset)
    if not text(header, "00080018"):
        uid = str(parsed.dataset.file_meta.get("MediaStorageSOPInstanceUID", ""))
        if not uid:
            return Rejected(RejectReason.MALFORMED, "(0008,0018)", "SOP Instance UID is required (PS3.3 C.12.1)")
        header["00080018"] = Element("UI", [uid])
    return DicomObject(
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        transfer_syntax=parsed.transfer_syntax,
        pixels=parsed.pixels,
        header=header,
    )


def _header(dataset: Dataset) -> Header:
    found = {}
    for tag in HEADER_TAGS:
        element = _element(dataset, tag)
        if element and element.Value:
            found[f"{tag:08X}"] = element
    return found


def _element(dataset: Dataset, tag: int) -> Element | None:
    """The element in the DICOM JSON Model; None where absent or of a value that its VR forbids (it says nothing)."""
    if tag not in dataset:
        return None
    try:
        return msgspec.convert(_plain(dataset[tag].to_json_dict(None, 0)), Element)
    except Exception:  # noqa: BLE001 -- pydicom converts values on access and raises whatever it meets there
        return None


def _plain(value: Any) -> Any:
    """pydicom's value classes (UID, IS, DSfloat...) as the plain types that they are subclasses of."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return next((kind(value) for kind in (str, int, float) if isinstance(value, kind)), None)

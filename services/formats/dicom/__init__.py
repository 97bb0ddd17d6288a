"""DICOM: files to headers (`read_header`), headers to clinical events (`read`), pixels to arrays (`pixels`), and
radiographs back to files (`write`)."""

from services.formats.dicom.event import patient_identifier, read
from services.formats.dicom.header import read_header
from services.formats.dicom.model import DicomObject, decode_object, encode_object

__all__ = ["DicomObject", "decode_object", "encode_object", "patient_identifier", "read", "read_header"]

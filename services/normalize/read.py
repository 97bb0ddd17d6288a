"""One reader for all formats, and the guess which format some bytes are in."""

from services.domain.reasons import Rejected, RejectReason
from services.domain.site import Site
from services.formats import dicom, fhir, hl7v2
from services.formats.reading import Reading

READERS = {"hl7v2": hl7v2.read, "fhir": fhir.read, "dicom": dicom.read}


def read(form: str, raw: bytes, site: Site, received_ms: int) -> Reading | Rejected:
    """Read a raw message of the format `hl7v2`, `fhir` or `dicom` (its topic's value). Never raises for bad input."""
    if not raw.strip():
        return Rejected(RejectReason.EMPTY, hint="send the message's bytes as the value")
    return READERS[form](raw, site, received_ms)

"""ImagingStudy: that images were taken; the pixels come by DICOM (R4 section 10.5)."""

from services.domain.events import AnyFact, Identifier, Imaging, Rank, digest
from services.domain.reasons import FilterReason
from services.formats.fhir import datatypes
from services.formats.fhir.access import Object, first, items, numbered, obj, text
from services.formats.fhir.context import Item

MODALITIES = frozenset({"CR", "DX", "CT", "MR"})
"""The same as by DICOM: what the image encoders read."""


def study(item: Item) -> list[AnyFact]:
    """One fact per series. UIDs are digested as the DICOM reader does, so that both meet in the record."""
    resource = item.resource
    at = item.moment(resource.get("started"), "started") or item.moment(
        first(resource.get("series")).get("started"), "series[0].started"
    )
    if at is None:
        item.drop(FilterReason.NO_TIME)
        return []
    uid = _study_uid(resource)
    status = text(resource.get("status"))
    rank = {"entered-in-error": Rank.ENTERED_IN_ERROR, "cancelled": Rank.CANCELLED}.get(
        status, Rank.PRELIMINARY if status == "registered" else Rank.FINAL
    )
    series = list(numbered(resource.get("series")))
    found: list[AnyFact] = []
    for n, one in series or [(-1, resource)]:
        modality = _modality(one) or _modality(resource)
        path = f"series[{n}].modality" if n >= 0 else "modality"
        if modality not in MODALITIES:
            item.drop(FilterReason.UNSUPPORTED_MODALITY, path)
            continue
        series_uid = text(one.get("uid")) if n >= 0 else ""
        whole = item.id("imaging", uid or item.content)
        found.append(
            Imaging(
                id=digest(whole, series_uid or str(n), size=8) if n >= 0 else whole,
                version=item.version(rank),
                time=item.moment(one.get("started"), f"series[{n}].started") or at,
                modality=modality,
                study=digest("dicom", uid) if uid else "",
                series=digest("dicom", series_uid) if series_uid else "",
                body_part=_body_part(one),
                accession=_accession(resource),
            )
        )
    return found


def _modality(node: Object) -> str:
    """A Coding (R4), or CodeableConcepts (R5)."""
    value = node.get("modality")
    code = datatypes.coding(first(value)) or datatypes.concept(value)
    return code.code.upper() if code else ""


def _study_uid(resource: Object) -> str:
    for number in items(resource.get("identifier")):
        value = text(number.get("value"))
        if text(number.get("system")) == "urn:dicom:uid" or value.startswith("urn:oid:"):
            return value.removeprefix("urn:oid:")
    return ""


def _body_part(series: Object) -> str:
    """bodySite's display, as DICOM's Body Part Examined is written."""
    site = obj(series.get("bodySite"))
    code = datatypes.coding(site) or datatypes.concept(site.get("concept"))
    return (code.display or code.code).upper() if code else ""


def _accession(resource: Object) -> Identifier | None:
    found = (datatypes.identifier(i) for i in items(resource.get("identifier")))
    return next((i for i in found if i is not None and i.type == "ACSN"), None)

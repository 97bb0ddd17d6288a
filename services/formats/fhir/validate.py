"""Holding a message to the R4 models of fhir.resources (R4B: its R5 default can silently lose R4 fields)."""

from functools import lru_cache
from typing import Any

import pydantic
from fhir.resources.R4B import get_fhir_model_class
from fhir.resources.R4B.resource import Resource

from services.domain.reasons import Rejected, RejectReason
from services.formats.fhir.access import Object, numbered, text

MAX_PLACES = 5
"""Places named in a hint."""


def validate(root: Object) -> Rejected | None:
    """None when the resource (of a Bundle: each of its entries) fits its R4 model; else MALFORMED, where and what.

    pydantic's own texts carry the input: only its places and the kind of the error are taken.
    """
    if root.get("resourceType") != "Bundle":
        return _one(root, "")
    for n, entry in numbered(root.get("entry")):
        resource = entry.get("resource")
        problem = _one(resource, f"entry[{n}]") if isinstance(resource, dict) else None
        if problem is not None:
            return problem
    return None


def _one(resource: Object, where: str) -> Rejected | None:
    kind = text(resource.get("resourceType"))
    model = _model(kind)
    if model is None:
        return Rejected(RejectReason.NOT_FHIR, _join(where, "resourceType"), "a resource type of FHIR R4")
    try:
        model.model_validate(resource)
    except pydantic.ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        places = list(dict.fromkeys(_place(e["loc"], e["type"]) for e in found))
        kinds = list(dict.fromkeys(e["type"] for e in found))
        more = f" and {len(places) - MAX_PLACES} more" if len(places) > MAX_PLACES else ""
        hint = f"FHIR R4: {', '.join(kinds[:MAX_PLACES])} at {', '.join(places[:MAX_PLACES])}{more}"
        return Rejected(RejectReason.MALFORMED, _join(where, places[0]), hint)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        # fhir.resources raises these on shapes it did not expect.
        return Rejected(RejectReason.MALFORMED, where or kind, f"FHIR R4: {type(error).__name__}")
    return None


@lru_cache(maxsize=512)
def _model(kind: str) -> Any:
    """The model of a resource type; None where R4 has none of that name (a datatype is no resource)."""
    try:
        model = get_fhir_model_class(kind)
    except (ValueError, KeyError, ImportError, AttributeError):
        return None
    return model if issubclass(model, Resource) else None


def _join(where: str, path: str) -> str:
    return f"{where}.{path}" if where else path


def _place(location: tuple[int | str, ...], kind: str) -> str:
    """`code.coding[0].code`. The name of an element that FHIR does not have is the sender's: it could say anything."""
    named = location[:-1] if kind == "extra_forbidden" else location
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in named).lstrip(".")
    return _join(place, "(unknown element)") if kind == "extra_forbidden" else place or "(the whole)"

"""FHIR R4: reading resources and Bundles (`read`), what goes out (`render`), and the HTTP API's answers (`outcome`)."""

from services.formats.fhir.reader import read, routing

__all__ = ["read", "routing"]

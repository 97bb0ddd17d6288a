"""CapabilityStatement: what the HTTP endpoint offers (R4 section 2.3)."""

from typing import Any

from services.formats.fhir.dispatch import READERS

PUBLISHED = "2026-01-01"


def capability_statement(version: str) -> dict[str, Any]:
    """The statement of an instance: create and update of what is read, transaction and batch, `$import` of ndjson."""
    kinds = sorted(("Patient", *READERS))
    interactions = [{"code": "create"}, {"code": "update"}]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": PUBLISHED,
        "kind": "instance",
        "software": {"name": "Wardstream", "version": version},
        "implementation": {"description": "Wardstream intake: takes events in, offers no reads"},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "application/fhir+ndjson"],
        "rest": [
            {
                "mode": "server",
                "documentation": "Other resource types are taken too, and set aside with a reason.",
                "resource": [{"type": kind, "interaction": interactions, "updateCreate": True} for kind in kinds],
                "interaction": [{"code": "transaction"}, {"code": "batch"}],
                "operation": [{"name": "import", "definition": "urn:wardstream:operation:import-ndjson"}],
            }
        ],
    }

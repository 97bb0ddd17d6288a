"""What we send ourselves, so that it is known again when somebody sends it back to us.

An engine that routes every ORU, or a server that forwards all resources, brings our predictions back. They are no
findings about the patient: read as such, predictions would feed predictions.
"""

APPLICATION = "WARDSTREAM"
"""MSH-3 of what we send."""

RISK_SYSTEM = "99WARDSTREAM"
"""Our own coding system in HL7 v2 (table 0396): outcomes, models, and why there is no number."""

OUTCOME_SYSTEM = "urn:wardstream:outcome"
"""Our coding system in FHIR."""

PREDICTION_SYSTEM = "urn:wardstream:prediction-id"
"""Identifiers of predictions in FHIR."""


def coded(system: str) -> bool:
    """Whether a coding system is ours, also as a converter to FHIR spells that of HL7 v2: `urn:id:99WARDSTREAM`."""
    return system == OUTCOME_SYSTEM or system.upper().endswith(RISK_SYSTEM)

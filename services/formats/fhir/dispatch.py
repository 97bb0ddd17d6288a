"""Which resource types are read, and how; every other type has its reason."""

from collections.abc import Callable, Sequence

from services.domain.events import AnyFact
from services.domain.reasons import FilterReason
from services.formats.fhir import clinical, documents, imaging, medications
from services.formats.fhir.context import Item
from services.formats.fhir.encounter import encounter
from services.formats.fhir.observation import observations

READERS: dict[str, Callable[[Item], Sequence[AnyFact]]] = {
    "Encounter": lambda item: [encounter(item)],
    "Observation": observations,
    "DiagnosticReport": documents.report,
    "DocumentReference": documents.reference,
    "Composition": documents.composition,
    "Condition": clinical.condition,
    "AllergyIntolerance": clinical.allergy,
    "Procedure": clinical.procedure,
    "Immunization": clinical.immunization,
    "ServiceRequest": clinical.service_request,
    "MedicationRequest": medications.request,
    "MedicationAdministration": medications.administration,
    "MedicationDispense": medications.dispense,
    "MedicationStatement": medications.statement,
    "ImagingStudy": imaging.study,
    "Media": documents.media,
}
"""Resources about one patient that become facts, besides Patient itself."""

SUBJECTS: dict[str, str] = {"Immunization": "patient", "AllergyIntolerance": "patient"}
"""The element that names the patient, where it is not `subject`."""

NOT_ABOUT_A_PATIENT = frozenset(
    {
        *("Organization", "Practitioner", "PractitionerRole", "Location", "HealthcareService", "Endpoint"),
        *("Medication", "Substance", "Device", "DeviceDefinition", "MessageHeader", "Group", "OperationOutcome"),
        *("CapabilityStatement", "StructureDefinition", "ValueSet", "CodeSystem", "ConceptMap", "SearchParameter"),
        *("ImplementationGuide", "Library", "Measure", "PlanDefinition", "ActivityDefinition", "Questionnaire"),
        *("OperationDefinition", "NamingSystem", "Subscription", "SubscriptionStatus", "Parameters", "Binary"),
        *("InsurancePlan", "OrganizationAffiliation", "ObservationDefinition", "SpecimenDefinition", "TestScript"),
    }
)
"""Types without a patient: they only explain others (and are read where others refer to them)."""

ADMINISTRATIVE = frozenset(
    {
        *("Account", "Appointment", "AppointmentResponse", "ChargeItem", "Claim", "ClaimResponse", "Consent"),
        *(
            "Contract",
            "Coverage",
            "CoverageEligibilityRequest",
            "CoverageEligibilityResponse",
            "EnrollmentRequest",
            "Invoice",
        ),
        *("EnrollmentResponse", "EpisodeOfCare", "ExplanationOfBenefit", "PaymentNotice", "PaymentReconciliation"),
        *("Provenance", "AuditEvent", "RelatedPerson", "Person", "Schedule", "Slot", "SupplyDelivery", "SupplyRequest"),
    }
)
"""Billing, insurance, schedules, consent, relatives, who wrote what."""


def reason_unread(kind: str) -> FilterReason:
    """Why a type is not read."""
    if kind in ADMINISTRATIVE:
        return FilterReason.ADMINISTRATIVE
    return FilterReason.NO_PATIENT_REFERENCE if kind in NOT_ABOUT_A_PATIENT else FilterReason.UNSUPPORTED_RESOURCE

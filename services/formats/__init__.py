"""Readers and writers of HL7 v2, FHIR R4 and DICOM: pure functions from bytes to clinical events and back."""

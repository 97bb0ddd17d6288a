"""Deliver: predictions to people and systems: the page with its live stream, and FHIR RiskAssessment."""

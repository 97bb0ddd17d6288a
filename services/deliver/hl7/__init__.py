"""Predictions for the hospital's own systems as HL7 v2: `announce` chooses and renders, `deliver-hl7` sends."""

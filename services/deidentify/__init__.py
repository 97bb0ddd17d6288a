"""De-identification: recorded traffic (HL7 v2, FHIR, DICOM) to a training set without identifiers.

What goes out is built up from an allow-list, never made by taking things away: HL7 v2 and FHIR leave as clinical events
whose every field `facts` names, DICOM objects as new objects of the elements that `image` names. The three formats
share one patient key and one date shift, because both come from the identity that the services themselves resolve.
"""

"""Genetic variants, as a presence-masked panel: the `genomic` input.

Read from laboratory genetics reports (HL7 v2 Clinical Genomics, FHIR Genomics Reporting): LOINC 48018-6 'Gene
studied' with the gene's HGNC symbol as its text. No data set with variants and outcomes is at hand, so no
model has been trained on this input: `risk_fusion` ships with this branch switched off, and says so.
"""

import numpy as np
from numpy.typing import NDArray

from services.domain.record import PatientRecord

GENE_STUDIED = "48018-6"
GENES: tuple[str, ...] = (
    *("TLR4", "TLR2", "TNF", "IL6", "IL10", "IL1RN", "MBL2", "CD14"),
    *("FCGR2A", "SERPINE1", "PROC", "F5", "ACE", "APOE", "G6PD", "CFTR"),
)
_PLACE = {gene: n for n, gene in enumerate(GENES)}


def genomic(record: PatientRecord, as_of_ms: int) -> tuple[NDArray[np.float32], int]:
    """float32 [len(GENES)], 1 where a variant of the gene is reported by `as_of_ms`, and how many are."""
    panel = np.zeros(len(GENES), np.float32)
    if GENE_STUDIED in record.observations:
        for row in record.values(GENE_STUDIED, as_of_ms):
            place = _PLACE.get(str(row.value).strip().upper())
            if place is not None:
                panel[place] = 1.0
    return panel, int(panel.sum())

"""The patient view: everything of one record that a person looks at, as JSON."""

from typing import Any

import msgspec

from services.deliver.board import Entry, risks_of
from services.domain.codes import BY_LOINC
from services.domain.record import PatientRecord, Series

MAX_POINTS = 1000  # of one series: more cannot be told apart on a screen


def patient_view(record: PatientRecord, entry: Entry, row: dict[str, Any]) -> dict[str, Any]:
    """Series, risks over time, what drove them, what is missing, images, notes' titles. No identifiers, no text."""
    return {
        **row,
        "series": _all_series(record),
        "courses": [
            {"outcome": outcome, "model": model, "points": msgspec.to_builtins(list(points))}
            for (outcome, model), points in sorted(entry.history.items())
        ],
        "explanations": [
            {
                "outcome": risk.outcome,
                "model": prediction.model,
                "model_version": prediction.model_version,
                "as_of": round(prediction.as_of.timestamp() * 1000),
                "prediction_id": prediction.prediction_id,
                "weights_sha256": prediction.weights_sha256,
                "input_sha256": prediction.input_sha256,
                "feature_version": prediction.feature_version,
                "modalities": msgspec.to_builtins(risk.modalities),
                "features": msgspec.to_builtins(risk.features),
            }
            for prediction, risk in risks_of(entry)
        ],
        "notes": _notes(record),
        "images": _images(record),
        "conditions": _coded(record.conditions.values()),
        "medications": _coded(record.medications.values()),
        "encounters": [
            {name: cell.value for name, cell in cells.items() if name != "number"}
            for cells in record.encounters.values()
        ],
    }


def _all_series(record: PatientRecord) -> list[dict[str, Any]]:
    known = [_series(key, series) for key, series in record.observations.items()]
    order = {loinc: n for n, loinc in enumerate(BY_LOINC)}
    return sorted((s for s in known if s["points"]), key=lambda s: (order.get(s["code"], len(order)), s["name"]))


def _series(key: str, series: Series) -> dict[str, Any]:
    rows = [row for row in series.rows if not row.retracted and isinstance(row.value, float)][-MAX_POINTS:]
    variable = BY_LOINC.get(key)
    label = next((row.label for row in reversed(rows) if row.label), key.rpartition("|")[2])
    return {
        "code": key,
        "name": variable.display if variable else label,
        "unit": series.unit or (rows[-1].unit if rows else ""),
        "points": [[row.time, row.value] for row in rows],
    }


def _notes(record: PatientRecord) -> list[dict[str, Any]]:
    encoded = {e.of for e in record.embeddings.values()}
    notes = [
        {"title": d.title, "time": round(d.time.timestamp() * 1000), "encoded": d.id in encoded}
        for d in record.documents.values()
        if d.version.rank < 5
    ]
    return sorted(notes, key=lambda note: -note["time"])


def _images(record: PatientRecord) -> list[dict[str, Any]]:
    encoded = {e.of: e for e in record.embeddings.values() if e.modality == "image"}
    images = []
    for item in record.imaging.values():
        if item.version.rank >= 5:
            continue
        found = encoded.get(item.id)
        images.append(
            {
                "modality": item.modality,
                "body_part": item.body_part,
                "view_position": item.view_position,
                "time": round(item.time.timestamp() * 1000),
                "thumbnail": found.thumbnail if found else "",
                "findings": found.findings if found else {},
            }
        )
    return sorted(images, key=lambda image: -image["time"])


def _coded(items: Any) -> list[dict[str, Any]]:
    coded = [
        {"code": i.code.code, "name": i.code.display or i.code.code, "time": round(i.time.timestamp() * 1000)}
        for i in items
        if i.version.rank < 5
    ]
    return sorted(coded, key=lambda item: -item["time"])[:50]

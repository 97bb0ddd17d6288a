"""The patient view: everything of one record that a person looks at, as JSON. No identifiers, no free text."""

from math import isfinite
from typing import Any

import msgspec

from services.deliver import names
from services.deliver.board import Entry
from services.domain.codes import BY_LOINC
from services.domain.prediction import Contribution, Prediction, Risk, Status
from services.domain.record import PatientRecord, Row

MAX_POINTS = 1000  # of one series: more cannot be told apart on a screen
MAX_LISTED = 50  # diagnoses, medications


def patient_view(record: PatientRecord, entry: Entry, row: dict[str, Any]) -> dict[str, Any]:
    """Series, risks over time, what drove them, what is missing, images, notes' titles."""
    return {
        **row,
        "modalities": [{**state, "label": names.contribution(state["name"]).label} for state in row["modalities"]],
        "series": _all_series(record),
        "courses": [
            {
                "outcome": outcome,
                "model": model,
                "points": msgspec.to_builtins(entry.course(outcome, model)),
            }
            for outcome, model in sorted(entry.history)
        ],
        "explanations": [_explanation(prediction, risk) for prediction, risk in entry.risks()],
        "notes": _notes(record),
        "images": _images(record),
        "conditions": _coded(record.conditions.values()),
        "allergies": _allergies(record),
        "medications": _coded(record.medications.values()),
    }


def _explanation(prediction: Prediction, risk: Risk) -> dict[str, Any]:
    return {
        "outcome": risk.outcome,
        "scale": "points" if risk.status is Status.FALLBACK else "log-odds",
        "model": prediction.model,
        "model_version": prediction.model_version,
        "as_of": round(prediction.as_of.timestamp() * 1000),
        "prediction_id": prediction.prediction_id,
        "weights_sha256": prediction.weights_sha256,
        "input_sha256": prediction.input_sha256,
        "feature_version": prediction.feature_version,
        "modalities": [_contribution(one) for one in risk.modalities],
        "features": [_contribution(one) for one in risk.features],
    }


def _contribution(one: Contribution) -> dict[str, Any]:
    shown = names.contribution(one.name)
    return {**msgspec.to_builtins(one), "label": shown.label, "unit": shown.unit, "code": shown.code}


def _all_series(record: PatientRecord) -> list[dict[str, Any]]:
    known = [_series(record, key) for key in record.observations]
    order = {loinc: n for n, loinc in enumerate(BY_LOINC)}
    return sorted((s for s in known if s["points"]), key=lambda s: (order.get(s["code"], len(order)), s["name"]))


def _series(record: PatientRecord, key: str) -> dict[str, Any]:
    """One series; a point is [epoch ms, value, interpretation or '']. `time_assumed` counts those of no own time."""
    own = record.observations[key].unit
    rows = [row for row in record.values(key) if _is_number(row)]
    unit = own or (rows[-1].unit if rows else "")
    rows = [row for row in rows if (row.unit or own) == unit][-MAX_POINTS:]  # one axis, one unit
    band = names.BANDS.get(key) if unit == (BY_LOINC[key].unit if key in BY_LOINC else None) else None
    return {
        "code": key,
        "name": names.series_name(key, next((row.label for row in reversed(rows) if row.label), "")),
        "unit": names.unit(unit),
        "group": names.group(key),
        "band": {"low": band.low, "high": band.high, "source": band.source} if band else None,
        "points": [[row.time, row.value, row.flag.rpartition("|")[2]] for row in rows],
        "time_assumed": sum(row.time_assumed for row in rows),
    }


def _is_number(row: Row) -> bool:
    return isinstance(row.value, int | float) and not isinstance(row.value, bool) and isfinite(row.value)


def _notes(record: PatientRecord) -> list[dict[str, Any]]:
    encoded = {e.of for e in record.embeddings.values()}
    notes = [
        {
            "title": d.title,
            "time": round(d.time.timestamp() * 1000),
            "encoded": d.id in encoded,
            "file": d.id if d.encapsulated else "",
            "content_type": d.content_type,
        }
        for d in record.documents.values()
        if record.stands(d)
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
                "model": f"{found.model} {found.model_version}" if found else "",
            }
        )
    return sorted(images, key=lambda image: -image["time"])


def _allergies(record: PatientRecord) -> list[dict[str, Any]]:
    """Allergies that stand; `degree` is the severity of a reaction, else the criticality."""
    standing = [one for one in record.allergies.values() if one.version.rank < 5 and one.status in ("", "active")]
    found = [
        {"name": one.code.display or one.code.code, "category": one.category, "degree": one.severity or one.criticality}
        for one in standing
    ]
    return sorted(found, key=lambda one: one["name"].casefold())[:MAX_LISTED]


def _coded(items: Any) -> list[dict[str, Any]]:
    coded = [
        {"code": i.code.code, "name": i.code.display or i.code.code, "time": round(i.time.timestamp() * 1000)}
        for i in items
        if i.version.rank < 5
    ]
    return sorted(coded, key=lambda item: -item["time"])[:MAX_LISTED]

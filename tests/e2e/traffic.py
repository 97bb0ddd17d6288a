"""Sources for end-to-end tests: other patients of a source, and results by FHIR in place of HL7 v2."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice

import orjson

from services.local.replay.source import Item, Source, Stay

MINUTE_MS = 60_000


class After:
    """A source's patients after its first `skipped`, so that tests on one system keep to patients of their own."""

    def __init__(self, source: Source, skipped: int) -> None:
        self.name, self.synthetic = source.name, source.synthetic
        self._source, self._skipped = source, skipped

    def stays(self, limit: int | None) -> Iterator[Stay]:
        until = None if limit is None else limit + self._skipped
        return islice(iter(self._source.stays(until)), self._skipped, None)


class PartlyFhir:
    """A source whose every second message of results is sent as two FHIR Bundles: too early and wrong, then final."""

    def __init__(self, source: Source) -> None:
        self.name, self.synthetic = source.name, source.synthetic
        self._source = source

    def stays(self, limit: int | None) -> Iterator[Stay]:
        for stay in self._source.stays(limit):
            yield replace(stay, open=partial(self._items, stay))

    def _items(self, stay: Stay) -> Iterator[Item]:
        for number, item in enumerate(stay.open()):
            if item.label == "ORU^R01" and number % 2:
                yield bundle(item, "preliminary", 1, wrong=1.1)
                yield bundle(item, "final", 2)
            else:
                yield item


def bundle(item: Item, status: str, edition: int, wrong: float = 1.0) -> Item:
    """The results of an ORU^R01 (values times `wrong`) as a batch of Observations, `edition` minutes later."""
    segments = [line.split("|") for line in item.content().decode().split("\r")]
    head, patient = segments[0], next(s for s in segments if s[0] == "PID")
    number, authority = patient[3].split("^")[0], patient[3].split("^")[3]
    at = item.time_ms + edition * MINUTE_MS
    meta = {"versionId": str(edition), "lastUpdated": _instant(at)}
    observations = []
    for obx in (s for s in segments if s[0] == "OBX"):
        loinc, label, _ = obx[3].split("^")
        observations.append(
            {
                "resourceType": "Observation",
                "id": f"{head[9]}-{obx[1]}",
                "meta": meta,
                "status": status,
                "code": {"coding": [{"system": "http://loinc.org", "code": loinc, "display": label}]},
                "subject": {"identifier": {"system": authority, "value": number}},
                "effectiveDateTime": _instant(item.time_ms),
                "valueQuantity": {
                    "value": round(float(obx[5]) * wrong, 5),
                    "system": "http://unitsofmeasure.org",
                    "code": obx[6].split("^")[0],
                },
            }
        )
    entries = [
        {"resource": one, "request": {"method": "PUT", "url": f"Observation/{one['id']}"}} for one in observations
    ]
    content = orjson.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries})
    return replace(item, time_ms=at, kind="fhir", label="Bundle", payload=content)


def _instant(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).isoformat()

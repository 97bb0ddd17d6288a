"""The simulator as a source of traffic: the same messages a data set's replay sends, in the same way."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import partial

import numpy as np

from services.formats.dicom.write import chest_radiograph
from services.local.replay.births import birth_date
from services.local.replay.chart import ALIVE, EXPIRED, Chart, Measured
from services.local.replay.source import HOUR_MS, Item, Stay, arrival_ms
from services.local.replay.variables import LABELS
from services.local.simulate.people import Person, person
from services.local.simulate.physiology import course, severity
from services.local.simulate.radiograph import draw_chest

AUTHORITY = "SYNTHETIC"
APPLICATION = "WARDSTREAM-SIM"
PANEL = "ICU-HOUR^Results of the hour^L"
SEPSIS = ("A41.9", "Sepsis, unspecified organism")
DEFAULT_PATIENTS = 24
NOTES_EVERY_H = 12
IMAGE_AFTER_H = 2


class Simulation:
    """`seed` decides everything: the same seed gives the same bytes."""

    name = "synthetic"
    synthetic = True

    def __init__(self, seed: int = 0, patients: int = DEFAULT_PATIENTS) -> None:
        self._seed, self._patients = seed, patients

    def stays(self, limit: int | None) -> Iterator[Stay]:
        """`limit` patients, else as many as the simulation was made with."""
        for number in range(self._patients if limit is None else limit):
            one = person(self._seed, number)
            arrival = arrival_ms(f"{self.name} {self._seed}", one.name)
            admitted = arrival - one.before_h * HOUR_MS
            yield Stay(one.name, admitted, arrival, partial(_items, one, self._seed, arrival, admitted))


def _items(one: Person, seed: int, arrival: int, admitted: int) -> Iterator[Item]:
    born = birth_date(one.age, arrival)
    chart = Chart(
        application=APPLICATION,
        facility=AUTHORITY,
        patient=one.name,
        birth_date=born,
        sex=one.sex,
        admitted_ms=admitted,
        name=f"SYNTHETIC {one.name}",
    )
    found = [*_admission(one, chart, arrival, admitted), *_results(one, seed, chart, arrival)]
    found += [*_notes(one, chart, arrival), *_images(one, seed, arrival, born)]
    if one.onset_h is not None:
        at = arrival + one.onset_h * HOUR_MS
        message = chart.adt("A08", at, f"{one.name}-SEPSIS", one.unit, more=[chart.diagnosis(*SEPSIS, at)])
        found.append(Item(at, "hl7v2", one.name, message, "ADT^A08"))
    end = arrival + (one.stay_h + 1) * HOUR_MS
    how = EXPIRED if one.dies else ALIVE
    message = chart.adt("A03", end, f"{one.name}-A03", one.unit, disposition=how, discharged_ms=end)
    found.append(Item(end, "hl7v2", one.name, message, "ADT^A03"))
    yield from sorted(found, key=lambda item: item.time_ms)


def _admission(one: Person, chart: Chart, arrival: int, admitted: int) -> Iterator[Item]:
    before = "WARD" if one.before_h else ""
    sizes = (("8302-2", one.height_cm, "cm"), ("29463-7", one.weight_kg, "kg"))
    more = [chart.age(one.age, admitted)]
    more += [chart.result(n, Measured(c, LABELS[c], value, u), admitted) for n, (c, value, u) in enumerate(sizes, 2)]
    message = chart.adt("A01", admitted, f"{one.name}-A01", before or one.unit, more=more)
    yield Item(admitted, "hl7v2", one.name, message, "ADT^A01")
    if before:
        moved = chart.adt("A02", arrival, f"{one.name}-A02", one.unit, prior_unit=before)
        yield Item(arrival, "hl7v2", one.name, moved, "ADT^A02")


def _results(one: Person, seed: int, chart: Chart, arrival: int) -> Iterator[Item]:
    for hour, row in enumerate(course(one, seed), 1):
        if row:
            at = arrival + hour * HOUR_MS
            results = [Measured(r.loinc, LABELS[r.loinc], r.value, r.unit) for r in row]
            message = chart.oru(at, f"{one.name}-R{hour:03d}", one.unit, results, PANEL)
            yield Item(at, "hl7v2", one.name, message, "ORU^R01")


def _notes(one: Person, chart: Chart, arrival: int) -> Iterator[Item]:
    hours = np.arange(NOTES_EVERY_H, one.stay_h, NOTES_EVERY_H, dtype=np.float64)
    for hour, ill in zip(hours.tolist(), severity(one, hours).tolist(), strict=True):
        at = arrival + round(hour * HOUR_MS) + HOUR_MS // 2
        lines = ["SYNTHETIC NOTE. This patient does not exist.", *_sentences(one, ill)]
        message = chart.mdm(at, f"{one.name}-N{round(hour):03d}", one.unit, lines)
        yield Item(at, "hl7v2", one.name, message, "MDM^T02")


def _sentences(one: Person, ill: float) -> list[str]:
    source = "productive cough, crackles on auscultation" if one.lung else "abdomen tender, urine cloudy"
    if ill > 0.6:
        return [f"Deteriorating: hypotensive, tachypnoeic, mottled. {source.capitalize()}.", "Fluids and antibiotics."]
    if ill > 0.15:
        return [f"More unwell than yesterday, febrile. {source.capitalize()}.", "Cultures taken. Review in two hours."]
    return ["Comfortable, haemodynamically stable.", "Continue present treatment, mobilise."]


def _images(one: Person, seed: int, arrival: int, born: str | None) -> Iterator[Item]:
    if not one.imaged:
        return
    hours = [IMAGE_AFTER_H] + ([one.onset_h] if one.onset_h is not None and one.lung else [])
    for number, hour in enumerate(hours):
        at = arrival + hour * HOUR_MS + 10 * 60_000
        yield Item(at, "dicom", one.name, partial(_instance, one, seed, number, number > 0, at, born), "CR")


def _instance(one: Person, seed: int, number: int, opacity: bool, at_ms: int, born: str | None) -> bytes:
    return chest_radiograph(
        draw_chest(opacity, one.generator(seed, 10 + number)),
        patient_id=one.name,
        issuer=AUTHORITY,
        accession=f"{one.name}-X{number}",
        study_time=datetime.fromtimestamp(at_ms // 1000, UTC),
        sex=one.sex,
        birth_date=date.fromisoformat(born) if born else None,
        view_position="AP",
    )

"""What is served is what was trained: the stream's records and scores against offline evaluation, on real patients.

All data sets are replayed into the running system, then the topics are read once. WARDSTREAM_E2E_PATIENTS sets how many
patients of CinC 2019 are replayed as they are, and how many in disorder (of the other data sets fewer).
"""

import asyncio
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from services.bus.objects import open_store
from services.bus.topics import CLINICAL_EVENTS, PATIENT_RECORDS, RECORD_UPDATES, RISK_PREDICTIONS
from services.domain.events import ClinicalEvent, Document, Embedding, Imaging, decode_event
from services.domain.features import inputs_at, model_inputs
from services.domain.notes import note_tokens
from services.domain.prediction import Prediction, Status
from services.domain.record import PatientRecord, decode_record, encode_record, fold
from services.encode.embed import TYPE as EMBEDDING
from services.encode.pixels import Picture, read_picture
from services.local.drain import await_drained
from services.local.replay.disorder import Disorder
from services.local.replay.run import replay
from services.local.replay.source import Source, arrival_ms
from services.local.replay.sources import open_source
from services.score.offline import Asked, OfflineModel, dataset, score_offline
from tests.e2e.conftest import System
from tests.e2e.traffic import After, PartlyFhir
from tests.support import shared
from training.datasets.stays import EPOCH

pytestmark = [pytest.mark.kafka, pytest.mark.triton, pytest.mark.data, pytest.mark.timeout(900)]

PATIENTS = int(os.environ.get("WARDSTREAM_E2E_PATIENTS", "6"))
FEW = max(2, PATIENTS // 4)
SEED = int(os.environ.get("WARDSTREAM_E2E_SEED", "1"))
TOLERANCE = 1e-5
EPOCH_MS = round(EPOCH.timestamp() * 1000)
CINC2019, CINC2012 = "data/cinc2019/train.parquet", "data/cinc2012"


@dataclass
class Streamed:
    """What the topics hold of some patients, by patient key; predictions by record version."""

    events: dict[str, list[ClinicalEvent]] = field(default_factory=lambda: defaultdict(list))
    records: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    predictions: dict[str, list[Prediction]] = field(default_factory=lambda: defaultdict(list))

    def final(self, key: str) -> PatientRecord:
        return decode_record(self.records[key][-1])

    def scored(self, record_version: str, model: str) -> Prediction:
        """The one content that the version's prediction has."""
        (only,) = {msgspec.json.encode(p): p for p in self.predictions[record_version] if p.model == model}.values()
        return only


@dataclass
class Part:
    """A stretch of one data set: its patients after `skipped`, in the order of the files."""

    name: str
    path: Path
    skipped: int
    count: int

    def source(self) -> Source:
        return After(open_source(self.name, self.path), self.skipped)

    @cached_property
    def asked(self) -> list[Asked]:
        return list(dataset(self.name, self.path, self.skipped + self.count))[self.skipped :]


@pytest.fixture(scope="module")
def model(system: System) -> OfflineModel:
    return OfflineModel(system.settings.models)


@pytest.fixture(scope="module")
def clean() -> Part:
    return Part("cinc2019", shared(CINC2019), 0, PATIENTS)


@pytest.fixture(scope="module")
def disordered(tmp_path_factory: pytest.TempPathFactory) -> list[Part]:
    some = first_records(shared(CINC2012), FEW, tmp_path_factory.mktemp("cinc2012"))
    return [Part("cinc2019", shared(CINC2019), PATIENTS, PATIENTS), Part("cinc2012", some, 0, FEW)]


def first_records(folder: Path, count: int, to: Path) -> Path:
    """The first stays of CinC 2012 in a folder of their own: reading all of it takes longer than replaying some."""
    table = pq.read_table(folder / "set-a.parquet")
    wanted = pc.unique(table["RecordID"])[:count]
    pq.write_table(table.filter(pc.is_in(table["RecordID"], wanted)), to / "set-a.parquet")
    shutil.copy(folder / "Outcomes-a.txt", to)
    return to


@pytest.fixture(scope="module")
def mixed() -> Part:
    return Part("cinc2019", shared(CINC2019), 2 * PATIENTS, FEW)


@pytest.fixture(scope="module")
def streamed(system: System, clean: Part, disordered: Sequence[Part], mixed: Part) -> Streamed:
    """Everything replayed, and drained."""
    sources: list[tuple[Source, int]] = [
        (clean.source(), clean.count),
        *((Disorder(part.source(), SEED), part.count) for part in disordered),
        (Disorder(PartlyFhir(mixed.source()), SEED), mixed.count),
        (Disorder(open_source("eicu", shared("data/eicu")), SEED), 1),
        (Disorder(open_source("nih_cxr", shared("data/nih_cxr")), SEED), 2),
    ]
    for source, count in sources:
        report = replay(source, edge=system.edge, limit=count)
        assert report.patients == count
        assert report.acknowledged.total() == report.sent > 0
    assert await_drained(system.settings, 120.0, lambda _: system.services.check())
    return read(system)


def read(system: System) -> Streamed:
    found = Streamed()
    for topic in (CLINICAL_EVENTS, RECORD_UPDATES):
        for message in system.messages(topic):
            found.events[message.key.decode()].append(decode_event(message.value))
    for message in system.messages(PATIENT_RECORDS):
        found.records[message.key.decode()].append(message.value)
    for message in system.messages(RISK_PREDICTIONS):
        prediction = msgspec.json.decode(message.value, type=Prediction)
        found.predictions[prediction.record_version].append(prediction)
    return found


def arrival(part: Part, one: Asked) -> int:
    """When the replay lets a patient reach the unit, which for offline evaluation happens at EPOCH."""
    return arrival_ms(part.name, one.patient)


def key_of(system: System, part: Part, one: Asked) -> str:
    return system.key(one.patient, part.name.upper())


def compared(prediction: Prediction, risks: dict[str, float]) -> int:
    """How many scored risks were compared, and found equal."""
    scored = [risk for risk in prediction.risks if risk.status is Status.SCORED]
    for risk in scored:
        assert risk.probability == pytest.approx(risks[risk.outcome], abs=TOLERANCE)
    return len(scored)


def test_replayed_patients_get_the_scores_of_offline_evaluation(system, streamed, clean, model):
    online = {}
    asked = {one.patient: one for one in clean.asked}
    for one in asked.values():
        key = key_of(system, clean, one)
        for record in map(decode_record, streamed.records[key]):
            hour = record.as_of - arrival(clean, one) + EPOCH_MS
            online[one.patient, hour] = streamed.scored(record.record_version, model.manifest.model)
    hours = {p: {row.time for s in one.record.observations.values() for row in s.rows} for p, one in asked.items()}
    # An hour without any result brings no message to score.
    offline = [s for s in score_offline(asked.values(), model) if s.as_of_ms in hours[s.patient]]
    assert sum(compared(online[s.patient, s.as_of_ms], s.risk) for s in offline) > len(offline) / 2


def test_disordered_results_end_in_the_features_of_the_true_ones(system, streamed, disordered, mixed):
    for part in (*disordered, mixed):
        for one in part.asked:
            moved = arrival(part, one) - EPOCH_MS
            final = streamed.final(key_of(system, part, one))
            true = inputs_at(one.record, one.as_of_ms)
            found = inputs_at(final, [moment + moved for moment in one.as_of_ms])
            assert [inputs.sha256 for inputs in found] == [inputs.sha256 for inputs in true]


def test_the_last_score_of_a_disordered_patient_is_that_of_the_true_data(system, streamed, disordered, mixed, model):
    count = 0
    for part in (*disordered, mixed):
        for one in part.asked:
            record = streamed.final(key_of(system, part, one))
            (offline,) = score_offline([one._replace(as_of_ms=[record.as_of - arrival(part, one) + EPOCH_MS])], model)
            count += compared(streamed.scored(record.record_version, model.manifest.model), offline.risk)
    assert count > 0


def test_every_version_of_a_record_is_scored_as_offline_evaluation_scores_it(streamed, model):
    records = {
        record.record_version: record for sent in streamed.records.values() for record in map(decode_record, sent)
    }
    asked = [Asked(name, record, [record.as_of]) for name, record in records.items() if not record.merged_into]
    count = 0
    for offline in score_offline(asked, model):
        prediction = streamed.scored(offline.patient, model.manifest.model)
        assert prediction.input_sha256 == model_inputs(records[offline.patient], offline.as_of_ms).sha256
        count += compared(prediction, offline.risk)
    assert count > len(asked) / 2


def test_every_version_of_a_record_is_the_fold_of_the_events_so_far(system, streamed, disordered):
    for part in disordered:
        for one in part.asked:
            key = key_of(system, part, one)
            record = PatientRecord(patient=key)
            versions = []
            for event in streamed.events[key]:
                fold(record, event)
                versions.append(encode_record(record))
            assert streamed.records[key] == versions


def test_notes_and_pictures_are_embedded_as_by_a_direct_call(system, streamed):
    counted = Counter()
    for sent in streamed.events.values():
        sources = {fact.id: fact for event in sent for fact in event.facts if isinstance(fact, Document | Imaging)}
        for found in (fact for event in sent if event.type == EMBEDDING for fact in event.facts):
            vector = embedded(system, found, sources[found.of])
            assert found.vector == pytest.approx(vector.tolist(), abs=TOLERANCE)
            counted[found.modality] += 1
    assert counted["note"] > 0
    assert counted["image"] > 0


def embedded(system: System, found: Embedding, source: Document | Imaging) -> np.ndarray:
    """What the encoder's weights answer without the server."""
    path = system.settings.models / found.model / found.model_version / "model.onnx"
    inputs = {**encoder_inputs(system, source), "row_id": np.zeros((1, 1), np.int64)}
    (vectors,) = onnxruntime.InferenceSession(path).run(["embedding"], inputs)
    return vectors[0]


def encoder_inputs(system: System, source: Document | Imaging) -> dict[str, np.ndarray]:
    if isinstance(source, Document):
        return {"tokens": note_tokens(source.text, source.title)[None]}
    store = open_store(system.settings.objects_address)
    picture = read_picture(asyncio.run(store.get(source.object)))
    assert isinstance(picture, Picture)
    return {"image": picture.image[None]}

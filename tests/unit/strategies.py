"""Hypothesis strategies for clinical events: small pools, so that identities collide and versions compete."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from services.domain.events import (
    Allergy,
    ClinicalEvent,
    Code,
    Document,
    Embedding,
    Encounter,
    EncounterStatus,
    Identifier,
    Merge,
    Observation,
    Patient,
    Version,
    digest,
)

T0 = datetime(2026, 3, 1, tzinfo=UTC)
times = st.integers(0, 200).map(lambda hours: T0 + timedelta(days=hours))


@st.composite
def versions(draw, *content: str) -> Version:
    rank, issued, sequence = draw(st.integers(0, 6)), draw(st.integers(0, 3)), draw(st.integers(0, 1))
    return Version(rank, issued, sequence, digest(*content, str((rank, issued, sequence)), size=4))


@st.composite
def observations(draw) -> Observation:
    code = draw(st.sampled_from(["8867-4", "2160-0"]))
    unit = {"8867-4": "/min", "2160-0": "mg/dL"}[code]
    time, value = draw(times), draw(st.integers(0, 3))
    order = draw(st.sampled_from(["order-1", "order-2"]))
    return Observation(
        id=digest(order, code, str(time), size=8),
        version=draw(versions(str(value))),
        code=Code("http://loinc.org", code, draw(st.sampled_from(["", "display"]))),
        time=time,
        value=float(value),
        unit=unit,
    )


@st.composite
def patients(draw) -> Patient:
    birth, sex = draw(st.sampled_from(["1950", "1951", None])), draw(st.sampled_from(["male", "female"]))
    identifiers = draw(st.lists(st.sampled_from([Identifier("A", "1", "MR"), Identifier("B", "2")]), unique=True))
    return Patient(
        id="patient", version=draw(versions(str((birth, sex)))), birth_date=birth, sex=sex, identifiers=identifiers
    )


@st.composite
def encounters(draw) -> Encounter:
    unit, status, start = (
        draw(st.sampled_from(["ICU", "ED"])),
        draw(st.sampled_from(list(EncounterStatus))),
        draw(times),
    )
    return Encounter(
        id=draw(st.sampled_from(["visit-1", "visit-2"])),
        version=draw(versions(unit, status, str(start))),
        unit=unit,
        status=status,
        start=start,
    )


@st.composite
def documents(draw) -> Document:
    title, time = draw(st.sampled_from(["Note", "Report"])), draw(times)
    return Document(
        id=draw(st.sampled_from(["doc-1", "doc-2"])),
        version=draw(versions(title, str(time))),
        title=title,
        time=time,
        text="some text",
    )


@st.composite
def embeddings(draw) -> Embedding:
    value, time = draw(st.integers(0, 3)), draw(times)
    return Embedding(
        id=draw(st.sampled_from(["emb-1", "emb-2"])),
        version=draw(versions(str(value), str(time))),
        of="doc-1",
        modality="note",
        time=time,
        model="note_encoder",
        model_version="1",
        vector=[float(value), 0.5],
    )


@st.composite
def allergies(draw) -> Allergy:
    severity, time = draw(st.sampled_from(["", "mild", "severe"])), draw(times)
    return Allergy(
        id=draw(st.sampled_from(["allergy-1", "allergy-2"])),
        version=draw(versions(severity, str(time))),
        code=Code("http://snomed.info/sct", "91935009", "Allergy to peanut"),
        time=time,
        severity=severity,
    )


facts = st.one_of(observations(), observations(), patients(), encounters(), documents(), allergies(), embeddings())


one_patient = st.just("p")


@st.composite
def events(draw, patient=one_patient) -> ClinicalEvent:
    content = draw(st.lists(facts, min_size=1, max_size=5))
    return ClinicalEvent(
        event_id=digest(repr(content)),
        patient=draw(patient),
        format="hl7v2",
        type="ORU^R01",
        occurred=T0,
        facts=content,
    )


def merge(old: str, into: str, issued: int) -> ClinicalEvent:
    version = Version(3, issued, 0, digest(old, into, str(issued), size=4))
    return ClinicalEvent(
        event_id=digest("merge", old, into, str(issued)),
        patient=old,
        format="hl7v2",
        type="ADT^A40",
        occurred=T0,
        facts=[Merge(id="merge", version=version, into=into)],
    )

"""A row's answer does not depend on its batch: the same record has the same bytes, however often it is scored."""

import asyncio
import random
import time

import numpy as np
import pytest

from services.domain.features import model_inputs
from services.domain.notes import BUCKETS, MAX_TOKENS
from services.domain.record import PatientRecord, encode_record, fold
from services.domain.site import Site
from services.formats.hl7v2 import read
from services.formats.reading import Reading
from services.inference.caller import Caller
from services.inference.checks import Invalid, Output
from services.inference.client import Arrays, TritonClient
from services.local.replay.run import items
from services.local.simulate.source import Simulation
from services.local.triton import LocalTriton

pytestmark = pytest.mark.triton

LATER_MS = 2_000_000_000_000
SIZES = (1, 2, 3, 5, 7, 12, 64)


def records() -> list[Arrays]:
    """What the models read after each message of some simulated patients."""
    known: dict[str, PatientRecord] = {}
    found = []
    for item in items(Simulation(), 6):
        reading = read(item.content(), Site(secret=b"test"), LATER_MS) if item.kind == "hl7v2" else None
        for event in reading.events if isinstance(reading, Reading) else ():
            record = known.setdefault(event.patient, PatientRecord(patient=event.patient))
            fold(record, event)
            encode_record(record)  # says as of when it is
            found.append(model_inputs(record, record.as_of).arrays)
    return found


def notes() -> list[Arrays]:
    chance = np.random.default_rng(5)
    words = chance.integers(1, BUCKETS, (200, MAX_TOKENS))
    lengths = chance.integers(1, MAX_TOKENS, (200, 1))
    return [{"tokens": row} for row in np.where(np.arange(MAX_TOKENS) < lengths, words, 0)]


def answered(triton: LocalTriton, model: str, output: str, rows: list[Arrays], size: int) -> list[bytes]:
    """Each row's output, asked `size` rows at a time in an order of the size's own."""
    order = random.Random(size).sample(range(len(rows)), len(rows))

    async def ask() -> dict[int, bytes]:
        client = TritonClient(triton.url)
        shape = (await client.infer(model, "", stacked(rows[:1]))).outputs[output].shape[1:]
        caller = Caller(client, model, "", [Output(output, shape)], time.monotonic)
        found: dict[int, bytes] = {}
        for start in range(0, len(rows), size):
            numbers = order[start : start + size]
            for number, answer in zip(numbers, await caller.ask([rows[n] for n in numbers], numbers), strict=True):
                assert not isinstance(answer, Invalid)
                found[number] = answer[output].tobytes()
        await client.close()
        return found

    found = asyncio.run(ask())
    return [found[number] for number in range(len(rows))]


def stacked(rows: list[Arrays]) -> Arrays:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]} | {
        "row_id": np.zeros((len(rows), 1), np.int64)
    }


@pytest.mark.parametrize("output", ["risk", "raw", "modality_contribution", "variable_contribution"])
def test_a_record_s_answer_has_the_same_bytes_in_any_batch(triton: LocalTriton, output: str):
    rows = records()[:240]
    whole = answered(triton, "risk_fusion", output, rows, len(rows))
    for size in SIZES:
        assert answered(triton, "risk_fusion", output, rows, size) == whole, size


def test_a_note_s_embedding_has_the_same_bytes_in_any_batch(triton: LocalTriton):
    rows = notes()
    whole = answered(triton, "note_encoder", "embedding", rows, 64)
    for size in SIZES:
        assert answered(triton, "note_encoder", "embedding", rows, size) == whole, size

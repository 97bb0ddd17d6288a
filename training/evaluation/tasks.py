"""The four tasks: whom each asks about, from the data sets' public file forms, and what happened to them."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from services.score.offline import Asked
from training.evaluation.scored import Question, Scores, readable, score
from training.progress import progress


def sepsis_6h(path: Path, limit: int | None = None) -> Scores:
    """CinC-2019 (.psv or parquet): every hour of every patient, as the challenge asks."""

    def questions() -> Iterator[Question]:
        from training.datasets import cinc2019
        from training.datasets.stays import record_of

        for stay in progress(readable(lambda: islice(cinc2019.read(path), limit)), "patients"):
            asked = Asked(stay.patient_id, record_of(stay), stay.decision_ms)
            yield Question(asked, stay.labels["sepsis-6h"].tolist(), stay.decisions)

    return score("sepsis-6h", "sepsis-6h", questions(), hourly=True)


def mortality_48h(path: Path, limit: int | None = None) -> Scores:
    """CinC-2012 (.txt or parquet, with Outcomes-*.txt): once, 48 h after admission to the unit."""

    def questions() -> Iterator[Question]:
        from training.datasets import cinc2012
        from training.datasets.stays import record_of

        for stay in progress(readable(lambda: islice(cinc2012.read(path), limit)), "patients"):
            asked = Asked(stay.patient_id, record_of(stay), stay.decision_ms[-1:])
            yield Question(asked, stay.labels["mortality"][-1:].tolist(), stay.decisions[-1:])

    return score("mortality-48h", "mortality", questions(), hourly=False)


def mortality_24h(path: Path, limit: int | None = None) -> Scores:
    """eICU (csv.gz tables): once, 24 h after admission to the unit, with the shipped note encoder's vectors."""

    def questions() -> Iterator[Question]:
        import pandas as pd

        from training.eicu.aps import first_day_score
        from training.eicu.dataset import AS_OF_MS, load_stays
        from training.eicu.encode import NoteEncoder

        encoder = NoteEncoder.shipped()
        stays = list(readable(lambda: load_stays(path)))[:limit]
        physiology = first_day_score(path, pd.Index([stay.stay for stay in stays]))
        for stay, points in zip(progress(stays, "stays"), physiology.tolist(), strict=True):
            asked = Asked(str(stay.stay), stay.record(encoder.embeddings(stay)), [AS_OF_MS])
            groups = {"ethnicity": stay.ethnicity, "unit": stay.unit}
            controls = {"APACHE IVa (published)": stay.apache_iva, "acute physiology score (APACHE)": points}
            yield Question(asked, [stay.death], [24.0], groups, controls, stay.patient)

    return score("mortality-24h", "mortality", questions(), hourly=False)


def cxr_pneumonia(path: Path, limit: int | None = None) -> Scores:
    """NIH ChestX-ray14 (a folder of pictures and labels.csv): every picture, pneumonia against no finding."""
    from training.evaluation.cxr import score_pictures

    return score_pictures(path, limit)


TASKS: dict[str, Callable[[Path, int | None], Scores]] = {
    "sepsis-6h": sepsis_6h,
    "mortality-48h": mortality_48h,
    "mortality-24h": mortality_24h,
    "cxr-pneumonia": cxr_pneumonia,
}

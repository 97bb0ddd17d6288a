"""What becomes of FHIR that nobody here wrote: the tables of docs/corpora-fhir.md.

`python -m tests.unit.formats.fhir.corpus > docs/corpora-fhir.md` remakes the page (WARDSTREAM_SHARED names the
folder of the corpora).
"""

import gzip
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from services.domain.reasons import Rejected
from services.formats import fhir
from services.formats.reading import Reading
from tests.unit.formats.fhir.build import NOW, SITE

_ENTRY = re.compile(r"entry\[(\d+)\]")


def bundles(folder: Path) -> Iterator[tuple[str, dict[str, Any], Reading | Rejected]]:
    """(file name, document, what the reader makes of it) of a folder's gzipped Bundles."""
    for path in sorted(folder.glob("*.json.gz")):
        data = gzip.decompress(path.read_bytes())
        yield path.name, orjson.loads(data), fhir.read(data, SITE, NOW)


class Count:
    """The tally of one corpus."""

    def __init__(self, folder: Path) -> None:
        self.files = 0
        self.events = 0
        self.resources: Counter[str] = Counter()
        self.whole: Counter[str] = Counter()  # resources of which nothing was set aside
        self.facts: Counter[str] = Counter()
        self.aside: Counter[tuple[str, str]] = Counter()  # (type, reason) of resources with a part set aside
        self.rejected: Counter[str] = Counter()
        for _name, document, found in bundles(folder):
            self._add(document, found)

    def _add(self, document: dict[str, Any], found: Reading | Rejected) -> None:
        self.files += 1
        kinds = [entry["resource"]["resourceType"] for entry in document["entry"]]
        self.resources.update(kinds)
        if isinstance(found, Rejected):
            self.rejected[found.reason] += 1
            return
        self.events += len(found.events)
        self.facts.update(type(fact).__name__ for event in found.events for fact in event.facts)
        touched = {(_index(part.where), part.reason.value) for part in found.filtered}
        self.aside.update((kinds[n], reason) for n, reason in touched)
        spoilt = {n for n, _ in touched}
        self.whole.update(kind for n, kind in enumerate(kinds) if n not in spoilt)


def _index(where: str) -> int:
    match = _ENTRY.match(where)
    assert match, where
    return int(match[1])


def _table(count: Count) -> list[str]:
    lines = [
        f"{count.files} Bundles, {sum(count.resources.values())} resources, {count.events} events, "
        f"{sum(count.rejected.values())} Bundles rejected.",
        "",
        "| resource | in the corpus | taken whole | set aside, or a part of it: reason (resources) |",
        "|---|---|---|---|",
    ]
    for kind, total in sorted(count.resources.items()):
        reasons = ", ".join(f"`{r}` ({n})" for (k, r), n in sorted(count.aside.items()) if k == kind)
        lines.append(f"| {kind} | {total} | {count.whole[kind]} | {reasons} |")
    facts = ", ".join(f"{kind} {n}" for kind, n in sorted(count.facts.items()))
    return [*lines, "", f"Facts: {facts}."]


HEAD = """# FHIR that nobody here wrote, and what becomes of it

Each Bundle goes the way of a message on `fhir.raw`. "Taken whole" means that the resource became facts, nothing of
it set aside. `tests/unit/formats/fhir/test_corpus.py` holds this page to the code; remake it by
`python -m tests.unit.formats.fhir.corpus > docs/corpora-fhir.md`.

HL7's own examples of R4 (2,912 JSON documents) are read by `tests/unit/formats/fhir/test_hl7_examples.py`, which counts
what becomes of each type, where the artefact that carries them is.

Reasons: `unsupported_resource`, a type that the record has no place for; `administrative`, billing, insurance,
schedules, consent, relatives, provenance; `no_patient_reference`, a type (or an
instance) that is about no patient; `no_clinical_content`, a DiagnosticReport that only lists its results;
`unsupported_modality`, an ImagingStudy that is not CR, DX, CT or MR; `content_elsewhere`, an attachment that
names an address without a Binary in the same message; `no_time`, a result that says neither when it
was made nor when it was issued, in a message whose reports do not say it either; `no_code`, `no_value`,
`incompatible_unit`, `implausible_value`, as their names say. Of a result that is set aside for what its value is there
is an Observation without a value, so that what an earlier version said does not stand (as in HL7: corpora-hl7.md)."""


def page(base: Path) -> str:
    """The whole page."""
    synthea = _table(Count(base / "corpus/fhir_synthea"))
    converted = _table(Count(base / "corpus/hl7v2"))
    return "\n".join(
        [
            HEAD,
            "",
            "## Synthea: transaction Bundles of whole lives",
            "",
            *synthea,
            "",
            "## Microsoft's FHIR-Converter: batch Bundles made from HL7 v2 messages",
            "",
            "The Bundles that its authors expect, read as a sender's. Each has a `Merge` because they say",
            "`PUT Patient/id`: the id becomes another name of the patient, so that later messages may use it alone.",
            "",
            *converted,
            "",
        ]
    )


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[4]
    print(page(Path(os.environ.get("WARDSTREAM_SHARED", root.parent / "shared"))), end="")

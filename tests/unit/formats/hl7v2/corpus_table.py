"""The table of docs/corpora-hl7.md: `python -m tests.unit.formats.hl7v2.corpus_table` writes it anew."""

import os
from pathlib import Path

from services.formats.hl7v2.files import split_messages
from services.formats.hl7v2.tally import markdown, segments, tally
from tests.support import ROOT
from tests.unit.formats.hl7v2.samples import RECEIVED_MS, SITE

DOCUMENT = ROOT / "docs" / "corpora-hl7.md"

HEAD = """# HL7 v2 corpora: what becomes of every message

Written by `python -m tests.unit.formats.hl7v2.corpus_table` from the messages of the shared corpora (they are not part
of this project); a test holds this page to the code. Each message ends as events, filtered with a named reason, or
rejected with one; *parts filtered* are segments or values of an otherwise accepted message, by reason. Reasons are
those of `services/domain/reasons.py`.

What the reasons mean here:

- `administrative`: BAR and DFT (billing), SIU (schedules), and segments on insurance, relatives, staff and the like.
- `unsupported_message_type`: ADT^A29 (delete a person): the record has no place for it.
- `account_not_patient`: A41, A45: accounts or visits are merged or moved, the patient stays who they were.
- `content_elsewhere`: an RP (pointer) in OBX-5: what it points to is not fetched.
- `unsupported_value_type`: an HD (identifier) in OBX-5, and payloads that are not in the encoding they name.
- `no_value`: an empty OBX-5 (SimHospital's respiratory rate, an ED without data), a note without text.
- `no_clinical_content`: MDM notifications (T01, T05, T09) announce a document that comes with another message.
- `incompatible_unit`: haemoglobin in `g/l-1`, which is gram times litre. `implausible_value`: haemoglobin of 12.5 g/mL.

A result that is set aside for what its value is (all but `no_value` and `content_elsewhere`) is an Observation without
a value, so that what its sender said of it before does not stand; in a correction (OBX-11 C, A) so are these two.

An NM that holds `<15` (73 of SimHospital's 76 values that are not numbers) is read as its sender means it: comparator
`<`, value 15. An OBX without a value type is read as text, or as a number where it has a unit.

An NTE below an OBX is the comment of its result. One below an OBR speaks of the whole order or report, for which the
record has no place of its own: it is the comment of the first result there. Those below PID, PV1, ORC and drugs, and
those whose result is not read, are set aside (`unsupported_segment`). Comments travel with the event; the record does
not keep them.

A result without a time of its own (OBX-14, OBR-7, OBR-14) takes that of its report (OBR-22), else of the message
(MSH-7), and says so (`time_assumed`; the page shows it): it was known then, so no score knows it too early. FHIR's
`issued` is taken so, too.
"""


def corpora(base: Path) -> dict[str, list[bytes]]:
    """Messages by corpus."""
    return {
        "simhospital": split_messages((base / "simhospital" / "messages.out").read_bytes()),
        "hl7v2": [
            message for path in sorted((base / "hl7v2").glob("*.hl7")) for message in split_messages(path.read_bytes())
        ],
    }


def page(base: Path) -> str:
    """The whole page."""
    text = HEAD
    for name, messages in corpora(base).items():
        lines = tally(messages, SITE, RECEIVED_MS)
        text += f"\n## {name}: {len(messages)} messages\n\n{markdown(lines)}\n"
        text += f"Segments that are not read, with the number of messages: {segments(lines)}.\n"
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(page(Path(os.environ.get("WARDSTREAM_SHARED", ROOT.parent / "shared")) / "corpus"))

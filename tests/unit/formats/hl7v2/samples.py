"""Messages for the tests, written segment by segment."""

from datetime import UTC, datetime
from typing import Any

from services.domain.events import ClinicalEvent, Fact, Rank
from services.domain.prediction import Outcome, Prediction, Risk, Status
from services.domain.reasons import Rejected
from services.domain.site import Site
from services.formats.hl7v2 import read
from services.formats.reading import Reading

SITE = Site(secret=b"a secret of thirty-two bytes....", name="test")
SENT = datetime(2026, 5, 1, 12, tzinfo=UTC)
RECEIVED = datetime(2026, 6, 1, 12, tzinfo=UTC)
RECEIVED_MS = int(RECEIVED.timestamp() * 1000)

PID = "PID|1||100200^^^HOSP^MR||DOE^JANE||19630815|F"


def segment(name: str, **fields: str) -> str:
    """A segment with these fields, by number: `segment("PV1", _2="I", _44="2026")`."""
    values = {int(key.lstrip("_")): value for key, value in fields.items()}
    return "|".join([name, *(values.get(n, "") for n in range(1, max(values) + 1))])


PV1 = segment("PV1", _1="1", _2="I", _3="ICU^12^B^HOSP", _19="V77^^^HOSP^VN", _44="20260501080000")


def msh(kind: str, sent: str = "20260501120000", control: str = "C1", version: str = "2.5.1", **fields: str) -> str:
    """An MSH; `fields` sets others by number, e.g. `_18="8859/1"`."""
    values = {3: "LAB", 4: "HOSP", 5: "WS", 7: sent, 9: kind, 10: control, 11: "P", 12: version}
    values |= {int(name.lstrip("_")): value for name, value in fields.items()}
    return "MSH|^~\\&|" + "|".join(values.get(n, "") for n in range(3, max(values) + 1))


def message(*segments: str, end: str = "\r", encoding: str = "utf-8") -> bytes:
    """The bytes of these segments."""
    return "".join(segment + end for segment in segments).encode(encoding)


def reading(raw: bytes, site: Site = SITE, received_ms: int = RECEIVED_MS) -> Reading:
    """`read`, of a message that must be readable."""
    found = read(raw, site, received_ms)
    assert isinstance(found, Reading), found
    return found


def event(raw: bytes, site: Site = SITE) -> ClinicalEvent:
    """The one event of a message about one patient."""
    (only,) = reading(raw, site).events
    return only


def rejected(raw: bytes, site: Site = SITE, received_ms: int = RECEIVED_MS) -> Rejected:
    """`read`, of a message that must not be readable."""
    found = read(raw, site, received_ms)
    assert isinstance(found, Rejected), found
    return found


def facts(raw: bytes, kind: type[Any], site: Site = SITE) -> list[Any]:
    """The facts of one kind, over all events."""
    return [fact for e in reading(raw, site).events for fact in e.facts if isinstance(fact, kind)]


def reasons(raw: bytes, site: Site = SITE) -> list[tuple[str, str]]:
    """(reason, where) of the parts set aside."""
    return [(part.reason.value, part.where) for part in reading(raw, site).filtered]


def oru(
    *obx: str, obr: str = "OBR|1|P1|F1|24323-8^CMP^LN|||20260501100000|||||||||||||||20260501113000|||F", **fields: str
) -> bytes:
    """An ORU^R01 of one order."""
    return message(msh("ORU^R01^ORU_R01", **fields), PID, PV1, "ORC|RE|P1|F1", obr, *obx)


def withdrawn(fact: Fact) -> bool:
    """Whether a fact is a tombstone."""
    return fact.version.rank >= Rank.CANCELLED


def prediction() -> Prediction:
    """One of ours: a risk, an outcome that was not judged, and an early-warning score in place of one."""
    return Prediction(
        prediction_id="abc",
        patient="key",
        record_version="v",
        as_of=SENT,
        model="risk_fusion",
        model_version="3",
        risks=[
            Risk(outcome=Outcome.SEPSIS_6H, probability=0.1234, alert=True, threshold=0.025),
            Risk(outcome=Outcome.MORTALITY, status=Status.INDETERMINATE, reason="too_little_data"),
            Risk(outcome=Outcome.DETERIORATION, status=Status.FALLBACK, score=7, reason="NEWS2", alert=True),
        ],
    )

"""Announcing: from a patient's predictions to the ORU^R01 messages on `hl7v2.out`.

A keyed step. It learns from `patient.records` what the hospital calls the patient and where the patient lies, from
`risk.predictions` what there is to tell, and keeps, for each patient, what was told last. Here, and only here, a
prediction gets the hospital's own number: `hl7v2.out` holds identifiers, as `hl7v2.raw` does.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from services.bus import metrics
from services.bus.engine import Result
from services.bus.messages import Message, Output, dead_letter
from services.bus.topics import HL7_OUT, PATIENT_RECORDS, RISK_PREDICTIONS, Topic
from services.deliver.board import Head
from services.deliver.hl7.policy import TOLD, Policy, Told, Why, corrects, told_of
from services.deliver.names import DATA_SETS
from services.deliver.rows import newest_encounter
from services.domain.events import Identifier, digest
from services.domain.identity import key_of, resolve
from services.domain.prediction import Prediction
from services.domain.reasons import Rejected, RejectReason
from services.domain.site import Site
from services.formats.hl7v2.render import Envelope, Person, Visit
from services.formats.hl7v2.risk import risk_oru

NAME = "announce"
WINDOW = 5000  # offsets of a partition within which a prediction may come again: far more than lie between two commits
REMEMBERED = 512  # a patient's messages in it that are sent again if their predictions come again
CONTROL_ID_BYTES = 10  # MSH-10 is 20 characters in v2.5.1

_SEX = {"male": "M", "female": "F", "other": "O"}  # FHIR administrative-gender -> HL7 table 0001
_CLASS = {"IMP": "I", "ACUTE": "I", "NONAC": "I", "EMER": "E", "AMB": "O", "PRENC": "P"}  # v3 ActCode -> table 0004


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Whom the messages are for, and how that system knows patients: its authority, any when empty."""

    sending_facility: str = ""
    application: str = ""
    facility: str = ""
    authority: str = ""


class Sent(msgspec.Struct, array_like=True, frozen=True):
    """One message made: of the prediction at this offset and broker time, under which filler number."""

    offset: int
    at: int  # epoch ms
    filler: str
    corrected: bool


class Arrived(msgspec.Struct, frozen=True):
    """A prediction and where it lay. `released_by` is the offset of the record that it had to wait for."""

    prediction: Prediction
    offset: int
    at: int  # the broker's time, epoch ms
    released_by: int = -1


class Known(msgspec.Struct, omit_defaults=True):
    """A patient's state."""

    seen: bool = False  # a record that names the patient has come
    number: Identifier | None = None  # by which the receiver knows the patient
    simulated: bool = False  # or replayed from a public data set
    birth_date: str = ""
    sex: str = ""
    visit: Visit | None = None
    waiting: dict[str, Arrived] = {}  # by model: the newest that came before the record that names the patient
    told: dict[str, Told] = {}  # by model
    sent: list[Sent] = []  # in the order of their offsets


_HEAD = msgspec.json.Decoder(Head)
_PREDICTION = msgspec.json.Decoder(Prediction)
_STATE = msgspec.json.Decoder(Known)
_ENCODER = msgspec.json.Encoder(order="deterministic")


class Announce:
    """A `KeyedStep`. Predictions whose broker time lies more than `max_age` seconds before `now` are not told."""

    inputs: tuple[Topic, ...] = (PATIENT_RECORDS, RISK_PREDICTIONS)

    def __init__(
        self, policy: Policy, receiver: Receiver, site: Site, *, max_age: float, now: Callable[[], float] = time.time
    ) -> None:
        self.name = NAME
        self._policy, self._receiver, self._site, self._max_age, self._now = policy, receiver, site, max_age, now

    def __call__(self, message: Message, state: bytes | None) -> Result:
        known = _STATE.decode(state) if state else Known()
        about_record = message.topic == PATIENT_RECORDS.name
        try:
            messages = self._record(known, message) if about_record else self._arrived(known, message)
        except msgspec.MsgspecError:
            if about_record:
                return Result(state)  # its one dead letter is scoring's to write
            rejected = Rejected(RejectReason.SCHEMA_VIOLATION, "value", "not a Prediction")
            return Result(state, [dead_letter(message, rejected, NAME)])
        key = message.key.decode() if message.key else None
        return Result(_ENCODER.encode(known), [Output(HL7_OUT, key, one) for one in messages])

    def _record(self, known: Known, message: Message) -> list[bytes]:
        head = _HEAD.decode(message.value)
        if not head.identifiers:  # of a superseded number the record is empty: what is withdrawn needs the old name
            return []
        known.seen, known.number = True, self._number(head, known.number)
        known.simulated = any(one.authority.upper() in DATA_SETS for one in head.identifiers)
        known.birth_date = str(_value(head, "birth_date") or "")
        known.sex = _SEX.get(str(_value(head, "sex")), "U")
        known.visit = _visit(newest_encounter(head.encounters))
        return self._release(known, message.offset)

    def _number(self, head: Head, before: Identifier | None) -> Identifier | None:
        """The number by which the receiver knows the patient, of those of its authority.

        The one that keys the record (after a merge there are the other's numbers as well), else the one used before,
        else a medical record number, else the first.
        """
        wanted = self._receiver.authority
        of_receiver = resolve(wanted, self._site).casefold()
        numbers = [
            one
            for one in head.identifiers
            if not wanted or resolve(one.authority, self._site).casefold() == of_receiver
        ]
        own = [one for one in numbers if key_of(one, self._site) == head.patient]
        used = [one for one in numbers if one == before]
        return next(iter((*own, *used)), min(numbers, key=lambda one: one.type != "MR", default=None))

    def _release(self, known: Known, offset: int) -> list[bytes]:
        """Messages of predictions that waited for this record; the same ones when the record comes again."""
        messages = []
        for model, one in sorted(known.waiting.items(), key=lambda item: item[1].offset):
            if one.released_by in (-1, offset):
                messages += self._messages(known, one)
                known.waiting[model] = msgspec.structs.replace(one, released_by=offset)
        return messages

    def _arrived(self, known: Known, message: Message) -> list[bytes]:
        one = Arrived(_PREDICTION.decode(message.value), message.offset, message.timestamp_ms)
        if not known.seen:
            known.waiting[one.prediction.model] = one
            return []
        known.waiting = {model: w for model, w in known.waiting.items() if w.offset > one.offset - WINDOW}
        return self._messages(known, one)

    def _messages(self, known: Known, one: Arrived) -> list[bytes]:
        """What to send of a prediction. One that comes again gives what it gave the first time: a crash may have kept
        the state and lost the message."""
        if known.sent and one.offset <= known.sent[-1].offset and one.at <= known.sent[-1].at:
            return [self._render(known, one, sent) for sent in known.sent if sent.offset == one.offset]
        told = known.told.get(one.prediction.model)
        why = self._policy.why(told, one.prediction)
        if why in TOLD and one.at / 1000 < self._now() - self._max_age:
            why = Why.OLD
        if why in TOLD and known.number is None:
            why = Why.NO_IDENTIFIER
        metrics.ANNOUNCEMENTS.labels(why).inc()
        return [self._tell(known, one, told)] if why in TOLD else []

    def _tell(self, known: Known, one: Arrived, told: Told | None) -> bytes:
        prediction = one.prediction
        corrected = told is not None and (bool(prediction.superseded_by) or corrects(told, prediction))
        filler = told.filler if told is not None and corrected else prediction.prediction_id
        sent = Sent(one.offset, one.at, filler, corrected)
        known.sent = [*(s for s in known.sent if s.offset > one.offset - WINDOW), sent][-REMEMBERED:]
        if prediction.superseded_by:
            known.told.pop(prediction.model, None)
        else:
            known.told[prediction.model] = told_of(prediction, filler)
        return self._render(known, one, sent)

    def _render(self, known: Known, one: Arrived, sent: Sent) -> bytes:
        assert known.number is not None  # `_messages` has looked, and a record's numbers are never taken away
        envelope = Envelope(
            control_id=digest(one.prediction.prediction_id, sent.filler, str(sent.corrected), size=CONTROL_ID_BYTES),
            sent=datetime.fromtimestamp(one.at / 1000, UTC),
            sending_facility=self._receiver.sending_facility,
            receiving_application=self._receiver.application,
            receiving_facility=self._receiver.facility,
            processing_id="T" if known.simulated else "P",
        )
        person = Person(
            number=known.number.value,
            authority=known.number.authority,
            type=known.number.type or "MR",
            birth_date=known.birth_date,
            sex=known.sex,
        )
        return risk_oru(
            envelope, person, one.prediction, visit=known.visit, filler=sent.filler, corrected=sent.corrected
        )


def _visit(fields: dict[str, Any]) -> Visit | None:
    if not fields:
        return None
    number = fields.get("number") or {}
    return Visit(
        class_=_CLASS.get(fields.get("class") or "", "U"),
        unit=fields.get("unit") or "",
        room=fields.get("room") or "",
        bed=fields.get("bed") or "",
        facility=fields.get("facility") or "",
        number=number.get("value") or "",
        number_authority=number.get("authority") or "",
    )


def _value(head: Head, name: str) -> Any:
    cell = head.demographics.get(name)
    return cell.value if cell else None

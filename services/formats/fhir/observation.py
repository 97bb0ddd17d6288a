"""Observation: results and vital signs, with their components (R4 section 10.1)."""

from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from services.domain import codes, units
from services.domain.events import Code, Document, Observation, Original, Rank, digest
from services.domain.reasons import FilterReason, replaces
from services.formats import ours
from services.formats.fhir import datatypes, times
from services.formats.fhir.access import Object, first, items, number, numbered, obj, text
from services.formats.fhir.context import Item, identity

RANKS: dict[str, Rank] = {
    "registered": Rank.REGISTERED,
    "specimen-in-process": Rank.REGISTERED,
    "preliminary": Rank.PRELIMINARY,
    "partial": Rank.PRELIMINARY,
    "final": Rank.FINAL,
    "appended": Rank.AMENDED,
    "amended": Rank.AMENDED,
    "corrected": Rank.AMENDED,
    "cancelled": Rank.CANCELLED,
    "entered-in-error": Rank.ENTERED_IN_ERROR,
}
"""observation-status and diagnostic-report-status."""

SHORT_TEXT = 120
"""Longest text kept as a value, in characters; a longer one is a report."""
_COMPARATORS = frozenset({"<", "<=", ">", ">="})


class Value(NamedTuple):
    """A result in canonical form, and the number and unit that were sent."""

    value: float | str | None
    unit: str = ""
    comparator: str = ""
    sent: str = ""
    sent_unit: str = ""


_NOTHING = Value(None)


class Panel(NamedTuple):
    """What components take from their Observation."""

    time: datetime
    rank: Rank
    issued: datetime | None
    encounter: str
    interpretation: str
    time_assumed: bool
    movable: bool


def observations(item: Item) -> list[Observation | Document]:
    """The resource's own value and one fact per component. A value that cannot be used is set aside, each by itself;
    its fact has none (`replaces`).

    A text longer than SHORT_TEXT is a `Document` of the same identity, so that it takes the place of its "pending".
    """
    resource = item.resource
    issued = item.moment(resource.get("issued"), "issued")
    rank = RANKS.get(text(resource.get("status")), Rank.UNKNOWN)
    time, said = item.choice("effective", end=True), _says_when(resource)
    if time is None and (rank.retracted or not said):
        time = issued or _reported(item) or item.told()
    if time is None:
        if not said:
            item.drop(FilterReason.NO_TIME)
        return []
    panel = Panel(
        time,
        rank,
        issued,
        item.encounter(resource.get("encounter")),
        _flag(resource),
        not said,
        bool(identity(item.entry)),
    )
    facts: list[Observation | Document] = []
    components = list(numbered(resource.get("component")))
    if resource.get("hasMember") and not components and not _has_value(resource):
        item.drop(FilterReason.NO_CLINICAL_CONTENT)  # a panel: its members say it all
    elif not components or _has_value(resource):
        own = _fact(item, resource, "", panel, ())
        if own is not None:
            facts.append(own)
    seen: dict[str, int] = {}
    for n, component in components:
        name = "|".join(f"{c.system}|{c.code}" for c in datatypes.codings(component.get("code"))[:1]) or str(n)
        repeat = seen[name] = seen.get(name, -1) + 1
        fact = _fact(item, component, f"component[{n}]", panel, (name, str(repeat)))
        if fact is not None:
            facts.append(fact)
    return facts


def _says_when(resource: Object) -> bool:
    return any(resource.get(f"effective{kind}") for kind in ("DateTime", "Instant", "Period", "Timing"))


def _reported(item: Item) -> datetime | None:
    """The time of the panel or report that lists this result."""
    for entry in item.ctx.message.lists_of(item.entry):
        own = Item(item.ctx, entry)
        time = own.choice("effective", end=True) or own.moment(entry.resource.get("issued"), "issued")
        if time is not None:
            item.newest = max(filter(None, (item.newest, own.newest)), default=None)
            return time
    return None


def _has_value(node: Object) -> bool:
    return any(key.startswith("value") for key in node) or "dataAbsentReason" in node


def _fact(item: Item, node: Object, path: str, panel: Panel, part: tuple[str, ...]) -> Observation | Document | None:
    """The fact of an Observation or of one of its components."""
    sent = datatypes.codings(node.get("code"))
    if not sent:
        item.drop(FilterReason.NO_CODE, f"{path}.code".lstrip("."))
        return None
    if any(ours.coded(code.system) for code in sent):
        item.drop(FilterReason.OWN_PREDICTION, f"{path}.code".lstrip("."))
        return None
    code = codes.to_loinc(sent[0], sent[1:], item.ctx.site)
    value = _value(item, node, path, code)
    if isinstance(value, FilterReason):
        if not replaces(value, panel.rank):
            return None
        value = _NOTHING
    # Without an id of its own, a result is what was measured and when; a part is named within its whole.
    whole = item.id("observation", *_whole(item), str(times.epoch_ms(panel.time)))
    fact_id = digest(whole, *part, size=8) if part else whole
    version = item.version(panel.rank, panel.issued)
    if isinstance(value.value, str) and len(value.value) > SHORT_TEXT:
        return Document(
            id=fact_id,
            version=version,
            time=panel.time,
            title=code.display,
            code=code,
            text=value.value,
            text_sha256=sha256(value.value.encode()).hexdigest(),
            encounter=panel.encounter,
            time_assumed=panel.time_assumed,
            comment=_comment(node),
        )
    return Observation(
        id=fact_id,
        version=version,
        code=code,
        time=panel.time,
        value=value.value,
        unit=value.unit,
        comparator=value.comparator,
        interpretation=_flag(node) or panel.interpretation,
        reference_range=_range(first(node.get("referenceRange"))),
        encounter=panel.encounter,
        original=_original(value, sent[0], code),
        time_assumed=panel.time_assumed,
        comment=_comment(node),
        movable=panel.movable,
    )


def _comment(node: Object) -> str:
    """The annotations of a result, a line each."""
    return "\n".join(filter(None, (text(note.get("text")) for note in items(node.get("note")))))


def _whole(item: Item) -> tuple[str, str]:
    code = datatypes.concept(item.resource.get("code")) or Code("", "")
    return code.system, code.code


def _original(value: Value, sent: Code, code: Code) -> Original:
    """What the sender wrote, where it differs from what is kept."""
    differs = sent if (sent.system, sent.code) != (code.system, code.code) else None
    if isinstance(value.value, float) and value.sent_unit != value.unit:
        return Original(value.sent, value.sent_unit, differs)
    return Original(code=differs)


def _flag(node: Object) -> str:
    code = datatypes.concept(node.get("interpretation"))
    return code.code if code else ""


def _range(value: Object) -> str:
    said = text(value.get("text"))
    if said:
        return said if len(said) <= SHORT_TEXT else ""
    low, high = number(obj(value.get("low")).get("value")), number(obj(value.get("high")).get("value"))
    if low is None and high is None:
        return ""
    if low is None or high is None:
        return f"<={high:g}" if high is not None else f">={low:g}"
    return f"{low:g}-{high:g}"


def _value(item: Item, node: Object, path: str, code: Code) -> Value | FilterReason:
    """The value[x] of a node; when there is none that can be used, the reason, which is set aside."""
    for kind, read in _READERS.items():
        if node.get(kind) is not None:
            place = f"{path}.{kind}".lstrip(".")
            found = read(item, node[kind], code)
            if isinstance(found, FilterReason):
                item.drop(found, place)
            return found
    other = next((key for key in node if key.startswith("value")), "")
    if other:
        item.drop(FilterReason.UNSUPPORTED_VALUE_TYPE, f"{path}.value[x]".lstrip("."))
        return FilterReason.UNSUPPORTED_VALUE_TYPE
    if node.get("dataAbsentReason"):
        return _NOTHING
    item.drop(FilterReason.NO_VALUE, path)
    return FilterReason.NO_VALUE


def _quantity(item: Item, value: object, code: Code) -> Value | FilterReason:
    """Quantity: the coded unit where it is UCUM, else the unit as written."""
    quantity = obj(value)
    amount = number(quantity.get("value"))
    if amount is None:
        return FilterReason.NOT_A_NUMBER if quantity.get("value") is not None else FilterReason.NO_VALUE
    written, coded = text(quantity.get("unit")), text(quantity.get("code"))
    found = _canonical(item, code, amount, coded or written)
    if isinstance(found, FilterReason) and coded and written and coded != written:
        second = _canonical(item, code, amount, written)
        found = second if isinstance(second, units.Quantity) else found
    if isinstance(found, FilterReason):
        return found
    comparator = text(quantity.get("comparator"))
    return Value(
        found.value,
        found.unit,
        comparator if comparator in _COMPARATORS else "",
        f"{comparator}{quantity['value']}",
        coded or written,
    )


def _canonical(item: Item, code: Code, amount: float, unit: str) -> units.Quantity | FilterReason:
    return units.canonical(code.code if code.system == codes.LOINC else "", amount, unit, item.ctx.site)


def _integer(item: Item, value: object, code: Code) -> Value | FilterReason:
    amount = number(value)
    if amount is None:
        return FilterReason.NOT_A_NUMBER
    found = _canonical(item, code, amount, "")
    return found if isinstance(found, FilterReason) else Value(found.value, found.unit, "", str(value), "")


def _coded(_item: Item, value: object, _code: Code) -> Value | FilterReason:
    """What the code says: its display, else its text, else the code itself."""
    code = datatypes.concept(value)
    said = (code.display or code.code) if code else text(obj(value).get("text"))
    return _said(said)


def _string(_item: Item, value: object, _code: Code) -> Value | FilterReason:
    return _said(text(value))


def _said(said: str) -> Value | FilterReason:
    if not said:
        return FilterReason.NO_VALUE
    return Value(said)


def _boolean(_item: Item, value: object, _code: Code) -> Value | FilterReason:
    return Value("true" if value else "false") if isinstance(value, bool) else FilterReason.NO_VALUE


def _moment(item: Item, value: object, _code: Code) -> Value | FilterReason:
    said = text(value)
    if not said:
        return FilterReason.NO_VALUE
    return Value(said) if times.parse(said, item.ctx.zone) else FilterReason.BAD_ITEM_TIMESTAMP


def _pair(value: object, names: tuple[str, str], mark: str) -> Value | FilterReason:
    """Two quantities as text: a ratio 1:128, a range 3-5."""
    both = [obj(obj(value).get(name)) for name in names]
    amounts = [number(quantity.get("value")) for quantity in both]
    if all(amount is None for amount in amounts):
        return FilterReason.NO_VALUE
    shown = [f"{text(q.get('comparator'))}{a:g}" if a is not None else "" for q, a in zip(both, amounts, strict=True)]
    return _said(mark.join(shown))


def _ratio(_item: Item, value: object, _code: Code) -> Value | FilterReason:
    return _pair(value, ("numerator", "denominator"), ":")


def _range_value(_item: Item, value: object, _code: Code) -> Value | FilterReason:
    return _pair(value, ("low", "high"), "-")


_READERS = {
    "valueQuantity": _quantity,
    "valueCodeableConcept": _coded,
    "valueString": _string,
    "valueInteger": _integer,
    "valueBoolean": _boolean,
    "valueRatio": _ratio,
    "valueRange": _range_value,
    "valueDateTime": _moment,
}
"""value[x] that become a value. SampledData (curves), Time and Period are set aside as an unsupported type."""

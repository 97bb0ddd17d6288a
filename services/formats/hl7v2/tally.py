"""What became of many messages: the counts of a corpus, as a table. Counts and names of reasons, no content."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from services.domain.reasons import Rejected
from services.domain.site import Site
from services.formats.hl7v2.control import read_header
from services.formats.hl7v2.header import Header
from services.formats.hl7v2.reader import read

_SEGMENT_REASONS = ("unsupported_segment", "administrative")


@dataclass(slots=True)
class Line:
    """Counts of one message type."""

    messages: int = 0
    events: int = 0
    facts: Counter[str] = field(default_factory=Counter)
    filtered: Counter[str] = field(default_factory=Counter)  # whole messages, by reason
    parts: Counter[str] = field(default_factory=Counter)  # parts of messages that gave events, by reason
    segments: Counter[tuple[str, str]] = field(default_factory=Counter)  # reason and name of segments not read
    rejected: Counter[str] = field(default_factory=Counter)


def tally(messages: Iterable[bytes], site: Site, received_ms: int) -> dict[str, Line]:
    """Counts by message type (`?` where even that cannot be read)."""
    lines: dict[str, Line] = {}
    for raw in messages:
        found = read(raw, site, received_ms)
        if isinstance(found, Rejected):
            head = read_header(raw, site)
            line = lines.setdefault(head.type if isinstance(head, Header) and head.code else "?", Line())
            line.messages += 1
            line.rejected[found.reason.value] += 1
            continue
        line = lines.setdefault(found.type, Line())
        line.messages += 1
        line.events += len(found.events)
        line.facts.update(type(fact).__name__ for event in found.events for fact in event.facts)
        for part in found.filtered:
            if not found.events:
                line.filtered[part.reason.value] += 1
            elif part.reason.value in _SEGMENT_REASONS:
                line.segments[part.reason.value, part.where] += 1
            else:
                line.parts[part.reason.value] += 1
    return dict(sorted(lines.items()))


def markdown(lines: dict[str, Line]) -> str:
    """The counts as a Markdown table, with a line of sums."""
    head = "| type | messages | events | facts | messages filtered | parts filtered | rejected |\n" + "|---" * 7 + "|\n"
    total = Line()
    rows = []
    for kind, line in lines.items():
        rows.append(_row(kind, line))
        total.messages += line.messages
        total.events += line.events
        for name in ("facts", "filtered", "parts", "segments", "rejected"):
            getattr(total, name).update(getattr(line, name))
    return head + "\n".join([*rows, _row("**all**", total)]) + "\n"


def _row(kind: str, line: Line) -> str:
    cells = (line.facts, line.filtered, line.parts, line.rejected)
    counts = [", ".join(f"{name} {n}" for name, n in sorted(cell.items())) or "–" for cell in cells]
    return f"| {kind} | {line.messages} | {line.events} | " + " | ".join(counts) + " |"


def segments(lines: dict[str, Line]) -> str:
    """Names of the segments that were not read, by reason, with the number of messages that hold them."""
    total: Counter[tuple[str, str]] = Counter()
    for line in lines.values():
        total.update(line.segments)
    return "; ".join(
        f"`{reason}`: {', '.join(f'{name} {n}' for (why, name), n in sorted(total.items()) if why == reason) or 'none'}"
        for reason in _SEGMENT_REASONS
    )

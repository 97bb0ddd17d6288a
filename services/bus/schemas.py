"""JSON Schemas and the AsyncAPI document of the topics, made from the types that travel on them.

`python -m services.bus.schemas` writes `schemas/`; a test holds the files, the topic table and the types together.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from services import __version__
from services.bus.messages import DeadLetter, FilteredMessage, MetricEvent
from services.bus.settings import CHECKOUT
from services.bus.topics import TOPICS, Topic
from services.domain.events import ClinicalEvent
from services.domain.prediction import Prediction
from services.domain.record import PatientRecord
from services.formats.dicom import DicomObject

FOLDER = CHECKOUT / "schemas"
TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (DicomObject, ClinicalEvent, PatientRecord, Prediction, MetricEvent, FilteredMessage, DeadLetter)
}
"""The types of JSON values, by the name that `Topic.value` uses; other values are a hospital's own bytes."""

_MEDIA = {
    "hl7v2.raw": "application/hl7-v2",
    "fhir.raw": "application/fhir+json",
    "hl7v2.out": "application/hl7-v2",
}


def json_schema(name: str) -> dict[str, Any]:
    """JSON Schema 2020-12 of one type. Readers must ignore properties that they do not know."""
    schema = msgspec.json.schema(TYPES[name])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"{file_name(name)}", **schema}


def file_name(name: str) -> str:
    """`ClinicalEvent` -> `clinical-event.schema.json`."""
    words = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name)
    return f"{words.lstrip('-')}.schema.json"


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document: a channel a topic, and what Wardstream does on it."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Wardstream topics",
            "version": __version__,
            "description": "Hospital events in, risk predictions out. Keys are pseudonymous patient keys. "
            "Delivery is at least once; every value has an id, and the same id always has the same bytes.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": {f"{_verb(topic)}-{topic.name}": _operation(topic) for topic in TOPICS},
    }


def _verb(topic: Topic) -> str:
    return "receive" if topic.name.endswith(".raw") else "send"


def _operation(topic: Topic) -> dict[str, Any]:
    return {
        "action": _verb(topic),
        "channel": {"$ref": f"#/channels/{topic.name}"},
        "summary": topic.summary,
    }


def _channel(topic: Topic) -> dict[str, Any]:
    message: dict[str, Any] = {"name": topic.value, "title": topic.summary}
    if topic.value in TYPES:
        message["payload"] = {"$ref": file_name(topic.value)}
    else:
        message |= {"contentType": _MEDIA[topic.name], "payload": {"type": "string", "format": "binary"}}
    message["bindings"] = {"kafka": {"key": {"type": "string", "description": topic.key}}}
    return {
        "address": topic.name,
        "description": topic.summary + ("" if topic.public else ". Internal: may change without notice."),
        "messages": {topic.value.replace(" ", "-"): message},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": ["compact" if topic.compact else "delete"],
                    "retention.ms": topic.retention_ms,
                    "max.message.bytes": topic.max_bytes,
                },
            }
        },
    }


def write(folder: Path = FOLDER) -> list[Path]:
    """Write all files; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in TYPES:
        path = folder / file_name(name)
        path.write_text(json.dumps(json_schema(name), indent=2, sort_keys=True) + "\n")
        written.append(path)
    path = folder / "asyncapi.json"
    path.write_text(json.dumps(asyncapi(), indent=2) + "\n")
    return [*written, path]


def incompatibilities(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Why messages or readers of the `old` schema would break under the `new` one; empty when they would not.

    Backward compatible: no property removed, none newly required, no type changed, no value of an enumeration or
    alternative taken away.
    """
    olds, news = {"": old, **old.get("$defs", {})}, {"": new, **new.get("$defs", {})}
    problems = [f"{name}: type removed" for name in olds if name not in news]
    for name in olds.keys() & news.keys():
        problems += [f"{name}{problem}" for problem in _compare(olds[name], news[name])]
    return sorted(problems)


def _compare(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    problems = [f".{p}: removed" for p in old.get("properties", {}) if p not in new.get("properties", {})]
    problems += [f".{p}: newly required" for p in set(new.get("required", [])) - set(old.get("required", []))]
    problems += [f": value {v!r} removed" for v in old.get("enum", []) if v not in new.get("enum", [])]
    for name, was in old.get("properties", {}).items():
        now = new.get("properties", {}).get(name)
        if now is not None and _types(was) - _types(now):
            problems.append(f".{name}: type narrowed")
    return problems


def _types(schema: dict[str, Any]) -> set[str]:
    if "anyOf" in schema:
        return set().union(*(_types(part) for part in schema["anyOf"]))
    if "enum" in schema and "type" not in schema:
        return {type(value).__name__ for value in schema["enum"]}
    return {str(schema.get("$ref", schema.get("type", "any")))}


if __name__ == "__main__":
    for file in write():
        print(file.relative_to(CHECKOUT))

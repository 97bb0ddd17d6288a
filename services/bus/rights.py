"""Who may do what on Kafka: the least that each service needs, one table.

Every service has a principal of its own name. `python -m services.bus.rights` prints the table as Strimzi's KafkaUsers
(k8s/users), and a test runs the whole system under exactly these rights.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, ResourcePattern, ResourceType

from services.bus.admin import admin_client
from services.bus.settings import Settings
from services.bus.topics import (
    CLINICAL_EVENTS,
    DEAD_LETTERS,
    DICOM_RAW,
    FHIR_RAW,
    FILTERED_MESSAGES,
    HL7_OUT,
    HL7_RAW,
    MONITORING_METRICS,
    PATIENT_RECORDS,
    RECORD_UPDATES,
    RISK_PREDICTIONS,
    RISK_SHADOW,
    STEP_INPUTS,
    TOPICS,
    Topic,
    changelog_name,
    consumer_group,
)

RAW = (HL7_RAW, FHIR_RAW, DICOM_RAW)


@dataclass(frozen=True)
class Role:
    """What one principal may do. `step`: reads in that step's group; with `state` it keeps a changelog, which it makes.

    `watches`: steps whose progress it reads. `compares`: it compares the topics that it reads with the table.
    """

    reads: tuple[Topic, ...] = ()
    writes: tuple[Topic, ...] = ()
    step: str = ""
    state: bool = False
    watches: tuple[str, ...] = ()
    compares: bool = False
    makes: tuple[Topic, ...] = ()


def _step(name: str, *writes: Topic, state: bool = False, watches: tuple[str, ...] = ()) -> Role:
    return Role(STEP_INPUTS[name], (*writes, DEAD_LETTERS), name, state, watches)


ROLES: dict[str, Role] = {
    "edge": Role(writes=(*RAW, DEAD_LETTERS)),
    "normalize": _step("normalize", CLINICAL_EVENTS, FILTERED_MESSAGES),
    "assemble": _step("assemble", PATIENT_RECORDS, RECORD_UPDATES, state=True),
    "encode": _step("encode", RECORD_UPDATES),
    "score": _step("score", RISK_PREDICTIONS),
    "fallback": _step("fallback", RISK_PREDICTIONS, watches=("score",)),
    "shadow": Role((PATIENT_RECORDS,), (RISK_SHADOW, DEAD_LETTERS), "score-shadow"),
    "monitor": Role(
        (RISK_PREDICTIONS, RISK_SHADOW, CLINICAL_EVENTS, DEAD_LETTERS, FILTERED_MESSAGES),
        (MONITORING_METRICS,),
        watches=tuple(STEP_INPUTS),
        compares=True,
    ),
    "deliver": Role((PATIENT_RECORDS, RISK_PREDICTIONS, MONITORING_METRICS), compares=True),
    "announce": Role((PATIENT_RECORDS, RISK_PREDICTIONS), (HL7_OUT, DEAD_LETTERS), "announce", state=True),
    "deliver-hl7": Role((HL7_OUT,), (DEAD_LETTERS,), "deliver-hl7"),
    "topics": Role(makes=TOPICS),
    "dead-letters": Role(
        (DEAD_LETTERS,), (*RAW, CLINICAL_EVENTS, RECORD_UPDATES, PATIENT_RECORDS, HL7_OUT), "dead-letters"
    ),
}
"""By principal: the services, and the commands that operators and release jobs run."""


class Right(NamedTuple):
    """Operations on one topic or group."""

    kind: str  # topic, group
    name: str
    operations: tuple[str, ...]  # as Strimzi spells them


def rights(role: Role) -> list[Right]:
    """What it comes to on the broker, by kind and name. Read and Write include Describe."""
    granted: dict[tuple[str, str], set[str]] = {}
    for kind, name, *operations in _grants(role):
        granted.setdefault((kind, name), set()).update(operations)
    return [Right(kind, name, tuple(sorted(found))) for (kind, name), found in sorted(granted.items())]


def _grants(role: Role) -> Iterator[tuple[str, ...]]:
    for topic in role.reads:
        yield "topic", topic.name, "Read", *(["DescribeConfigs"] if role.compares else [])
    for topic in role.writes:
        yield "topic", topic.name, "Write"
    for topic in role.makes:
        yield "topic", topic.name, "Create", "Describe", "DescribeConfigs"
    if role.step:
        yield "group", consumer_group(role.step), "Read"
    if role.state:
        yield "topic", changelog_name(role.step), "Create", "DescribeConfigs", "Read", "Write"
    for step in role.watches:
        yield "group", consumer_group(step), "Describe"
        for topic in STEP_INPUTS[step]:
            yield "topic", topic.name, "Describe"


_OPERATIONS = {
    "Create": ACLOperation.CREATE,
    "Describe": ACLOperation.DESCRIBE,
    "DescribeConfigs": ACLOperation.DESCRIBE_CONFIGS,
    "Read": ACLOperation.READ,
    "Write": ACLOperation.WRITE,
}
_KINDS = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP}


def grant(settings: Settings) -> int:
    """Give every principal its rights, by an administrator's settings; safe to repeat. Returns how many there are.

    Raises kafka.errors.KafkaError.
    """
    acls = [
        ACL(
            f"User:{principal}",
            "*",
            _OPERATIONS[operation],
            ACLPermissionType.ALLOW,
            ResourcePattern(_KINDS[right.kind], right.name, ACLResourcePatternType.LITERAL),
        )
        for principal, role in ROLES.items()
        for right in rights(role)
        for operation in right.operations
    ]
    with admin_client(settings) as client:
        failed = client.create_acls(acls)["failed"]
    if failed:
        raise failed[0]
    return len(acls)


_USER = """---
apiVersion: kafka.strimzi.io/v1
kind: KafkaUser
metadata:
  name: {principal}
  labels: {{strimzi.io/cluster: wardstream}}
spec:
  authentication: {{type: scram-sha-512}}
  authorization:
    type: simple
    acls:
"""
_ACL = "      - {{resource: {{type: {0.kind}, name: {0.name}}}, operations: [{1}]}}\n"


def manifests() -> str:
    """The table as Strimzi's KafkaUsers, YAML."""
    users = ["# Made by `python -m services.bus.rights`: what each service may do on Kafka, and nothing else.\n"]
    for principal, role in ROLES.items():
        users.append(_USER.format(principal=principal))
        users += [_ACL.format(right, ", ".join(right.operations)) for right in rights(role)]
    return "".join(users)


if __name__ == "__main__":
    print(manifests(), end="")

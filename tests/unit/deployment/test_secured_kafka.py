"""Secured Kafka gives every workload a user of its own, with the rights that the whole system was run with."""

import re
import subprocess

import pytest
import yaml

from services.bus import rights
from tests.support import ROOT
from tests.unit.deployment.test_manifests import component, pod, tool, with_components, workloads

COMPONENT = ROOT / "k8s" / "components" / "secured-kafka"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Production with HL7 to a receiver and secured Kafka, as an operator's overlay has it."""
    folder = with_components(tmp_path_factory.mktemp("overlay"), ("hl7-out", "secured-kafka"))
    command = [tool("kubectl"), "kustomize", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_kafka_users_have_the_rights_that_the_system_was_run_with():
    how = "run: python -m services.bus.rights > k8s/components/secured-kafka/users.yaml"
    assert (COMPONENT / "users.yaml").read_text() == rights.manifests(), how


def test_every_workload_comes_as_itself_and_over_tls(built: str):
    documents = [document for document in yaml.safe_load_all(built) if document]
    users = {d["metadata"]["name"] for d in documents if d["kind"] == "KafkaUser"}
    (config,) = [d["data"] for d in documents if d["kind"] == "ConfigMap"]
    assert config["WARDSTREAM_SECURITY_PROTOCOL"] == "SASL_SSL"
    ours = [w for w in workloads(documents) if component(w) != "triton"]
    assert {component(w) for w in ours} | {"shadow", "dead-letters"} == users
    for workload in ours:
        name, container = component(workload), pod(workload)["containers"][0]
        given = {one["name"]: one for one in container["env"]}
        assert given["WARDSTREAM_SASL_USERNAME"]["value"] == name
        assert given["WARDSTREAM_SASL_PASSWORD"]["valueFrom"]["secretKeyRef"] == {"name": name, "key": "password"}
        assert "kafka-ca" in {mount["name"] for mount in container["volumeMounts"]}


def test_nobody_is_left_on_the_listener_without_tls(built: str):
    assert not re.search(r"kafka-bootstrap\S*:9092", built)
    scaled = [d for d in yaml.safe_load_all(built) if d and d["kind"] == "ScaledObject"]
    kafka = [trigger for one in scaled for trigger in one["spec"]["triggers"] if trigger["type"] == "kafka"]
    assert kafka
    assert all(trigger["authenticationRef"] == {"name": "kafka"} for trigger in kafka)

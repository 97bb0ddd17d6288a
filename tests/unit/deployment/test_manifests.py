"""Compose and Kubernetes files fit their schemas, and run the very commands that the program has."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from services.bus import metrics
from services.bus.health import Health, application
from services.bus.settings import load
from services.bus.topics import BY_NAME, consumer_group
from services.cli import SERVICES, build_parser
from services.local.processes import STOP_TIMEOUT_S
from tests.support import ROOT

BIN = ROOT / ".venv-dev" / "bin" if (ROOT / ".venv-dev").exists() else Path(sys.executable).parent
OVERLAYS = ("production", "cpu", "everything")
CUSTOM = {"kafka.strimzi.io/v1", "keda.sh/v1alpha1", "monitoring.coreos.com/v1"}
COMPONENTS = ("hl7-out", "prometheus-operator")


def tool(name: str) -> str:
    found = shutil.which(name, path=str(BIN)) or shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not here")
    return found


@pytest.fixture(scope="session", params=OVERLAYS)
def manifests(request, tmp_path_factory):
    everything = request.param == "everything"
    return built(request.param, with_components(tmp_path_factory.mktemp("overlay")) if everything else None)


def built(name, folder=None):
    """An overlay's name and its documents, as kubectl makes them."""
    folder = folder or ROOT / "k8s" / "overlays" / name
    made = subprocess.run([tool("kubectl"), "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return name, [document for document in yaml.safe_load_all(made.stdout) if document]


def with_components(folder, names=COMPONENTS):
    """An overlay as an operator writes it: production, and what is optional, all of it by default."""
    inside = os.path.relpath(ROOT / "k8s", folder)
    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "wardstream",
        "resources": [f"{inside}/overlays/production"],
        "components": [f"{inside}/components/{name}" for name in names],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return folder


def expected(overlay):
    """The services of an overlay: a challenger, and HL7 to a receiver, are for where there is one."""
    return set(SERVICES) - {"shadow"} - (set() if overlay == "everything" else {"announce", "deliver-hl7"})


def workloads(documents):
    return [d for d in documents if d["kind"] in ("Deployment", "StatefulSet", "Job")]


def component(workload):
    return workload["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]


def pod(workload):
    return workload["spec"]["template"]["spec"]


def test_every_manifest_fits_the_kubernetes_schema_strictly(manifests, tmp_path):
    name, documents = manifests
    native = [d for d in documents if d["apiVersion"] not in CUSTOM]
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump_all(native))
    checked = subprocess.run(
        [tool("kubernetes-validate"), "--strict", "--quiet", str(path)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert len(native) > 20


def test_every_service_has_one_workload_that_runs_a_command_of_the_program(manifests):
    name, documents = manifests
    ours = {component(w): pod(w)["containers"][0] for w in workloads(documents)}
    assert set(ours) == {*expected(name), "triton", "topics"}
    for name, container in ours.items():
        if name != "triton":
            assert build_parser().parse_args(container["args"]).handler


def test_no_container_runs_as_root_or_writes_to_its_image(manifests):
    _, documents = manifests
    for workload in workloads(documents):
        spec = pod(workload)
        assert spec["securityContext"]["runAsNonRoot"]
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert not container["securityContext"]["allowPrivilegeEscalation"]
            assert container["resources"]["limits"]["memory"]


def test_every_image_has_a_version(manifests):
    _, documents = manifests
    for workload in workloads(documents):
        spec = pod(workload)
        images = {container["image"] for container in [*spec["containers"], *spec.get("initContainers", [])]}
        assert all(re.search(r":[\w.-]+$", image) and not image.endswith(":latest") for image in images), images


def home_of(*environments):
    """WARDSTREAM_HOME as a workload has it: its own, or the image's."""
    image = re.search(r"WARDSTREAM_HOME=(\S+)", (ROOT / "Dockerfile").read_text()).group(1)
    return next((one["WARDSTREAM_HOME"] for one in environments if "WARDSTREAM_HOME" in one), image)


def test_every_service_can_write_to_its_home(manifests):
    """Processors make a folder for their tables there before anything else; the image is read-only."""
    name, documents = manifests
    (config,) = [d["data"] for d in documents if d["kind"] == "ConfigMap"]
    ours = [w for w in workloads(documents) if w["metadata"]["name"] in SERVICES]
    assert len(ours) == len(expected(name))
    for workload in ours:
        spec = pod(workload)
        (container,) = spec["containers"]
        home = home_of({one["name"]: one.get("value") for one in container.get("env", [])}, config)
        names = [m["name"] for m in container["volumeMounts"] if m["mountPath"] == home and not m.get("readOnly")]
        claims = [claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])]
        writable = [*claims, *(v["name"] for v in spec["volumes"] if "emptyDir" in v or "persistentVolumeClaim" in v)]
        assert len(names) == 1, workload["metadata"]["name"]
        assert names[0] in writable
        assert spec["securityContext"]["fsGroup"] == spec["securityContext"]["runAsUser"]


def test_only_pods_whose_names_stay_are_static_members_of_their_group(manifests):
    """A static member does not leave its group: a name that never comes back would hold partitions at each rollout."""
    _, documents = manifests
    for workload in workloads(documents):
        named = [one for c in pod(workload)["containers"] for one in c.get("env", [])]
        has_name = any(one["name"] == "WARDSTREAM_INSTANCE" for one in named)
        assert has_name == (workload["kind"] == "StatefulSet"), workload["metadata"]["name"]


def test_every_setting_of_the_manifests_exists(manifests):
    _, documents = manifests
    (config,) = [d for d in documents if d["kind"] == "ConfigMap"]
    settings = load(config["data"])
    assert settings.bootstrap == config["data"]["WARDSTREAM_BOOTSTRAP"]
    known = {f"WARDSTREAM_{name.upper()}" for name in type(settings).__dataclass_fields__}
    assert set(config["data"]) <= known


def test_what_strangers_reach_by_http_asks_for_tokens(manifests):
    _, documents = manifests
    (config,) = [d["data"] for d in documents if d["kind"] == "ConfigMap"]
    folder = str(Path(config["WARDSTREAM_TOKENS"]).parent)
    ours = {w["metadata"]["name"]: pod(w) for w in workloads(documents)}
    for name in ("edge", "deliver"):
        (mount,) = [m for m in ours[name]["containers"][0]["volumeMounts"] if m["mountPath"] == folder]
        (volume,) = [v for v in ours[name]["volumes"] if v["name"] == mount["name"]]
        assert mount["readOnly"]
        assert volume["secret"]["secretName"] == "wardstream-tokens"
    for name in ("edge", "deliver"):
        service = compose()["services"][name]
        (secret,) = service["secrets"]
        assert service["environment"]["WARDSTREAM_TOKENS"] == f"/run/secrets/{secret}"
        assert "0.0.0.0" in (service["environment"].get(f"WARDSTREAM_{n}_HOST") for n in ("HTTP", "PAGE"))


def selected(documents, selector):
    """The workloads whose pods a selector of labels picks."""
    picked = []
    for workload in workloads(documents):
        labels = workload["spec"]["template"]["metadata"]["labels"]
        wanted = selector.get("matchLabels", {}).items() <= labels.items()
        for rule in selector.get("matchExpressions", ()):
            inside = labels.get(rule["key"]) in rule["values"]
            wanted = wanted and inside == (rule["operator"] == "In")
        picked += [workload] if wanted else []
    return picked


def port_names(workload):
    return {port["name"] for container in pod(workload)["containers"] for port in container.get("ports", [])}


def test_every_policy_budget_and_monitor_picks_pods_and_ports_that_are_there(manifests):
    _, documents = manifests
    seen = 0
    for document in documents:
        spec = document.get("spec", {})
        selector = spec.get("podSelector") if document["kind"] == "NetworkPolicy" else spec.get("selector")
        if document["kind"] not in ("NetworkPolicy", "PodDisruptionBudget", "PodMonitor", "Service"):
            continue
        selector = {"matchLabels": selector} if document["kind"] == "Service" else selector
        if "strimzi.io/cluster" in selector.get("matchLabels", {}):
            continue  # Strimzi's own pods
        picked = selected(documents, selector)
        assert picked, document["metadata"]["name"]
        named = [port["port"] for rule in spec.get("ingress", ()) for port in rule.get("ports", ())]
        named += [port.get("targetPort") for port in spec.get("ports", ())]
        named += [end["port"] for end in spec.get("podMetricsEndpoints", ())]
        known = set().union(*map(port_names, picked))
        assert {name for name in named if isinstance(name, str)} <= known, document["metadata"]["name"]
        seen += 1
    assert seen > 10


def test_every_service_is_asked_whether_it_lives_and_is_ready_where_it_answers(manifests):
    _, documents = manifests
    answered = {route.resource.canonical for route in application(Health(1.0)).router.routes()}
    for workload in workloads(documents):
        if component(workload) in ("topics", "triton"):
            continue
        (container,) = pod(workload)["containers"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["path"] in answered
            assert container[probe]["httpGet"]["port"] == "metrics"
        assert pod(workload)["terminationGracePeriodSeconds"] > STOP_TIMEOUT_S


def test_what_keda_scales_has_no_number_of_its_own_and_the_rest_has():
    _, documents = built("production")
    scaled = {d["metadata"]["name"] for d in documents if d["kind"] == "ScaledObject"}
    assert scaled
    for workload in workloads(documents):
        if workload["kind"] != "Job":
            assert ("replicas" in workload["spec"]) == (workload["metadata"]["name"] not in scaled)


def test_a_release_can_be_applied_over_the_one_before():
    """A job cannot be changed; a model server on the only GPU cannot be doubled; two monitors would count twice."""
    _, documents = built("production")
    for workload in workloads(documents):
        images = [container["image"] for container in pod(workload)["containers"]]
        if workload["kind"] == "Job":
            assert workload["metadata"]["name"].endswith(images[0].rpartition(":")[2].replace(".", "-"))
        if any("nvidia.com/gpu" in c["resources"]["limits"] for c in pod(workload)["containers"]):
            assert workload["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 0
        if component(workload) == "monitor":
            assert workload["spec"]["strategy"]["type"] == "Recreate"


def test_the_operators_rules_are_prometheus_own():
    (rule,) = yaml.safe_load_all((ROOT / "k8s/components/prometheus-operator/rules.yaml").read_text())
    assert rule["spec"] == yaml.safe_load((ROOT / "k8s/observability/rules.yml").read_text())


def test_scaling_watches_the_groups_and_topics_that_exist():
    documents = list(yaml.safe_load_all((ROOT / "k8s/overlays/production/scaling.yaml").read_text()))
    for scaled in documents:
        name = scaled["metadata"]["name"]
        assert name in SERVICES
        for trigger in scaled["spec"]["triggers"]:
            topic = BY_NAME[trigger["metadata"]["topic"]]
            assert trigger["metadata"]["consumerGroup"] == consumer_group(name)
            assert scaled["spec"]["maxReplicaCount"] <= topic.partitions


def compose():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_compose_runs_every_service_by_a_command_of_the_program():
    services = compose()["services"]
    assert set(SERVICES) <= set(services)
    for name in (*SERVICES, "topics"):
        assert build_parser().parse_args(services[name]["command"]).handler


def test_compose_settings_exist_and_images_are_pinned_in_one_place():
    known = {f"WARDSTREAM_{name.upper()}" for name in type(load({})).__dataclass_fields__}
    pinned = dict(line.split("=", 1) for line in (ROOT / ".env").read_text().splitlines() if "=" in line)
    for service in compose()["services"].values():
        assert re.fullmatch(r"\$\{(\w+)\}", service["image"]).group(1) in pinned
        variables = service.get("environment", {})
        assert {name for name in variables if name.startswith("WARDSTREAM_")} <= known
        assert service["mem_limit"]
    assert not [image for image in pinned.values() if image.endswith(":latest") or ":" not in image]


def test_every_compose_service_can_write_to_its_home():
    user = re.search(r"useradd --uid (\d+)", (ROOT / "Dockerfile").read_text()).group(1)
    for name in SERVICES:
        service = compose()["services"][name]
        home = home_of(service["environment"])
        scratch = dict(entry.partition(":")[::2] for entry in service["tmpfs"])
        volumes = [volume.split(":")[1] for volume in service.get("volumes", []) if not volume.endswith(":ro")]
        assert service["read_only"]
        assert [*scratch, *volumes].count(home) == 1, name  # one, not two: docker refuses a mount point twice
        if home in scratch:
            assert f"uid={user}" in scratch[home].split(",")


def test_compose_fits_the_compose_specification():
    schema = json.loads((ROOT / "tests/unit/deployment/compose-spec.json").read_text())
    jsonschema.Draft7Validator(schema).validate(compose())


def test_every_volume_that_compose_mounts_from_the_checkout_is_there():
    for service in compose()["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith("./") or (ROOT / source).exists(), source


def test_alert_rules_are_valid_and_fire_when_they_should():
    folder = ROOT / "k8s" / "observability"
    syntax = ["check", "config", "--syntax-only", "prometheus.yml"]
    for words in (["check", "rules", "rules.yml"], ["test", "rules", "rules_test.yml"], syntax):
        done = subprocess.run([tool("promtool"), *words], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_and_the_dashboard_use_metrics_that_exist():
    known = set()
    for metric in metrics.our_metrics():
        known |= {metric._name, f"{metric._name}_total", f"{metric._name}_bucket", f"{metric._name}_count"}
    texts = [(ROOT / "k8s/observability/rules.yml").read_text()]
    texts += [path.read_text() for path in (ROOT / "k8s/observability/grafana/dashboards").glob("*.json")]
    for text in texts:
        used = set(re.findall(r"\bwardstream_\w+", text))
        assert used
        assert used <= known, used - known


def test_the_image_holds_what_the_program_reads():
    dockerfile = (ROOT / "Dockerfile").read_text()
    for needed in ("requirements/runtime.lock", "services", "model_repository"):
        assert f"COPY {needed} " in dockerfile
        assert f"!{needed}" in (ROOT / ".dockerignore").read_text().splitlines()


def imports_of_training():
    """The files of `training` that anything below services/ imports, wherever in the file it does."""
    names = set()
    for path in (ROOT / "services").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
            elif isinstance(node, ast.Import):
                names |= {one.name for one in node.names}
    # `train` and `evaluate` are not among them: they say that they need another environment (local/optional.py).
    return sorted(name for name in names if re.match(r"training(\.|$)", name))


def files_of(module):
    """The files that importing a module reads: each package's __init__, and its own."""
    parts = module.split(".")
    packages = [ROOT.joinpath(*parts[: n + 1], "__init__.py") for n in range(len(parts))]
    return [path for path in (*packages, ROOT.joinpath(*parts).with_suffix(".py")) if path.exists()]


def test_the_image_holds_what_services_import_of_training():
    copied = re.findall(r"^COPY (?!--)(\S+) /opt/wardstream/\1$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    found = {path for module in imports_of_training() for path in files_of(module)}
    assert any(path.name == "cinc2019.py" for path in found)
    checked = set()
    while found - checked:  # what those import in their turn is needed as well
        path = (found - checked).pop()
        checked.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("training"):
                modules = [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
                found |= {file for module in modules for file in files_of(module)}
    for path in checked:
        inside = path.relative_to(ROOT)
        for places in (copied, allowed):
            assert any(inside.is_relative_to(place) for place in places), inside

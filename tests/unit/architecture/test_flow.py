"""Imports follow the flow of data: no room imports a later one."""

import ast
from pathlib import Path

import pytest

from services.bus import metrics, settings
from services.bus.topics import TOPICS
from tests.support import ROOT

FLOW = (
    "domain",
    "formats",
    "bus",
    "edge",
    "normalize",
    "deidentify",
    "assemble",
    "inference",
    "encode",
    "score",
    "monitor",
    "deliver",
    "local",
    "cli",
)
FILES = sorted((ROOT / "services").rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "services"}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def room(module: str) -> str:
    name = module.split(".")[1] if module.startswith("services.") else ""
    return name if (ROOT / "services" / name).is_dir() else ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_room_imports_a_later_one(path):
    parts = path.relative_to(ROOT / "services").parts
    here = parts[0].removesuffix(".py")
    if here in ("__init__", "cli"):
        return
    later = {r for r in map(room, imported(path)) if r and FLOW.index(r) > FLOW.index(here)}
    assert not later, f"services/{here} comes before {', '.join(sorted(later))} in the flow"


def test_every_room_has_its_place_in_the_flow():
    rooms = {p.name for p in (ROOT / "services").iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    assert rooms <= set(FLOW)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_services_run_without_torch(path):
    heavy = {"torch", "sklearn", "lightgbm", "pandas", "matplotlib"}
    assert not {name.split(".")[0] for name in imported(path)} & heavy


@pytest.mark.parametrize("path", [p for p in FILES if "domain" in p.parts], ids=lambda path: path.name)
def test_the_domain_does_no_io(path):
    io = {"os", "pathlib", "socket", "asyncio", "aiohttp", "aiokafka", "kafka", "requests", "subprocess", "time"}
    assert not {name.split(".")[0] for name in imported(path)} & io


def test_no_metric_label_can_name_a_patient():
    for metric in metrics.our_metrics():
        assert set(metric._labelnames) <= metrics.LABELS
    assert not metrics.LABELS & {"patient", "mrn", "key", "name", "message_id", "event_id"}


def test_every_topic_keyed_by_patient_is_keyed_by_the_pseudonym():
    assert {topic.key for topic in TOPICS} <= {"patient key", "metric name", "none", "key of the original"}


def test_the_readme_s_settings_table_is_the_code_s():
    assert settings.table() in (ROOT / "README.md").read_text(), "run `wardstream settings` and paste it"


def test_the_metrics_table_of_the_docs_is_the_code_s():
    assert metrics.table() in (ROOT / "docs" / "metrics.md").read_text(), "run `python -m services.bus.metrics`"

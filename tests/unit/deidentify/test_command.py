"""`wardstream deidentify`, from files in three formats to a folder that training opens, and that it opens no other."""

import ast
import asyncio
import gzip
import json
import stat

import orjson
import pydicom
import pytest

from services import cli
from services.deidentify.manifest import EVENTS, NAME, NotDeidentified, verify
from services.domain.events import Imaging, Observation, decode_event
from services.domain.features import model_inputs
from tests.support import ROOT
from tests.unit.deidentify.canaries import leaks
from tests.unit.formats.dicom.files import edited, radiograph
from tests.unit.formats.fhir.build import MRN, observation
from tests.unit.formats.hl7v2.samples import oru
from training.recorded import open_training_set

ORU = oru("OBX|1|NM|8867-4^HR^LN||72|/min|||||F|||20260501101500")


def resources():
    who = {"system": "HOSP", "value": "100200", **MRN}
    about = {"resourceType": "Patient", "identifier": [who], "birthDate": "1963-08-15", "name": [{"family": "Doe"}]}
    result = observation(subject={"identifier": {"system": "HOSP", "value": "100200"}})
    return b"\n".join(map(orjson.dumps, (about, result)))


@pytest.fixture
def recording(tmp_path):
    folder = tmp_path / "recording"
    (folder / "hl7").mkdir(parents=True)
    (folder / "hl7" / "Doe_100200.hl7").write_bytes(ORU)
    (folder / "bulk.ndjson.gz").write_bytes(gzip.compress(resources()))
    image = radiograph(patient_id="100200", issuer="HOSP")
    (folder / "image.dcm").write_bytes(edited(image, BurnedInAnnotation="NO"))
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WARDSTREAM_HOME", str(tmp_path / "home"))


def run(tmp_path, *words):
    return cli.main(["deidentify", *map(str, words), "--secret-file", str(tmp_path / "secret")])


def test_one_patient_of_three_formats_stays_one_with_one_shift(recording, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(tmp_path, recording, "--out", out) == 0
    assert "1 people, times moved by up to 365 days" in capsys.readouterr().err
    assert leaks(out) == []
    everything = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert not [word for word in (b"100200", b"Doe", b"DOE", b"1963-08-15", b"19630815") if word in everything]
    found = [decode_event(line) for line in (out / EVENTS).read_bytes().splitlines()]
    assert {event.format for event in found} == {"hl7v2", "fhir", "dicom"}
    assert len({event.patient for event in found}) == 1
    facts = [fact for event in found for fact in event.facts]
    times = sorted(f.time for f in facts if isinstance(f, Observation))
    assert [str(t.time()) for t in times] == ["10:00:00", "10:15:00"]
    assert (times[1] - times[0]).days == 61, "from 1 March to 1 May"
    assert any(isinstance(fact, Imaging) for fact in facts)
    image = pydicom.dcmread(next(p for p in (out / "objects").rglob("*") if p.is_file()))
    assert image.PatientID == found[0].patient
    report = json.loads((out / "report.json").read_bytes())
    assert report["formats"]["dicom"]["images"] == 1


def test_training_reads_the_same_features_from_it_that_serving_would(recording, tmp_path):
    out = tmp_path / "out"
    assert run(tmp_path, recording, "--out", out) == 0
    opened = open_training_set(out)
    (person,) = opened
    inputs = model_inputs(person.record, person.record.as_of)
    assert inputs.observed("heart_rate")[0] == 72.0
    assert inputs.arrays["static"][0] == 62.0, "years"
    (reference,) = [fact.object for event in person.events for fact in event.facts if isinstance(fact, Imaging)]
    assert asyncio.run(opened.objects.get(reference))[128:132] == b"DICM"


def test_the_same_secret_gives_the_same_names_again_and_a_new_one_gives_others(recording, tmp_path):
    for out in ("a", "b"):
        assert run(tmp_path, recording, "--out", tmp_path / out) == 0
    (tmp_path / "secret").unlink()
    assert run(tmp_path, recording, "--out", tmp_path / "c") == 0
    a, b, c = (verify(tmp_path / name) for name in "abc")
    assert a.files == b.files
    assert a.secret != c.secret
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_what_is_refused_is_told_with_its_reason_and_the_exit_status_is_1(recording, tmp_path, capsys):
    (recording / "burned.dcm").write_bytes(edited(radiograph(), BurnedInAnnotation="YES"))
    (recording / "broken.json").write_bytes(b'{"resourceType": "Zqxvjk"}')
    (recording / "broken.gz").write_bytes(b"Zqxvjk")
    assert run(tmp_path, recording, "--out", tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert "burned_in_annotation 1" in told
    assert "not_fhir 1" in told
    assert "Zqxvjk" not in told
    assert json.loads((tmp_path / "out" / "report.json").read_bytes())["unreadable_files"] == 1


@pytest.mark.parametrize(
    "reason", ["not empty", "can be read by others", "does not exist", "must not lie in", "at least"]
)
def test_nothing_is_done_where_it_would_be_wrong(recording, tmp_path, capsys, reason):
    out, source = tmp_path / "out", recording
    if reason == "not empty":
        out.mkdir()
        (out / "x").touch()
    elif reason == "can be read by others":
        (tmp_path / "secret").write_text("x" * 40)
        (tmp_path / "secret").chmod(0o644)
    elif reason == "at least":
        (tmp_path / "secret").write_text("short")
        (tmp_path / "secret").chmod(0o600)
    elif reason == "does not exist":
        source = tmp_path / "nowhere"
    else:
        out = recording / "out"
    assert run(tmp_path, source, "--out", out) == 2
    assert reason in capsys.readouterr().err
    assert not (out / NAME).exists()


def test_training_opens_no_folder_that_is_not_de_identified_or_has_been_changed(recording, tmp_path):
    with pytest.raises(NotDeidentified, match="wardstream deidentify"):
        open_training_set(recording)
    out = tmp_path / "out"
    run(tmp_path, recording, "--out", out)
    assert len(open_training_set(out)) == 1
    (out / "more.hl7").write_bytes(ORU)
    with pytest.raises(NotDeidentified, match=r"more\.hl7 has been added"):
        open_training_set(out)
    (out / "more.hl7").unlink()
    with (out / EVENTS).open("ab") as events:
        events.write(b"\n")
    with pytest.raises(NotDeidentified, match=r"events\.ndjson has been"):
        open_training_set(out)


def test_training_opens_notes_that_were_kept_only_when_it_says_so(recording, tmp_path):
    out = tmp_path / "out"
    run(tmp_path, recording, "--out", out, "--keep-text")
    with pytest.raises(NotDeidentified, match="--keep-text"):
        open_training_set(out)
    assert len(open_training_set(out, allow_free_text=True)) == 1


def test_no_other_training_code_can_read_recorded_traffic():
    doors = ("services.formats", "services.edge", "services.normalize", "services.bus.reader", "services.bus.objects")
    clients = {"pydicom", "kafka", "aiokafka", "hl7apy", "fhir", "pynetdicom"}
    for path in sorted((ROOT / "training").rglob("*.py")):
        if path.name == "recorded.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith(doors), f"{path.name} reads raw messages: go through training.recorded"
                assert name.split(".")[0] not in clients, (
                    f"{path.name} reads raw messages: go through training.recorded"
                )

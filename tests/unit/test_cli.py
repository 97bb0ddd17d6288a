"""The command line: help with examples, exit statuses, and what `normalize` prints."""

import asyncio
import io
import json
from pathlib import Path

import pytest

from services import cli
from services.domain.site import Site
from services.normalize.offline import normalize_files
from tests.support import ROOT

SITE = Site(secret=b"test")
ORU = (
    b"MSH|^~\\&|LAB|H|W|W|20260301080000||ORU^R01|C1|P|2.5.1\nPID|1||77^^^H^MR||DOE^JANE\n"
    b"OBR|1||F1|P^P^L|||20260301080000\nOBX|1|NM|8867-4^HR^LN||80|/min|||||F\n"
)
SIU = b"MSH|^~\\&|S|H|W|W|20260301080000||SIU^S12|C2|P|2.5.1\rPID|1||77^^^H^MR\r"


def normalize(*paths: Path) -> tuple[int, list[dict], str]:
    out, err = io.StringIO(), io.StringIO()
    status = normalize_files(list(paths), SITE, out, err)
    return status, [json.loads(line) for line in out.getvalue().splitlines()], err.getvalue()


def commands() -> list[str]:
    actions = cli.build_parser()._subparsers._group_actions
    return list(actions[0].choices)


@pytest.mark.parametrize("command", commands())
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert command in capsys.readouterr().out


def test_without_a_command_the_help_with_examples_is_shown(capsys):
    assert cli.main([]) == 2
    assert "wardstream demo --once" in capsys.readouterr().out


def test_a_setting_that_cannot_be_read_is_named(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("WARDSTREAM_MLLP_PORT", "many")
    (tmp_path / "a.hl7").write_bytes(ORU)
    assert cli.main(["normalize", str(tmp_path / "a.hl7")]) == 2
    assert "WARDSTREAM_MLLP_PORT" in capsys.readouterr().err


def test_events_are_printed_as_json_lines(tmp_path):
    (tmp_path / "a.hl7").write_bytes(ORU + b"\n" + ORU.replace(b"C1", b"C9"))
    status, lines, summary = normalize(tmp_path / "a.hl7")
    assert status == 0
    facts = [fact for line in lines for fact in line["facts"] if fact["kind"] == "observation"]
    assert [(f["code"]["code"], f["value"], f["unit"]) for f in facts] == [("8867-4", 80.0, "/min")] * 2
    assert summary.startswith("2 messages, 2 events")


def test_a_filtered_message_is_told_with_its_reasons_and_is_no_failure(tmp_path):
    (tmp_path / "a.hl7").write_bytes(SIU)
    status, (line,), _ = normalize(tmp_path / "a.hl7")
    assert status == 0
    assert line["filtered"][0]["reason"] == "administrative"


def test_a_rejected_message_has_its_reason_and_makes_the_exit_status_1(tmp_path):
    (tmp_path / "a.hl7").write_bytes(b"this is about DOE^JANE")
    status, (line,), _ = normalize(tmp_path / "a.hl7")
    assert status == 1
    assert line["rejected"] == "not_hl7"
    assert line["hint"]
    assert "DOE" not in json.dumps(line)


def test_the_format_is_told_by_the_content(tmp_path):
    patient = {
        "resourceType": "Patient",
        "id": "1",
        "identifier": [{"system": "urn:x", "value": "9"}],
        "gender": "male",
    }
    (tmp_path / "b.txt").write_text(json.dumps(patient))
    (tmp_path / "c.ndjson").write_text(json.dumps(patient) + "\n" + json.dumps({**patient, "id": "2"}) + "\n")
    status, lines, _ = normalize(tmp_path)
    assert status == 0
    assert {line["format"] for line in lines} == {"fhir"}


def test_a_file_that_cannot_be_opened_is_named_and_makes_the_exit_status_2(tmp_path):
    status, lines, errors = normalize(tmp_path / "absent.hl7")
    assert (status, lines) == (2, [])
    assert "absent.hl7" in errors


def test_the_offline_and_the_live_reading_are_the_same(tmp_path):
    from services.bus.messages import Message
    from services.bus.objects import open_store
    from services.bus.topics import HL7_RAW
    from services.normalize.step import Normalize

    (tmp_path / "a.hl7").write_bytes(ORU)
    _, lines, _ = normalize(tmp_path / "a.hl7")
    message = Message(HL7_RAW.name, 0, 0, None, ORU.replace(b"\n", b"\r"), {}, 1_900_000_000_000)
    (outputs,) = asyncio.run(Normalize(SITE, open_store("memory:"))([message]))
    live = [json.loads(output.value) for output in outputs]
    assert [event["facts"] for event in live] == [line["facts"] for line in lines]


def test_the_launcher_says_what_to_do_without_an_environment():
    assert "make demo" in (ROOT / "wardstream").read_text()

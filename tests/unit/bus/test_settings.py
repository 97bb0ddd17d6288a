"""Settings are read once, say what is wrong by name, and keep their secrets."""

import stat
from dataclasses import fields
from pathlib import Path

import pytest

from services.bus import settings as module
from services.bus.settings import BadSetting, Settings, load, pseudonym_secret, site_from_settings, table, variable


def test_every_type_of_the_table_can_be_read() -> None:
    examples = {"str": "x", "int": "7", "float": "0.5", "bool": "yes", "Path": "/tmp/x", "tuple": "a,b", "dict": "a=b"}
    given = {
        variable(one): one.metadata["choices"][-1] if one.metadata["choices"] else examples[one.type.__name__]  # type: ignore[union-attr]
        for one in fields(Settings)
    }
    read = load(given)
    assert read.micro_batch == 7
    assert read.unit_aliases == {"a": "b"}
    assert read.refuse_test_messages is True
    assert read.identifier_types == ("a", "b")


def test_an_unreadable_value_names_its_variable() -> None:
    with pytest.raises(BadSetting, match="WARDSTREAM_MLLP_PORT: 'abc' is not a whole number"):
        load({"WARDSTREAM_MLLP_PORT": "abc"})
    with pytest.raises(BadSetting, match="WARDSTREAM_SECURITY_PROTOCOL: 'TLS' is none of PLAINTEXT"):
        load({"WARDSTREAM_SECURITY_PROTOCOL": "TLS"})
    with pytest.raises(BadSetting, match="WARDSTREAM_UNIT_ALIASES"):
        load({"WARDSTREAM_UNIT_ALIASES": "nonsense"})


def test_secrets_do_not_show(tmp_path: Path) -> None:
    read = load({"WARDSTREAM_PSEUDONYM_SECRET": "hunter2", "WARDSTREAM_SASL_PASSWORD": "hunter3"})
    assert "hunter" not in repr(read)
    assert "hunter" not in repr(site_from_settings(read))


def test_the_local_secret_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    read = load({"WARDSTREAM_HOME": str(tmp_path / "home")})
    first = pseudonym_secret(read)
    assert first == pseudonym_secret(read)
    assert len(first) == 64
    assert stat.S_IMODE((tmp_path / "home" / "pseudonym-secret").stat().st_mode) == 0o600


def test_a_bad_time_zone_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="WARDSTREAM_TIME_ZONE"):
        site_from_settings(load({"WARDSTREAM_TIME_ZONE": "Mars/Olympus", "WARDSTREAM_HOME": str(tmp_path)}))


def test_the_table_lists_every_setting_with_its_meaning() -> None:
    text = table()
    assert all(f"| `{variable(one)}` |" in text and one.metadata["meaning"] in text for one in fields(Settings))
    assert module.METRICS_PORTS["edge"] == 9101


def test_which_authorities_are_one_and_what_a_reused_control_id_gets_are_the_sites_to_say(tmp_path: Path) -> None:
    told = {
        "WARDSTREAM_HOME": str(tmp_path),
        "WARDSTREAM_AUTHORITY_ALIASES": "1.2.3=HOSP, https://hosp.example/mrn = HOSP",
        "WARDSTREAM_CONTROL_ID_REUSE": "accept",
    }
    settings = load(told)
    site = site_from_settings(settings)
    assert site.authority_aliases == {"1.2.3": "HOSP", "https://hosp.example/mrn": "HOSP"}
    assert settings.control_id_reuse == "accept"
    assert load({}).control_id_reuse == "reject", (
        "a reused control id with other bytes is refused unless told otherwise"
    )
    with pytest.raises(BadSetting, match="WARDSTREAM_CONTROL_ID_REUSE"):
        load({"WARDSTREAM_CONTROL_ID_REUSE": "maybe"})

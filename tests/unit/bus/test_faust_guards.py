"""The guards refuse a Faust that they were not written against, and stand where Faust's own parts stood."""

import pytest

from services.bus import faust_guards
from services.bus.faust_engine import build_app
from services.bus.faust_guards import GuardedConsumer, GuardedRecovery, SafeProducer, WrongFaust
from services.bus.settings import load
from services.bus.topics import CLINICAL_EVENTS


class Step:
    name = "step"
    inputs = (CLINICAL_EVENTS,)
    max_batch = 1


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    faust_guards.check_versions()
    monkeypatch.setattr(faust_guards, "version", lambda package: "0.16.0")
    with pytest.raises(WrongFaust, match=r"faust-streaming 0\.16\.0 is installed"):
        faust_guards.check_versions()


async def test_the_guarded_parts_are_in_place_and_the_settings_are_those_measured(tmp_path) -> None:  # type: ignore[no-untyped-def]
    settings = load({"WARDSTREAM_HOME": str(tmp_path), "WARDSTREAM_BOOTSTRAP": "a:1,b:2"})
    app = build_app(Step(), settings)  # type: ignore[arg-type]
    faust_guards.guard(app)
    assert isinstance(app.consumer, GuardedConsumer)
    assert isinstance(app.producer, SafeProducer)
    assert isinstance(app.tables.recovery, GuardedRecovery)
    assert app.producer._settings_extra() == {"acks": "all", "enable_idempotence": True}
    conf = app.conf
    assert [str(url) for url in conf.broker] == ["kafka://a:1", "kafka://b:2"]
    assert str(conf.processing_guarantee.value) == "at_least_once"
    assert (conf.stream_wait_empty, conf.web_enabled, conf.web_tables_enabled) == (True, False, False)
    assert (conf.topic_allow_declare, conf.consumer_auto_offset_reset) == (False, "earliest")

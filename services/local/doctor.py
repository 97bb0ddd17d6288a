"""`wardstream doctor`: what is missing on this machine, and how to get it."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.bus.settings import CHECKOUT, BadSetting, load, site_from_settings


@dataclass(frozen=True)
class Check:
    """One thing that should be here. `needed` ones decide the exit status."""

    name: str
    found: str  # empty when it is missing
    mend: str
    needed: bool = True


def doctor() -> int:
    """Print one line a check; exit status 1 when something that the demo needs is missing."""
    checks = [check() for check in CHECKS]
    for check in checks:
        mark = "ok     " if check.found else ("MISSING" if check.needed else "absent ")
        print(f"{mark} {check.name}: {check.found or check.mend}")
    missing = [check for check in checks if check.needed and not check.found]
    print("\nAll that the demo needs is here." if not missing else f"\n{len(missing)} thing(s) missing.")
    return 1 if missing else 0


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Check("Python", version if fits else "", f"this is {version}; Wardstream needs 3.11, 3.12 or 3.13")


def _settings() -> Check:
    try:
        site = site_from_settings(load())
    except BadSetting as error:
        return Check("settings", "", str(error))
    return Check("settings", f"readable, site {site.name!r}, zone {site.time_zone}", "")


def _java() -> Check:
    from services.local.kafka_artifacts import find_java

    try:
        return Check("Java 17+ for the local Kafka", str(find_java()), "")
    except Exception as error:  # noqa: BLE001 -- whatever the reason, it is the line to show
        return Check("Java 17+ for the local Kafka", "", str(error))


def _kafka() -> Check:
    from services.local.kafka_artifacts import KAFKA_VERSION

    jars = list((load().home / "cache" / "maven").rglob(f"kafka_2.13-{KAFKA_VERSION}.jar"))
    mend = f"Apache Kafka {KAFKA_VERSION} is downloaded at the first start (44 MB)"
    return Check("Kafka artefacts", f"{KAFKA_VERSION}, downloaded" if jars else "", mend, needed=False)


def _entry() -> Check:
    from services.bus.reach import entry

    settings = load()
    name = f"Kafka at {settings.bootstrap} ({settings.security_protocol})"
    try:
        refused = entry(settings)
    except BadSetting as error:
        refused = str(error)
    if refused is None:
        return Check(name, "", "nobody answers; `wardstream up` starts a local one", needed=False)
    return Check(name, "" if refused else "lets us in", refused, needed=False)


def _triton() -> Check:
    venv = CHECKOUT / ".venv-triton"
    found = next(iter(venv.glob("lib/python3.*/site-packages/pytriton/tritonserver/bin/tritonserver")), None)
    return Check("tritonserver", str(found) if found else "", f"run `make .venv-triton` in {CHECKOUT}")


def _models() -> Check:
    found = sorted(path.parent.parent.name for path in (CHECKOUT / "model_repository").glob("*/*/model.onnx"))
    return Check("models", ", ".join(found), "model_repository/ holds no model.onnx: is the checkout complete?")


def _tool(name: str, what: str, mend: str) -> Callable[[], Check]:
    return lambda: Check(f"{name} ({what})", shutil.which(name) or "", mend, needed=False)


def _disk() -> Check:
    home = load().home
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(place).free / 2**30
    return Check(
        "disk", f"{free:.0f} GiB free at {_short(place)}" if free > 3 else "", f"{free:.1f} GiB free; 3 needed"
    )


def _short(path: Path) -> str:
    return str(path).replace(str(Path.home()), "~", 1)


CHECKS: tuple[Callable[[], Check], ...] = (
    _python,
    _settings,
    _java,
    _kafka,
    _entry,
    _triton,
    _models,
    _disk,
    _tool("storescu", "DICOM peer for tests", "Debian: apt-get install dcmtk"),
    _tool("chromium", "browser for tests", "Debian: apt-get install chromium chromium-driver"),
    _tool("promtool", "rule checks in tests", "Debian: apt-get install prometheus"),
)

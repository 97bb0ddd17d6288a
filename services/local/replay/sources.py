"""The sources by name."""

from collections.abc import Callable
from pathlib import Path

from services.local.replay.cinc2012 import Cinc2012
from services.local.replay.cinc2019 import Cinc2019
from services.local.replay.eicu import Eicu
from services.local.replay.files import FhirFiles, Hl7Files
from services.local.replay.nih_cxr import NihCxr
from services.local.replay.source import Source

DATA_SETS: dict[str, Callable[[Path], Source]] = {
    "cinc2019": Cinc2019,
    "cinc2012": Cinc2012,
    "eicu": Eicu,
    "nih_cxr": NihCxr,
    "hl7v2": Hl7Files,
    "fhir": FhirFiles,
}


def open_source(name: str, path: Path | None) -> Source:
    """The source called `name`. Raises ValueError when it is unknown or its path is missing."""
    if name == "synthetic":
        from services.local.simulate.source import Simulation

        return Simulation()
    if name not in DATA_SETS:
        raise ValueError(f"{name} is no source: {', '.join(DATA_SETS)}, synthetic")
    if path is None:
        raise ValueError(f"{name} needs the path of its file or folder")
    return DATA_SETS[name](path)

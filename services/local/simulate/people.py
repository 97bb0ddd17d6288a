"""Who the simulated patients are, and what will happen to them: drawn once from the seed and the patient's number."""

from dataclasses import dataclass

import numpy as np

UNITS = ("MICU", "SICU", "CCU", "ICU")
SEPTIC_SHARE = 0.4
DEATH_SHARE = {True: 0.3, False: 0.03}  # of septic and other patients
IMAGED_SHARE = 0.6


@dataclass(frozen=True)
class Person:
    """One simulated patient. Hours count from admission to the unit."""

    number: int
    age: float
    sex: str
    unit: str
    height_cm: float
    weight_kg: float
    before_h: int  # in hospital before the unit
    stay_h: int
    onset_h: int | None  # of sepsis
    lung: bool  # the infection is in the lung
    dies: bool
    imaged: bool

    @property
    def name(self) -> str:
        """The MRN, which says what it is."""
        return f"SIM{self.number:05d}"

    def generator(self, seed: int, stream: int) -> np.random.Generator:
        """Random numbers of this patient for one purpose: the same whatever else is drawn."""
        return np.random.default_rng([seed, self.number, stream])


def person(seed: int, number: int) -> Person:
    """Patient `number` of a simulation."""
    draw = np.random.default_rng([seed, number])
    septic = bool(draw.random() < SEPTIC_SHARE)
    stay = int(draw.integers(24, 96))
    onset = int(draw.integers(10, stay - 8)) if septic else None
    sex = "male" if draw.random() < 0.55 else "female"
    height = draw.normal(176 if sex == "male" else 163, 7)
    return Person(
        number=number,
        age=round(float(np.clip(draw.normal(64, 15), 18, 95)), 1),
        sex=sex,
        unit=UNITS[int(draw.integers(len(UNITS)))],
        height_cm=round(float(height), 1),
        weight_kg=round(float(np.clip(draw.normal(25.5, 4.5), 17, 45) * (height / 100) ** 2), 1),
        before_h=int(draw.integers(0, 48)),
        stay_h=stay,
        onset_h=onset,
        lung=bool(draw.random() < 0.5),
        dies=bool(draw.random() < DEATH_SHARE[septic]),
        imaged=bool(draw.random() < IMAGED_SHARE),
    )

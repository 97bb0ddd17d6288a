"""A risk prediction as the hospital's own systems read it: ORU^R01."""

from services.domain.prediction import Outcome, Prediction, Risk, Status
from services.formats.hl7v2.render import Coded, Envelope, Person, Result, Visit, oru_r01
from services.formats.ours import RISK_SYSTEM

RISK_PANEL = ("97505-0", "Clinical risk assessment", "LN")
"""OBR-4 of predictions: LOINC's name for a set of risk assessment findings."""


def risk_oru(
    envelope: Envelope,
    person: Person,
    prediction: Prediction,
    *,
    visit: Visit | None = None,
    filler: str = "",
    corrected: bool = False,
) -> bytes:
    """A prediction for the hospital's own systems: ORU^R01, one OBX per outcome.

    A risk is an NM in %, its alert threshold OBX-7, above or below it OBX-8, the model and its version OBX-17. NEWS2,
    which stands in while the models are away, has a code of its own and no %. What the model would not judge is a
    coded absence (CWE; status X, cannot be obtained), never a number, so that nobody reads silence as safety.
    With `corrected` the message replaces the one that was sent under `filler` (OBR-3; the prediction's id when empty):
    status C; of a record that was merged into another patient's, with no number.
    """
    status = "C" if corrected else "F"
    return oru_r01(
        envelope,
        person,
        [_risk(risk, prediction, status) for risk in prediction.risks],
        filler=filler or prediction.prediction_id,
        panel=RISK_PANEL,
        observed=prediction.as_of,
        visit=visit,
        status=status,
    )


def _risk(risk: Risk, prediction: Prediction, status: str) -> Result:
    code, display, unit = _RISK_CODES.get(risk.outcome, (risk.outcome.value, f"Predicted risk of {risk.outcome}", "%"))
    known = risk.score if risk.status is Status.FALLBACK else risk.probability
    absent = known is None or risk.status in (Status.INDETERMINATE, Status.SUPERSEDED)
    judged = not absent and (risk.threshold is not None or risk.status is Status.FALLBACK)
    model, version = prediction.model, prediction.model_version
    return Result(
        code=code,
        display=display,
        system=RISK_SYSTEM,
        value=_absence(risk) if absent or known is None else round(100 * known, 2) if unit == "%" else known,
        unit="" if absent else unit,
        reference_range=f"<{100 * risk.threshold:.4g}" if risk.threshold is not None else "",
        abnormal=("H" if risk.alert else "N") if judged else "",
        status="X" if absent and status == "F" else status,
        time=prediction.as_of,
        method=Coded(f"{model}:{version}", f"{model} {version}", RISK_SYSTEM),
    )


def _absence(risk: Risk) -> Coded:
    """Why there is no number: the reason, or else the status, as a code and in words."""
    code = str(risk.reason or risk.status)
    return Coded(code, f"not judged: {code.replace('_', ' ')}", RISK_SYSTEM)


_RISK_CODES = {
    Outcome.SEPSIS_6H: ("sepsis-6h", "Predicted risk of sepsis within 6 h", "%"),
    Outcome.MORTALITY: ("mortality", "Predicted risk of death in hospital", "%"),
    Outcome.DETERIORATION: ("news2", "NEWS2 score, while the models are away", "{score}"),
}
"""OBX-3 code and text, and OBX-6, of each outcome."""

"""What may be said of a defect of ours in a log: an exception's text and its traceback quote the message."""

from pathlib import Path

from services.domain.reasons import Rejected, RejectReason


def described(error: BaseException) -> str:
    """The exception's type and the place that raised it, `KeyError at reader.py:12`."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(error).__name__
    return f"{type(error).__name__} at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def defect(error: BaseException) -> Rejected:
    """The refusal of a message over which a step of the edge raised."""
    return Rejected(RejectReason.STEP_FAILED, hint=type(error).__name__)

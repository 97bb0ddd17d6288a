"""Birth dates for data sets that give ages alone."""

from datetime import UTC, datetime, timedelta

YEAR_DAYS = 365.2425


def birth_date(age_years: float, at_ms: int) -> str | None:
    """ISO date of birth for an age in years at a moment; None for NaN or a negative age.

    It lies half a year before the birthday that would fall on that moment, so that the age in completed years is
    the data set's own for the whole stay. `training.datasets.stays` does the same for its own clock.
    """
    if not age_years >= 0:
        return None
    moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    return (moment - timedelta(days=YEAR_DAYS * (int(age_years) + 0.5))).date().isoformat()

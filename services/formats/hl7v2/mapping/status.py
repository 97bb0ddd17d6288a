"""Result and document status to rank (HL7 tables 0085, 0123, 0271, 0273)."""

from services.domain.events import Rank

OBX_11: dict[str, int] = {
    "I": Rank.REGISTERED,  # specimen in lab, results pending
    "O": Rank.REGISTERED,  # order detail only
    "N": Rank.REGISTERED,  # not asked
    "P": Rank.PRELIMINARY,
    "R": Rank.PRELIMINARY,  # entered, not verified
    "S": Rank.PRELIMINARY,  # partial
    "F": Rank.FINAL,
    "U": Rank.FINAL,  # status change to final without retransmitting
    "V": Rank.FINAL,  # verified
    "B": Rank.FINAL,  # appended report
    "C": Rank.AMENDED,
    "A": Rank.AMENDED,
    "X": Rank.CANCELLED,  # cannot be obtained
    "D": Rank.ENTERED_IN_ERROR,  # deletes the OBX
    "W": Rank.ENTERED_IN_ERROR,  # posted as wrong
}
"""Observation result status."""

OBR_25: dict[str, int] = {
    "O": Rank.REGISTERED,
    "I": Rank.REGISTERED,
    "S": Rank.REGISTERED,  # scheduled, procedure not done
    "A": Rank.PRELIMINARY,  # some results available
    "P": Rank.PRELIMINARY,
    "R": Rank.PRELIMINARY,
    "F": Rank.FINAL,
    "M": Rank.AMENDED,  # corrected, not final
    "C": Rank.AMENDED,
    "X": Rank.CANCELLED,
}
"""Result status of the whole order, for an OBX without one of its own."""

TXA_17: dict[str, int] = {
    "DI": Rank.PRELIMINARY,  # dictated
    "DO": Rank.PRELIMINARY,  # documented
    "IN": Rank.PRELIMINARY,  # incomplete
    "IP": Rank.PRELIMINARY,  # in progress
    "PA": Rank.PRELIMINARY,  # pre-authenticated
    "AU": Rank.FINAL,
    "LA": Rank.FINAL,
}
"""Document completion status."""

TXA_19_CANCELLED = frozenset({"CA", "OB"})
"""Document availability: cancelled (deleted) or obsolete."""

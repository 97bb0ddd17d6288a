"""From what a hospital system calls a patient to the patient on the board.

A caller may give our pseudonymous key, an identifier (`system|value`), or a FHIR server's `Patient/id`; each resolves
to a key as it did when the events came in, and follows merges.
"""

from collections.abc import Iterable
from typing import Any

from services.deliver.board import Board
from services.domain.events import Identifier
from services.domain.site import Site
from services.formats.fhir.bundle import Message
from services.formats.fhir.subject import Subjects


class People:
    """Resolves the callers' names of patients."""

    def __init__(self, board: Board, site: Site) -> None:
        self._board = board
        self._subjects = Subjects(Message({}), site)

    def by_reference(self, reference: str, server: str = "") -> str | None:
        """The key of `KEY`, `Patient/KEY`, or `Patient/id` of a FHIR server; None when nobody here answers to it."""
        name = reference.rpartition("/")[2]
        bases = dict.fromkeys((server, reference.rpartition("/Patient/")[0], ""))
        return self._known([name, *(self._subjects.of_logical_id(base, name) for base in bases)])

    def by_identifier(self, token: str) -> tuple[str | None, Identifier]:
        """The key of a FHIR token `system|value`, and the identifier as it was understood."""
        system, bar, value = token.rpartition("|")
        identifier = Identifier(system if bar else self._subjects.site.default_authority, value)
        return self._known([self._subjects.of_identifier(identifier)]), identifier

    def by_resource(self, patient: dict[str, Any], server: str = "") -> str | None:
        """The key of a FHIR Patient resource: by any of its identifiers, else by its id on its server."""
        keys = [self._subjects.of_identifier(found) for found in self._subjects.identifiers(patient)]
        logical = patient.get("id")
        if isinstance(logical, str):
            keys += [self._subjects.of_logical_id(base, logical) for base in dict.fromkeys((server, ""))]
        return self._known(keys)

    def _known(self, keys: Iterable[str]) -> str | None:
        for key in keys:
            now = self._board.survivor(key)
            if self._board.row(now) is not None:
                return now
        return None

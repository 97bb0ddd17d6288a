"""Patient identity: (assigning authority, identifier) resolved to one pseudonymous patient key."""

import hmac
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

from services.domain.events import Identifier

if TYPE_CHECKING:
    from services.domain.site import Site

PREFERRED_TYPES = ("MR", "MRN", "PI", "PT", "AN", "")
"""HL7 table 0203 types by which a record is keyed, best first; a site may set its own order."""


def patient_key(authority: str, value: str, secret: bytes) -> str:
    """Pseudonym of one identifier: HMAC-SHA256 under the site's secret, 128 bits as hex.

    Without the secret the key cannot be guessed back by trying all MRNs. The same identifier always has the
    same key, whatever case or surrounding space its authority was written with.
    """
    message = f"{authority.strip().casefold()}\x1f{value.strip()}".encode()
    return hmac.new(secret, message, sha256).hexdigest()[:32]


def resolve(authority: str, site: "Site") -> str:
    """The authority that keys a record: an OID's digits without `urn:oid:`, else as sent; then the site's alias.

    HL7 names an authority by a namespace or an OID, FHIR by a URI, DICOM by a local name: the site's
    `authority_aliases` say which are one. They are compared without regard to case or surrounding space.
    """
    plain = _plain(authority)
    folded = plain.casefold()
    return next((to for sent, to in site.authority_aliases.items() if _plain(sent).casefold() == folded), plain)


def key_of(identifier: Identifier, site: "Site") -> str:
    """The patient key of an identifier, whatever the format that it came in."""
    return patient_key(resolve(identifier.authority, site), identifier.value, site.secret)


def _plain(authority: str) -> str:
    return authority.strip().removeprefix("urn:oid:")


def primary_identifier(
    identifiers: Sequence[Identifier], preferred: Sequence[str] = PREFERRED_TYPES
) -> Identifier | None:
    """The identifier that keys the record: of the most preferred type, first of its type; None when there is none."""
    usable = [i for i in identifiers if i.value.strip()]
    if not usable:
        return None
    order = {t: n for n, t in enumerate(preferred)}
    return min(enumerate(usable), key=lambda p: (order.get(p[1].type.upper(), len(order)), p[0]))[1]

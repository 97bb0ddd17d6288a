"""Patient merges as a set of edges, and who survives it: a function of the set alone.

Two sets are joined by keeping, for each (old, into) pair, its highest version: associative, commutative, idempotent. So
keys that exchange their sets end with the same set, and with the same survivor, in whatever order the merges came.
"""

from collections.abc import Iterable

from services.domain.events import MergeEdge

Edges = list[MergeEdge]
"""Sorted by version, then keys; one edge for each (old, into) pair."""


def joined(*sets: Iterable[MergeEdge]) -> Edges:
    """The join of several sets of edges; edges from a key to itself say nothing and are left out."""
    newest: dict[tuple[str, str], MergeEdge] = {}
    for edge in (edge for edges in sets for edge in edges):
        known = newest.get((edge.old, edge.into))
        if edge.old != edge.into and (known is None or edge.version > known.version):
            newest[edge.old, edge.into] = edge
    return sorted(newest.values(), key=lambda edge: (edge.version, edge.old, edge.into))


def group(edges: Edges, key: str) -> tuple[str, frozenset[str]]:
    """The surviving key of the one that `key` belongs to, and all keys that are one patient with it.

    Merges count in the order of their versions. A merge of a number that is superseded already acts on its survivor.
    One whose two numbers are one patient already changes nothing, unless it merges the survivor itself into one of its
    old numbers: that inverse merge is the latest decision, and the old number survives.
    """
    survivors: dict[str, str] = {}  # key -> its group's survivor
    for edge in edges:
        old, into = survivors.setdefault(edge.old, edge.old), survivors.setdefault(edge.into, edge.into)
        if old != into:
            survivors = {k: into if s == old else s for k, s in survivors.items()}
        elif edge.old == old:
            survivors = {k: edge.into if s == old else s for k, s in survivors.items()}
    survivor = survivors.get(key, key)
    return survivor, frozenset(k for k, s in survivors.items() if s == survivor) | {key}

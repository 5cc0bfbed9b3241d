"""The same photograph twice: equal files, and pictures whose difference hashes are a few bits apart.

Near hashes are found by the pigeonhole principle instead of comparing all pairs: cut 64 bits into 2 d bands;
hashes at most d bits apart agree in at least d of them. Pictures are sorted by each choice of d bands, and
only those that agree there are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

NEAR_BITS = 3
"""Bits of 64 that may differ: what re-encoding and rescaling change, and two photographs hardly ever."""

FARTHEST_BITS = 5  # more would need thousands of sortings
LEAST_DETAIL_BITS = 8
"""A hash with fewer bits set, or fewer unset, is of a plain surface; many different pictures share it."""

HASH_BITS = 64


@dataclass(frozen=True)
class Fingerprint:
    """What tells an image: ``sha256`` of its file (hex) and ``dhash``, 16 hex digits."""

    sha256: str
    dhash: str


def find_duplicates(pictures: Sequence[Fingerprint], distance: int = NEAR_BITS) -> list[list[int]]:
    """Groups of two or more pictures that show the same, as positions in ``pictures``.

    Pictures are alike when their files are equal or their hashes differ in at most ``distance`` bits, and a
    group is what hangs together by that. Pictures without detail are alike only when their files are equal.
    Groups and their members are in the order of ``pictures``. Time and memory grow with the number of
    pictures, not with its square.
    """
    assert 0 <= distance <= FARTHEST_BITS, f"a distance from 0 to {FARTHEST_BITS} bits"
    groups = _Groups(len(pictures))
    first_of_file: dict[str, int] = {}
    for at, picture in enumerate(pictures):
        groups.join(first_of_file.setdefault(picture.sha256, at), at)
    hashes = np.array([int(picture.dhash, 16) for picture in pictures], np.uint64)
    _join_near(hashes, distance, groups)
    return groups.of_several()


class _Groups:
    """Disjoint sets over 0..count-1 (union by smallest member, paths halved)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, at: int) -> int:
        parent = self._parent
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.root(one), self.root(other)))
        self._parent[high] = low

    def of_several(self) -> list[list[int]]:
        members: dict[int, list[int]] = {}
        for at in range(len(self._parent)):
            members.setdefault(self.root(at), []).append(at)
        return [group for group in members.values() if len(group) > 1]


def _join_near(hashes: NDArray[np.uint64], distance: int, groups: _Groups) -> None:
    ones = np.bitwise_count(hashes)
    detailed = np.flatnonzero((ones >= LEAST_DETAIL_BITS) & (ones <= HASH_BITS - LEAST_DETAIL_BITS))
    known, first, same = np.unique(hashes[detailed], return_index=True, return_inverse=True)
    members = detailed[first]
    for at, group in zip(detailed.tolist(), members[same].tolist(), strict=True):
        groups.join(group, at)
    for mask in _band_masks(distance):
        for run in _runs_of_equals(known & mask):
            _join_run(known[run], members[run].tolist(), distance, groups)


def _band_masks(distance: int) -> Iterator[np.uint64]:
    """Every choice of ``distance`` out of twice as many bands, as a mask of their bits."""
    edges = [HASH_BITS * band // max(2 * distance, 1) for band in range(2 * distance + 1)]
    bands = [(1 << high) - (1 << low) for low, high in pairwise(edges)]
    for chosen in combinations(bands, distance) if distance else ():
        yield np.uint64(sum(chosen))


def _runs_of_equals(keys: NDArray[np.uint64]) -> Iterator[NDArray[np.intp]]:
    """Positions of each value that occurs more than once."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=~keys[order[:1]]))
    lengths = np.diff(starts, append=len(keys))
    for start, length in zip(starts[lengths > 1].tolist(), lengths[lengths > 1].tolist(), strict=True):
        yield order[start : start + length]


def _join_run(hashes: NDArray[np.uint64], members: list[int], distance: int, groups: _Groups) -> None:
    """Join the near ones of a few. Ends early where all hang together, as the frames of one film do."""
    group_of = np.array([groups.root(member) for member in members])
    for at in range(len(members) - 1):
        if (group_of == group_of[at]).all():
            break
        near = np.bitwise_count(hashes[at + 1 :] ^ hashes[at]) <= distance
        met = group_of[at + 1 :][near]
        if (met != group_of[at]).any():
            group_of[np.isin(group_of, met)] = group_of[at]
    for member, group in zip(members, group_of.tolist(), strict=True):
        groups.join(group, member)

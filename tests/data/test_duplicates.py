"""Groups of pictures that show the same, against a plain comparison of all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from detr_hf.data.duplicates import (
    LEAST_DETAIL_BITS,
    NEAR_BITS,
    Fingerprint,
    find_duplicates,
)

PLAIN = 0x00FF_00FF_00FF_00FF


def pictures(*hashes: int) -> list[Fingerprint]:
    """Different files of these hashes."""
    return [Fingerprint(f"file {at}", f"{value:016x}") for at, value in enumerate(hashes)]


def by_all_pairs(hashes: list[int], distance: int) -> list[list[int]]:
    groups = [{at} for at in range(len(hashes))]
    for one in range(len(hashes)):
        for other in range(one):
            if (hashes[one] ^ hashes[other]).bit_count() <= distance and groups[one] is not groups[other]:
                joined = groups[one] | groups[other]
                for at in joined:
                    groups[at] = joined
    unique = {min(group): sorted(group) for group in groups if len(group) > 1}
    return [unique[first] for first in sorted(unique)]


def test_equal_files_are_duplicates_whatever_their_hash() -> None:
    found = [Fingerprint("a", "0" * 16), Fingerprint("b", "f" * 16), Fingerprint("a", "0" * 16)]
    assert find_duplicates(found) == [[0, 2]]


def test_hashes_within_the_distance_are_duplicates_and_no_others() -> None:
    three_bits, four_bits = PLAIN ^ 0b1011, PLAIN ^ (1 << 63 | 1 << 40 | 1 << 20 | 1)
    assert NEAR_BITS == 3
    assert find_duplicates(pictures(PLAIN, four_bits, three_bits)) == [[0, 2]]


def test_groups_hang_together_through_their_members() -> None:
    chain = [PLAIN, PLAIN ^ 0b111, PLAIN ^ 0b111111, PLAIN ^ 0b111111111]
    assert find_duplicates(pictures(*chain)) == [[0, 1, 2, 3]]


@pytest.mark.parametrize("plain", [0, (1 << (LEAST_DETAIL_BITS - 1)) - 1, (1 << 64) - 1])
def test_plain_surfaces_share_their_hash_and_are_no_duplicates(plain: int) -> None:
    assert find_duplicates(pictures(plain, plain)) == []


@pytest.mark.parametrize("distance", range(6))
def test_the_search_by_bands_finds_what_all_pairs_find(distance: int) -> None:
    rng = np.random.default_rng(distance)
    hashes = []
    for _ in range(40):
        first = int(rng.integers(0, 1 << 64, dtype=np.uint64))
        hashes.append(first)
        for _ in range(3):
            flips = rng.choice(64, int(rng.integers(0, 8)), replace=False)
            hashes.append(first ^ sum(1 << int(bit) for bit in flips))
    hashes = [hashes[at] for at in rng.permutation(len(hashes))]
    expected = by_all_pairs(hashes, distance)
    assert len(expected) > 5
    assert find_duplicates(pictures(*hashes), distance) == expected


def test_frames_of_one_film_beside_strangers_in_the_same_bands() -> None:
    frames = [PLAIN ^ (step << 4) for step in range(200)]
    strangers = [PLAIN ^ (0x0F0F_0F0F << 32) ^ step for step in (0, 0xFFFF)]
    assert find_duplicates(pictures(*frames, *strangers)) == by_all_pairs([*frames, *strangers], 3)

"""The choice, worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from detr_hf.pick import choose as module
from detr_hf.pick.choose import (
    Labeled,
    choose,
    class_rarities,
    distances_to,
    farthest_first,
    rarest,
    uncertainty_shares,
)
from detr_hf.pick.scores import Scored
from tests.pick.pick_factories import scored

UNKNOWN = Labeled(None, [], np.zeros(0, bool))


def labeled(*seen: Scored, counts: dict[str, int] | None = None, learned: bool = True) -> Labeled:
    return Labeled(counts or {}, seen, np.full(len(seen), learned))


def test_the_shortlist_is_the_least_sure_and_the_first_of_it_is_taken_where_nothing_is_labeled() -> None:
    pool = [scored(0.1, (9, 9)), scored(0.9, (0, 0)), scored(0.7, (3, 4)), scored(0.8, (1, 0))]
    choice = choose(pool, UNKNOWN, 2, "mean", shortlist=1)
    assert [one.image for one in choice.picks] == [1, 3], "the two least sure"
    assert [one.distance for one in choice.picks] == [None, 1.0] and choice.usual_distance is None
    choice = choose(pool, UNKNOWN, 2, "mean", shortlist=2)
    assert [one.image for one in choice.picks] == [1, 0], "the least sure, then the farthest from it"
    assert choice.picks[1].distance == pytest.approx(math.hypot(9, 9))


def test_the_farthest_from_what_is_labeled_comes_first() -> None:
    pool = [scored(0.9, (0, 1)), scored(0.5, (0, 5)), scored(0.4, (0, 4)), scored(0.3, (4, 0))]
    known = labeled(scored(0.0, (0, 0), name="known"))
    choice = choose(pool, known, 3, "entropy", shortlist=2)
    assert [(one.image, one.distance) for one in choice.picks] == [(1, 5.0), (3, 4.0), (0, 1.0)]
    assert choice.usual_distance == 4.0
    aside = choose(pool, labeled(*known.seen, learned=False), 1, "entropy", shortlist=4)
    assert aside.picks[0].image == 0, "only training images are kept away from"


def test_near_duplicates_are_taken_once_and_labeled_ones_never() -> None:
    bits = 0x0F0F_0F0F_0F0F_0F0F
    pool = [
        scored(0.5, (1, 0), bits),
        scored(0.9, (2, 0), bits ^ 1),
        scored(0.4, (3, 0), 0x00FF_00FF_00FF_00FF),
        scored(0.3, (4, 0)),
    ]
    known = labeled(scored(0, (0, 0), 0x00FF_00FF_00FF_00FD))
    choice = choose(pool, known, 4, "mean", shortlist=4)
    assert sorted(one.image for one in choice.picks) == [1, 3]
    assert next(one for one in choice.picks if one.image == 1).twins == [0], "the less sure of the two stays"
    assert (choice.labeled, choice.twins) == ([2], [0])


def test_a_pool_that_is_labeled_altogether_gives_nothing() -> None:
    pool = [scored(0.5)]
    choice = choose(pool, labeled(pool[0]), 3, "mean", shortlist=4)
    assert (choice.picks, choice.labeled, choice.usual_distance) == ([], [0], None)


def test_uncertainty_is_the_share_of_images_that_are_surer() -> None:
    pool = [scored(0.2), scored(0.8), scored(0.5), scored(0.5)]
    assert uncertainty_shares(pool, "margin").tolist() == [0, 0.75, 0.25, 0.25]
    odd = replace(pool[0].doubt, measures={"entropy": 0.9, "margin": 0.0, "flips": 0.6})
    assert uncertainty_shares([replace(pool[0], doubt=odd), *pool[1:]], "mean").tolist() == [0.5, 0.75, 0, 0]
    assert uncertainty_shares([replace(pool[0], doubt=odd), *pool[1:]], "entropy")[0] == 0.75


def test_rarity_is_by_the_logarithm_of_what_is_labeled() -> None:
    rarities = class_rarities({"brick": 99, "cone": 9, "crane": 0})
    assert rarities == {"brick": 0, "cone": pytest.approx(0.5), "crane": 1}
    assert class_rarities({"brick": 0}) == {"brick": 0} and class_rarities({}) == {}
    assert rarest({"brick": 0.9, "cone": 0.6}, rarities) == (pytest.approx(0.3), "cone")
    assert rarest({"toaster": 0.9, "crane": 0.2}, rarities) == (0.2, "crane"), "nobody annotates toasters"
    assert rarest({"toaster": 0.9}, rarities)[0] == 0 and rarest({}, rarities) == (0.0, None)


def test_a_rare_class_outweighs_some_certainty() -> None:
    pool = [
        scored(0.5, name="a"),
        scored(0.6, name="b"),
        scored(0.55, best={"cone": 0.9}, name="c"),
        scored(0.1, name="d"),
    ]
    counts = {"brick": 100, "cone": 0}
    choice = choose(pool, labeled(scored(0, name="known"), counts=counts), 1, "mean", shortlist=1)
    assert choice.picks[0].image == 2
    assert choice.picks[0].score == pytest.approx(0.5 * 1.9)
    assert (choice.picks[0].rarity, choice.picks[0].rare_class) == (pytest.approx(0.9), "cone")
    unknown = choose(pool, UNKNOWN, 3, "mean", shortlist=1)
    [cone] = [one for one in unknown.picks if one.image == 2]
    assert cone.rare_class == "cone", "without labels, by what the model sees in the pool"
    assert cone.rarity == pytest.approx(0.9 * (1 - math.log(1.9) / math.log(2.5)))


def test_blocks_of_distances_are_those_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    mine, others = 500 + rng.normal(size=(30, 8)), (500 + rng.normal(size=(70, 8))).astype(np.float16)
    plain = np.linalg.norm(mine[:, None] - others.astype(np.float64), axis=-1).min(1)
    assert distances_to(mine, others) == pytest.approx(plain, abs=1e-6)
    monkeypatch.setattr(module, "BLOCK", 100)
    assert distances_to(mine, others) == pytest.approx(plain, abs=1e-6)


def test_each_is_the_farthest_from_all_before() -> None:
    embeddings = np.random.default_rng(1).normal(size=(40, 3))
    taken = farthest_first(embeddings, None, 40)
    assert taken[0] == (0, None) and sorted(at for at, _ in taken) == list(range(40))
    for step in range(1, 40):
        before = embeddings[[at for at, _ in taken[:step]]]
        nearest = np.linalg.norm(embeddings[:, None] - before, axis=-1).min(1)
        assert taken[step][1] == pytest.approx(nearest.max())

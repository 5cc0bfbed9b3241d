"""From masks to one id map: hand-made cases, a slow loop on random ones, and stock's two faults."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch import Tensor
from transformers.models.detr.image_processing_detr import compute_segments

from detr_hf.modeling.panoptic_merge import merge_masks

CRANE, BRICK, SKY, GROUND = range(4)
STUFF = (SKY, GROUND)
Segments = list[tuple[int, int, float]]


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def painted(*rows: list[str], sure: float = 0.9, unsure: float = 0.1) -> Tensor:
    """Mask logits from pictures: `#` is sure, `+` is 0.7, `-` is 0.3, anything else is unsure."""
    values = {"#": logit(sure), "+": logit(0.7), "-": logit(0.3)}
    return torch.tensor(
        [[[values.get(c, logit(unsure)) for c in row] for row in picture] for picture in rows]
    )


def merged(masks: Tensor, labels: list[int], scores: list[float] | None = None, threshold: float = 0.0):  # type: ignore[no-untyped-def]
    scores = scores or [0.9] * len(labels)
    return merge_masks(masks, torch.tensor(labels), torch.tensor(scores), STUFF, threshold)


def test_every_pixel_goes_to_the_highest_mask() -> None:
    left, right = ["###+..", "###+.."], ["...###", "...###"]
    id_map, segments = merged(painted(left, right), [CRANE, BRICK], [0.6, 0.8])
    assert id_map.tolist() == [[1, 1, 1, 2, 2, 2]] * 2
    assert id_map.dtype == torch.int32
    assert segments == [(1, CRANE, pytest.approx(0.6)), (2, BRICK, pytest.approx(0.8))]


def test_things_of_one_class_stay_apart_and_stuff_of_one_class_is_one_segment() -> None:
    quarters = painted(
        ["###.....", "###....."], ["...##...", "...##..."], ["......##", "###...##"], ["#....#..", ".....#.."]
    )
    id_map, segments = merged(quarters, [SKY, SKY, SKY, GROUND], [0.7, 0.9, 0.8, 0.6])
    # three queries of sky are one segment with the best of their scores; ground has two pixels and goes
    assert segments == [(1, SKY, pytest.approx(0.9))]
    assert id_map.unique().tolist() == [1]
    things = painted(["###...", "###..."], ["...###", "...###"])
    id_map, segments = merged(things, [BRICK, BRICK])
    assert id_map.tolist() == [[1, 1, 1, 2, 2, 2]] * 2
    assert [category for _, category, _ in segments] == [BRICK, BRICK]


def test_merged_stuff_is_measured_as_a_whole() -> None:
    """Three pixels here and three there: each too small alone, together a segment of six."""
    masks = painted(["###...", "......"], ["......", "...###"], ["...+++", "+++..."])
    id_map, segments = merged(masks, [GROUND, GROUND, CRANE])
    assert id_map.tolist() == [[1, 1, 1, 2, 2, 2], [2, 2, 2, 1, 1, 1]]
    assert [(number, category) for number, category, _ in segments] == [(1, GROUND), (2, CRANE)]


@pytest.mark.parametrize(("pixels", "kept"), [(4, False), (5, True)])
def test_segments_of_four_pixels_are_tiny(pixels: int, kept: bool) -> None:
    small = ["#" * pixels + "." * (12 - pixels)]
    large = ["+" * 12]
    id_map, segments = merged(painted(small, large), [CRANE, BRICK])
    assert id_map.tolist() == [[1] * pixels + [2] * (12 - pixels)] if kept else [[1] * 12]
    assert [category for _, category, _ in segments] == ([CRANE, BRICK] if kept else [BRICK])


def test_the_pixels_of_tiny_segments_are_shared_out_again() -> None:
    crane = ["####............"]  # four pixels: goes
    brick = ["++++#..........."]  # one pixel: goes too, although it would have five without the crane
    other = ["-----#####......"]
    ground = [
        "----......######"
    ]  # the dropped pixels are as much the ground's as the other brick's, but for one
    id_map, segments = merged(painted(crane, brick, other, ground), [CRANE, BRICK, BRICK, GROUND])
    assert [category for _, category, _ in segments] == [BRICK, GROUND]
    assert id_map[0, 4:].tolist() == [1] * 6 + [2] * 6
    assert (id_map > 0).all()


def test_merged_stuff_stays_merged_when_a_tiny_segment_is_dropped() -> None:
    """Guards: the reference's second round: the merge forgotten, the second sky's pixels go to the crane."""
    sky, more_sky = ["#####..............."], ["..........##########"]
    crane, brick = [".....#####++++++++++"], ["##.................."]
    masks = painted(sky, more_sky, crane, brick)
    masks[3, 0, :2] += 1
    id_map, segments = merged(masks, [SKY, SKY, CRANE, BRICK])
    assert [category for _, category, _ in segments] == [SKY, CRANE]
    assert id_map.tolist() == [[1] * 5 + [2] * 5 + [1] * 10]


def test_every_id_is_unique_where_stock_gives_one_id_to_two_segments() -> None:
    """Guards: the counter set back after fused stuff: [stuff, A, stuff, B] is then numbered 1, 2, 1, 2."""
    masks = painted(
        ["#####" + "." * 15],
        ["." * 5 + "#####" + "." * 10],
        ["." * 10 + "#####" + "." * 5],
        ["." * 15 + "#####"],
    )
    labels, scores = [SKY, CRANE, SKY, BRICK], [0.9] * 4
    id_map, segments = merged(masks, labels, scores)
    assert [(number, category) for number, category, _ in segments] == [(1, SKY), (2, CRANE), (3, BRICK)]
    assert id_map.tolist() == [[1] * 5 + [2] * 5 + [1] * 5 + [3] * 5]
    stock_map, stock = compute_segments(
        masks.sigmoid(), torch.tensor(scores), torch.tensor(labels), label_ids_to_fuse=set(STUFF)
    )
    assert [segment["id"] for segment in stock] == [1, 2, 1, 2]  # crane and brick share an id
    assert stock_map.unique().tolist() == [1, 2]


def test_the_score_does_not_weigh_the_mask() -> None:
    """Guards: probabilities multiplied by the score before the 0.5 test, so that young models look empty."""
    masks = painted(["#######....."], [".....#######"], sure=0.8)
    labels, scores = [CRANE, BRICK], [0.6, 0.3]
    id_map, segments = merged(masks, labels, scores, threshold=0.5)
    assert [category for _, category, _ in segments] == labels
    assert id_map[0, 7:].tolist() == [2] * 5
    raised = masks.clone()
    raised[1, 0, 5:7] += 0.1  # the unsure query has the sharper mask here, and gets the pixels
    assert merged(raised, labels, scores)[0].tolist() == [[1] * 5 + [2] * 7]
    stock_map, stock = compute_segments(
        masks.sigmoid(), torch.tensor(scores), torch.tensor(labels), label_ids_to_fuse=set()
    )
    assert stock == []
    assert not stock_map.any()


def test_pixels_below_the_mask_threshold_are_void() -> None:
    masks = painted(["######+++---..."], ["......---++++++"])
    id_map, _ = merged(masks, [CRANE, BRICK], threshold=0.6)
    assert id_map.tolist() == [[1] * 9 + [2] * 6]
    id_map, _ = merged(masks, [CRANE, BRICK], threshold=0.8)
    assert id_map.tolist() == [[1] * 6 + [0] * 9]  # brick is nowhere sure enough, and gone
    id_map, segments = merged(masks, [CRANE, BRICK], threshold=0.95)
    assert not id_map.any()
    assert segments == []
    unsure = painted(["...............", "..............."])
    assert merged(unsure, [CRANE])[0].unique().tolist() == [1]  # no threshold, no void
    assert merged(unsure, [CRANE], threshold=0.5)[0].unique().tolist() == [0]


def test_no_query_is_kept() -> None:
    """Guards: "nothing found" as a map of -1 in floats, where other maps are integers and 0 is void."""
    id_map, segments = merge_masks(
        torch.zeros(0, 3, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0), STUFF, 0.5
    )
    assert id_map.tolist() == [[0] * 4] * 3
    assert id_map.dtype == torch.int32
    assert segments == []


def test_an_image_smaller_than_a_tiny_segment_is_void() -> None:
    id_map, segments = merged(torch.ones(2, 2, 2), [CRANE, SKY])
    assert not id_map.any()
    assert segments == []


def test_a_label_map_without_stuff() -> None:
    masks = painted(["#####....."], [".....#####"])
    id_map, segments = merge_masks(masks, torch.tensor([SKY, SKY]), torch.tensor([0.9, 0.9]), ())
    assert id_map.tolist() == [[1] * 5 + [2] * 5]
    assert len(segments) == 2


def slow_merge(
    masks: Tensor, labels: list[int], scores: list[float], threshold: float
) -> tuple[list, Segments]:
    """The rule as a loop over pixels."""
    queries = list(range(len(labels)))
    height, width = masks.shape[1:]

    def name(query: int) -> tuple[str, int]:
        return ("stuff", labels[query]) if labels[query] in STUFF else ("thing", query)

    while queries:
        owners = [[None] * width for _ in range(height)]
        for y in range(height):
            for x in range(width):
                best = max(queries, key=lambda query, y=y, x=x: masks[query, y, x].item())
                if 1 / (1 + math.exp(-masks[best, y, x].item())) >= threshold:
                    owners[y][x] = name(best)
        areas = Counter(owner for row in owners for owner in row)
        tiny = [query for query in queries if areas[name(query)] <= 4]
        if not tiny:
            names = list(dict.fromkeys(name(query) for query in queries))
            ids = {None: 0, **{owner: number for number, owner in enumerate(names, 1)}}
            members = {owner: [query for query in queries if name(query) == owner] for owner in names}
            segments = [
                (ids[owner], labels[members[owner][0]], max(scores[query] for query in members[owner]))
                for owner in names
            ]
            return [[ids[owner] for owner in row] for row in owners], segments
        queries = [query for query in queries if query not in tiny]
    return [[0] * width for _ in range(height)], []


@pytest.mark.parametrize("threshold", [0.0, 0.6])
@pytest.mark.parametrize("seed", range(12))
def test_random_masks_equal_the_slow_loop(seed: int, threshold: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    count = 3 + seed
    smooth = torch.randn(count, 1, 4, 5, generator=generator)
    masks = torch.nn.functional.interpolate(smooth, (11, 13), mode="bilinear")[:, 0]
    masks = masks + 0.5 * torch.randn(masks.shape, generator=generator)
    labels = torch.randint(0, 4, (count,), generator=generator).tolist()
    scores = torch.rand(count, generator=generator).tolist()
    id_map, segments = merged(masks, labels, scores, threshold)
    expected_map, expected = slow_merge(masks, labels, scores, threshold)
    assert id_map.tolist() == expected_map
    assert segments == [(number, category, pytest.approx(score)) for number, category, score in expected]
    assert set(id_map.unique().tolist()) - {0} == {number for number, _, _ in segments}
    assert threshold == 0 or not id_map.all()

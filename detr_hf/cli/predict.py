"""`detr-hf predict`: what a model finds in images and videos."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detr_hf.cli.number_types import count, count_or_zero, share
from detr_hf.errors import UserError, quantity

if TYPE_CHECKING:
    from detr_hf.data.given_ids import GivenIds

HELP = "Find objects in images, folders of images, videos or a camera."
PLACE = 5
EXAMPLES = (
    "detr-hf predict runs/my_photos/detection/best photos/ --out runs/found --threshold 0.5",
    "detr-hf predict runs/my_photos/panoptic/best film.mp4 --out runs/found",
)
PAGE = "predict.md"
MOST_CLASSES = 12  # whose objects are counted on the terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "model",
        help="a folder such as RUN/best, or a Hub id; `demo`, `demo-deformable`: tiny models",
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="source",
        help="an image, a folder of images, a video, a pattern in quotes, or the number of a camera",
    )
    parser.add_argument(
        "--out",
        default="runs/found",
        help="folder for the results; for one video also a file, .mp4 or .gif (default: runs/found)",
    )
    parser.add_argument(
        "--threshold",
        type=share,
        help="minimum score, 0 to 1 (default: the best one on the model's validation split; if unknown, 0.85 "
        "for DETR, 0.4 for other families)",
    )
    parser.add_argument("--batch-size", type=count, default=1, help="images in one pass (default: 1)")
    parser.add_argument("--device", help="for example cpu or cuda:1 (default: a GPU, if available)")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32", help="default: fp32")
    parser.add_argument(
        "--format",
        choices=("json", "coco", "cvat", "labelstudio"),
        default="json",
        help="json: a file for each image or video; for all images together, coco: COCO's own files, "
        'cvat: XML and "COCO 1.0" for CVAT, labelstudio: tasks with predictions (default: json)',
    )
    parser.add_argument(
        "--image-root", metavar="FOLDER", help="in files for all images, name these relative to it"
    )
    parser.add_argument(
        "--image-ids",
        metavar="JSON",
        help="of --format coco: take ids of images and classes from a COCO JSON",
    )
    parser.add_argument(
        "--image-url",
        metavar="PREFIX",
        help="of --format labelstudio: prefix of image names (default: /data/local-files/?d=)",
    )
    parser.add_argument("--no-pictures", action="store_true", help="do not draw the results")
    parser.add_argument(
        "--explain", action="store_true", help="also draw the attention (and mask) of each kept query"
    )
    parser.add_argument(
        "--tile",
        type=count_or_zero,
        help="predict in tiles of so many pixels; 0: whole images (default: as the model was trained)",
    )
    parser.add_argument("--tile-overlap", type=share, help="overlap of tiles (default: as trained, else 0.2)")
    parser.add_argument("--seconds", type=float, help="stop a video or the camera after so many seconds")


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    from detr_hf.data.given_ids import read_given_ids
    from detr_hf.inputs import find_sources, image_names

    _refuse_contradictions(arguments)
    sources = find_sources(arguments.sources)
    if sources.videos and arguments.format in ("cvat", "labelstudio"):
        raise UserError(f"--format {arguments.format} is for images; give the frames of a video as images.")
    if arguments.format != "json":
        image_names(sources.images, arguments.image_root)
    given = None if arguments.image_ids is None else read_given_ids(Path(arguments.image_ids))
    out = Path(arguments.out)
    if out.suffix.lower() in (".mp4", ".gif") and (sources.images or len(sources.videos) != 1):
        raise UserError(f"--out {out} is one video; several sources, or images, need a folder there.")
    predictor = _predictor(arguments)
    failures, found = [], [0]
    if sources.images:
        failures += _faults(partial(_images, predictor, sources.images, out, arguments, given), found)
    for video, file in zip(sources.videos, _video_files(sources.videos, out), strict=True):
        failures += _faults(partial(_video, predictor, video, file, arguments), found)
    _tell_if_nothing(predictor, sum(found))
    if failures:
        raise UserError("\n".join(failures))


def _refuse_contradictions(arguments: argparse.Namespace) -> None:
    if arguments.explain and arguments.tile:
        raise UserError("--explain and --tile cannot be combined; leave one of them out.")
    if arguments.seconds is not None and arguments.seconds <= 0:
        raise UserError("--seconds must be more than 0.")
    formats = {
        "image_ids": ("coco",),
        "image_url": ("labelstudio",),
        "image_root": ("coco", "cvat", "labelstudio"),
    }
    for name, fitting in formats.items():
        if getattr(arguments, name) is not None and arguments.format not in fitting:
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} belongs to --format {' or '.join(fitting)}; leave one of them out.")


def _predictor(arguments: argparse.Namespace) -> Any:
    from detr_hf.demo.resolve import model_path
    from detr_hf.inference import Predictor, TiledPredictor

    predictor = Predictor.from_pretrained(
        model_path(arguments.model), arguments.threshold, arguments.device, arguments.precision
    )
    trained = predictor.tiles
    if arguments.tile == 0 or (arguments.tile is None and trained is None):
        if arguments.tile_overlap is not None:
            raise UserError("--tile-overlap has no effect without tiles; give --tile a size, or leave it out")
        return predictor
    if arguments.explain:
        raise UserError(
            f"{arguments.model} was trained in tiles, which --explain cannot show; "
            "add --tile 0 to predict whole images."
        )
    tiled = TiledPredictor(predictor, arguments.tile, arguments.tile_overlap)
    if arguments.tile is None:
        print(f"in tiles of {tiled.tile} px, as the model was trained; --tile 0 looks at whole images")
    return tiled


def _images(
    predictor: Any, images: list[Path], out: Path, arguments: argparse.Namespace, given: GivenIds | None
) -> int:
    from detr_hf.inference.folder import Output, records_to_folder

    root = None if arguments.image_root is None else Path(arguments.image_root)
    output = Output(
        arguments.format,
        root,
        given,
        model=arguments.model,
        batch_size=arguments.batch_size,
        pictures=not arguments.no_pictures,
        explain=arguments.explain,
    )
    if arguments.image_url is not None:
        output = replace(output, image_url=arguments.image_url)
    seen, found = 0, Counter[str]()
    for record in records_to_folder(predictor, images, out, output):
        seen += 1
        found.update(one["label"] for one in record.get("segments", record["objects"]))
    if found:
        most = [f"{count} {name}" for name, count in found.most_common(MOST_CLASSES)]
        print(", ".join(most) + (", ..." if len(found) > MOST_CLASSES else ""))
    counts = f"{quantity(seen, 'image')}, {quantity(found.total(), 'object')}"
    print(f"{counts} above {_threshold(predictor, arguments)}: {out}")
    return found.total()


def _threshold(predictor: Any, arguments: argparse.Namespace) -> str:
    """The threshold and, where nobody gave one, where it comes from."""
    plain = getattr(predictor, "predictor", predictor)
    is_chosen = arguments.threshold is None and plain.best_threshold is not None
    return f"{plain.score_threshold:g}" + (", the best on validation" if is_chosen else "")


def _tell_if_nothing(predictor: Any, found: int) -> None:
    from detr_hf.inference.results import nothing_found

    plain = getattr(predictor, "predictor", predictor)
    if not found and plain.highest_score > 0:  # 0: not one image could be read
        print(nothing_found(plain.highest_score, plain.score_threshold))


def _video(predictor: Any, video: Path | int, file: Path, arguments: argparse.Namespace) -> int:
    from detr_hf.inference.video import predict_video

    lines = file.with_suffix(".jsonl") if arguments.format == "json" else None
    done = predict_video(predictor, video, file, arguments.batch_size, arguments.seconds, lines)
    speed = f"{done.took:.1f} s, {done.frames_per_second:.1f} frames/s"
    found = f"{quantity(done.found, 'object')} above {_threshold(predictor, arguments)}"
    print(f"{file}: {quantity(done.frames, 'frame')} in {speed}; {found}")
    return done.found


def _video_files(videos: list[Path | int], out: Path) -> list[Path]:
    """Where each video's result goes: the file given, or one beside the others in the folder."""
    from detr_hf.inference.results import result_names

    if out.suffix.lower() in (".mp4", ".gif"):
        return [out]
    names = result_names([Path(f"camera{video}") if isinstance(video, int) else video for video in videos])
    return [out / f"{name}.mp4" for name in names]


def _faults(action: Callable[[], int], found: list[int]) -> list[str]:
    """What went wrong, so that the other sources are done all the same; ``found`` takes what was found."""
    try:
        found.append(action())
    except UserError as error:
        return [str(error)]
    return []

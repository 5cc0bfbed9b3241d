"""Videos in and out: times, size, colors that stay, and files that can be played whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detr_hf import cli
from detr_hf.demo.resolve import CHECKPOINT
from detr_hf.demo.video import draw_film, write_film
from detr_hf.errors import UserError
from detr_hf.inference import Predictor, as_record, video, video_reader
from detr_hf.inference.tracker import Tracker
from detr_hf.inference.video import FramePainter, predict_video
from detr_hf.inference.video_reader import Footage, Frame, open_footage
from detr_hf.inference.video_writer import VideoWriter
from detr_hf.modeling.predictions import Detections, PanopticPrediction, Segment
from tests.tiny_runs import ALL_LABELS
from tools.pretrain_tiny.street import STREET

av = pytest.importorskip("av", reason="the extra [video] is not installed")

RATE = Fraction(30_000, 1001)  # what television counts as 30


def write_plain(path: Path, count: int = 12, size_wh: tuple[int, int] = (96, 64), rotation: int = 0) -> Path:
    """A film with a white left top corner, a black rest, and sound."""
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    image[: size_wh[1] // 2, : size_wh[0] // 2] = 255
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        sound = container.add_stream("aac", rate=44_100)
        stream.width, stream.height, stream.pix_fmt = *size_wh, "yuv420p"
        if rotation:
            stream.set_display_rotation(rotation)
        for _ in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        silence.sample_rate = 44_100
        container.mux([*sound.encode(silence), *sound.encode(None), *stream.encode(None)])
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames of the street, whose classes the checkpoint knows."""
    return write_film(tmp_path_factory.mktemp("film") / "street.mp4", seed=1, seconds=0.4, world=STREET)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_pretrained(CHECKPOINT, 0.5)


# ---- reading


def test_frames_come_at_their_times(tmp_path: Path) -> None:
    footage = open_footage(write_plain(tmp_path / "a.mp4"))
    assert (footage.rate, footage.count) == (RATE, 12)
    times = [frame.at for frame in footage.frames]
    assert times == [pytest.approx(number / RATE, abs=1e-4) for number in range(12)]
    short = open_footage(tmp_path / "a.mp4", seconds=0.2)
    assert (len(list(short.frames)), short.count) == (6, 6)


@pytest.mark.parametrize(
    ("rotation", "corner"), [(90, (-1, 0)), (-90, (0, -1)), (180, (-1, -1)), (0, (0, 0))]
)
def test_a_film_that_lies_on_its_side_is_set_upright(
    rotation: int, corner: tuple[int, int], tmp_path: Path
) -> None:
    path = write_plain(tmp_path / "turned.mp4", rotation=rotation)
    frame = next(open_footage(path).frames).pixels
    assert frame.shape == ((96, 64, 3) if rotation % 180 else (64, 96, 3))
    inside = tuple(8 if side == 0 else -8 for side in corner)
    corners = {at: frame[at].mean() > 128 for at in ((8, 8), (8, -8), (-8, 8), (-8, -8))}
    assert [at for at, white in corners.items() if white] == [inside]


@pytest.mark.parametrize("content", [b"", b"just words\n" * 50, b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n"])
def test_what_is_no_video_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.mp4: this is no video that can be read"):
        open_footage(path)


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(UserError, match=r"a\.mp4: the video cannot be read \(it is a named pipe"):
        open_footage(tmp_path / "a.mp4")


def test_a_film_without_images(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=44_100)
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        silence.sample_rate = 44_100
        container.mux([*sound.encode(silence), *sound.encode(None)])
    with pytest.raises(UserError, match="there are no images in it"):
        open_footage(path)


def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(UserError, match="camera 97 cannot be opened"):
        open_footage(97)


def test_a_camera_is_watched_for_as_long_as_asked(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[bool] = []

    class Camera:
        def __init__(self, number: int) -> None:
            assert number == 0

        def isOpened(self) -> bool:  # noqa: N802
            return True

        def get(self, key: int) -> float:
            return 30.0

        def read(self) -> tuple[bool, np.ndarray]:
            shown.append(True)
            time.sleep(0.02)
            return True, np.full((48, 64, 3), (255, 0, 0), np.uint8)  # blue, as cv2 counts colors

        def release(self) -> None:
            shown.clear()

    monkeypatch.setattr(video_reader.cv2, "VideoCapture", Camera)
    frame = next(open_footage(0).frames)
    assert frame.pixels[0, 0].tolist() == [0, 0, 255]
    done = predict_video(predictor, 0, tmp_path / "seen.mp4", seconds=0.3)
    assert done.frames >= 1 and not shown, "the camera is given back"
    assert len(list(open_footage(tmp_path / "seen.mp4").frames)) == done.frames


# ---- writing


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_times_of_frames_are_kept(suffix: str, tmp_path: Path) -> None:
    times = [Fraction(at, 100) for at in (0, 4, 8, 30, 34)]  # a camera that stalls once
    with VideoWriter(tmp_path / f"a{suffix}", Fraction(25)) as writer:
        for number, at in enumerate(times):
            writer.add(Image.new("RGB", (51, 35), (50 * number, 0, 0)), at)
    footage = open_footage(tmp_path / f"a{suffix}")
    frames = list(footage.frames)
    assert [frame.at for frame in frames] == times
    assert frames[0].pixels.shape == ((35, 51, 3) if suffix == ".gif" else (36, 52, 3)), "MP4 has even sides"


def test_a_gif_has_one_palette_and_no_frames_that_browsers_slow_down(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    with VideoWriter(tmp_path / "a.gif", Fraction(100)) as writer:
        for number in range(20):
            pixels = noise.integers(0, 255, (60, 80, 3), np.uint8)
            writer.add(Image.fromarray(pixels), Fraction(number, 100))
    gif = Image.open(tmp_path / "a.gif")
    assert gif.n_frames == 10 and gif.info["loop"] == 0
    assert not any(flags & 128 for flags in _image_flags(tmp_path / "a.gif")), "no palettes of their own"
    for number in range(gif.n_frames):
        gif.seek(number)
        assert gif.info["duration"] == 20


def _image_flags(path: Path) -> Iterator[int]:
    """The packed byte of every image descriptor of a GIF; its highest bit is that of a local palette."""
    data = path.read_bytes()
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    while data[at] != 0x3B:
        if data[at] == 0x21:
            at += 2
        else:
            assert data[at] == 0x2C
            yield data[at + 9]
            at += 11 + (3 * 2 ** ((data[at + 9] & 7) + 1) if data[at + 9] & 128 else 0)
        while data[at]:
            at += data[at] + 1
        at += 1


def test_wrong_suffixes_and_a_result_in_the_place_of_its_source(predictor: Predictor, film: Path) -> None:
    with pytest.raises(UserError, match=r"written as \.mp4 or \.gif"):
        VideoWriter(film.with_suffix(".avi"), RATE)
    with pytest.raises(UserError, match="is the video itself"):
        predict_video(predictor, film, film)


# ---- the whole way


def test_a_film_is_predicted_at_its_rate(predictor: Predictor, film: Path, tmp_path: Path) -> None:
    lines = tmp_path / "seen.jsonl"
    done = predict_video(predictor, film, tmp_path / "seen.mp4", batch_size=4, lines=lines)
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [line["frame"] for line in found] == list(range(10))
    assert [line["seconds"] for line in found] == pytest.approx([at / 25 for at in range(10)])
    frame = next(iter(open_footage(film).frames))
    alone = as_record(next(predictor.stream([frame.pixels])), predictor.labels, 0.5)
    assert found[0]["objects"] and [one["label"] for one in found[0]["segments"]] == [
        one["label"] for one in alone["segments"]
    ]
    assert done.frames == 10 and done.frames_per_second > 0
    footage = open_footage(tmp_path / "seen.mp4")
    frames = list(footage.frames)
    assert footage.rate == 25 and len(frames) == 10 and frames[-1].at == Fraction(9, 25)
    assert frames[0].pixels.shape == (480, 640, 3), "small images are drawn larger"


def test_colors_do_not_flicker(predictor: Predictor) -> None:
    """The paint over a pixel is its segment's: from one frame to the next it may only change with its class.

    The shade of a thing stays for the whole film, though the order in which queries come changes.
    """
    paint = FramePainter(predictor.labels, predictor.score_threshold)
    tracker = Tracker(predictor.labels)
    before: tuple[np.ndarray, np.ndarray] | None = None
    shades_of: dict[str, set[int]] = {}
    black = np.zeros((240, 320, 3), np.uint8)  # only the paint shows
    for scene in draw_film(1, seconds=0.5, world=STREET):
        [found] = predictor.stream([scene.image])
        assert isinstance(found, PanopticPrediction)
        shades = tracker.update(found)
        for segment in found.segments:
            if segment.id in shades:
                shades_of.setdefault(predictor.labels.names[segment.category_id], set()).add(
                    shades[segment.id]
                )
        classes = np.zeros(1 + len(found.segments), np.int64)
        classes[[one.id for one in found.segments]] = [one.category_id + 1 for one in found.segments]
        painted = np.asarray(paint(black, found))[::2, ::2]
        now = classes[found.id_map]
        if before is not None:
            same = (now == before[1]) & (now > 0)
            changed = (np.abs(painted.astype(int) - before[0]) > 8).any(-1) & same
            assert changed.mean() < 0.06, "outlines and names move, areas keep their color"
        before = painted.astype(int), now
    assert {"bench", "motorcycle"} <= set(shades_of)
    assert shades_of["bench"] == shades_of["motorcycle"] == {0}


def panoptic(*boxes: tuple[int, int, int, int, int]) -> PanopticPrediction:
    """Segments of (class, left, top, right, bottom)."""
    id_map = np.zeros((60, 80), np.int32)
    for number, (_, left, top, right, bottom) in enumerate(boxes, start=1):
        id_map[top:bottom, left:right] = number
    segments = [Segment(number, box[0], 0.9) for number, box in enumerate(boxes, start=1)]
    none = Detections(0, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    return PanopticPrediction(0, id_map, segments, none)


def test_a_thing_keeps_its_shade_while_others_come_and_go() -> None:
    tracker = Tracker(ALL_LABELS)
    left, right = (0, 5, 5, 20, 20), (0, 50, 5, 70, 20)
    assert tracker.update(panoptic(left, right)) == {1: 0, 2: 1}
    assert tracker.update(panoptic(right, left)) == {1: 1, 2: 0}, "queries come in any order"
    assert tracker.update(panoptic((0, 52, 6, 72, 21))) == {1: 1}, "one is out of sight"
    assert tracker.update(panoptic((3, 0, 30, 80, 60), left)) == {2: 0}, "and comes back; stuff has no shade"
    assert tracker.update(panoptic((1, 5, 5, 20, 20))) == {1: 0}, "another class counts from the start"
    for _ in range(40):
        tracker.update(panoptic())
    assert tracker.update(panoptic(right)) == {1: 0}, "after long enough it is forgotten"


def test_boxes_of_stage_1(detector: Path, film: Path, tmp_path: Path) -> None:
    done = predict_video(Predictor.from_pretrained(detector, 0.3), film, tmp_path / "a.mp4", seconds=0.2)
    assert done.frames == 5


def test_a_damaged_film_gives_what_could_be_read(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with VideoWriter(tmp_path / "out.mp4", RATE) as writer:
        writer.add(Image.new("RGB", (64, 48)), Fraction(0))
        writer.add(Image.new("RGB", (80, 40), "white"), Fraction(1, 10))  # takes the size of the first

    def frames() -> Iterator[Frame]:
        yield Frame(np.zeros((48, 64, 3), np.uint8), Fraction(0))
        raise UserError("the video is damaged after 0.0 s")

    monkeypatch.setattr(video, "open_footage", lambda source, seconds: Footage(RATE, 2, frames()))
    with pytest.raises(UserError, match="damaged"):
        predict_video(predictor, tmp_path / "any.mp4", tmp_path / "cut.mp4")
    assert [len(list(open_footage(tmp_path / name).frames)) for name in ("out.mp4", "cut.mp4")] == [2, 1]


@pytest.mark.slow
def test_ctrl_c_leaves_a_film_that_plays(tmp_path: Path) -> None:
    film = write_film(tmp_path / "street.mp4", seconds=20.0, world=STREET)
    command = [
        sys.executable,
        "-m",
        "detr_hf.cli",
        "predict",
        "demo",
        str(film),
        "--out",
        str(tmp_path / "out"),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        part = tmp_path / "out" / "street.mp4"
        while not (part.exists() and part.stat().st_size > 0) and process.poll() is None:
            time.sleep(0.1)
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    assert process.returncode == 130 and "interrupted" in told and "Traceback" not in told
    frames = list(open_footage(part).frames)
    assert 0 < len(frames) < 500


def test_the_command(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "seen.gif"
    cli.main(["predict", "demo", str(film), "--out", str(out), "--threshold", "0.5", "--seconds", "0.2"])
    told = capsys.readouterr().out
    assert str(out) in told and "5 frames in" in told and "frames/s" in told
    assert len(out.with_suffix(".jsonl").read_text().splitlines()) == 5
    linked = tmp_path / "linked.jsonl"
    linked.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SystemExit):
        cli.main(["predict", "demo", str(film), "--out", str(tmp_path / "linked.mp4"), "--seconds", "0.1"])
    assert "is a link to another place" in capsys.readouterr().err and not (tmp_path / "elsewhere").exists()
    for wrong in (["--seconds", "0"], ["--explain", "--tile", "300"]):
        with pytest.raises(SystemExit):
            cli.main(["predict", "demo", str(film), "--out", str(out), *wrong])
    with pytest.raises(SystemExit):
        cli.main(["predict", "demo", str(film), str(film.parent), "--out", str(out)])

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from clips import cut_off, write_clip
from coded import number, picture, write_at

from avatar3d import media
from avatar3d.media.colour import HLG, PQ, ToRGB, tone_map
from avatar3d.media.orient import Layout


def shown(times_s: np.ndarray, last_s: float) -> list[int]:
    """The picture nearest to each 25th of a second: the definition, written the slow way."""
    times = times_s - times_s[0]
    ticks = np.arange(round((times[-1] + last_s) * 25)) / 25
    return [int(np.abs(times - tick - 1e-7).argmin()) for tick in ticks]


@pytest.mark.parametrize("fps", [24, 25, 30, 50, 60])
def test_constant_rates_become_25(tmp_path: Path, fps: int) -> None:
    times = np.arange(2 * fps) / fps
    path = write_at(tmp_path / "clip.mp4", times, 1 / fps)
    got = [number(rgb) for rgb in media.frames(path)]
    assert got == shown(times, 1 / fps)
    assert len(got) == 50


def test_uneven_dropped_and_late_pictures_stay_in_time(tmp_path: Path) -> None:
    steps = np.random.default_rng(4).uniform(0.012, 0.06, 80)
    steps[30] = 0.7  # a webcam that was busy
    times = 1.5 + np.concatenate([[0], np.cumsum(steps)])
    path = write_at(tmp_path / "clip.mkv", np.round(times, 3))
    assert [number(rgb) for rgb in media.frames(path)] == shown(np.round(times, 3), 0.04)


def test_low_rate_takes_every_tenth(tmp_path: Path) -> None:
    path = write_at(tmp_path / "clip.mp4", np.arange(100) / 25)
    assert [number(rgb) for rgb in media.frames(path, 2.5)] == list(range(0, 100, 10))


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotation_flag_is_applied(tmp_path: Path, degrees: int) -> None:
    stored = np.zeros((64, 96, 3), np.uint8)
    stored[:32, :48] = 255, 0, 0
    stored[:32, 48:] = 0, 0, 255
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.set_display_rotation(degrees)
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored)))
        container.mux(stream.encode(None))
    rgb = next(media.frames(path))
    upright = np.rot90(stored, degrees // 90)
    assert rgb.shape == upright.shape
    assert np.abs(rgb.astype(int) - upright)[8:-8, 8:-8].mean() < 8
    box = (0, 0, 32, 48)  # a part of the picture as shown, not as stored
    part = next(media.frames(path, box=box))
    assert np.abs(part.astype(int) - upright[:48, :32])[4:-4, 4:-4].mean() < 8


def test_mirror_flag_is_applied() -> None:
    stored = np.arange(24).reshape(4, 6, 1)
    for layout in (Layout(6, 4, flip_x=True), Layout(4, 6, transposed=True), Layout(4, 6, 1.0, True, True, True)):
        upright = layout.shown(stored)
        left, top, right, bottom = layout.stored_box((1, 2, 3, 4))
        part = layout.shown(stored[top:bottom, left:right])
        np.testing.assert_array_equal(part, upright[2:4, 1:3])


def test_pixels_become_square(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 64, "yuv420p"
        stream.sample_aspect_ratio = stream.codec_context.sample_aspect_ratio = 2
        for index in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index))))
        container.mux(stream.encode(None))
    assert (media.probe(path).width, media.probe(path).height) == (320, 64)
    assert next(media.frames(path)).shape == (64, 320, 3)


@pytest.mark.parametrize("matrix, full", [("ITU709", False), ("ITU601", False), ("ITU709", True), ("ITU601", True)])
def test_colours_follow_the_tags(tmp_path: Path, matrix: str, full: bool) -> None:
    from av.video.reformatter import ColorRange, Colorspace

    colour = np.array([200, 40, 90], np.uint8)
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv444p"
        context = stream.codec_context
        context.colorspace = {"ITU709": 1, "ITU601": 6}[matrix]
        context.color_range = ColorRange.JPEG if full else ColorRange.MPEG
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.tile(colour, (64, 64, 1)))
            frame = frame.reformat(
                format="yuv444p", dst_colorspace=Colorspace[matrix], dst_color_range=context.color_range
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert np.abs(next(media.frames(path))[20:40, 20:40].astype(int) - colour).max() <= 4


def test_what_is_not_resized_is_not_touched(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    path = write_clip(tmp_path / "clip.mp4", list(noise))
    with av.open(str(path)) as container:
        plain = next(container.decode(video=0)).to_ndarray(format="rgb24")
    np.testing.assert_array_equal(next(media.frames(path)), plain)
    np.testing.assert_array_equal(next(media.frames(path, box=(16, 8, 48, 40))), plain[8:40, 16:48])


def test_resizing_averages_areas(tmp_path: Path) -> None:
    grey = np.random.default_rng(1).integers(0, 256, (64, 64, 1), np.uint8)
    path = write_clip(tmp_path / "clip.mkv", [np.repeat(grey, 3, 2)] * 3, codec="ffv1", pixels="yuv444p")
    small = next(media.frames(path, box=(16, 0, 64, 48), size=(12, 12)))
    mean = next(media.frames(path))[:48, 16:].reshape(12, 4, 12, 4, 3).mean((1, 3))
    assert np.abs(small - mean).max() < 3


def test_resolution_may_change_on_the_way() -> None:
    to_rgb = ToRGB(box=(0, 0, 64, 32))
    for width, height in ((128, 64), (256, 128), (64, 32), (128, 64)):
        ramp = np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8)[None, :, None], (height, width, 3))
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(ramp)).reformat(format="yuv444p")
        rgb = to_rgb(frame, Layout(width, height))
        assert rgb.shape == (32, 64, 3)
        np.testing.assert_allclose(rgb[16, :, 1], np.linspace(0, 126, 64), atol=5)


def test_hdr_video_is_toned_down(tmp_path: Path) -> None:
    levels = np.linspace(0, 255, 64).astype(np.uint8)
    ramp = np.repeat(np.broadcast_to(levels[None, :, None], (64, 64, 1)), 3, 2)
    path = write_clip(tmp_path / "clip.mp4", [ramp] * 3, codec="libx265", pixels="yuv420p10le", hdr=True)
    assert media.probe(path).hdr
    rgb = next(media.frames(path)).astype(int)
    assert np.ptp(rgb, axis=2).max() <= 4  # grey stays grey
    row = rgb[32].mean(1)
    assert (np.diff(row) > -2).all()  # and brighter stays brighter
    assert row[2] < 20
    assert row[-3] > 250
    assert 225 < row[int(0.58 * 63)] < 252  # diffuse white, 203 nits


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_tone_map_keeps_hue_and_order(transfer: int) -> None:
    signal = np.linspace(0, 65535, 200).astype(np.uint16)
    grey = tone_map(np.repeat(signal[None, :, None], 3, 2), transfer)[0].astype(int)
    assert np.ptp(grey, axis=1).max() <= 1
    assert all(after >= before for before, after in pairwise(grey[:, 0]))
    assert grey[0, 0] == 0
    assert grey[-1, 0] >= 250
    skin = (np.array([[[0.62, 0.5, 0.44]]]) * 65535 * (0.85 if transfer == PQ else 1)).astype(np.uint16)
    red, green, blue = tone_map(skin, transfer)[0, 0].astype(int)
    assert red > green > blue


def test_cut_off_file_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with media.VideoWriter(path, 160, 64) as writer:  # its index comes first, so a cut-off copy still opens
        for index in range(200):
            noise = np.random.default_rng(index).integers(0, 60, (64, 160, 3), np.uint8)
            writer.write(picture(index) // 2 + noise + 20)
    said: list[str] = []
    got = list(media.frames(cut_off(path, tmp_path / "cut.mp4", 0.6), on_damage=said.append))
    assert 60 < len(got) < 180
    assert any("ends after" in words for words in said)
    whole: list[str] = []
    assert len(list(media.frames(path, on_damage=whole.append))) == 200
    assert whole == []


def test_pictures_come_one_by_one(tmp_path: Path) -> None:
    """A frame is decoded when it is asked for: the first one of a long file does not wait for the last."""
    path = write_at(tmp_path / "clip.mp4", np.arange(500) / 25)
    pictures = media.Pictures(path)
    pictures.seconds = -1.0
    assert number(next(iter(pictures))) == 0
    assert pictures.seconds == -1.0  # the end was not reached
    assert sum(1 for _ in pictures) == 500
    assert pictures.seconds == pytest.approx(20.0)

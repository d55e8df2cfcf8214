# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from avatar3d import media
from avatar3d.errors import InputError
from avatar3d.records import Sound


def moving(count: int, height: int = 64, width: int = 96) -> Iterator[np.ndarray]:
    ramp = np.add.outer(np.arange(height), np.arange(width))
    for index in range(count):
        yield np.stack([(ramp + 3 * index) % 256, (2 * ramp) % 256, np.full_like(ramp, 90)], 2).astype(np.uint8)


def noise(seconds: float, rate: int) -> Sound:
    samples = np.random.default_rng(0).normal(0, 0.1, round(seconds * rate))
    return Sound(samples.astype(np.float32), rate)


def flash_and_beep(path: Path, fps: float, rate: int, at_s: float) -> None:
    """Four seconds of dark and silence with one white picture and, with it, a beep."""
    samples = np.zeros(4 * rate, np.float32)
    begin = round(at_s * rate)
    samples[begin : begin + rate // 20] = 0.7 * np.sin(np.arange(rate // 20) * 2 * np.pi * 1500 / rate)
    with media.VideoWriter(path, 64, 64, fps, Sound(samples, rate)) as writer:
        for index in range(round(4 * fps)):
            writer.write(np.full((64, 64, 3), 255 if index == round(at_s * fps) else 10, np.uint8))


@pytest.mark.parametrize("name, fps, rate", [("a.mp4", 25, 16_000), ("b.mov", 30, 44_100), ("c.mkv", 25, 22_050)])
def test_flash_and_beep_come_out_together(tmp_path: Path, name: str, fps: int, rate: int) -> None:
    path = tmp_path / name
    flash_and_beep(path, fps, rate, at_s=2.0)
    light = np.array([rgb.mean() for rgb in media.frames(path, fps)])
    assert light.argmax() == 2 * fps
    heard = media.sound(path)
    assert heard is not None
    first = np.flatnonzero(np.abs(heard.samples) > 0.3)[0] / heard.rate
    assert first == pytest.approx(2.0, abs=0.006)


@pytest.mark.parametrize("name, alpha", [("a.mp4", False), ("b.mov", True), ("c.webm", True)])
@pytest.mark.parametrize("seconds", [0.3, 5.013])
def test_lasts_as_long_as_its_sound(tmp_path: Path, name: str, alpha: bool, seconds: float) -> None:
    sound = noise(seconds, 22_050)
    path = tmp_path / name
    with media.VideoWriter(path, 64, 48, 25, sound, alpha=alpha) as writer:
        for _ in range(round(seconds * 25)):
            writer.write(np.full((48, 64, 4 if alpha else 3), 100, np.uint8))
    with av.open(str(path)) as container:
        assert container.duration / av.time_base == pytest.approx(seconds, abs=0.04)
    heard = media.sound(path, 22_050)
    assert heard is not None
    assert heard.seconds == pytest.approx(seconds, abs=0.04)
    assert media.probe(path).seconds == pytest.approx(seconds, abs=0.04)


@pytest.mark.parametrize("width, height", [(64, 64), (65, 48), (64, 49), (33, 31)])
def test_any_size_and_true_colours(tmp_path: Path, width: int, height: int) -> None:
    frames = list(moving(5, height, width))
    path = tmp_path / "clip.mp4"
    with media.VideoWriter(path, width, height, quality=4) as writer:
        for frame in frames:
            writer.write(frame)
    back = list(media.frames(path))
    assert len(back) == 5
    assert back[0].shape == (height + height % 2, width + width % 2, 3)
    error = np.abs(back[2][:height, :width].astype(int) - frames[2])
    assert error.mean() < 6  # colour is stored at half the resolution
    flat = np.full((64, 64, 3), (180, 60, 30), np.uint8)
    with media.VideoWriter(path, 64, 64) as writer:
        for _ in range(3):
            writer.write(flat)
    with av.open(str(path)) as container:
        assert int(next(container.decode(video=0)).colorspace) == 1  # BT.709, said so
    assert np.abs(next(media.frames(path)).astype(int) - flat).max() <= 3


@pytest.mark.parametrize("name, decoder", [("a.mov", "prores"), ("b.webm", "libvpx-vp9")])
def test_alpha_is_kept(tmp_path: Path, name: str, decoder: str) -> None:
    rgba = np.zeros((64, 96, 4), np.uint8)
    rgba[..., :3] = 40, 160, 220
    rgba[16:48, 16:48, 3] = 255
    rgba[16:48, 48:80, 3] = 128
    path = tmp_path / name
    with media.VideoWriter(path, 96, 64, alpha=True) as writer:
        for _ in range(4):
            writer.write(rgba)
    with av.open(str(path)) as container:
        codec = av.CodecContext.create(decoder, "r")
        codec.extradata = container.streams.video[0].codec_context.extradata
        pictures = [picture for packet in container.demux(video=0) for picture in codec.decode(packet)]
    assert len(pictures) == 4
    back = pictures[-1].to_ndarray(format="rgba").astype(int)
    assert np.abs(back[24:40, 24:40, 3] - 255).max() <= 4
    assert np.abs(back[24:40, 56:72, 3] - 128).max() <= 6
    assert back[2:10, 2:90, 3].max() <= 4


def test_sound_and_pictures_alternate_in_the_file(tmp_path: Path) -> None:
    """Interleaved as it is written: no player, and no writer, holds a whole track in memory."""
    path = tmp_path / "clip.mp4"
    with media.VideoWriter(path, 64, 48, 25, noise(12, 16_000)) as writer:
        for frame in moving(300, 48, 64):
            writer.write(frame)
    with av.open(str(path)) as container:
        by_place = sorted(
            (packet.pos, packet.stream.type, float(packet.pts * packet.time_base))
            for packet in container.demux()
            if packet.pos is not None and packet.pts is not None
        )
    reached = {"video": 0.0, "audio": 0.0}
    for _, kind, time_s in by_place:
        reached[kind] = max(reached[kind], time_s)
        assert abs(reached["video"] - reached["audio"]) < 2.5
    assert reached["video"] > 11.9


def test_fractional_rates(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with media.VideoWriter(path, 64, 48, 30000 / 1001) as writer:
        for frame in moving(30, 48, 64):
            writer.write(frame)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)


def test_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_text("earlier")
    with pytest.raises(KeyboardInterrupt), media.VideoWriter(path, 96, 64) as writer:
        for index, frame in enumerate(moving(50)):
            writer.write(frame)
            if index == 30:
                raise KeyboardInterrupt
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_refuses_in_words(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match="cannot be written"), media.VideoWriter(file / "clip.mp4", 64, 64):
        pass
    with pytest.raises(InputError, match=r"'\.avi'.*\.mp4"):
        media.VideoWriter(tmp_path / "clip.avi", 64, 64)
    with pytest.raises(InputError, match="alpha"):
        media.VideoWriter(tmp_path / "clip.mp4", 64, 64, alpha=True)
    with pytest.raises(ValueError, match="expected"), media.VideoWriter(tmp_path / "clip.mp4", 64, 64) as writer:
        writer.write(np.zeros((64, 65, 3), np.uint8))
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
def test_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    program = f"""
import resource, signal
from pathlib import Path
import numpy as np
from avatar3d import media
from avatar3d.errors import InputError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
random = np.random.default_rng(0)
try:
    with media.VideoWriter(Path({str(tmp_path / "clip.mp4")!r}), 256, 256) as writer:
        for _ in range(60):
            writer.write(random.integers(0, 256, (256, 256, 3), np.uint8))
except InputError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "cannot be written" in run.stdout
    assert list(tmp_path.iterdir()) == []


def test_gif_moves(tmp_path: Path) -> None:
    path = tmp_path / "clip.gif"
    media.write_gif(path, moving(6), 10)
    with Image.open(path) as gif:
        assert gif.n_frames == 6
        assert gif.info["duration"] == 100
        assert gif.info["loop"] == 0
        gif.seek(3)
        third = np.asarray(gif.convert("RGB")).astype(int)
    assert np.abs(third - list(moving(6))[3]).mean() < 12

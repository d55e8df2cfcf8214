# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from clips import write_clip
from PIL import Image

from avatar3d import media
from avatar3d.errors import InputError
from avatar3d.records import Sound

FRAMES = [np.full((48, 64, 3), level, np.uint8) for level in range(0, 250, 5)]  # 2 s


def tone(rate: int, seconds: float = 2.0, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def pitch(samples: np.ndarray, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * rate / len(samples)


def heard(path: Path, rate: int = 16_000) -> Sound:
    sound = media.sound(path, rate)
    assert sound is not None
    assert sound.rate == rate
    assert sound.samples.dtype == np.float32
    return sound


@pytest.mark.parametrize("suffix, rate", [(".wav", 22_050), (".wav", 48_000), (".flac", 44_100), (".ogg", 32_000)])
def test_any_rate_becomes_16_khz(tmp_path: Path, suffix: str, rate: int) -> None:
    path = tmp_path / f"tone{suffix}"
    soundfile.write(path, tone(rate), rate)
    sound = heard(path)
    assert sound.seconds == pytest.approx(2.0, abs=0.01)
    assert pitch(sound.samples, sound.rate) == pytest.approx(440, abs=1)
    assert np.abs(sound.samples[4000:-4000]).max() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("codec, suffix", [("aac", ".m4a"), ("libmp3lame", ".mp3"), ("libopus", ".ogg")])
def test_packed_formats_keep_time(tmp_path: Path, codec: str, suffix: str) -> None:
    path = tmp_path / f"click{suffix}"
    samples = np.zeros(96_000, np.float32)
    samples[48_000:48_400] = tone(48_000, 400 / 48_000, 2_000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], "flt", "mono")
        frame.sample_rate, frame.pts = 48_000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    sound = heard(path)
    assert sound.seconds == pytest.approx(2.0, abs=0.06)
    assert np.abs(sound.samples).argmax() / 16_000 == pytest.approx(1.004, abs=0.006)


def test_stereo_keeps_its_level(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([tone(48_000), tone(48_000)], 1), 48_000)
    assert np.abs(heard(path).samples[4000:-4000]).max() == pytest.approx(0.5, abs=0.02)
    soundfile.write(path, np.stack([tone(48_000), np.zeros(96_000)], 1), 48_000)
    assert np.abs(heard(path).samples[4000:-4000]).max() == pytest.approx(0.25, abs=0.02)


def test_high_tones_do_not_fold_down(tmp_path: Path) -> None:
    path = tmp_path / "whistle.wav"
    soundfile.write(path, tone(48_000, hertz=11_000), 48_000)
    assert np.abs(heard(path).samples[4000:-4000]).max() < 0.005


@pytest.mark.parametrize("late_s", [0.5, -0.3, 0.0])
def test_starts_with_the_first_picture(tmp_path: Path, late_s: float) -> None:
    """The click is 1 s after the first picture, whenever its track begins on the file's clock."""
    path = tmp_path / "clip.mkv"
    samples = np.zeros(32_000, np.float32)
    click = round((1.0 - late_s) * 16_000)
    samples[click : click + 100] = 0.8
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"tune": "zerolatency"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("flac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples[None] * 32767).astype(np.int16), "s16", "mono")
        frame.sample_rate, frame.pts = 16_000, round((1.0 + late_s) * 16_000)
        container.mux(audio.encode(frame))
        for index, rgb in enumerate(FRAMES):
            picture = av.VideoFrame.from_ndarray(rgb)
            picture.pts = index + 25
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    assert media.probe(path).start_s == pytest.approx(1.0)
    samples = heard(path).samples
    assert np.flatnonzero(samples > 0.4)[0] / 16_000 == pytest.approx(1.0, abs=0.002)
    assert len(samples) / 16_000 == pytest.approx(2.0 + late_s, abs=0.002)


def test_holes_become_silence(tmp_path: Path) -> None:
    path = tmp_path / "clip.mka"
    piece = np.full((1, 4096), 8000, np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for start in (0, 4096, 16_000):  # 0.49 s are missing
            frame = av.AudioFrame.from_ndarray(piece, "s16", "mono")
            frame.sample_rate, frame.pts = 16_000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    samples = heard(path).samples
    assert len(samples) == pytest.approx(16_000 + 4096, abs=40)
    loud = samples > 0.1
    assert loud[100:8000].all()
    assert not loud[8300:15_900].any()
    assert loud[16_100:20_000].all()


def test_short_holes_do_not_add_up_to_a_lag(tmp_path: Path) -> None:
    """A buffer of 20 ms lost every half second is too short to hear, but in a minute they are more than 2 s."""
    path, pause, length = tmp_path / "lossy.mkv", 960, 24_000
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=48_000, layout="mono")
        for piece in range(20):
            samples = np.zeros(length, np.int16)
            samples[:480] = 20_000 if piece == 19 else 0
            frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
            frame.sample_rate, frame.pts = 48_000, piece * (length + pause)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    sound = heard(path)
    assert np.abs(sound.samples).argmax() / 16_000 == pytest.approx(19 * (length + pause) / 48_000, abs=0.06)


def test_video_without_sound_has_none(tmp_path: Path) -> None:
    assert media.sound(write_clip(tmp_path / "clip.mp4", FRAMES)) is None


def test_refuses_what_holds_no_sound(tmp_path: Path) -> None:
    text, photo = tmp_path / "speech.wav", tmp_path / "photo.png"
    text.write_text("hello " * 50)
    Image.fromarray(FRAMES[0]).save(photo)
    for path in (text, photo, tmp_path, tmp_path / "missing.wav"):
        with pytest.raises(InputError):
            media.sound(path)

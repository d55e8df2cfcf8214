# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from clips import cut_off, turned, write_clip
from PIL import Image

from avatar3d import media
from avatar3d.errors import InputError

FRAMES = [np.full((48, 64, 3), level, np.uint8) for level in range(0, 250, 10)]


def test_says_what_a_video_is(tmp_path: Path) -> None:
    info = media.probe(write_clip(tmp_path / "clip.mp4", FRAMES, fps=30))
    assert (info.width, info.height, info.fps, info.codec, info.has_sound) == (64, 48, 30.0, "h264", False)
    assert info.seconds == pytest.approx(25 / 30, abs=1e-3)
    assert not info.hdr


def test_size_is_as_shown(tmp_path: Path) -> None:
    info = media.probe(turned(write_clip(tmp_path / "clip.mp4", FRAMES), tmp_path / "turned.mp4"))
    assert (info.width, info.height) == (48, 64)


def test_measures_what_declares_no_duration(tmp_path: Path) -> None:
    path = tmp_path / "live.webm"  # as browsers record
    with av.open(str(path), "w", options={"live": "1"}) as container:
        stream = container.add_stream("libvpx-vp9", rate=25, options={"deadline": "realtime", "cpu-used": "8"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in FRAMES:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        assert container.duration is None
    assert media.probe(path).seconds == pytest.approx(1.0, abs=0.05)


def test_refuses_what_is_no_video(tmp_path: Path) -> None:
    def refused(path: Path, words: str) -> None:
        with pytest.raises(InputError, match=words) as caught:
            media.probe(path)
        assert str(path) in str(caught.value)

    empty, text, photo = tmp_path / "empty.mp4", tmp_path / "text.mp4", tmp_path / "photo.jpg"
    tune, word = tmp_path / "tune.wav", tmp_path / "word.mp4"
    empty.touch()
    word.write_text("hello")
    text.write_text("not a video at all\n" * 100)
    Image.fromarray(FRAMES[3]).save(photo)
    soundfile.write(tune, np.zeros(8000), 8000)
    refused(tmp_path / "missing.mp4", "no such file")
    refused(tmp_path, "folder")
    refused(empty, "empty")
    refused(text, "neither a video nor a sound file")
    refused(word, "neither a video nor a sound file")
    refused(photo, "photo")
    refused(tune, "no video track")
    refused(cut_off(write_clip(tmp_path / "clip.mp4", FRAMES), tmp_path / "cut.mp4", 0.7), "cut off")
    refused(write_clip(tmp_path / "one.mp4", FRAMES[:1]), "single picture")


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    path, cover = tmp_path / "song.mp3", tmp_path / "cover.jpg"
    Image.fromarray(FRAMES[3]).save(cover)
    with av.open(str(path), "w") as container:
        audio = container.add_stream("libmp3lame", rate=44_100)
        with av.open(str(cover)) as source:
            art = container.add_stream_from_template(source.streams.video[0])
            art.disposition = av.stream.Disposition.attached_pic
            packet = next(source.demux(video=0))
            packet.stream = art
            container.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 44_100), np.float32), "fltp", "stereo")
        frame.sample_rate = 44_100
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    with pytest.raises(InputError, match="no video track"):
        media.probe(path)
    heard = media.sound(path)
    assert heard is not None
    assert heard.seconds == pytest.approx(1.0, abs=0.06)

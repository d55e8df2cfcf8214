# SPDX-License-Identifier: Apache-2.0
"""Each fault, put on alone, is seen by its own row and graded worse than the clip without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, signal
from talking import speech, talking

from avatar3d.data_prep.check.all import timed
from avatar3d.data_prep.check.finding import Finding, Rule, worst
from avatar3d.data_prep.check.motion import coverage
from avatar3d.data_prep.check.picture import look
from avatar3d.data_prep.check.sound import listen
from avatar3d.data_prep.sync import sound_lag
from avatar3d.media import Timing
from avatar3d.records import Capture, Landmarks, Sound

SIDE, FRAMES = 128, 60
Frames = np.ndarray  # [T,H,W] float 0..255
Change = Callable[[Frames, np.random.Generator], Frames]


def texture(rng: np.random.Generator, size: int, coarse_px: float) -> np.ndarray:
    """Grain with something larger in it, 0..255 about 128."""
    fine, large = rng.normal(size=(size, size)), ndimage.gaussian_filter(rng.normal(size=(size, size)), coarse_px)
    return 128 + 12 * fine + 25 * large / large.std()


def filmed(change: Change | None = None) -> tuple[Capture, Landmarks]:
    """A textured disc that sways before a textured wall."""
    rng = np.random.default_rng(0)
    wall, skin = texture(rng, SIDE, 4), texture(rng, SIDE, 3)
    y, x = np.mgrid[:SIDE, :SIDE]
    frames, points = [], []
    for frame in range(FRAMES):
        centre = 64 + 3 * np.sin(frame / 9)
        frames.append(np.where((x - centre) ** 2 + (y - 70) ** 2 < 40**2, np.roll(skin, round(centre), 1), wall))
        corners = np.array([[centre - 36, 30, 0], [centre + 36, 110, 0]], np.float32)
        points.append(np.concatenate([corners, np.full((476, 3), [centre, 70, 0], np.float32)]))
    stack = np.stack(frames)
    stack = stack if change is None else change(stack, rng)
    rgb = np.repeat(stack.clip(0, 255).astype(np.uint8)[..., None], 3, -1)
    seen = Landmarks(np.stack(points), np.zeros((FRAMES, 52), np.float32), np.ones(FRAMES, bool))
    return Capture(rgb, None, 25.0, (), "made up"), seen


def blurred(frames: Frames, _: np.random.Generator) -> Frames:
    return ndimage.gaussian_filter(frames, (0, 2, 2))


def smeared_at_times(frames: Frames, _: np.random.Generator) -> Frames:
    smeared = ndimage.uniform_filter(frames, (0, 0, 9))
    return np.where((np.arange(len(frames)) % 4 == 0)[:, None, None], smeared, frames)


def dark(frames: Frames, _: np.random.Generator) -> Frames:
    return frames * 0.25


def burnt(frames: Frames, _: np.random.Generator) -> Frames:
    return frames * 1.7


def flickering(frames: Frames, rng: np.random.Generator) -> Frames:
    return frames * (1 + 0.03 * rng.choice([-1, 1], len(frames)))[:, None, None]


def shaken(frames: Frames, rng: np.random.Generator) -> Frames:
    steps = rng.integers(-4, 5, (len(frames), 2))
    return np.stack([np.roll(frame, tuple(step), (0, 1)) for frame, step in zip(frames, steps, strict=True)])


def crowded(frames: Frames, rng: np.random.Generator) -> Frames:
    noise = ndimage.gaussian_filter(rng.normal(size=frames.shape), (1, 6, 6))
    return frames + 30 * noise / noise.std()


def row(findings: list[Finding], name: str) -> Finding:
    return next(finding for finding in findings if finding.name == name)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("sharpness", blurred),
        ("motion blur", smeared_at_times),
        ("brightness of the face", dark),
        ("burnt or black skin", burnt),
        ("flicker", flickering),
        ("camera movement", shaken),
        ("movement behind the person", crowded),
    ],
)
def test_a_fault_of_the_picture_is_seen(name: str, change: Change) -> None:
    assert row(look(*filmed(), 4.0), name).grade == "green"
    found = row(look(*filmed(change), 4.0), name)
    assert found.grade in ("amber", "red")
    assert found.fix


def test_the_size_of_the_face_is_that_in_the_video() -> None:
    assert row(look(*filmed(), 3.0), "face size").figure == pytest.approx(240)
    assert row(look(*filmed(), 1.0), "face size").grade == "red"


def clipped(sound: Sound) -> Sound:
    return Sound((4 * sound.samples).clip(-0.5, 0.5), sound.rate)


def noisy(sound: Sound) -> Sound:
    return Sound(sound.samples + 0.05 * np.random.default_rng(1).normal(size=len(sound.samples)), sound.rate)


def echoing(sound: Sound) -> Sound:
    rng = np.random.default_rng(2)
    time_s = np.arange(sound.rate * 2) / sound.rate
    room = rng.normal(size=len(time_s)) * 10 ** (-3 * time_s / 1.3)  # 60 dB in 1.3 s
    tail = signal.fftconvolve(sound.samples, room / np.linalg.norm(room))[: len(sound.samples)]
    return Sound((sound.samples + 0.7 * tail).astype(np.float32), sound.rate)


def late(sound: Sound) -> Sound:
    return sound.earlier(-0.2)


def with_music(sound: Sound) -> Sound:
    time_s = np.arange(len(sound.samples)) / sound.rate
    tune = sum(np.sin(2 * np.pi * 220 * k * time_s) / k for k in range(1, 6))
    return Sound(sound.samples + 0.15 * tune, sound.rate)


def with_a_tune(sound: Sound) -> Sound:
    """Notes of half a second, 20 dB below the voice."""
    rng = np.random.default_rng(4)
    time_s = np.arange(sound.rate // 2) / sound.rate
    notes = 220 * 2 ** (rng.integers(0, 24, 60) / 12)
    tune = np.concatenate([sum(np.sin(2 * np.pi * note * k * time_s) / k for k in range(1, 5)) for note in notes])
    tune = np.resize(tune, len(sound.samples))
    gain = 0.1 * np.sqrt(np.mean(sound.samples**2) / np.mean(tune**2))
    return Sound((sound.samples + gain * tune).astype(np.float32), sound.rate)


def humming(sound: Sound) -> Sound:
    time_s = np.arange(len(sound.samples)) / sound.rate
    hum = 0.002 * sum(np.sin(2 * np.pi * 100 * k * time_s) for k in range(1, 4))
    return Sound((sound.samples + hum).astype(np.float32), sound.rate)


def test_hum_is_no_music() -> None:
    assert row(listen(humming(speech(0)), 48_000, talking(0), None), "music or voices in the pauses").grade == "green"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("music or voices in the pauses", with_a_tune),
        ("clipped sound", clipped),
        ("voice above the noise", noisy),
        ("reverberation", echoing),
        ("sound and picture", late),
        ("voice or music while the mouth is shut", with_music),
    ],
)
def test_a_fault_of_the_sound_is_heard(name: str, change: Callable[[Sound], Sound]) -> None:
    sound, track = speech(0), talking(0)
    changed = change(sound)
    assert row(listen(sound, 48_000, track, sound_lag(sound, track)), name).grade == "green"
    assert row(listen(changed, 48_000, track, sound_lag(changed, track)), name).grade in ("amber", "red")


@pytest.mark.parametrize("sound", [None, Sound(np.zeros(16_000 * 30, np.float32), 16_000)])
def test_no_sound_is_said_and_nothing_else(sound: Sound | None) -> None:
    findings = listen(sound, None, talking(0), None)
    assert [finding.grade for finding in findings] == ["red"]


def test_what_the_head_does_is_counted() -> None:
    capture, track = filmed()[0], talking(0)
    blink = np.zeros_like(track.motion.blink)
    blink[[50, 51, 200, 201, 400]] = 1
    motion = replace(track.motion, blink=blink)
    found = {finding.name: finding for finding in coverage(capture, replace(track, motion=motion))}
    assert found["blinks"].figure == 3
    assert found["length"].figure == 30
    assert found["turns to the sides"].grade == "red"  # it does not turn at all
    assert found["frames without a face"].figure == 0


def shown_at(times_s: np.ndarray) -> dict[str, Finding]:
    return {finding.name: finding for finding in timed(Timing(times_s, None))}


def test_the_frame_rate_and_its_unevenness_are_told() -> None:
    even = np.arange(300) / 60
    assert shown_at(even)["frame rate"].value == "60.0 a second"
    assert shown_at(even)["uneven frames"].grade == "green"
    rng = np.random.default_rng(0)
    uneven = np.delete(even, rng.choice(300, 40, replace=False))
    assert shown_at(uneven)["uneven frames"].grade in ("amber", "red")
    assert shown_at(np.arange(100) / 10)["frame rate"].grade == "red"
    assert shown_at(np.zeros(1))["frame rate"].grade == "unknown"


def test_an_unsure_lag_is_a_guess_without_a_figure() -> None:
    sound, track = speech(3), talking(0)
    found = row(listen(sound, 48_000, track, sound_lag(sound, track)), "sound and picture")
    assert (found.grade, found.figure) == ("unknown", None)
    assert "perhaps" in found.value


def test_the_lag_is_told_with_how_sure_it_is() -> None:
    sound, track = late(late(speech(0))), talking(0)
    lag = sound_lag(sound, track)
    found = row(listen(sound, 48_000, track, lag), "sound and picture")
    assert lag is not None and found.figure == lag.frames
    assert found.value.startswith(f"the sound is {lag.frames:.1f} frames late (fit {lag.correlation:.2f}")


@pytest.mark.parametrize(
    ("green", "amber", "figure", "grade"),
    [
        (10, 5, 10, "green"),
        (10, 5, 7, "amber"),
        (10, 5, 4, "red"),
        (1, 2, 1, "green"),
        (1, 2, 1.5, "amber"),
        (1, 2, 3, "red"),
    ],
)
def test_more_or_less_is_better(green: float, amber: float, figure: float, grade: str) -> None:
    assert Rule("x", "{:.1f}", green, amber, "why", "fix")(figure).grade == grade


@pytest.mark.parametrize("figure", [None, float("nan"), float("inf")])
def test_what_was_not_measured_has_no_grade(figure: float | None) -> None:
    found = Rule("x", "{:.1f}", 1, 2, "why", "fix")(figure)
    assert (found.grade, found.figure) == ("unknown", None)


def test_the_worst_grade_counts() -> None:
    rule = Rule("x", "{:.1f}", 1, 2, "why", "fix")
    assert worst([rule(None), rule(0.5)]) == "green"
    assert worst([rule(0.5), rule(3), rule(1.5)]) == "red"
    assert worst([]) == "unknown"

# SPDX-License-Identifier: Apache-2.0
"""What others' speech teaches: lips in one space, a prior of several people, and a voice that begins with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_tcn import CODES, made_up, opening, track_of

from avatar3d.audio.mel import Mel
from avatar3d.errors import InputError
from avatar3d.face.groups import CHIN, LIPS
from avatar3d.fit import Budget, fit
from avatar3d.motion._common_lips import CommonLips
from avatar3d.motion._prior import STAGES, Person, Prior, PriorFit
from avatar3d.motion.primed import Primed
from avatar3d.motion.tcn import Tcn
from avatar3d.records import Sound, Track

BANDS = 8
MOVED = [*LIPS, *CHIN]


def person(seconds: float, seed: int, mixed: int | None = None) -> Person:
    """A made-up talker; with `mixed`, of other codes for the same movements, as another tracker run would give."""
    sound, track = made_up(seconds, seed)
    if mixed is None:
        return Person(sound, track, ())
    turn = np.linalg.qr(np.random.default_rng(mixed).standard_normal((CODES, CODES)))[0].astype(np.float32)
    motion = replace(track.motion, expression=track.motion.expression @ turn)
    return Person(sound, replace(track, motion=motion, basis=track.basis @ turn), ())


@pytest.fixture(scope="module")
def prior() -> Prior:
    learner = PriorFit(Mel(bands=BANDS), [person(20.0, 1), person(20.0, 2, mixed=1)])
    for _ in fit(learner, STAGES, Budget(steps=20), reviews=1):
        pass
    return learner.prior()


def test_the_same_movements_are_the_same_in_the_common_space() -> None:
    """However a track's codes are turned, its lips are where they are."""
    plain, turned = person(4.0, 3), person(4.0, 3, mixed=5)
    lips = CommonLips.of([plain.track, turned.track], components=CODES)
    one, other = (lips.codes(p.track, p.track.motion.expression) for p in (plain, turned))
    np.testing.assert_allclose(one, other, atol=1e-3)
    common = lips.track(turned.track)
    shown = np.einsum("vck,tk->tvc", common.basis[MOVED], common.motion.expression)
    real = np.einsum("vck,tk->tvc", turned.track.basis[MOVED], turned.track.motion.expression)
    np.testing.assert_allclose(shown, real, atol=1e-4)
    assert np.abs(one.std(0)).max() < 1.5


def test_a_larger_face_says_the_same() -> None:
    track = track_of(np.random.default_rng(0).standard_normal((50, CODES)).astype(np.float32))
    larger = replace(track, neutral=track.neutral * 1.5, basis=track.basis * 1.5)
    lips = CommonLips.of([track], components=CODES)
    np.testing.assert_allclose(
        lips.codes(larger, larger.motion.expression), lips.codes(track, track.motion.expression), atol=1e-4
    )


def test_a_prior_helps_where_there_are_seconds(prior: Prior) -> None:
    """Of a person with five seconds to learn from, the voice with a prior follows new speech better than the own."""
    one = person(30.0, 9, mixed=3)
    short = replace(one.track, fitted_frames=125)
    listen = Mel(bands=BANDS)
    heard = []
    for kind, more in ((Primed, {"prior": prior}), (Tcn, {})):
        learner = kind.learner(listen, one.sound, short, (), 0, **more)
        for _ in fit(learner, kind.stages, Budget(steps=5), reviews=0):
            pass
        voice = kind.learned(learner, listen, short)
        made, real = (
            opening(short, codes[200:]) for codes in (voice(one.sound).expression, one.track.motion.expression)
        )
        heard.append(np.corrcoef(made, real)[0, 1])
    assert heard[0] > heard[1] and heard[0] > 0.6


def test_without_a_prior_it_is_refused() -> None:
    sound, track = made_up(4.0)
    with pytest.raises(InputError, match="--prior FILE"):
        Primed.learner(Mel(bands=BANDS), sound, track, ())


def test_a_primed_voice_comes_back_from_its_tensors(prior: Prior) -> None:
    sound, track = made_up(6.0, seed=4)
    learner = Primed.learner(Mel(bands=BANDS), sound, track, (), 0, prior)
    voice = Primed.learned(learner, Mel(bands=BANDS), track)
    again = Primed.restore(voice.config(), voice.tensors(), Mel(bands=BANDS))
    np.testing.assert_array_equal(again(sound, seed=3).expression, voice(sound, seed=3).expression)
    with pytest.raises(InputError, match=r"19 numbers.*35"):
        Primed.restore(voice.config(), voice.tensors(), Mel(bands=16))


def test_the_held_out_part_is_never_read(prior: Prior) -> None:
    sound, track = made_up(8.0)
    start = track.fitted_frames
    codes, samples = track.motion.expression.copy(), sound.samples.copy()
    codes[start:], samples[round(start * sound.rate / 25) :] = np.nan, np.nan
    spoilt: tuple[Sound, Track] = (
        Sound(samples, sound.rate),
        replace(track, motion=replace(track.motion, expression=codes)),
    )
    learner = PriorFit(Mel(bands=BANDS), [Person(*spoilt, ()), person(8.0, 2)])
    assert all(torch.isfinite(tensor).all() for tensor in learner.snapshot().values())
    primed = Primed.learner(Mel(bands=BANDS), *spoilt, (), 0, prior)
    assert all(torch.isfinite(tensor).all() for tensor in primed.snapshot().values())

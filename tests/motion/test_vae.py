# SPDX-License-Identifier: Apache-2.0
"""The variational voice: a flow that can be undone, several ways to say the same, and the same after a restart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_tcn import CODES, made_up, opening

from avatar3d.audio.mel import Mel
from avatar3d.errors import InputError
from avatar3d.fit import Budget, fit
from avatar3d.motion._sync_fit import SyncFit
from avatar3d.motion._vae_net import STRIDE, VaeNet, VaeShape
from avatar3d.motion.vae import Vae
from avatar3d.records import SAMPLE_RATE, Sound, Stage, Track

BANDS = 8
SHAPE = VaeShape(2 * BANDS + 3, CODES, hidden=16, coupling_hidden=8)


def trained(sound: Sound, track: Track, steps: int) -> Vae:
    listen = Mel(bands=BANDS)
    learner = Vae.learner(listen, sound, track, ())
    for _ in fit(learner, Vae.stages, Budget(steps=steps), reviews=1):
        pass
    return Vae.learned(learner, listen, track)


@pytest.fixture(scope="module")
def scene() -> tuple[Sound, Track]:
    return made_up(11.0)


@pytest.fixture(scope="module")
def voice(scene: tuple[Sound, Track]) -> Vae:
    return trained(*scene, steps=40)


def stirred(shape: VaeShape = SHAPE) -> VaeNet:
    """A network in which nothing is zero."""
    torch.manual_seed(0)
    net = VaeNet(shape)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.eval()


@torch.no_grad()
def test_the_flow_can_be_undone_and_keeps_volume() -> None:
    net = stirred()
    z, condition = torch.randn(2, SHAPE.latent, 6), torch.randn(2, SHAPE.hidden, 6)
    there = net.to_prior(z, condition)
    assert (there - z).abs().mean() > 0.05
    torch.testing.assert_close(net.from_prior(there, condition), z, atol=1e-5, rtol=0)
    jacobian = torch.func.jacrev(lambda v: net.to_prior(v.view(1, -1, 1), condition[:1, :, :1]).flatten())(z[0, :, 0])
    assert torch.linalg.det(jacobian).abs() == pytest.approx(1, abs=1e-4)


def test_the_divergence_is_nothing_where_the_encoder_says_the_prior() -> None:
    """log q - log p, at any sample, where q and p are one distribution; and rises as q moves away."""
    sound, track = made_up(4.0)
    learner = Vae.learner(Mel(bands=BANDS), sound, track, ())
    with torch.no_grad():
        learner.encoder.leave.weight.zero_()
        learner.encoder.leave.bias.zero_()
    assert abs(float(learner.losses(Vae.stages[0], 0.0, 0, [1])["kl"].detach())) < 1e-5
    with torch.no_grad():
        learner.encoder.leave.bias[: learner.vae.vae_shape.latent] = 2.0  # means
    assert float(learner.losses(Vae.stages[0], 0.0, 0, [1])["kl"].detach()) == pytest.approx(2.0, abs=0.4)  # mean^2 / 2


def test_training_starts_at_the_linear_model_and_gains(scene: tuple[Sound, Track], voice: Vae) -> None:
    sound, track = scene
    begun = Vae.learner(Mel(bands=BANDS), sound, track, ())
    before = begun.evaluate()["aperture_r"]
    assert before > 0.6
    codes = track.motion.expression[: begun.review.start]
    said = voice.net.say(begun.all_rows)[: len(codes), 0]
    start = begun.vae.say(begun.all_rows)[: len(codes), 0]
    wrong, wrong_before = (np.square((one - codes) @ begun.space.to_lips.numpy()).mean() for one in (said, start))
    assert wrong < wrong_before


def test_it_understands_what_it_has_not_heard(voice: Vae, scene: tuple[Sound, Track]) -> None:
    sound, track = scene
    start = track.fitted_frames
    said = opening(track, voice(sound).expression[start:])
    assert np.corrcoef(said, opening(track, track.motion.expression[start:]))[0, 1] > 0.8


def test_seeds_say_the_same_in_several_ways_and_a_temperature_of_0_in_one(
    voice: Vae, scene: tuple[Sound, Track]
) -> None:
    sound, track = scene
    one, other, again = (opening(track, voice(sound, seed).expression) for seed in (1, 2, 1))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-5
    assert np.corrcoef(one, other)[0, 1] > 0.8
    cold = Vae(voice.listen, voice.net, voice.manner, temperature=0.0)
    rows = voice.listen(sound)
    np.testing.assert_array_equal(cold.net.say(rows), cold.net.say(rows, np.zeros((-(-len(rows) // STRIDE), 16), "f4")))


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.5, 2.019, 2.021])
def test_the_motion_is_as_long_as_the_sound(voice: Vae, seconds: float) -> None:
    sound = Sound(np.zeros(round(seconds * 48_000), np.float32), 48_000)
    motion = voice(sound)
    assert len(motion) == len(motion.blink) == len(motion.head) == round(sound.seconds * 25)
    assert np.isfinite(motion.expression).all()


def test_pieces_say_the_same_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    net = stirred()
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((401, SHAPE.features)).astype(np.float32)
    noise = rng.standard_normal((101, SHAPE.latent)).astype(np.float32)
    whole = net.say(rows, noise)
    monkeypatch.setattr("avatar3d.motion._vae_net._STEPS_AT_ONCE", 23)
    np.testing.assert_allclose(net.say(rows, noise), whole, atol=1e-4)


def test_a_voice_comes_back_from_its_tensors(voice: Vae, scene: tuple[Sound, Track]) -> None:
    sound, _ = scene
    again = Vae.restore(voice.config(), voice.tensors(), Mel(bands=BANDS))
    np.testing.assert_array_equal(again(sound, seed=3).expression, voice(sound, seed=3).expression)
    with pytest.raises(InputError, match=r"19 numbers.*83"):
        Vae.restore(voice.config(), voice.tensors(), Mel(bands=40))


def test_a_training_comes_back_from_its_snapshot() -> None:
    sound, track = made_up(4.0)
    one, other = (Vae.learner(Mel(bands=BANDS), sound, track, (), seed) for seed in (0, 1))
    other.restore(one.snapshot())
    for name, tensor in one.snapshot().items():
        torch.testing.assert_close(other.snapshot()[name], tensor, msg=name)
    assert any(name.startswith("encoder.") for name in one.snapshot())


def test_a_judge_is_asked_where_a_stage_says_so() -> None:
    sound, track = made_up(4.0)
    judge = SyncFit(Mel(bands=BANDS), sound, track, ()).judge()
    learner = Vae.learner(Mel(bands=BANDS), sound, track, (), 0, judge)
    asked = Stage("voice", 1.0, {**Vae.stages[0].weights, "sync": 0.1})
    term = learner.losses(asked, 0.0, 0, [1])["sync"]
    assert 0 < float(term.detach()) < 2
    (gradient,) = torch.autograd.grad(term, learner.vae.leave_decode.bias)
    assert gradient.abs().max() > 0
    assert "sync" not in learner.losses(Vae.stages[0], 0.0, 0, [1])


def test_the_held_out_part_is_never_read() -> None:
    sound, track = made_up(8.0)
    start = track.fitted_frames
    spoilt_codes, spoilt_samples = track.motion.expression.copy(), sound.samples.copy()
    spoilt_codes[start:], spoilt_samples[round(start * SAMPLE_RATE / 25) :] = np.nan, np.nan
    spoilt = replace(track, motion=replace(track.motion, expression=spoilt_codes))
    clean, dark = trained(sound, track, 2), trained(Sound(spoilt_samples, SAMPLE_RATE), spoilt, 2)
    for name, tensor in clean.tensors().items():
        torch.testing.assert_close(dark.tensors()[name], tensor, msg=name)


def test_the_voice_takes_less_than_4_mb() -> None:
    net = VaeNet(VaeShape(Mel().width, 16))
    assert sum(tensor.numel() * tensor.element_size() for tensor in net.state_dict().values()) < 4e6

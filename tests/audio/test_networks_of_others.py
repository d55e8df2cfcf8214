# SPDX-License-Identifier: Apache-2.0
"""Whisper, HuBERT and wav2vec 2.0: found, refused by name, and run at a tiny size with weights that mean nothing."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatar3d.audio._frames import WEIGHTS, in_pieces, per_frame
from avatar3d.choose import choose
from avatar3d.contracts import Listen
from avatar3d.errors import InputError
from avatar3d.records import SAMPLE_RATE, Sound

FEATURES = ("hubert", "wav2vec2", "whisper")
WIDTH = 16


def feature(name: str, weights: Path | None = None) -> Any:
    return choose("avatar3d.audio", name)(weights)


@pytest.fixture(autouse=True)
def _no_weights_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WEIGHTS, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))


def described(folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("name", FEATURES)
def test_without_weights_it_is_refused_and_nothing_is_fetched(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name} has no weights.*hf download .*{WEIGHTS}"):
        feature(name)


@pytest.mark.parametrize("name", FEATURES)
def test_weights_of_another_network_are_refused(name: str, tmp_path: Path) -> None:
    folder = described(tmp_path / "bert", model_type="bert", hidden_size=4, d_model=4)
    with pytest.raises(InputError, match=rf"of type 'bert', not {name}"):
        feature(name, folder)
    with pytest.raises(InputError, match=r"no config\.json"):
        feature(name, tmp_path)


def test_weights_are_found_where_the_environment_and_the_hub_keep_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "empty" / "models--facebook--hubert-base-ls960" / "snapshots" / "1f"
    described(snapshot, model_type="hubert", hidden_size=768)
    assert feature("hubert").width == 768
    described(tmp_path / "mine" / "hubert", model_type="hubert", hidden_size=12)
    monkeypatch.setenv(WEIGHTS, str(tmp_path / "mine"))
    assert feature("hubert").width == 12
    other = described(tmp_path / "other", model_type="hubert", hidden_size=20)
    assert feature("hubert", other).width == 20


def test_other_weights_of_the_same_width_are_another_feature(tmp_path: Path) -> None:
    one, two = (described(tmp_path / name, model_type="hubert", hidden_size=4) for name in ("one", "two"))
    assert feature("hubert", one).identity == feature("hubert", two).identity
    (two / "model.safetensors").write_bytes(b"weights")
    assert feature("hubert", one).identity != feature("hubert", two).identity


def test_without_transformers_it_is_refused_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listen = feature("hubert", described(tmp_path / "h", model_type="hubert", hidden_size=4))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="pip install transformers"):
        listen(Sound(np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE))


def test_a_broken_transformers_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listen = feature("hubert", described(tmp_path / "h", model_type="hubert", hidden_size=4))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match="cannot be imported"):
        listen(Sound(np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE))


def test_rows_of_20_ms_stand_in_the_frames_of_40_ms_that_hold_them() -> None:
    """A row that says when it is heard is read at the middle of its frame."""
    centre = 199.5
    rows = ((centre + 320 * np.arange(200)) / SAMPLE_RATE)[:, None].astype(np.float32)
    np.testing.assert_allclose(per_frame(rows, centre, 90)[1:, 0], (np.arange(1, 90) + 0.5) / 25, atol=1e-4)
    assert per_frame(rows[:1], centre, 3).shape == (3, 1)
    assert per_frame(rows[:0], centre, 3).shape == (3, 1)


def test_pieces_say_the_same_as_the_whole() -> None:
    """Of a network that sees 400 samples, pieces with margins show no seams."""

    def loudness(samples: np.ndarray) -> np.ndarray:
        if len(samples) < 400:
            return np.zeros((0, 1), np.float32)
        return np.abs(np.lib.stride_tricks.sliding_window_view(samples, 400)[::320]).mean(1, keepdims=True)

    sound = Sound(np.random.default_rng(0).standard_normal(11 * SAMPLE_RATE + 77).astype(np.float32), SAMPLE_RATE)
    whole = in_pieces(sound, 1, 60.0, 2.0, 199.5, loudness)
    np.testing.assert_allclose(in_pieces(sound, 1, 3.0, 0.4, 199.5, loudness), whole, atol=1e-6)
    assert whole.shape == (round(sound.seconds * 25), 1)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny networks of all three kinds, with weights drawn at random."""
    import torch

    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install transformers")
    try:
        transformers.HubertModel  # noqa: B018 - it is imported when it is asked for
    except ImportError as error:
        pytest.skip(f"transformers cannot be imported: {error}")
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    wave = {
        "hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
        "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "vocab_size": 8,
    }  # fmt: skip
    transformers.HubertModel(transformers.HubertConfig(**wave)).save_pretrained(folder / "hubert")
    transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**wave)).save_pretrained(folder / "wav2vec2")
    whisper = transformers.WhisperConfig(
        d_model=WIDTH, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, num_mel_bins=80, vocab_size=16, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    transformers.WhisperModel(whisper).save_pretrained(folder / "whisper")
    return folder


@pytest.mark.parametrize("name", FEATURES)
def test_it_keeps_the_contract(name: str, networks: Path) -> None:
    listen = feature(name, networks)
    assert isinstance(listen, Listen) and listen.width == WIDTH and listen.look_ahead_s > 0
    rng = np.random.default_rng(0)
    for seconds, rate in ((0.0, 16_000), (0.02, 16_000), (2.019, 48_000)):
        sound = Sound(0.1 * rng.standard_normal(round(seconds * rate)).astype(np.float32), rate)
        rows = listen(sound)
        assert rows.shape == (round(sound.seconds * 25), WIDTH) and rows.dtype == np.float32
        assert np.isfinite(rows).all()


@pytest.mark.parametrize("name", FEATURES)
def test_rows_follow_the_sound_and_any_rate_gives_the_same(name: str, networks: Path) -> None:
    from scipy.signal import resample_poly

    listen = feature(name, networks)
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    sound = Sound((np.sin(2 * np.pi * 300 * time) * (time > 1) * 0.3).astype(np.float32), SAMPLE_RATE)
    rows = listen(sound)
    high = listen(Sound(resample_poly(sound.samples, 3, 1).astype(np.float32), 48_000))
    assert np.abs(rows - high)[2:-2].max() < 0.1 * np.abs(rows).max()
    silent = listen(Sound(np.zeros_like(sound.samples), SAMPLE_RATE))
    assert np.abs(rows - silent)[27:].max() > 1e-3

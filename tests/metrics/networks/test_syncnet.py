# SPDX-License-Identifier: Apache-2.0
"""SyncNet's shape, its cepstra and its crops; nobody here holds its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avatar3d.errors import InputError
from avatar3d.metrics.networks.syncnet import SIDE_PX, SyncNet, _towers, cepstra, crop, moments

EXPECTED_50 = (18.45444, 14.85959, 8.99885, 25.39513, -16.49722)
EXPECTED_98 = (-21.46933, 2.19138, -42.85436, -14.44934, 1.60554)


def test_any_weights_of_its_shape_are_taken_and_others_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    file = tmp_path / "syncnet_v2.model"
    torch.save(_towers().state_dict(), file)
    net = SyncNet(file)
    crops = [np.full((SIDE_PX, SIDE_PX, 3), 40 * at, np.uint8) for at in range(5)]
    seen, heard = net.seen(crops), net.heard(np.random.default_rng(0).standard_normal((13, 40)), 3)
    assert seen.shape == heard.shape == (1024,)
    assert not np.allclose(seen, net.seen(crops[::-1]))
    assert not np.allclose(heard, net.heard(np.random.default_rng(0).standard_normal((13, 40)), 4))
    for content in (b"no weights", b""):
        file.write_bytes(content)
        with pytest.raises(InputError, match="not SyncNet's weights"):
            SyncNet(file)
    torch.save({"netfcaud.0.weight": torch.zeros(2, 2)}, file)
    with pytest.raises(InputError, match="not SyncNet's weights"):
        SyncNet(file)


def test_the_names_are_those_of_the_published_file() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in _towers().state_dict().items()}
    assert shapes["netcnnaud.0.weight"] == (64, 1, 3, 3) and shapes["netcnnaud.18.weight"] == (512, 256, 5, 4)
    assert shapes["netcnnlip.0.weight"] == (96, 3, 5, 7, 7) and shapes["netcnnlip.18.weight"] == (512, 256, 1, 6, 6)
    assert shapes["netfclip.3.weight"] == shapes["netfcaud.3.weight"] == (1024, 512)


def test_cepstra_are_those_it_was_trained_on() -> None:
    """Two columns as python_speech_features 0.6 gives them with its defaults."""
    t = np.arange(16000) / 16000
    found = cepstra(0.3 * np.sin(2 * np.pi * 220 * t) * (1 + np.sin(6 * t)) + 0.01 * np.sin(2 * np.pi * 3100 * t))
    assert found.shape == (13, 99)
    assert found[:5, 50] == pytest.approx(EXPECTED_50, abs=1e-4)
    assert found[8:, 98] == pytest.approx(EXPECTED_98, abs=1e-4)
    assert cepstra(np.zeros(16000)).max() < 40, "silence is a number"


def test_moments_need_five_frames_of_both() -> None:
    assert moments(np.zeros((13, 99)), 25) == 20
    assert moments(np.zeros((13, 400)), 25) == 21
    assert moments(np.zeros((13, 10)), 25) == moments(np.zeros((13, 99)), 3) == 0


def test_a_crop_is_grey_beyond_the_picture() -> None:
    picture = np.full((100, 80, 3), 200, np.uint8)
    inside = crop(picture, (40, 45, 20))
    assert inside.shape == (SIDE_PX, SIDE_PX, 3) and (inside == 200).all()
    beyond = crop(picture, (5, 45, 20))
    assert (beyond[:, :80] == 110).all() and (beyond[:, 110:] == 200).all()

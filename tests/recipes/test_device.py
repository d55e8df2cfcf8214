# SPDX-License-Identifier: Apache-2.0
"""The device that a user names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avatar3d import cli
from avatar3d.errors import InputError
from avatar3d.recipes._device import device_named


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("name", "device"), [("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")])
def test_a_device_that_is_there(two_gpus: None, name: str, device: str) -> None:
    assert device_named(name) == device


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:first", "cpu:", ""])
def test_a_name_that_is_no_devices(name: str) -> None:
    with pytest.raises(InputError, match="give cpu, cuda or cuda:N"):
        device_named(name)


def test_a_gpu_too_many(two_gpus: None) -> None:
    with pytest.raises(InputError, match="GPU 2 of 2; they are counted from 0"):
        device_named("cuda:2")


def test_each_of_several_processes_has_a_gpu_of_its_own(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device_named("cuda") == "cuda:1"


def test_without_a_gpu_the_user_reads_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AVATAR3D_DEBUG", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code = cli.main(["train", str(tmp_path), "--device", "cuda", "--preset", "fast"])
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--device cuda" in err and "no CUDA device" in err and "leave --device out" in err


def test_presets_belong_to_devices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", str(tmp_path), "--preset", "fast"]) == 2
    assert "'fast' on cpu; choose one of: quick, standard, quality" in capsys.readouterr().err
    assert cli.main(["train", str(tmp_path), "--preset", "quick", "--device", "cuda"]) == 2
    assert "'quick' on cuda; choose one of: fast, standard, quality" in capsys.readouterr().err

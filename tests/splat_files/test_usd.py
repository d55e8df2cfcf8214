# SPDX-License-Identifier: Apache-2.0
"""OpenUSD: its own library reads the same picture; without it, or with one too old, the way out is named."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from some_splats import METRES, apart_db, linear, some

from avatar3d.errors import InputError
from avatar3d.splat_files.usd import Usd


@pytest.mark.parametrize("suffix", Usd.suffixes)
def test_a_stage_holds_the_same_picture(suffix: str, tmp_path: Path) -> None:
    pxr = pytest.importorskip("pxr", reason="usd-core is not installed")
    from pxr import Usd as Stages
    from pxr import UsdGeom

    Usd().write(tmp_path / f"a{suffix}", some(), "a head")
    stage = Stages.Stage.Open(str(tmp_path / f"a{suffix}"))
    assert pxr and stage.GetRootLayer().comment == "a head"
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == METRES
    prim = stage.GetDefaultPrim()
    assert prim.GetTypeName() == "ParticleField3DGaussianSplat"

    def values(name: str) -> torch.Tensor:
        return torch.from_numpy(np.array(prim.GetAttribute(name).Get(), np.float32))

    turns = prim.GetAttribute("orientations").Get()
    xyzw = torch.tensor([[*turn.GetImaginary(), turn.GetReal()] for turn in turns])
    colours = values("radiance:sphericalHarmonicsCoefficients")
    back = linear(values("positions"), xyzw, values("scales"), values("opacities"), colours)
    assert prim.GetAttribute("radiance:sphericalHarmonicsDegree").Get() == 0
    assert apart_db(back, some()) > 70
    torch.testing.assert_close(back.means, some().means)
    low, high = values("extent")
    assert (low < some().means.amin(0)).all() and (high > some().means.amax(0)).all()


@pytest.mark.parametrize("there", [None, SimpleNamespace(Usd=0, UsdGeom=0, UsdVol=SimpleNamespace(), Vt=0)])
def test_a_missing_or_old_library_is_named(there: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pxr", there)
    with pytest.raises(InputError, match="pip install 'usd-core"):
        Usd().write(tmp_path / "a.usd", some())

# SPDX-License-Identifier: Apache-2.0
"""OpenUSD: one `UsdVol.ParticleField3DGaussianSplat`, which OpenUSD has since 26.03.

The stage is y up and says that its unit is 10 cm; scales and opacities are linear, colours the constant spherical
harmonic. Source: the schema's own documentation in usd-core.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from avatar3d.errors import InputError
from avatar3d.records import Gaussians
from avatar3d.splat_files._plain import SH_0, arrays, unit

__all__ = ["Usd"]

_METRES = 0.1  # per u
_REACH = 3  # standard deviations that the extent holds


class Usd:
    """A stage whose default prim, /Head, is the particle field."""

    suffixes: ClassVar[tuple[str, ...]] = (".usd", ".usda", ".usdc")

    def write(self, path: Path, gaussians: Gaussians, about: str = "") -> None:
        """See contracts.WriteSplats; `about` is the stage's comment. Needs usd-core."""
        try:
            from pxr import Usd as Stages
            from pxr import UsdGeom, UsdVol, Vt

            kind = UsdVol.ParticleField3DGaussianSplat
        except (ImportError, AttributeError) as error:
            raise InputError(
                f"{path}: OpenUSD 26.03 or later is not installed", "pip install 'usd-core>=26.3'"
            ) from error
        given = arrays(gaussians)
        scales = np.exp(given["log_scales"])
        stage = Stages.Stage.CreateNew(str(path))
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
        UsdGeom.SetStageMetersPerUnit(stage, _METRES)
        stage.GetRootLayer().comment = about
        field = kind.Define(stage, "/Head")
        stage.SetDefaultPrim(field.GetPrim())
        opacities = (1 / (1 + np.exp(-given["opacity_logits"].astype(np.float64)))).astype(np.float32)
        reach = _REACH * scales.max(1, keepdims=True)
        extent = np.stack([(given["means"] - reach).min(0), (given["means"] + reach).max(0)])
        values = {
            "positions": Vt.Vec3fArray.FromNumpy(given["means"]),
            # its numpy rows are imaginary part first
            "orientations": Vt.QuatfArray.FromNumpy(np.roll(unit(given["quats"]), -1, 1).copy()),
            "scales": Vt.Vec3fArray.FromNumpy(scales),
            "opacities": Vt.FloatArray.FromNumpy(opacities),
            "radiance:sphericalHarmonicsDegree": 0,
            "radiance:sphericalHarmonicsCoefficients": Vt.Vec3fArray.FromNumpy((given["colours"] - 0.5) / SH_0),
            "extent": Vt.Vec3fArray.FromNumpy(extent),
        }
        for name, value in values.items():
            field.GetPrim().GetAttribute(name).Set(value)
        stage.GetRootLayer().Save()

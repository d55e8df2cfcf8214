# SPDX-License-Identifier: Apache-2.0
"""A program that answers as OpenFace's FeatureExtraction does."""

from __future__ import annotations

import sys
from pathlib import Path

_ANSWER = """
import pathlib, sys

given = dict(zip(sys.argv[1:], sys.argv[2:]))
pictures = sorted(pathlib.Path(given["-fdir"]).glob("*.png"))
units = [1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45]
size = 0.0 if pathlib.Path(given["-fdir"]).name == "real" else 1.0
lines = ["frame, success, " + ", ".join(f" AU{unit:02d}_r" for unit in units)]
row = ", ".join(str(size * (2 if unit == 25 else 1)) for unit in units)
lines += [f"{at}, 1, {row}" for at in range(len(pictures))]
pathlib.Path(given["-out_dir"], "frames.csv").write_text("\\n".join(lines))
"""


def stand_in(program: Path) -> None:
    """Writes it: every unit of real frames is 0, of made ones 1, and their AU25 is 2."""
    program.write_text(f"#!{sys.executable}\n{_ANSWER}")
    program.chmod(0o755)

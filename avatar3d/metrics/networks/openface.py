# SPDX-License-Identifier: Apache-2.0
"""Action units by OpenFace, the user's own installation of it: it is asked as a program, with pictures in a folder."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

from avatar3d.errors import InputError

UPPER = (1, 2, 4, 5, 6, 7, 9, 45)
LOWER = (10, 12, 14, 15, 17, 20, 23, 25, 26)
_LIMIT_S = 3600.0


def action_units(program: Path, pictures: Path, out: Path) -> np.ndarray:
    """Intensities [T,17] 0..5 of a folder's pictures, upper face first; NaN where no face was found.

    Raises:
        InputError: the program fails, or writes no such table.
    """
    command = [str(program), "-fdir", str(pictures), "-aus", "-out_dir", str(out)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{program}: cannot be run ({error})", "see that OpenFace runs by itself") from error
    tables = sorted(out.glob("*.csv"))
    if done.returncode or len(tables) != 1:
        raise InputError(
            f"{program}: exit code {done.returncode}, {len(tables)} tables", "see that OpenFace runs by itself"
        )
    with tables[0].open(newline="") as file:
        rows = [{name.strip(): value for name, value in row.items()} for row in csv.DictReader(file)]
    try:
        return np.array([[_intensity(row, unit) for unit in (*UPPER, *LOWER)] for row in rows])
    except (KeyError, ValueError) as error:
        raise InputError(f"{tables[0]}: no table of OpenFace's ({error})", "take OpenFace 2") from error


def apart(real: np.ndarray, made: np.ndarray) -> tuple[float, float]:
    """Sums over the units of the upper and of the lower face of their mean squared difference, from [T,17] each."""
    errors = np.nanmean(np.square(real - made), axis=0)
    return float(errors[: len(UPPER)].sum()), float(errors[len(UPPER) :].sum())


def keep(folder: Path, index: int, picture: np.ndarray) -> None:
    """Writes a picture where `action_units` looks for it."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folder / f"{index:06d}.png", compress_level=1)


def _intensity(row: dict[str, str], unit: int) -> float:
    return float(row[f"AU{unit:02d}_r"]) if int(float(row.get("success", "1"))) else np.nan

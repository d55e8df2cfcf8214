# SPDX-License-Identifier: Apache-2.0
"""Keyframes from a JSON file: every mistake is told by the entry that holds it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avatar3d.errors import InputError
from avatar3d.motion._keys import CONTROLS, EASES, Key

_FIELDS = ("time_s", "control", "value", "ease")
_REMEDY = 'write a list such as [{"time_s": 1.5, "control": "browInnerUp", "value": 0.6}]'


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file: a list of {"time_s", "control", "value"}, each with an "ease" where it wants another one.

    Raises:
        InputError: no such file, no JSON, or an entry that is no key, names no control or leaves its range.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file", _REMEDY) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file ({error})", _REMEDY) from error
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}: not a list of keys", _REMEDY)
    known = {name.lower(): name for name in CONTROLS}
    keys = tuple(_key(f"{path}: key {number}", entry, known) for number, entry in enumerate(entries, 1))
    _refuse_twice(path, keys)
    return keys


def _key(place: str, entry: Any, known: dict[str, str]) -> Key:
    if not isinstance(entry, dict) or not set(_FIELDS[:3]) <= entry.keys() <= set(_FIELDS):
        raise InputError(f"{place}: not of the fields {', '.join(_FIELDS[:3])}, and ease if wanted", _REMEDY)
    control = known.get(str(entry["control"]).lower())
    if control is None:
        others = ", ".join(list(CONTROLS)[-8:])
        raise InputError(f"{place}: no control named {entry['control']!r}", f"name one of ARKit's, or {others}")
    low, high, unit, _ = CONTROLS[control]
    time_s = _number(f"{place}: time_s", entry["time_s"], 0, math.inf, "s")
    value = _number(f"{place}: value of {control}", entry["value"], low, high, unit)
    ease = entry.get("ease", EASES[0])
    if ease not in EASES:
        raise InputError(f"{place}: no ease named {ease!r}", f"choose one of: {', '.join(EASES)}")
    return Key(time_s, control, value, ease)


def _number(place: str, given: Any, low: float, high: float, unit: str) -> float:
    wanted = f"give a number of {low:g} or more ({unit})" if high == math.inf else f"give {low:g} to {high:g} ({unit})"
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise InputError(f"{place} is {json.dumps(given)[:40]}, no number", wanted)
    if not low <= given <= high or math.isinf(given):
        raise InputError(f"{place} is {given:g}", wanted)
    return float(given)


def _refuse_twice(path: Path, keys: Sequence[Key]) -> None:
    seen: dict[tuple[str, float], int] = {}
    for number, key in enumerate(keys, 1):
        first = seen.setdefault((key.control, key.time_s), number)
        if first != number:
            raise InputError(
                f"{path}: keys {first} and {number} both set {key.control} at {key.time_s:g} s", "leave one of them out"
            )

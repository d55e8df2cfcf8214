# SPDX-License-Identifier: Apache-2.0
"""A finding, and the rule that makes a grade of a number."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Grade = Literal["green", "amber", "red", "unknown"]
_ORDER: tuple[Grade, ...] = ("unknown", "green", "amber", "red")


@dataclass(frozen=True)
class Finding:
    """One row of the report."""

    name: str
    value: str  # as a person reads it, with its unit
    figure: float | None  # the same as a number; None where it could not be measured
    grade: Grade
    why: str  # it matters
    fix: str  # what to do about it; empty where nothing need be done


@dataclass(frozen=True)
class Rule:
    """How a number is judged: green up to `green`, amber up to `amber`; with green > amber, more is better."""

    name: str
    shown: str  # a format with one place, for example "{:.1f} s"
    green: float
    amber: float
    why: str
    fix: str

    def __call__(self, figure: float | None) -> Finding:
        if figure is None or not math.isfinite(figure):
            return Finding(self.name, "could not be measured", None, "unknown", self.why, "")
        grade = self._grade(figure)
        return Finding(
            self.name, self.shown.format(figure), figure, grade, self.why, "" if grade == "green" else self.fix
        )

    def _grade(self, figure: float) -> Grade:
        sign = 1 if self.green > self.amber else -1
        if sign * figure >= sign * self.green:
            return "green"
        return "amber" if sign * figure >= sign * self.amber else "red"


def worst(findings: Iterable[Finding]) -> Grade:
    """The worst grade among findings."""
    return max((finding.grade for finding in findings), key=_ORDER.index, default="unknown")

# SPDX-License-Identifier: Apache-2.0
"""The doctor names what is there, what is not, and why."""

from __future__ import annotations

import importlib.util
import json
from importlib.machinery import ModuleSpec

import pytest
import torch

from avatar3d.recipes import doctor


def test_the_figures_are_json_and_name_this_machine() -> None:
    figures = doctor.doctor()
    assert json.loads(json.dumps(figures)) == figures
    assert figures["machine"]["cores"] >= 1
    assert figures["versions"]["torch"] == torch.__version__
    assert "native" in figures["parts"]["render"]


def test_every_kernel_has_a_path_and_a_missing_one_a_reason() -> None:
    figures = doctor.doctor()
    assert {"splat", "blend", "rig", "hashgrid"} <= set(figures["paths"])
    assert figures["native"]["available"] or figures["native"]["why_not"]


def test_the_report_holds_every_optional_package_with_its_use() -> None:
    text = doctor.report(doctor.doctor())
    for extra in doctor.EXTRAS:
        assert extra.package in text and extra.serves in text


def test_a_missing_package_says_how_to_get_it() -> None:
    told = doctor.optional(doctor.Extra("no_such_module", "no-such", "nothing", "pip install no-such"))
    assert told["version"] is None
    assert "pip install no-such" in told["why_not"]


@pytest.mark.parametrize(
    ("version", "fit"), [("0.10.29", False), ("0.10.30", True), ("0.10.31", True), ("0.10.32", False), ("1.2.2", False)]
)
def test_a_mediapipe_that_reports_to_its_maker_is_named(
    version: str, fit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "version", lambda _: version)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: ModuleSpec(name, None))
    assert (doctor.optional(doctor.EXTRAS[0])["why_not"] is None) == fit

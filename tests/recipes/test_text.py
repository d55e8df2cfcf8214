# SPDX-License-Identifier: Apache-2.0
"""Figures as a person reads them."""

from __future__ import annotations

from pathlib import Path

from avatar3d.recipes._text import columns, sections, shown, size_mb


def test_values_are_short() -> None:
    assert [shown(value) for value in (None, True, 35.12345, 0.031234, 12, [], [1, 2.5], {"a": 1, "b": None})] == [
        "-", "yes", "35.12", "0.03123", "12", "none", "1, 2.5", "a 1, b -",
    ]  # fmt: skip


def test_columns_align_and_empty_blocks_vanish() -> None:
    assert columns([("a", 1), ("long", None)]) == "a     1\nlong  -"
    assert sections({"first": [("a", 1)], "empty": [], "last": [("b", "x")]}) == "first\n  a  1\n\nlast\n  b  x"


def test_size_counts_what_lies_below(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_bytes(bytes(1_500_000))
    (tmp_path / "b").write_bytes(bytes(500_000))
    assert size_mb(tmp_path) == 2.0
    assert size_mb(tmp_path / "b") == 0.5

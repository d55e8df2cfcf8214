# SPDX-License-Identifier: Apache-2.0
"""The README's table is that of benchmarks.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from avatar3d.errors import InputError
from avatar3d.recipes import _bench_table as table

ROOT = Path(__file__).parents[2]
ROW = {"size": 64, "n": 1500, "images": 1, "threads": 2, "isa": "avx2", "load": 0.5}
TIMES = {"forward_ms_min": 1.0, "forward_ms_median": 1.25, "step_ms_min": 2.0, "step_ms_median": 2.5}
ALONE = ROW | {"threads": 1, "forward_ms_min": 1.9, "forward_ms_median": 2, "step_ms_min": 3.9, "step_ms_median": 4}
FIGURES = {"machine": {"processor": "A Processor", "cores": 2}, "rows": [ALONE, ROW | TIMES]}


def test_the_readme_shows_the_figures_on_file() -> None:
    figures = json.loads((ROOT / "benchmarks.json").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert table.put_into(readme, figures) == readme
    assert figures["machine"]["processor"] in readme
    assert {row["threads"] for row in figures["rows"]} >= {1}
    assert figures["against"] and figures["steps"]


def test_only_what_is_between_the_marks_changes() -> None:
    text = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    new = table.put_into(text, FIGURES)
    assert new.startswith(f"before\n{table.BEGIN}\n\nA Processor, 2 cores.")
    assert new.endswith(f"\n\n{table.END}\nafter\n")
    assert "| 64 x 64, 1,500 | avx2 | 1.00, 1.25 | 1.90, 2.00 | 2.00, 2.50 | 3.90, 4.00 | 0.5 |\n" in new
    assert "old" not in new
    assert table.put_into(new, FIGURES) == new


def test_each_kind_of_figures_has_its_table() -> None:
    posed = {
        "size": 64,
        "n": 50,
        "images": 8,
        "isa": "cuda",
        "threads": 1,
        "ms_min": 2.0,
        "ms_median": 4.0,
        "load": 1.0,
    }
    times = {"ms_min": 2.0, "ms_median": 4.0, "ops_ms_min": 3.0, "ops_ms_median": 5.0}
    filmed = {"size": 64, "n": 50, "threads": 2, "torch_ms_min": 60.0, "torch_ms_median": 61.0, "load": 1.0} | times
    text = table.markdown(FIGURES | {"posed": [posed], "filmed": [filmed]})
    assert "| 64 x 64, 50 | 2 | 2.00, 4.00 | 250 | 3.00, 5.00 | 60.00, 61.00 | 1.0 |\n" in text
    assert "| 64 x 64, 50 | 8 | cuda | 1 | 2.00, 4.00 | 2,000 | 1.0 |\n" in text
    assert text.count("\n| --- |") == 3


def test_a_text_without_marks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.md"
    path.write_text("nothing")
    with pytest.raises(InputError, match="no place for the table"):
        table.write_into(path, FIGURES)
    assert path.read_text() == "nothing"

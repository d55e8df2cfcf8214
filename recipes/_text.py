# SPDX-License-Identifier: Apache-2.0
"""Figures as a person reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def columns(rows: Iterable[tuple[str, Any]]) -> str:
    """Two aligned columns as text."""
    listed = [(label, shown(value)) for label, value in rows]
    width = max((len(label) for label, _ in listed), default=0)
    return "\n".join(f"{label:<{width}}  {value}".rstrip() for label, value in listed)


def shown(value: Any) -> str:
    """A figure as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {shown(entry)}" for key, entry in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value)) or "none"
    return str(value)


def sections(parts: Mapping[str, Iterable[tuple[str, Any]]]) -> str:
    """Titled blocks of two columns; empty blocks are left out."""
    blocks = {title: columns(rows) for title, rows in parts.items()}
    return "\n\n".join(f"{title}\n{_indented(text)}" for title, text in blocks.items() if text)


def table(lines: Sequence[Sequence[Any]]) -> str:
    """Lines of cells, the first of them headings, each column as wide as its widest cell."""
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(str(cell).rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )


def size_mb(path: Path) -> float:
    """What a file or folder takes on the disk, MB."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return round(sum(file.stat().st_size for file in files) / 1e6, 2)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())

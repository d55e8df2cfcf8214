# SPDX-License-Identifier: Apache-2.0
"""Parts by name, and the contract of every part that stands in a room."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest

from avatar3d import contracts
from avatar3d.choose import choose, names
from avatar3d.errors import InputError

ROOMS = {
    "avatar3d.audio": contracts.Listen,
    "avatar3d.motion": contracts.Speak,
    "avatar3d.avatar": contracts.Head,
    "avatar3d.render": contracts.Draw,
    "avatar3d.face": contracts.ReadFace,
}
PARTS = [(room, name) for room in ROOMS for name in names(room)]


def test_every_room_has_a_part() -> None:
    assert {room for room, _ in PARTS} == set(ROOMS)


@pytest.mark.parametrize(("room", "name"), PARTS)
def test_a_part_offers_what_its_contract_names(room: str, name: str) -> None:
    part = choose(room, name)
    wanted = {method for method, _ in inspect.getmembers(ROOMS[room], inspect.isfunction) if method != "__init__"}
    public = {method for method in wanted if not method.startswith("_") or method == "__call__"}
    missing = {method for method in public if not callable(getattr(part, method, None))}
    assert not missing, f"{part.__name__} lacks {missing}"
    for method in public:
        theirs = list(inspect.signature(getattr(part, method)).parameters)
        ours = list(inspect.signature(getattr(ROOMS[room], method)).parameters)
        assert theirs[: len(ours)] == ours, f"{part.__name__}.{method}"


def test_a_file_that_offers_no_class_is_no_part() -> None:
    assert "ict" in names("avatar3d.face")
    assert not {"canonical", "groups", "rig", "rigid"} & set(names("avatar3d.face"))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="native"):
        choose("avatar3d.render", "no_such_part")
    with pytest.raises(InputError, match="imported"):
        choose("avatar3d.render", "no.such.module")


def test_a_dotted_name_reaches_a_users_own_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "someones_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "mine.py").write_text("__all__ = ['Mine']\nclass Mine: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert choose("avatar3d.render", "someones_package.mine").__name__ == "Mine"
    sys.modules.pop("someones_package.mine")


def test_a_module_without_one_public_class_is_refused() -> None:
    with pytest.raises(InputError, match="__all__"):
        choose("avatar3d.render", "avatar3d.records")

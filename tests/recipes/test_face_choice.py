# SPDX-License-Identifier: Apache-2.0
"""Which face the tracker works with: by name, with the user's file, and as part of the track's key."""

from __future__ import annotations

from pathlib import Path

import pytest

from avatar3d.errors import InputError
from avatar3d.recipes._face import PERSON, FaceChoice
from avatar3d.records import unwatched


def test_the_personal_basis_needs_nothing_and_leaves_keys_as_they_were() -> None:
    assert PERSON.key() == ()
    assert PERSON.model(unwatched) is None


def test_a_key_tells_models_and_files_apart(tmp_path: Path) -> None:
    file = tmp_path / "generic_model.pkl"
    file.write_bytes(b"one")
    keys = {FaceChoice("ict").key(), FaceChoice("flame").key(), FaceChoice("flame", file).key()}
    file.write_bytes(b"two")
    keys.add(FaceChoice("flame", file).key())
    (tmp_path / "l_eyelid.npy").write_bytes(b"beside it")
    keys.add(FaceChoice("flame", file).key())
    assert len(keys) == 5


def test_what_cannot_be_chosen_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"personal, bfm, flame, ict"):
        FaceChoice("smpl").key()
    with pytest.raises(InputError, match="no such file"):
        FaceChoice("bfm", tmp_path / "missing.mat").key()
    with pytest.raises(InputError, match="needs no file"):
        FaceChoice(file=tmp_path).key()
    FaceChoice("flame").check(unwatched, thoroughly=False)
    with pytest.raises(InputError, match=r"flame\.is\.tue\.mpg\.de"):
        FaceChoice("flame").check(unwatched)

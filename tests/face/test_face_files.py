# SPDX-License-Identifier: Apache-2.0
"""Face models that users hold: made-up files of the same layouts, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from face_models import bent, fields, flame_arrays, write_bfm_mat, write_bfm_npy, write_embedding, write_flame

from avatar3d.errors import InputError
from avatar3d.face.bfm import Bfm
from avatar3d.face.canonical import CanonicalFace, load_canonical
from avatar3d.face.flame import Flame
from avatar3d.face.groups import IBUG
from avatar3d.face.ict import Ict
from avatar3d.records import FaceModel


@pytest.fixture(scope="module")
def face(face_task: Path) -> CanonicalFace:
    return load_canonical(face_task)


def test_flame_is_read_from_its_pickle_and_from_npz_alike(
    face: CanonicalFace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Flame()(write_flame(tmp_path, face, monkeypatch))
    assert np.allclose(model.neutral, bent(face), atol=1e-6)
    assert np.allclose(np.concatenate([model.identity, model.expression[..., :100]], 2), fields(face, 400, 0.02, 4))
    assert model.expression.shape == (468, 3, 106) and len(model.expression_names) == 106
    arrays = {name: value for name, value in flame_arrays(face).items() if isinstance(value, np.ndarray)}
    np.savez(tmp_path / "flame.npz", **arrays)
    again = Flame()(tmp_path / "flame.npz")
    for name in ("neutral", "triangles", "identity", "expression", "bounds", "corners", "shares"):
        assert np.array_equal(getattr(model, name), getattr(again, name)), name


@pytest.mark.parametrize(("name", "axis"), [("jawOpen", 0), ("jawSide", 1), ("jawAskew", 2)])
def test_flames_jaw_turns_as_its_joint_does(face: CanonicalFace, tmp_path: Path, name: str, axis: int) -> None:
    arrays, angle = flame_arrays(face), 0.3
    np.savez(tmp_path / "flame.npz", **{key: value for key, value in arrays.items() if isinstance(value, np.ndarray)})
    write_embedding(tmp_path, face)
    model = Flame()(tmp_path / "flame.npz")
    turn = np.eye(3)
    one, two = (axis + 1) % 3, (axis + 2) % 3
    turn[one, one] = turn[two, two] = np.cos(angle)
    turn[two, one], turn[one, two] = np.sin(angle), -np.sin(angle)
    template, joint = arrays["v_template"], arrays["J_regressor"][2] @ arrays["v_template"]
    moved = arrays["weights"][:, [2]] * ((template - joint) @ (turn - np.eye(3)).T)
    moved = moved + np.einsum("vck,k->vc", arrays["posedirs"][..., 9:18], (turn - np.eye(3)).reshape(-1))
    at = model.expression_names.index(name)
    ours = model.expression[..., at] * np.sin(angle) + model.expression[..., at + 1] * (1 - np.cos(angle))
    assert np.allclose(ours / 10, moved, atol=1e-7)
    if axis == 0:
        assert ours[152, 1] < -0.05  # turned by a positive angle, the chin falls


def test_lids_beside_flame_close(face: CanonicalFace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_flame(tmp_path, face, monkeypatch)
    np.save(tmp_path / "l_eyelid.npy", np.full((468, 3), 0.001))
    model = Flame()(path)
    assert model.expression_names[-1] == "eyeBlinkLeft"
    assert np.allclose(model.expression[..., -1], 0.01)
    np.save(tmp_path / "r_eyelid.npy", np.zeros(5))
    with pytest.raises(InputError, match="r_eyelid"):
        Flame()(path)


def test_both_layouts_of_basel_give_the_same_model(face: CanonicalFace, tmp_path: Path) -> None:
    models = [Bfm()(write(tmp_path, face)) for write in (write_bfm_mat, write_bfm_npy)]
    for model in models:
        assert np.allclose(model.neutral, bent(face) - bent(face).mean(0), atol=1e-6)
        assert np.allclose(model.identity, fields(face, 80, 0.02, 4), atol=1e-6)
        assert np.allclose(model.expression, fields(face, 64, 0.02, 5), atol=1e-6)
        assert model.corners[model.landmarks == 13, 0] == 13
    corners = bent(face)[models[0].triangles]
    assert np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2].sum() > 0


class Trap:
    """What a pickle could do to whoever opens it."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize("read", [Flame(), Bfm()])
def test_a_pickle_that_would_run_something_is_refused_by_name(
    read: Flame | Bfm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ("trap.pkl" if isinstance(read, Flame) else "trap.npy")
    if isinstance(read, Flame):
        path.write_bytes(pickle.dumps({"v_template": Trap()}, protocol=2))
    else:
        np.save(path, {"mu_shape": Trap()})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"posix\.mkdir|nt\.mkdir"):
        read(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(("read", "word"), [(Flame(), "flame.is.tue.mpg.de"), (Bfm(), "faces.dmi.unibas.ch")])
def test_a_licensed_model_without_a_file_is_refused_with_the_way_to_it(read: Flame | Bfm, word: str) -> None:
    with pytest.raises(InputError, match=word):
        read()


def test_other_files_are_refused(face: CanonicalFace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import scipy.io

    other = tmp_path / "other.mat"
    scipy.io.savemat(other, {"shapeMU": np.zeros(9)})
    with pytest.raises(InputError, match="with expressions"):
        Bfm()(other)
    other.write_bytes(b"nothing")
    with pytest.raises(InputError, match="MATLAB"):
        Bfm()(other)
    with pytest.raises(InputError, match="cannot be read"):
        Bfm()(tmp_path / "missing.npy")
    path = write_flame(tmp_path, face, monkeypatch)
    (tmp_path / "mediapipe_landmark_embedding.npz").unlink()
    with pytest.raises(InputError, match="mediapipe_landmark_embedding"):
        Flame()(path)
    path.write_bytes(pickle.dumps({"v_template": np.zeros((4, 3))}))
    with pytest.raises(InputError, match="shape"):
        Flame()(path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="FLAME"):
        Flame()(path)
    with pytest.raises(InputError, match="FaceXModel"):
        Ict()(tmp_path)


def test_ict_is_read_from_the_folder_of_its_repository(face: CanonicalFace, tmp_path: Path) -> None:
    moved = fields(face, 4, 0.02, 4)
    names = ("generic_neutral_mesh", "identity000", "browDown_L", "jawOpen")
    for name, field in zip(names, (0 * moved[..., 0], *np.moveaxis(moved[..., :3], -1, 0)), strict=True):
        lines = [f"v {x:.8f} {y:.8f} {z:.8f}" for x, y, z in (bent(face) + field) * 10]
        lines += ["usemtl M_Teeth", "f 1/1 2/2 3/3", "usemtl M_Face"]
        lines += [f"f {a}/1 {b}/1 {c}/1" for a, b, c in face.triangles + 1]
        (tmp_path / f"{name}.obj").write_text("\n".join(lines))
    about = {"expressions": ["browDown_L", "jawOpen"], "idx_to_landmark_verts": list(IBUG)}
    (tmp_path / "vertex_indices.json").write_text(json.dumps(about))
    model = Ict()(tmp_path)
    assert np.array_equal(model.triangles, face.triangles)
    assert np.allclose(model.neutral, bent(face), atol=1e-6)
    assert np.allclose(model.identity, moved[..., :1], atol=1e-6)
    assert np.allclose(model.expression, moved[..., 1:3], atol=1e-6)
    assert model.expression_names == ("browDownLeft", "jawOpen")
    (tmp_path / "jawOpen.obj").write_text("v 0 0 0")
    with pytest.raises(InputError, match=r"jawOpen\.obj"):
        Ict()(tmp_path)


def test_ict_moves_the_side_that_its_names_say(ict: FaceModel) -> None:
    def change(name: str, vertex: int, axis: int) -> float:
        return float(ict.expression[vertex, axis, ict.expression_names.index(name)])

    assert change("jawLeft", 152, 0) > 0.03 > change("jawRight", 152, 0)
    assert change("mouthLeft", 13, 0) > 0.03
    for side, upper, other in (("Left", 386, 159), ("Right", 159, 386)):
        assert change(f"eyeBlink{side}", upper, 1) < -0.03
        assert abs(change(f"eyeBlink{side}", other, 1)) < 0.005
    assert change("mouthSmileLeft", 291, 1) > 0.03 > abs(change("mouthSmileLeft", 61, 1))


def test_lips_and_lids_lie_on_their_own_side_of_the_gap(ict: FaceModel) -> None:
    jaw = ict.expression[..., ict.expression_names.index("jawOpen")]
    upper = (191, 80, 81, 82, 13, 312, 311, 310, 415)
    lower = (95, 88, 178, 87, 14, 317, 402, 318, 324)
    assert jaw[list(upper), 1].min() > 0.25 * jaw[14, 1]
    assert jaw[list(lower)[1:-1], 1].max() < 0.5 * jaw[14, 1]
    blink = ict.expression[..., ict.expression_names.index("eyeBlinkRight")]
    closed = ict.neutral + blink
    assert np.abs(closed[[160, 159, 158], 1] - closed[[144, 145, 153], 1]).max() < 0.04
    assert (ict.neutral[[160, 159, 158], 1] - ict.neutral[[144, 145, 153], 1]).min() > 0.05

# SPDX-License-Identifier: Apache-2.0
"""What holds for every kind of head in the room: it is trained by the one loop, kept, and read back as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from made_up import COUNTS, MadeUp

from avatar3d.avatar._radiance_fit import RadianceFitSettings
from avatar3d.avatar.radiance import RadianceSettings
from avatar3d.avatar.triplane import TriplaneSettings
from avatar3d.avatars import Avatar, open_avatar, save_avatar
from avatar3d.choose import choose, names
from avatar3d.contracts import Draw, Head, Tools, TrainableHead
from avatar3d.fit import Budget, StepReport, fit
from avatar3d.perceptual import gradient_loss

HEADS = names("avatar3d.avatar")
STEPS = 3
# where the usual ones would take long
SETTINGS = {
    "radiance": RadianceSettings(COUNTS, cells=24, fit=RadianceFitSettings(samples=4000)),
    "triplane": TriplaneSettings(COUNTS, taught_steps=2),
}


def _trained(made_up: MadeUp, name: str) -> tuple[Head, list[StepReport]]:
    part: type[TrainableHead] = choose("avatar3d.avatar", name)
    tools = Tools(_draw(part), gradient_loss)
    task = part.learner(made_up.capture, made_up.track, made_up.triangles, tools, SETTINGS.get(name))
    reports = list(fit(task, part.stages, Budget(steps=STEPS), reviews=1))
    return task.trained(), reports


def _draw(head: Head | type[Head]) -> Draw:
    draw: Draw = choose("avatar3d.render", getattr(head, "renderer", "native"))()
    return draw


@pytest.fixture(scope="module", params=HEADS)
def trained(request: pytest.FixtureRequest, made_up: MadeUp) -> tuple[Head, list[StepReport]]:
    return _trained(made_up, request.param)


def _picture(head: Head, made_up: MadeUp) -> torch.Tensor:
    with torch.no_grad():
        code = head.encode(made_up.track.motion)[5]
        return _draw(head)(head.pose(code), head.camera).over(head.background)


def test_it_is_trained_by_the_one_loop(trained: tuple[Head, list[StepReport]], made_up: MadeUp) -> None:
    head, reports = trained
    assert isinstance(head, TrainableHead)
    assert [report.step for report in reports] == [1, 2, 3]
    (last,) = (stage for stage in type(head).stages if stage.name == reports[-1].stage)
    assert set(reports[-1].terms) >= set(last.weights)
    assert reports[-1].figures["psnr_full"] > 10
    picture = _picture(head, made_up)
    assert picture.shape == (head.camera.height, head.camera.width, 3)
    assert torch.isfinite(picture).all()


def test_every_stage_ends_and_the_last_one_at_the_end(trained: tuple[Head, list[StepReport]]) -> None:
    until = [stage.until for stage in type(trained[0]).stages]
    assert until == sorted(set(until)) and until[-1] == 1


def test_it_is_read_back_as_it_was(trained: tuple[Head, list[StepReport]], made_up: MadeUp, tmp_path: Path) -> None:
    head, _ = trained
    again = type(head).restore(head.config(), head.tensors())
    assert torch.equal(_picture(again, made_up), _picture(head, made_up))
    save_avatar(tmp_path / "me.avatar", Avatar(head, None, made_up.track.motion))
    opened = open_avatar(tmp_path / "me.avatar").head
    # the background is kept in bytes, and large tables in half precision
    assert (_picture(opened, made_up) - _picture(head, made_up)).abs().max() < 0.02


def test_the_same_seed_trains_the_same_head(made_up: MadeUp, trained: tuple[Head, list[StepReport]]) -> None:
    head, reports = trained
    other, again = _trained(made_up, type(head).__module__.rpartition(".")[2])
    assert [report.loss for report in again] == [report.loss for report in reports]
    assert all(torch.equal(tensor, head.tensors()[name]) for name, tensor in other.tensors().items())


def test_what_a_frame_shows_hangs_on_its_codes_and_its_poses(
    trained: tuple[Head, list[StepReport]], made_up: MadeUp
) -> None:
    head, _ = trained
    codes = head.encode(made_up.track.motion)
    assert codes.shape[0] == len(made_up.track.motion)
    first, other = (head.pose(code).points for code in codes[[0, 20]])
    assert (first - other).norm(dim=1).max() > 0.01

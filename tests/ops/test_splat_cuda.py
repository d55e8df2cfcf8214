# SPDX-License-Identifier: Apache-2.0
"""The CUDA body against float64: on a GPU where there is one, and always on the CPU by the stand-in for CUDA."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scenes import NAMES, Scene, cloud, relative, without_flips
from test_splat import case, pictures_and_gradients, upstream
from torch import Tensor

from avatar3d.ops import _native, _splat_cuda
from avatar3d.ops.splat import TileRoom, splat, splat_weights


def on(device: torch.device, scene: Scene) -> Scene:
    return replace(scene, K=scene.K.to(device), **{name: getattr(scene, name).to(device) for name in NAMES})


def agrees(device: torch.device, scene: Scene, seeds: list[Tensor], truths: list[Tensor], bound: float) -> None:
    _, gradients = pictures_and_gradients(on(device, scene), "native", seeds)
    for name, gradient, truth in zip(NAMES, gradients, truths, strict=True):
        assert relative(gradient.cpu(), truth) < bound, name


@pytest.mark.parametrize("terms", [0, 4])
@pytest.mark.parametrize("size", [(71, 53), (48, 64)])
def test_kernel_agrees_with_float64(cuda: torch.device, size: tuple[int, int], terms: int) -> None:
    scene, seeds, exact, truths = case("near", *size, terms)
    drawn = on(cuda, scene).draw("native")
    for picture, truth in zip(drawn, exact, strict=True):
        assert picture.cpu().double().sub(truth).abs().max() < 2e-5
    agrees(cuda, scene, seeds, truths, 1e-5)


@pytest.mark.parametrize(
    ("kind", "width", "height"), [("far", 36, 36), ("near", 1, 1), ("near", 1, 40), ("near", 33, 1)]
)
def test_odd_sizes_and_held_slopes(cuda: torch.device, kind: str, width: int, height: int) -> None:
    scene, seeds, _, truths = case(kind, width, height)
    agrees(cuda, scene, seeds, truths, 2e-5)


def test_many_layers_end_at_the_stop(cuda: torch.device) -> None:
    scene, seeds, exact, truths = case("deep", 24, 24)
    assert exact[1].min() > 0.99
    drawn = on(cuda, scene).draw("native")
    assert drawn[0].cpu().double().sub(exact[0]).abs().max() < 5e-5
    agrees(cuda, scene, seeds, truths, 5e-5)


def test_large_gaussians_and_more_than_one_load(cuda: torch.device) -> None:
    """Boxes that a whole warp looks through, and lists longer than a block loads at once."""
    scene = cloud(700, 100, 90, seed=4)
    scene = without_flips(replace(scene, scales=scene.scales * 4, opacities=scene.opacities * 0.05 + 0.004))
    seeds = upstream(scene)
    _, truths = pictures_and_gradients(scene.to(torch.float64), "reference", seeds)
    agrees(cuda, scene, seeds, truths, 2e-5)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_an_upstream_gradient_may_be_missing(cuda: torch.device, missing: int) -> None:
    scene = without_flips(cloud(100, 40, 30))
    seeds = upstream(scene)
    seeds[missing] = torch.zeros_like(seeds[missing])
    _, truths = pictures_and_gradients(scene.to(torch.float64), "reference", seeds)
    scene = on(cuda, scene).trainable()
    pairs = enumerate(zip(scene.draw("native"), seeds, strict=True))
    used = [(picture * seed.to(cuda)).sum() for i, (picture, seed) in pairs if i != missing]
    gradients = torch.autograd.grad(used[0] + used[1], scene.tensors())
    for name, gradient, truth in zip(NAMES, gradients, truths, strict=True):
        assert relative(gradient.cpu(), truth) < 1e-5, name


def test_weights_are_what_the_picture_is_made_of(cuda: torch.device) -> None:
    scene = without_flips(cloud(300, 61, 47))
    picture = torch.rand(3, 47, 61, generator=torch.Generator().manual_seed(1))
    shape = (scene.means, scene.quats, scene.scales, scene.opacities, scene.cam_from_world, scene.K)
    weight, covered = splat_weights(*(t.to(cuda) for t in shape), picture.to(cuda), path="native")
    exact = splat_weights(*(t.double() for t in shape), picture.double(), path="reference")
    assert relative(weight.cpu(), exact[0]) < 1e-5
    assert relative(covered.cpu(), exact[1]) < 1e-5


def test_the_nearer_comes_first_and_the_lower_number_among_equals(cuda: torch.device) -> None:
    """Lists of every length round a power of two and past what fits shared memory, sorted by depth, then by number."""
    g = torch.Generator().manual_seed(0)
    for count in (1, 2, 3, 31, 64, 65, 255, 257, 2049, 5000):
        scene = cloud(count, 16, 16)
        middle = torch.tensor([0.0, 0, 4]) + 1e-3 * torch.randn(count, 3, generator=g)
        middle[:, 2] = 4 + torch.randint(0, max(count // 3, 1), (count,), generator=g) / 1024
        scene = replace(scene, means=middle, cam_from_world=torch.eye(4), opacities=torch.full((count,), 0.5))
        scene = on(cuda, scene)
        inputs = (*scene.tensors()[:5], scene.cam_from_world[None], scene.K[None])
        starts, _, hits = _splat_cuda.draw(*inputs, 16, 16, _splat_cuda.ASK, True)[4:]
        listed = hits.cpu() & 0xFFFFFFFF
        assert starts.tolist() == [0, count]
        truth = torch.argsort(middle[:, 2], stable=True)
        assert torch.equal(listed, truth), count


def spoilt(scene: Scene, name: str, row: int, number: float) -> Scene:
    tensor = getattr(scene, name).clone()
    tensor[row].view(-1)[-1] = number
    return replace(scene, **{name: tensor})


@pytest.mark.parametrize("name", NAMES[:5])
def test_bad_numbers_take_out_their_gaussian_only(cuda: torch.device, name: str) -> None:
    scene = cloud(40, 37, 21)
    left = on(cuda, replace(scene, **{name: getattr(scene, name)[1:] for name in NAMES[:5]})).draw("native")
    for number in (float("nan"), float("inf"), float("-inf"), 1e38, -1e38, 2e9):
        bad = on(cuda, spoilt(scene, name, 0, number)).trainable()
        pictures = bad.draw("native")
        assert all(torch.equal(a, b) for a, b in zip(pictures, left, strict=True)), number
        gradients = torch.autograd.grad(sum(p.sum() for p in pictures), bad.tensors())
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert not any(gradient[0].any() for gradient in gradients[:5])


@pytest.mark.parametrize("name", NAMES[:5])
def test_odd_numbers_give_finite_pictures(cuda: torch.device, name: str) -> None:
    for number in (0.0, -0.0, 1e-30, 1e-12, -1.0, 1e3, 1e6, 1e9):
        odd = on(cuda, spoilt(cloud(40, 37, 21), name, 0, number)).trainable()
        rgb, alpha, depth = odd.draw("native")
        assert rgb.isfinite().all()
        assert depth.isfinite().all()
        assert ((alpha >= 0) & (alpha <= 1)).all()
        gradients = torch.autograd.grad(rgb.sum() + alpha.sum() + depth.sum(), odd.tensors())
        assert all(not gradient.isnan().any() for gradient in gradients)


@pytest.mark.parametrize("at", [(0, 0), (2, 2), (2, 3), (0, 3)])
def test_bad_cameras_give_finite_pictures(cuda: torch.device, at: tuple[int, int]) -> None:
    for number in (float("nan"), float("inf"), 1e38, -1e38, 0.0, -1.0, 1e9):
        scene = cloud(40, 37, 21)
        scene.cam_from_world[at] = number
        assert all(picture.isfinite().all() for picture in on(cuda, scene).draw("native")), number
        if max(at) < 3:
            scene = cloud(40, 37, 21)
            scene.K[at] = number
            assert all(picture.isfinite().all() for picture in on(cuda, scene).draw("native")), number


def test_nothing_to_draw(cuda: torch.device) -> None:
    scene = on(cuda, cloud(0, 20, 9)).trainable()
    pictures = scene.draw("native")
    assert all(not picture.any() for picture in pictures)
    gradients = torch.autograd.grad(sum(p.sum() for p in pictures), scene.tensors())
    assert [g.shape for g in gradients] == [t.shape for t in scene.tensors()]


def test_a_picture_that_does_not_fit_its_room_is_never_wrong(
    cuda: torch.device, caplog: pytest.LogCaptureFixture
) -> None:
    scene = on(cuda, cloud(200, 40, 40)).trainable()
    truth = [p.detach() for p in scene.draw("native")]
    room = TileRoom(50)

    def draw() -> tuple[Tensor, ...]:
        return splat(*scene.tensors(), scene.K, 40, 40, path="native", room=room)

    pictures = draw()
    assert all(picture.isnan().all() for picture in pictures)
    gradients = torch.autograd.grad(sum(p.sum() for p in pictures), scene.tensors())
    assert all(not gradient.any() for gradient in gradients)
    with pytest.raises(RuntimeError, match=r"tile pairs, the room had 50"):
        room.check()
    room.check()
    assert all(torch.equal(a, b) for a, b in zip(draw(), truth, strict=True))
    assert "the room grows" in caplog.text


def test_a_room_grows_unasked(cuda: torch.device) -> None:
    scene = on(cuda, cloud(200, 40, 40))
    room = TileRoom(50)
    for _ in range(2):
        pictures = splat(*scene.tensors(), scene.K, 40, 40, path="native", room=room)
        if cuda.type == "cuda":
            torch.cuda.synchronize()
    assert room.pairs > 50
    assert all(torch.equal(a, b) for a, b in zip(pictures, scene.draw("native"), strict=True))


def test_a_room_has_room() -> None:
    with pytest.raises(ValueError, match="room for 0 pairs"):
        TileRoom(0)


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_the_order_of_threads_does_not_matter(cuda: torch.device, shim: ctypes.CDLL, seed: int) -> None:
    scene = cloud(300, 50, 40, seed=seed)
    seeds = upstream(scene)
    drawn, gradients = pictures_and_gradients(on(cuda, scene), "native", seeds)
    shim.avatar3d_shim_seed(100 + seed)
    again, more = pictures_and_gradients(on(cuda, scene), "native", seeds)
    assert all(torch.equal(a, b) for a, b in zip(drawn, again, strict=True))
    assert all(relative(a, b) < 2e-6 for a, b in zip(gradients, more, strict=True))


def test_a_deterministic_gradient_is_refused_by_name(cuda: torch.device) -> None:
    scene = on(cuda, cloud(30, 20, 18)).trainable()
    total = scene.draw("native")[0].sum()
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(RuntimeError, match="no deterministic form on CUDA"):
            torch.autograd.grad(total, scene.tensors())
    finally:
        torch.use_deterministic_algorithms(False)


def test_op_is_registered_as_torch_expects(cuda: torch.device) -> None:
    scene = on(cuda, cloud(30, 20, 18)).trainable()
    views = (scene.cam_from_world.detach()[None].clone().requires_grad_(), scene.K[None])
    pairs = len(_splat_cuda.draw(*scene.tensors()[:5], *views, 20, 18, _splat_cuda.ASK, True)[-1])
    for capacity in (_splat_cuda.ASK, pairs):
        # threads add up in any order, so twice the same call differs by rounding
        torch.library.opcheck(
            _splat_cuda.draw, (*scene.tensors()[:5], *views, 20, 18, capacity, True), rtol=1e-4, atol=1e-4
        )


def test_a_launch_that_fails_says_why(cuda: torch.device) -> None:
    scene = on(cuda, cloud(3, 20, 18))
    with pytest.raises(ValueError, match=r"splat: more Gaussians or tile hits than 2\^31"):
        _native.checked(2, "splat")
    with pytest.raises(ValueError, match=r"means is torch\.float64"):
        replace(scene, means=scene.means.double()).draw("native")


def test_nothing_is_touched_past_its_end_or_left_unwritten(shim: ctypes.CDLL) -> None:
    program = Path(__file__).with_name("guarded.py")
    command = [sys.executable, str(program), shim._name, "cuda"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert not done.returncode, done.stderr or f"ended by signal {-done.returncode}"


@pytest.mark.gpu
def test_a_step_is_captured_in_a_graph() -> None:
    """Nothing in a step waits for the device, so all of it can be recorded and run again on new numbers."""
    scene = on(torch.device("cuda"), cloud(300, 64, 48)).trainable()
    room = TileRoom(20_000)

    def step() -> list[Tensor]:
        pictures = splat(*scene.tensors(), scene.K, 64, 48, path="native", room=room)
        total = sum(picture.square().sum() for picture in pictures)
        return [*pictures, *torch.autograd.grad(total, scene.tensors())]

    warm = torch.cuda.Stream()
    with torch.cuda.stream(warm):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = step()
    with torch.no_grad():
        scene.means.add_(0.05)
    graph.replay()
    room.check()
    for found, truth in zip(recorded, step(), strict=True):
        assert relative(found, truth) < 1e-5

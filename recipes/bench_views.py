# SPDX-License-Identifier: Apache-2.0
"""`avatar3d bench views`: heads trained on small turns, judged at large ones on made-up people known from all sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar3d import assets
from avatar3d.contracts import Head
from avatar3d.data_prep.synthetic import Film, Person, film, orbit, write_video
from avatar3d.face.canonical import load_canonical
from avatar3d.face.groups import SILHOUETTE
from avatar3d.face.rig import rig_vertices
from avatar3d.geometry import apply_pose, matrix_from_pose, project, quat_from_rotvec
from avatar3d.metrics import Judge, mean_looks
from avatar3d.metrics.orbit import seen_from
from avatar3d.metrics.regions import find_regions
from avatar3d.player import Player
from avatar3d.recipes._lpips import lpips_at_hand
from avatar3d.recipes._sheets import contact_sheet
from avatar3d.recipes._text import shown, table
from avatar3d.recipes.prepare import prepare
from avatar3d.recipes.train import STANDARD, TrainSettings, train
from avatar3d.records import Camera, Landmarks, Track, Watch, unwatched
from avatar3d.render.native import Native
from avatar3d.store import Work, save_picture

# yaw and pitch of the camera, deg; the first is where it filmed
VIEWS_DEG = ((0.0, 0.0), (-30.0, 0.0), (-15.0, 0.0), (15.0, 0.0), (30.0, 0.0), (0.0, -20.0), (0.0, 20.0))
FURTHEST_DEG = 10.0  # that the filmed head turns
_FRAMES = 4
_IRISES = 10  # landmarks that a mesh has not
_MESH = 468
_ROUNDS = 6
_PROBE = (0.004, 0.004, 0.004, 0.02, 0.02, 0.05)  # rad, u; about half a pixel each


@dataclass(frozen=True)
class ViewsSettings:
    """What is filmed and how long it is trained on."""

    people: tuple[int, ...] = (0, 2)
    seconds: float = 24.0  # of film
    size: int = 256  # px
    steps: int = 1500
    head: str = STANDARD
    seed: int = 0


def bench_views(out: Path, settings: ViewsSettings = ViewsSettings(), watch: Watch = unwatched) -> dict[str, Any]:
    """Films people who hardly turn, makes heads of them, and compares these from all sides with the people.

    The work folders stay in `out` and are used again; views.png in each shows real, made and their difference.

    Returns:
        `{"rows": [...]}` of "person", "yaw_deg", "pitch_deg", "psnr_head", "psnr_face", "lpips_head" (None without
        weights), means over some held-out frames in which the head looks ahead.
    """
    face = load_canonical(assets.find(assets.FACE_LANDMARKER, watch))
    rows = []
    for number in settings.people:
        folder = out / f"person{number}"
        filmed = film(
            Person(face, number), settings.seconds, settings.size, number, watch=watch, furthest_deg=FURTHEST_DEG
        )
        video = out / f"person{number}.mp4"
        if not video.is_file():
            out.mkdir(parents=True, exist_ok=True)
            write_video(video, filmed)
        track = prepare(video, folder, watch=watch).track
        work = Work(folder)
        trained, _ = train(work, settings.head, TrainSettings(None, settings.steps, seed=settings.seed), watch)
        found, sheet = judged_around(trained, track, filmed)
        save_picture(work.run(settings.head) / "views.png", sheet)
        rows += [{"person": number, **row} for row in found]
    return {"rows": rows}


def report_views(figures: Mapping[str, Any]) -> str:
    """The rows as a table for the terminal."""
    heads = ("person", "yaw_deg", "pitch_deg", "psnr_head", "psnr_face", "lpips_head")
    return table([heads, *(tuple(shown(row[name]) for name in heads) for row in figures["rows"])])


def judged_around(head: Head, track: Track, filmed: Film) -> tuple[list[dict[str, Any]], np.ndarray]:
    """One row per view of VIEWS_DEG, and a sheet of one frame from all of them.

    The cameras that go round the person and those that go round the head are not the same: the tracker has a focal
    length, a depth and an idea of where landmarks lie of its own. So each of the head's cameras stands where the drawn
    face lies best on the person's, by their pictures; the room is the film's own in both.
    """
    player, lpips = Player(head, Native()), lpips_at_hand()
    codes = head.encode(track.motion)
    frames = _ahead(filmed, track.fitted_frames)
    rows, strips = [], []
    for yaw, pitch in VIEWS_DEG:
        looks = []
        for frame in frames:
            seen = orbit(_camera_of_work(filmed, track), yaw, pitch)
            points = _true_landmarks(filmed, frame, seen)
            real, room = filmed.frame(frame, seen), torch.from_numpy(filmed.room(seen)).float() / 255
            stand = _Stand(player, codes[frame], room)
            made = stand.picture(stand.settled(_standing(track, frame, points, yaw, pitch), real, points))
            everywhere = np.concatenate([points, np.repeat(points[:1], _IRISES, 0)])[None]
            landmarks = Landmarks(np.pad(everywhere, ((0, 0), (0, 0), (0, 1))), np.zeros((1, 52)), np.ones(1, bool))
            looks.append(Judge(real[None], landmarks, np.zeros(1, int), lpips).look(0, made))
            if frame == frames[0]:
                strips.append((real, made, f"yaw {yaw:g}, pitch {pitch:g}"))
        means = mean_looks(looks, ("psnr_head", "psnr_face", "lpips_head"))
        rows.append({"yaw_deg": yaw, "pitch_deg": pitch, **means})
    return rows, contact_sheet(strips)


def _ahead(filmed: Film, start: int) -> list[int]:
    """Some frames from `start` on in which the head looks most nearly ahead."""
    turn = np.abs(filmed.truth.world_from_head[start:, 2])
    return sorted(start + int(row) for row in turn.argsort(kind="stable")[:_FRAMES])


def _camera_of_work(filmed: Film, track: Track) -> Camera:
    """The filming camera, its picture cut and scaled as the work folder's are."""
    truth, found = filmed.truth.landmarks[:, :_MESH], track.landmarks.points[:, :_MESH, :2]
    rows = track.landmarks.found
    scale = float(found[rows].std() / truth[rows].std())
    K = filmed.truth.camera.K.clone()
    K[:2] *= scale
    K[:2, 2] += torch.from_numpy((found[rows] - scale * truth[rows]).mean((0, 1)))
    return replace(filmed.truth.camera, K=K, width=track.camera.width, height=track.camera.height)


def _true_landmarks(filmed: Film, frame: int, seen: Camera) -> np.ndarray:
    """[468,2] px."""
    truth = filmed.truth
    return _projected(truth.vertices[frame], torch.from_numpy(truth.world_from_head[frame]), seen)


def _standing(track: Track, frame: int, points: np.ndarray, yaw_deg: float, pitch_deg: float) -> Camera:
    """The camera for which the tracked face of a frame lies best, in least squares, on landmarks [468,2] px."""
    vertices = rig_vertices(track.neutral, track.basis, track.motion.expression[frame : frame + 1])[0]
    pose = torch.from_numpy(track.motion.head[frame])
    first = seen_from(track.camera, pose[4:], yaw_deg, pitch_deg)
    inner = np.setdiff1d(np.arange(_MESH), SILHOUETTE)

    def apart(camera: Camera) -> np.ndarray:
        return (_projected(vertices, pose, camera) - points)[inner].astype(np.float64).ravel()

    return _nearest(first, apart)


class _Stand:
    """Finds where a camera must stand for a drawn head to lie on a picture."""

    def __init__(self, player: Player, code: torch.Tensor, room: torch.Tensor) -> None:
        self.player, self.code, self.room = player, code, room

    def picture(self, camera: Camera) -> np.ndarray:
        return self.player.frame(self.code, camera, self.room)

    def settled(self, camera: Camera, real: np.ndarray, points: np.ndarray) -> Camera:
        """The camera after some steps of Gauss and Newton on the pixels of the face, whose landmarks are [468,2] px."""
        face = find_regions(points, *real.shape[:2]).face
        return _nearest(camera, lambda moved: (self.picture(moved).astype(np.float64) - real)[face].ravel())


def _nearest(camera: Camera, difference: Callable[[Camera], np.ndarray]) -> Camera:
    """The camera of the least sum of squares, by some steps of Gauss and Newton."""
    best, least = camera, np.inf
    for _ in range(_ROUNDS):
        here = difference(camera)
        if float(here @ here) >= least:
            break
        best, least = camera, float(here @ here)
        slopes = np.stack([(difference(_moved(camera, step)) - here) / step.sum() for step in np.diag(_PROBE)])
        camera = _moved(camera, -np.linalg.lstsq(slopes.T, here, rcond=None)[0])
    return best


def _moved(camera: Camera, step: np.ndarray) -> Camera:
    """A camera turned and shifted in its own axes by a rotation vector and a translation [6]."""
    turn = torch.cat([quat_from_rotvec(torch.from_numpy(step[:3])), torch.from_numpy(step[3:])]).float()
    return replace(camera, cam_from_world=matrix_from_pose(turn) @ camera.cam_from_world)


def _projected(vertices: np.ndarray, world_from_head: torch.Tensor, seen: Camera) -> np.ndarray:
    world = apply_pose(world_from_head, torch.from_numpy(vertices).float())
    view = seen.cam_from_world
    return project(world @ view[:3, :3].T + view[:3, 3], seen.K).numpy()

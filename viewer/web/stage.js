// SPDX-License-Identifier: Apache-2.0
// The head in front of a camera that can be moved: draws faces.

import { Driver } from "./driving.js";
import { DepthSorter, Rig } from "./rig.js";
import { ROW } from "./shaders.js";
import { SplatPainter } from "./splats.js";

export const FPS = 25; // of motions
const LIMIT = { yaw: 0.6, pitch: 0.4 }; // rad; beyond it the person was not seen
const CLOSEST = 4, FARTHEST = 0.5;
const LARGEST_PX = 720; // width of the drawing where nothing else is asked

export class Stage {
  constructor(gl, avatar) {
    const { splats, camera, blur, room, parts } = avatar;
    this.camera = camera;
    this.canvas = gl.canvas;
    this.driver = new Driver(parts, FPS);
    this.resize(Math.min(LARGEST_PX, Math.round((this.canvas.clientWidth || LARGEST_PX) * (window.devicePixelRatio || 1))));
    this.rig = new Rig(splats);
    this.painter = new SplatPainter(gl, splats, blur);
    this.painter.setRoom(room);
    this.sorter = new DepthSorter(this.painter.count, ROW * this.painter.rows);
    this.behind = "room";
    this.front();
  }

  // width: of the drawing in its own pixels; the page scales it
  resize(width) {
    this.canvas.width = width;
    this.canvas.height = Math.round((width * this.camera.size[1]) / this.camera.size[0]);
  }

  front() { this.view = { yaw: 0, pitch: 0, zoom: 1 }; }

  turn(yaw, pitch) {
    const { view } = this;
    view.yaw = Math.max(-LIMIT.yaw, Math.min(LIMIT.yaw, view.yaw + yaw));
    view.pitch = Math.max(-LIMIT.pitch, Math.min(LIMIT.pitch, view.pitch + pitch));
  }

  enlarge(factor) { this.view.zoom = Math.max(FARTHEST, Math.min(CLOSEST, this.view.zoom * factor)); }

  // A face (see driving.js) whose body is known. A picture that stands already is not drawn again.
  draw(face) {
    const { head, body } = face;
    const code = this.driver.code(face);
    const asked = [...code, ...head, ...body, ...Object.values(this.view), this.behind, this.canvas.width].join();
    if (asked === this.shown) return;
    this.shown = asked;
    const camera = this.#turned();
    const depth = this.rig.depths(code, head, body, camera.camFromWorld.subarray(8, 12));
    this.painter.pose(code, head, body, camera);
    this.painter.draw(this.sorter.sort(depth), this.behind);
  }

  // The capture's camera turned around where the head rests: cam_from_world = T(p) R T(-p), row-major.
  #turned() {
    const { focal, middle, size } = this.camera;
    const { yaw, pitch, zoom } = this.view;
    const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    const turn = [cy, 0, sy, sp * sy, cp, -sp * cy, -cp * sy, sp, cp * cy];
    const pivot = this.driver.parts.rest_pose.subarray(4);
    const [x, y, z] = pivot;
    const shift = [0, 1, 2].map((r) => pivot[r] - (turn[3 * r] * x + turn[3 * r + 1] * y + turn[3 * r + 2] * z));
    const camFromWorld = new Float32Array([
      ...turn.slice(0, 3), shift[0], ...turn.slice(3, 6), shift[1], ...turn.slice(6, 9), shift[2], 0, 0, 0, 1,
    ]);
    return { camFromWorld, focal: focal.map((f) => f * zoom), middle, size, enlarged: zoom };
  }
}

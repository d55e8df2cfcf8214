// SPDX-License-Identifier: Apache-2.0
// The page: unpacks the avatar, plays its clip with the sound's clock as master, and turns the camera.

import { DepthSorter, Rig } from "./rig.js";
import { ROW } from "./shaders.js";
import { SplatPainter } from "./splats.js";
import { halfTable, unpack } from "./unpack.js";

const byId = (id) => document.getElementById(id);
const LIMIT_YAW = 0.6; // rad; beyond it the person was not seen
const LIMIT_PITCH = 0.4;

class Player {
  constructor(manifest, arrays) {
    this.manifest = manifest;
    this.arrays = arrays;
    const { components, count } = manifest;
    const halves = halfTable();
    const offsets = new Float32Array(components * count * 3);
    for (let i = 0; i < components * count; i++) {
      for (let c = 0; c < 3; c++) offsets[3 * i + c] = halves[arrays.tables[9 * i + c]];
    }
    this.rig = new Rig(arrays.means, arrays.skin, offsets, components);
    this.sorter = new DepthSorter(count, ROW * Math.ceil(count / ROW));
    this.painter = new SplatPainter(byId("picture"), arrays, components);
    this.sound = manifest.sound ? new Audio(manifest.sound) : null;
    this.frames = arrays.codes.length / components;
    this.view = { yaw: 0, pitch: 0, zoom: 1 };
    this.room = 1;
    this.silentClock = { playing: false, start: 0, at: 0 };
  }

  get seconds() { return this.frames / this.manifest.fps; }
  get playing() { return this.sound ? !this.sound.paused : this.silentClock.playing; }
  get time() {
    if (this.sound) return this.sound.currentTime;
    const { playing, start, at } = this.silentClock;
    return playing ? (at + (performance.now() - start) / 1000) % this.seconds : at;
  }
  set time(seconds) {
    if (this.sound) this.sound.currentTime = seconds;
    else this.silentClock = { ...this.silentClock, at: seconds, start: performance.now() };
  }

  async toggle() {
    if (!this.sound) {
      this.silentClock = { playing: !this.playing, start: performance.now(), at: this.time };
    } else if (this.sound.paused) {
      if (this.sound.ended) this.sound.currentTime = 0;
      await this.sound.play();
    } else this.sound.pause();
  }

  // The capture's camera turned around the head's place: cam_from_world = T(p) R T(-p), row-major.
  camera(pivot) {
    const { focal, middle, size } = this.manifest.camera;
    const { yaw, pitch, zoom } = this.view;
    const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    const turn = [cy, 0, sy, sp * sy, cp, -sp * cy, -cp * sy, sp, cp * cy];
    const [x, y, z] = pivot;
    const shift = [0, 1, 2].map((r) => pivot[r] - (turn[3 * r] * x + turn[3 * r + 1] * y + turn[3 * r + 2] * z));
    const camFromWorld = new Float32Array([
      ...turn.slice(0, 3), shift[0], ...turn.slice(3, 6), shift[1], ...turn.slice(6, 9), shift[2], 0, 0, 0, 1,
    ]);
    return { camFromWorld, focal: focal.map((f) => f * zoom), middle, size, enlarged: zoom };
  }

  draw(seconds) {
    const { components, fps, pivot } = this.manifest;
    const frame = Math.min(this.frames - 1, Math.max(0, Math.floor(seconds * fps)));
    const row = (array, width) => array.subarray(frame * width, (frame + 1) * width);
    const code = row(this.arrays.codes, components);
    const head = [...row(this.arrays.heads, 7)];
    const body = [...row(this.arrays.bodies, 7)];
    const camera = this.camera(pivot);
    const depth = this.rig.depths(code, head, body, camera.camFromWorld.subarray(8, 12));
    this.painter.pose(code, head, body);
    this.painter.draw(this.sorter.sort(depth), camera, this.room);
  }
}

function connect(player) {
  const canvas = byId("picture");
  const turn = (yaw, pitch) => {
    player.view.yaw = Math.max(-LIMIT_YAW, Math.min(LIMIT_YAW, player.view.yaw + yaw));
    player.view.pitch = Math.max(-LIMIT_PITCH, Math.min(LIMIT_PITCH, player.view.pitch + pitch));
  };
  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons) turn(event.movementX * 0.006, event.movementY * -0.006);
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    player.view.zoom = Math.max(0.5, Math.min(3, player.view.zoom * Math.exp(-event.deltaY * 0.001)));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-0.05, 0], ArrowRight: [0.05, 0], ArrowUp: [0, 0.05], ArrowDown: [0, -0.05] }[event.key];
    if (step) { event.preventDefault(); turn(...step); }
    if (event.key === " ") { event.preventDefault(); player.toggle(); }
  });
  byId("play").addEventListener("click", () => player.toggle());
  byId("front").addEventListener("click", () => Object.assign(player.view, { yaw: 0, pitch: 0, zoom: 1 }));
  byId("room").addEventListener("change", (event) => { player.room = event.target.checked ? 1 : 0; });
  byId("time").addEventListener("input", (event) => { player.time = (event.target.value / 1000) * player.seconds; });
}

function loop(player) {
  const tick = () => {
    player.draw(player.time);
    byId("play").textContent = player.playing ? "❚❚" : "►";
    byId("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
    byId("time").value = (1000 * player.time) / player.seconds;
    requestAnimationFrame(tick);
  };
  tick();
}

async function main() {
  const manifest = JSON.parse(byId("manifest").textContent);
  const canvas = byId("picture");
  [canvas.width, canvas.height] = manifest.canvas;
  const arrays = await unpack(byId("payload").textContent, manifest.arrays);
  const player = new Player(manifest, arrays);
  const room = new Image();
  room.src = manifest.room;
  await room.decode();
  player.painter.setRoom(room);
  connect(player);
  loop(player);
  byId("message").textContent = `${manifest.title}: ${manifest.count.toLocaleString()} splats. Drag to turn, scroll to zoom, space to play.`;
  window.avatarPlayer = player; // for tests and for other scripts on the page
}

main().catch((error) => { byId("message").textContent = `This page cannot play here: ${error.message}`; });

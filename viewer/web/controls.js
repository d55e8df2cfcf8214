// SPDX-License-Identifier: Apache-2.0
// Mouse, touch, keyboard and sliders: what a hand does to the camera and to the face.

import { ARKIT, UNSEEN } from "./arkit.js";

const TURN_PER_PX = 0.006, TURN_PER_KEY = 0.05; // rad
const CLOSER = 1.15; // per key
const HEAD_DEG = [["yaw", "Head turn", 30], ["pitch", "Head nod", 20], ["roll", "Head tilt", 20]];
const GROUPS = [
  ["Mouth and jaw", /^(jaw|mouth|tongue)/], ["Eyes", /^eye/], ["Brows, cheeks and nose", /^(brow|cheek|nose)/],
];

export const byId = (id) => document.getElementById(id);

// stage: () => the Stage on show, if any; play: what the space bar does
export function connectCamera(canvas, stage, play) {
  const fingers = new Map();
  const apart = () => {
    const [a, b] = [...fingers.values()];
    return Math.hypot(a.x - b.x, a.y - b.y);
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  canvas.addEventListener("pointermove", (event) => {
    const finger = fingers.get(event.pointerId);
    if (!finger) return;
    const before = fingers.size === 2 ? apart() : 0;
    const [dx, dy] = [event.clientX - finger.x, event.clientY - finger.y];
    Object.assign(finger, { x: event.clientX, y: event.clientY });
    if (before) stage()?.enlarge(apart() / before);
    else if (fingers.size === 1) stage()?.turn(dx * TURN_PER_PX, -dy * TURN_PER_PX);
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    stage()?.enlarge(Math.exp(-event.deltaY * 0.001));
  }, { passive: false });
  const keys = {
    ArrowLeft: (shown) => shown.turn(-TURN_PER_KEY, 0), ArrowRight: (shown) => shown.turn(TURN_PER_KEY, 0),
    ArrowUp: (shown) => shown.turn(0, TURN_PER_KEY), ArrowDown: (shown) => shown.turn(0, -TURN_PER_KEY),
    "+": (shown) => shown.enlarge(CLOSER), "=": (shown) => shown.enlarge(CLOSER), "-": (shown) => shown.enlarge(1 / CLOSER),
    0: (shown) => shown.front(), " ": play,
  };
  canvas.addEventListener("keydown", (event) => {
    if (!keys[event.key] || !stage()) return;
    event.preventDefault();
    keys[event.key](stage());
  });
}

// Sliders for the head and for ARKit's names; `moved({ scores, turn })` hears of every change. Gives how to reset them.
export function makeSliders(place, moved) {
  const scores = {}, turn = [0, 0, 0];
  const all = [];
  const group = (title) => {
    const details = document.createElement("details");
    details.append(Object.assign(document.createElement("summary"), { textContent: title }));
    place.append(details);
    return details;
  };
  const add = (into, label, [min, max], set) => {
    const row = into.appendChild(Object.assign(document.createElement("label"), { className: "slider" }));
    const shown = document.createElement("output");
    const input = Object.assign(document.createElement("input"), { type: "range", min, max, step: (max - min) / 100, value: 0 });
    input.addEventListener("input", () => {
      shown.textContent = Number(input.value).toFixed(max > 1 ? 0 : 2);
      set(Number(input.value));
      moved({ scores, turn });
    });
    row.append(label, input, shown);
    all.push(input);
    return input;
  };
  const head = group("Head, degrees");
  HEAD_DEG.forEach(([name, label, limit], i) => {
    add(head, label, [-limit, limit], (degrees) => { turn[i] = (degrees * Math.PI) / 180; }).id = name;
  });
  for (const [title, pattern] of GROUPS) {
    const details = group(title);
    for (const name of ARKIT.filter((one) => pattern.test(one))) {
      const input = add(details, name, [0, 1], (score) => { scores[name] = score; });
      Object.assign(input, { id: name, disabled: name === UNSEEN, title: name === UNSEEN ? "No camera saw the tongue" : "" });
    }
  }
  head.open = true;
  return () => all.forEach((input) => {
    input.value = 0;
    input.dispatchEvent(new Event("input"));
  });
}

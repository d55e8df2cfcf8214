// SPDX-License-Identifier: Apache-2.0
// From a face (a row of a Motion) to what the rig takes: codes and the poses of head and body. The rule is
// avatar3d/avatar/_codes.py's and _driven.py's; a face is { expression [E], blink [2], gaze [4], head [7], body [7] or null }.

import { conjugate, multiply, quatFromTurn, turnFromQuat } from "./quat.js";

const CODE_LIMIT = 3.5, FEATURE_LIMIT = 3;
const SLOW_S = [1, 3.2]; // means over so long tell where the body is

export class Driver {
  // parts: rest_pose, arkit_map, code_offset, code_scale, pose_offset, pose_scale, body_map as typed arrays
  constructor(parts, fps) {
    this.parts = parts;
    this.width = parts.arkit_map.length / 53; // of an expression
    this.windows = SLOW_S.map((seconds) => hann(roundedToEven((seconds * fps) / 2)));
  }

  // codes [K] of a face
  code(face) {
    const { rest_pose: rest, code_offset: offset, code_scale: scale } = this.parts;
    const pose = relativePose(face.head, rest);
    const raw = [
      ...face.expression, ...face.blink, (face.gaze[0] + face.gaze[2]) / 2, (face.gaze[1] + face.gaze[3]) / 2,
      ...pose.slice(0, 3), pose[4],
    ];
    return Float32Array.from(raw, (value, k) => clamp((value - offset[k]) / scale[k], CODE_LIMIT));
  }

  // world_from_body at `frame` of heads [T][7], whose ends are held; as the heads' movement suggests
  body(heads, frame = heads.length - 1) {
    const { rest_pose: rest, pose_offset: offset, pose_scale: scale, body_map: map } = this.parts;
    const relative = (at) => relativePose(heads[Math.max(0, Math.min(heads.length - 1, at))], rest);
    const raw = relative(frame);
    for (const window of this.windows) {
      const half = (window.length - 1) / 2, mean = Array(6).fill(0);
      window.forEach((share, i) => relative(frame + i - half).forEach((value, c) => { mean[c] += share * value; }));
      raw.push(...mean);
    }
    const deviation = Array.from(map.slice(0, 6)); // the row of the feature that is always 1
    raw.forEach((value, f) => {
      const feature = clamp((value - offset[f]) / scale[f], FEATURE_LIMIT);
      for (let c = 0; c < 6; c++) deviation[c] += feature * map[6 * (f + 1) + c];
    });
    const quat = multiply(quatFromTurn(deviation.slice(0, 3)), rest);
    return [...quat, ...[0, 1, 2].map((i) => rest[4 + i] + deviation[3 + i])];
  }
}

// Remembers where the head was, for a body that follows it.
export class Follower {
  constructor(driver, fps) {
    Object.assign(this, { driver, fps, heads: [], tick: null });
  }

  // world_from_body once the head is at `head` at `time_s`
  follow(head, time_s) {
    const tick = Math.floor(time_s * this.fps);
    if (this.tick === null || tick < this.tick || tick > this.tick + this.fps) this.heads = [head];
    else if (tick === this.tick) this.heads[this.heads.length - 1] = head;
    else for (let i = this.tick; i < tick; i++) this.heads.push(head);
    this.tick = tick;
    this.heads = this.heads.slice(-(this.driver.windows[1].length + 1) / 2);
    return this.driver.body(this.heads);
  }
}

// Rotation vector and shift in world axes, relative to the pose at rest.
function relativePose(head, rest) {
  return [...turnFromQuat(multiply(head, conjugate(rest))), ...[4, 5, 6].map((i) => head[i] - rest[i])];
}

function hann(half) {
  const window = Array.from({ length: 2 * half + 1 }, (_, i) => 0.5 - 0.5 * Math.cos((Math.PI * (i + 1)) / (half + 1)));
  const sum = window.reduce((total, value) => total + value);
  return window.map((value) => value / sum);
}

const clamp = (value, limit) => Math.max(-limit, Math.min(limit, value));

// As Python rounds: 12.5 to 12.
function roundedToEven(value) {
  const down = Math.floor(value);
  return value - down === 0.5 ? down + (down % 2) : Math.round(value);
}

// SPDX-License-Identifier: Apache-2.0
// Where a face comes from while nobody speaks: clips, the person's own movement played to and fro, blinks by rule.

import { restingExpression } from "./arkit.js";
import { between } from "./quat.js";

const ROUNDING = 0.01; // how soft the turns of the to and fro are
const BLINK = [0.1, 0.5, 0.8, 1, 0.7, 0.4, 0.1]; // a lid closes in 120 ms and opens in 160
const USUAL_BLINKS = { mean: Math.log(3.6), spread: 0.5 }; // of the logarithm of the seconds between two
const SHORTEST_S = 0.6, LONGEST_S = 12;

// A clip as faces: { fps, frames, seconds, at(position in frames) }. Clips in ARKit's scores come out personal, and
// those that say nothing of the body get the one that their heads suggest.
export class Clip {
  constructor({ fps, basis, frames, rows }, driver) {
    Object.assign(this, { fps, frames, seconds: frames / fps });
    const row = (name, i) => {
      const width = rows[name].shape[1];
      return rows[name].data.subarray(i * width, (i + 1) * width);
    };
    const heads = Array.from({ length: frames }, (_, i) => Array.from(row("head", i)));
    this.faces = heads.map((head, i) => ({
      expression: basis === "arkit" ? mapped(row("expression", i), driver) : row("expression", i).subarray(0, driver.width),
      blink: Array.from(row("blink", i)), gaze: Array.from(row("gaze", i)), head,
      body: rows.body ? Array.from(row("body", i)) : driver.body(heads, i),
    }));
  }

  at(position) {
    const place = Math.max(0, Math.min(this.frames - 1, position));
    const first = Math.floor(place), share = place - first;
    return share ? mixedFaces(this.faces[first], this.faces[first + 1], share) : this.faces[first];
  }

  // There and back again, at most one frame a frame, slower at both ends (as avatar3d/motion/_head_motion.py).
  toAndFro(frame) {
    if (this.frames < 2) return this.at(0);
    const half = (this.frames - 1) / 2, full = Math.asin(1 - ROUNDING);
    const speed = full / (half * (1 - ROUNDING));
    return this.at(half * (1 + Math.asin((1 - ROUNDING) * Math.sin(speed * frame - Math.PI / 2)) / full));
  }
}

export function mixedFaces(a, b, share) {
  const mix = (from, to) => from.map((value, i) => value + share * (to[i] - value));
  return {
    expression: mix(a.expression, b.expression), blink: mix(a.blink, b.blink), gaze: mix(a.gaze, b.gaze),
    head: between(a.head, b.head, share), body: a.body && b.body && between(a.body, b.body, share),
  };
}

function mapped(scores, { parts: { arkit_map: map }, width }) {
  const expression = restingExpression(map, width);
  scores.forEach((score, row) => { for (let e = 0; e < width; e++) expression[e] += score * map[row * width + e]; });
  return expression;
}

// Lids that close by rule: intervals are log-normal, and the seed decides them.
export class Blinks {
  constructor(habit = USUAL_BLINKS, seed = 0) {
    Object.assign(this, { habit, random: randomNumbers(seed), onsets: [] });
  }

  // 0 open .. 1 closed at a time that starts at 0
  at(time_s) {
    let last = this.onsets.at(-1) ?? 0;
    while (last < time_s + 1) {
      const wait = Math.exp(this.habit.mean + this.habit.spread * normal(this.random));
      last += Math.min(LONGEST_S, Math.max(SHORTEST_S, wait));
      this.onsets.push(last);
    }
    const onset = this.onsets.findLast((start) => start <= time_s) ?? -1;
    const place = (time_s - onset) * 25, first = Math.floor(place);
    const value = (i) => BLINK[i] ?? 0;
    return onset < 0 ? 0 : value(first) + (place - first) * (value(first + 1) - value(first));
  }
}

// Uniform 0..1, the same for the same seed: a linear congruential generator, good enough for lids.
function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(1664525, state) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const normal = (random) => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

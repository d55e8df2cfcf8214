// SPDX-License-Identifier: Apache-2.0
// Decides what the face does in a moment: a clip, speech, a stream or rest, then idle movement, blinks and the sliders.

import { faceFromScores, restingExpression } from "./arkit.js";
import { Follower } from "./driving.js";
import { Blinks, Clip, mixedFaces } from "./motion.js";
import { composed, headTurn } from "./quat.js";

const NECK = [0, -0.9, -0.8]; // head space: about where a skull rests on its neck
const BLEND_S = 0.3; // from one thing to the next

export class Actor {
  // fps: of faces that are made here
  constructor(avatar, driver, fps) {
    Object.assign(this, { driver, fps, manner: null, follower: new Follower(driver, fps), blinks: new Blinks() });
    this.clips = new Map(avatar.clips.map((clip) => [clip.name, new Clip(clip, driver)]));
    this.own = this.clips.get("capture"); // the person's own movement
    this.resting = restingExpression(driver.parts.arkit_map, driver.width);
    this.moving = true;
    this.scores = {};
    this.turn = [0, 0, 0]; // yaw, pitch, roll in rad
    this.script = null;
  }

  // What is acted from now on: null (rest), or a function: time -> { face } (all of it), { expression } (of speech) or
  // { scores, turn } (a stream); null where it has nothing to say yet.
  act(script) {
    this.script = script;
    this.blend = this.moving && this.last ? { from: this.last, at: this.time } : null;
  }

  // The face at a time in seconds, which goes on all the while.
  face(time_s) {
    this.time = time_s;
    let face = this.#corrected(this.#base(time_s));
    face.body ??= this.follower.follow(face.head, time_s);
    const share = this.blend ? (time_s - this.blend.at) / BLEND_S : 1;
    if (share < 1) face = mixedFaces(this.blend.from, face, share * share * (3 - 2 * share));
    this.last = face;
    return face;
  }

  #base(time_s) {
    const told = this.script?.(time_s) ?? {};
    if (told.face) return told.face;
    if (told.scores) return this.#driven(this.#still(this.resting), told.scores, told.turn);
    const face = this.#idle(told.expression ?? this.resting, time_s);
    const lid = face.blink[0] - (told.expression ? this.manner?.usualLids : 0); // speech is about the mean face, rest is not
    return this.manner ? { ...face, expression: this.manner.withLids(face.expression, lid) } : face;
  }

  #still(expression) {
    return { expression, blink: [0, 0], gaze: [0, 0, 0, 0], head: Array.from(this.driver.parts.rest_pose), body: null };
  }

  #idle(expression, time_s) {
    if (!this.moving) return this.#still(expression);
    const { head, gaze, body } = this.own?.toAndFro(time_s * this.fps) ?? this.#still(expression);
    const lid = this.blinks.at(time_s);
    return { expression, blink: [lid, lid], gaze, head, body };
  }

  #corrected(face) {
    const touched = this.turn.some(Boolean) || Object.values(this.scores).some(Boolean);
    return touched ? this.#driven(face, this.scores, this.turn) : { ...face };
  }

  // A face with what ARKit's scores add to it, and its head turned on its neck.
  #driven(face, scores, turn) {
    const { driver } = this;
    const added = faceFromScores(scores, driver.parts.arkit_map, driver.width);
    const plus = (a, b) => Array.from(a, (value, i) => value + b[i]);
    return {
      expression: plus(face.expression, added.expression),
      blink: plus(face.blink, added.blink).map((lid) => Math.min(1, Math.max(0, lid))),
      gaze: plus(face.gaze, added.gaze),
      head: turn.some(Boolean) ? composed(face.head, headTurn(turn, NECK)) : face.head,
      body: face.body,
    };
  }
}

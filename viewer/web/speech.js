// SPDX-License-Identifier: Apache-2.0
// What the mouth does with sound: a whole one that is played, or the microphone's as it comes. Both are scripts for the
// actor (see actor.js).

import { Hearing, expressionsOf } from "./hearing.js";
import { listen } from "./microphone.js";
import { Playback, mono } from "./sound.js";

const SMOOTH_S = 0.04; // a live expression is reached in the time of one row

// A sound file, said: { playback, script }.
export async function spoken(bytes, voice, speaker, fps, progress) {
  const sound = await speaker.decoded(bytes);
  const expressions = await expressionsOf(voice, mono(sound), sound.sampleRate, progress);
  const playback = new Playback(speaker, sound.duration, sound);
  return { playback, script: () => ({ expression: rowAt(expressions, playback.time * fps) }) };
}

// The microphone, said as it comes: { stop, script, rows() }.
export async function spokenLive(voice, speaker) {
  const hearing = new Hearing(voice, speaker.context.sampleRate);
  const state = { from: null, to: null, at: 0, rows: 0 };
  speaker.out; // makes the tap, so that a recording hears it too
  const stop = await listen(speaker.context, (samples) => {
    for (const expression of hearing.push(samples)) {
      Object.assign(state, { from: state.to ?? expression, to: expression, at: performance.now() / 1000, rows: state.rows + 1 });
    }
  }, speaker.tap);
  const script = () => {
    if (!state.to) return null;
    const share = Math.min(1, (performance.now() / 1000 - state.at) / SMOOTH_S);
    return { expression: mixedRows(state.from, state.to, share) };
  };
  return { stop, script, rows: () => state.rows };
}

function rowAt(rows, position) {
  const place = Math.max(0, Math.min(rows.length - 1, position)), first = Math.floor(place);
  return mixedRows(rows[first], rows[Math.min(first + 1, rows.length - 1)], place - first);
}

const mixedRows = (a, b, share) => a.map((value, i) => value + share * (b[i] - value));

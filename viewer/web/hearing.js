// SPDX-License-Identifier: Apache-2.0
// Hears speech and says what the face does: sound in, expressions out, row by row as it comes.

import { GATE_AHEAD, Gate } from "./gate.js";
import { Manner } from "./manner.js";
import { LiveMel, RATE, ROWS_PER_S, WAIT_S, loudestDb } from "./mel.js";
import { Refusal } from "./refusal.js";
import { Resampler } from "./resampling.js";
import { Network } from "./voice.js";

const VOICES = ["tcn", "tcn_live"], FEATURES = ["mel", "mel_live"];
const PRIMED = "mel"; // knows how loud a voice is before it speaks ...
const PRIME_S = 3; // ... from its first seconds
const AT_ONCE = RATE; // samples between two looks at the screen

// An avatar's voice, ready to hear: { network, manner, bands, primed, late_s }.
export async function openVoice({ part, config, listen, tensors }) {
  if (!VOICES.includes(part) || !FEATURES.includes(listen)) {
    throw new Refusal(`A page cannot speak with a voice of the kind ${part} that hears ${listen}.`, "Let avatar3d talk make the page.");
  }
  const found = await tensors();
  const network = new Network(config, found);
  const late_s = WAIT_S + Math.max(network.after, GATE_AHEAD) / ROWS_PER_S;
  const guarded = config.ahead === undefined || config.ahead === null; // a live voice keeps to the person's range alone
  return { network, manner: new Manner(found, guarded), bands: (config.features - 3) / 2, primed: listen === PRIMED, late_s };
}

export class Hearing {
  // startDb: how loud the voice is, where that is known
  constructor({ network, manner, bands }, rate, startDb) {
    Object.assign(this, { network, manner, rows: [], first: 0, said: [], opened: [], gate: new Gate(manner.pauseFrames) });
    this.resampler = new Resampler(rate, RATE);
    this.mel = new LiveMel(bands, startDb);
    this.next = 0; // row that is said next
  }

  // Takes samples; returns the expressions [K] that they complete, 25 a second.
  push(samples) {
    this.#hear(this.mel.push(this.resampler.push(samples)));
    return this.#finished(this.network.after);
  }

  // What was still to come when the sound has ended.
  finish() {
    const last = this.mel.push(this.resampler.finish());
    this.#hear([...last, ...this.mel.finish()]);
    this.opened.push(...this.gate.finish());
    return this.#finished(0);
  }

  #hear(made) {
    for (const { row, loudness_db, harmonicity } of made) {
      this.rows.push(this.network.normalised(row));
      const open = this.gate.push(loudness_db, harmonicity);
      if (open !== null) this.opened.push(open);
    }
  }

  #finished(after) {
    for (; this.next + after < this.first + this.rows.length; this.next++) this.said.push(this.network.at(this.rows, this.next - this.first));
    const unneeded = Math.max(0, this.next - this.network.before - this.first);
    this.rows.splice(0, unneeded);
    this.first += unneeded;
    const ready = Math.min(this.said.length, this.opened.length);
    const open = this.opened.splice(0, ready);
    return this.said.splice(0, ready).map((said, i) => this.manner.kept(said, open[i]));
  }
}

// The expressions of a whole sound, worked through in pieces so that the page stays alive.
export async function expressionsOf(voice, samples, rate, progress) {
  const start = voice.primed && new Resampler(rate, RATE).push(samples.subarray(0, (PRIME_S + 1) * rate));
  const startDb = start ? loudestDb(start, PRIME_S) : undefined;
  const hearing = new Hearing(voice, rate, startDb), expressions = [];
  for (let at = 0; at < samples.length; at += AT_ONCE) {
    expressions.push(...hearing.push(samples.subarray(at, at + AT_ONCE)));
    progress(Math.min(1, at / samples.length));
    await new Promise((done) => setTimeout(done));
  }
  return [...expressions, ...hearing.finish()];
}

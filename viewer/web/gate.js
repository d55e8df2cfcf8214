// SPDX-License-Identifier: Apache-2.0
// Whether somebody speaks, of sound that is still coming (avatar3d/motion/_live_gate.py): closes the mouth in silence
// and in steady noise.

const VOICED = 0.6, VOICED_HOPS = 3; // a single voiced hop in noise is chance
const ABOVE_NOISE_DB = 9, NOISE_HOPS = 200; // noise is the quietest moment of two seconds
const NOTHING_DB = -90; // quieter is a microphone that has not begun
const ROOM_DB = [-70, -55], BELOW_LOUD_DB = 45; // quieter than this is a room, not a voice
const START_DB = -20, FALL_DB = 0.02, FLOOR_DB = -50; // of the voice's level, per hop
const FADE = 3; // rows over which it moves
export const GATE_AHEAD = 2; // rows that it opens before speech, and so waits

export class Gate {
  // hold: rows that it stays open after speech, since short pauses are part of it
  constructor(hold) {
    Object.assign(this, { hold, level: START_DB, quiet: [], voiced: 0, spoken: Array(hold + FADE - 1).fill(false) });
  }

  // Loudness (dB) and harmonicity of a row's hops. Returns 0 shut .. 1 open for the row GATE_AHEAD before, or null.
  push(loudness_db, harmonicity) {
    const speaking = loudness_db.filter((db, i) => this.#speaks(db, harmonicity[i])).length;
    return this.#opened(2 * speaking >= loudness_db.length);
  }

  // The same of the last rows, when the sound has ended.
  finish() { return Array.from({ length: GATE_AHEAD }, () => this.#opened(false)).filter((open) => open !== null); }

  #speaks(db, harmonicity) {
    this.level = Math.max(db, this.level - FALL_DB, FLOOR_DB);
    this.quiet.push(db > NOTHING_DB ? db : Infinity);
    if (this.quiet.length > NOISE_HOPS) this.quiet.shift();
    this.voiced = harmonicity > VOICED ? this.voiced + 1 : 0;
    const room = Math.min(ROOM_DB[1], Math.max(ROOM_DB[0], this.level - BELOW_LOUD_DB));
    return db > room && (this.voiced >= VOICED_HOPS || db > Math.min(...this.quiet) + ABOVE_NOISE_DB);
  }

  #opened(spoken) {
    this.spoken.push(spoken);
    if (this.spoken.length < this.hold + GATE_AHEAD + FADE) return null;
    const near = Array.from({ length: FADE }, (_, i) => this.spoken.slice(i, i + this.hold + 1 + GATE_AHEAD).some(Boolean));
    this.spoken.shift();
    return near.filter(Boolean).length / FADE;
  }
}

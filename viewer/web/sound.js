// SPDX-License-Identifier: Apache-2.0
// Sound that is heard, and whose clock leads: pictures follow what has left the loudspeaker.

import { Refusal } from "./refusal.js";

// One audio context for the page, made when first needed: before a gesture browsers let none run.
export class Loudspeaker {
  get context() {
    this.made ??= new AudioContext();
    return this.made;
  }

  // What is played goes here; a recording listens at `tap`.
  get out() {
    if (!this.gain) {
      this.gain = this.context.createGain();
      this.tap = this.context.createMediaStreamDestination();
      for (const end of [this.context.destination, this.tap]) this.gain.connect(end);
    }
    return this.gain;
  }

  async decoded(bytes) {
    try {
      return await this.context.decodeAudioData(bytes.slice().buffer);
    } catch {
      throw new Refusal("This file holds no sound that the browser can play.", "Give a wav, mp3, flac, ogg or m4a file.");
    }
  }
}

// Plays, pauses and seeks a stretch of time, with sound or in silence.
export class Playback {
  constructor(speaker, seconds, sound = null) {
    Object.assign(this, { speaker, seconds, sound, source: null, at: 0 });
  }

  get playing() { return this.startedAt !== undefined; }

  // Seconds that the listener has heard.
  get time() {
    if (!this.playing) return this.at;
    const time = this.at + Math.max(0, this.#clock() - this.startedAt);
    if (time < this.seconds) return time;
    this.pause();
    this.at = this.seconds;
    return this.at;
  }

  async play() {
    if (this.playing) return;
    if (this.at >= this.seconds) this.at = 0;
    if (this.sound) {
      const { context, out } = this.speaker;
      await context.resume();
      this.source = new AudioBufferSourceNode(context, { buffer: this.sound });
      this.source.connect(out);
      this.source.start(0, this.at);
    }
    this.startedAt = this.#clock(0);
  }

  pause() {
    if (!this.playing) return;
    this.at = Math.min(this.seconds, this.at + Math.max(0, this.#clock() - this.startedAt));
    this.startedAt = undefined;
    this.source?.stop();
    this.source = null;
  }

  async seek(seconds) {
    const { playing } = this;
    this.pause();
    this.at = Math.max(0, Math.min(this.seconds, seconds));
    if (playing) await this.play();
  }

  // Of the sound as it is heard, later than as it is made; of the computer where there is none.
  #clock(late) {
    if (!this.sound) return performance.now() / 1000;
    const { context } = this.speaker;
    return context.currentTime - (late ?? context.outputLatency ?? context.baseLatency ?? 0);
  }
}

// All channels of a decoded sound as one.
export function mono(buffer) {
  const mixed = new Float32Array(buffer.length);
  for (let c = 0; c < buffer.numberOfChannels; c++) {
    buffer.getChannelData(c).forEach((value, i) => { mixed[i] += value / buffer.numberOfChannels; });
  }
  return mixed;
}

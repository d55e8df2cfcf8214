// SPDX-License-Identifier: Apache-2.0
// Sound at another rate, as it comes: a low-pass filter (a sinc under a Hann window) read wherever a sample is wanted.

const REACH = 10; // periods of the slower rate that the filter looks to both sides

export class Resampler {
  constructor(from, to) {
    this.ratio = from / to; // samples in per sample out
    this.slow = Math.max(1, this.ratio);
    this.half = Math.ceil(REACH * this.slow);
    this.kept = new Float32Array(this.half); // silence came before
    this.first = -this.half; // number of kept[0] since the beginning
    this.made = 0;
    this.known = new Map();
  }

  // The samples that these complete: each waits for `half` more.
  push(samples) {
    if (this.ratio === 1) return samples;
    const all = new Float32Array(this.kept.length + samples.length);
    all.set(this.kept);
    all.set(samples, this.kept.length);
    const end = this.first + all.length, out = [];
    for (;;) {
      const at = this.made * this.ratio, middle = Math.floor(at);
      if (middle + this.half >= end) break;
      const shares = this.#shares(at - middle), start = middle - this.half + 1 - this.first;
      let sum = 0;
      for (let i = 0; i < shares.length; i++) sum += all[start + i] * shares[i];
      out.push(sum);
      this.made++;
    }
    const unneeded = Math.max(0, Math.min(all.length, Math.floor(this.made * this.ratio) - this.half + 1 - this.first));
    this.kept = all.slice(unneeded);
    this.first += unneeded;
    return Float32Array.from(out);
  }

  // What was still to come: behind the last sample there is silence.
  finish() { return this.push(new Float32Array(this.half)); }

  // Of the samples about a place that lies `beyond` (0..1) one of them; few such places come up, again and again.
  #shares(beyond) {
    const key = Math.round(beyond * 1e6);
    if (!this.known.has(key)) {
      this.known.set(key, Float64Array.from({ length: 2 * this.half }, (_, i) => this.#filter(i - this.half + 1 - beyond)));
    }
    return this.known.get(key);
  }

  #filter(distance) {
    const x = distance / this.slow;
    if (Math.abs(x) >= REACH) return 0;
    const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
    return (sinc * (0.5 + 0.5 * Math.cos((Math.PI * x) / REACH))) / this.slow;
  }
}

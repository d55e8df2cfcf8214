// SPDX-License-Identifier: Apache-2.0
// The causal audio feature (avatar3d/audio/mel_live.py), sample by sample as sound comes in: rows of log-mel spectra,
// loudness, voicing and pitch, 25 a second, each 20 ms after its own end.

import { Fourier } from "./fourier.js";

export const RATE = 16000; // Hz
const HOP = 160, HOPS_PER_ROW = 4, ROW_SAMPLES = HOP * HOPS_PER_ROW;
const LOUDNESS = 800, SPECTRUM = 400, SPECTRUM_FFT = 512, PITCH = 768, PITCH_FFT = 2048; // samples
const AHEAD = 320; // samples that the widest window reaches beyond its hop
export const ROWS_PER_S = 25;
export const WAIT_S = AHEAD / RATE; // until a row is final
const QUIETEST = 1e-10, TINY = 1e-13;
const FALL_DB = 0.02, FLOOR_DB = -50, START_DB = -20; // of the level, per hop
const DEPTH_DB = -70, SPREAD_DB = 20, CENTRE_DB = -35;
const SHORTEST = 35, LONGEST = 258; // lags: 450 to 62 Hz
const OCTAVE_COST = 0.02, VOICED = 0.6, OCTAVE_KEEP = Math.exp(-1 / 400), SURE = 1e-7;
const BAND_HZ = [60, 7600];

export class LiveMel {
  // bands: of each of a row's two spectra; startDb: the voice's level before it was heard
  constructor(bands, startDb = START_DB) {
    this.bands = bands;
    this.width = 2 * bands + 3;
    this.filters = melFilters(bands);
    this.shapes = [LOUDNESS, SPECTRUM, PITCH].map(hannWindow);
    this.spectrum = new Fourier(SPECTRUM_FFT);
    this.fourier = new Fourier(PITCH_FFT);
    const ofWindow = this.fourier.autocorrelation(this.shapes[2], LONGEST);
    this.windowShare = ofWindow.map((value) => ofWindow[0] / value);
    this.lagCost = Array.from(ofWindow, (_, lag) => OCTAVE_COST * Math.log2(lag / SHORTEST));
    this.level = startDb;
    this.octave = null;
    this.samples = new Float32Array(2 * AHEAD); // silence came before
    this.first = -2 * AHEAD; // number of samples[0] since the beginning
    this.rows = 0; // given so far
  }

  // Takes the next samples (16 kHz); returns { row [width], loudness, harmonicity [per hop] } for all that are final.
  push(samples) {
    const joined = new Float32Array(this.samples.length + samples.length);
    joined.set(this.samples);
    joined.set(samples, this.samples.length);
    this.samples = joined;
    const made = [];
    while (this.first + this.samples.length >= (this.rows + 1) * ROW_SAMPLES + AHEAD) made.push(this.#row());
    const unneeded = Math.max(0, this.rows * ROW_SAMPLES - 2 * AHEAD - this.first);
    this.samples = this.samples.slice(unneeded);
    this.first += unneeded;
    return made;
  }

  // What is left when the sound has ended: whole rows of it, with silence behind.
  finish() {
    const wanted = Math.round((this.first + this.samples.length) / ROW_SAMPLES);
    const made = this.push(new Float32Array(ROW_SAMPLES + AHEAD));
    return made.slice(0, Math.max(0, made.length - (this.rows - wanted)));
  }

  #row() {
    const hops = Array.from({ length: HOPS_PER_ROW }, (_, i) => this.#hop(HOPS_PER_ROW * this.rows + i));
    this.rows++;
    const row = new Float32Array(this.width);
    hops.forEach(({ bands, loudness, harmonicity, octaves }, i) => {
      const half = i < HOPS_PER_ROW / 2 ? 0 : this.bands;
      for (let b = 0; b < this.bands; b++) row[half + b] += bands[b] / 2;
      [loudness, harmonicity, octaves].forEach((value, c) => { row[2 * this.bands + c] += value / HOPS_PER_ROW; });
    });
    return { row, loudness_db: hops.map((hop) => hop.loud), harmonicity: hops.map((hop) => hop.harmonicity) };
  }

  #hop(number) {
    const middle = HOP * number + HOP / 2;
    const [forLoudness, forSpectrum] = this.shapes;
    const loud = 10 * Math.log10(this.#energy(middle, forLoudness) / (LOUDNESS / 2) + QUIETEST);
    this.level = Math.max(loud, this.level - FALL_DB, FLOOR_DB);
    const above = (db) => Math.max(db - this.level, DEPTH_DB);
    const power = this.spectrum.power(this.#weighted(middle, forSpectrum, 0));
    const bands = this.filters.map(({ begin, weights }) => {
      let energy = TINY;
      for (let i = 0; i < weights.length; i++) energy += power[begin + i] * weights[i];
      return (above(10 * Math.log10(energy)) - CENTRE_DB) / SPREAD_DB;
    });
    const { lag, harmonicity } = this.#pitch(middle);
    return { loud, bands, harmonicity, loudness: above(loud) / SPREAD_DB + 1, octaves: this.#octaves(RATE / lag, harmonicity) };
  }

  #about(middle, size) {
    const begin = middle - size / 2 - this.first;
    return this.samples.subarray(begin, begin + size);
  }

  #energy(middle, shape) {
    const window = this.#about(middle, shape.length);
    let energy = 0;
    for (let i = 0; i < shape.length; i++) energy += shape[i] * window[i] * window[i];
    return energy;
  }

  #weighted(middle, shape, mean) {
    const window = this.#about(middle, shape.length), weighted = new Float64Array(shape.length);
    for (let i = 0; i < shape.length; i++) weighted[i] = (window[i] - mean) * shape[i];
    return weighted;
  }

  // Autocorrelation of the windowed sound over that of the window (Boersma, 1993).
  #pitch(middle) {
    const mean = this.#about(middle, PITCH).reduce(sum) / PITCH;
    const found = this.fourier.autocorrelation(this.#weighted(middle, this.shapes[2], mean), LONGEST);
    let best = -Infinity, lag = SHORTEST, harmonicity = 0;
    for (let l = SHORTEST; l <= LONGEST; l++) {
      const ratio = (found[l] / (found[0] + SURE)) * this.windowShare[l];
      const score = ratio - this.lagCost[l];
      if (score > best) [best, lag, harmonicity] = [score, l, ratio];
    }
    return { lag, harmonicity: Math.min(1, Math.max(0, harmonicity)) };
  }

  // Octaves about the voice's own mean, 0 where there is no voice.
  #octaves(hz, harmonicity) {
    if (harmonicity <= VOICED) return 0;
    const octave = Math.log2(hz);
    this.octave = this.octave === null ? octave : OCTAVE_KEEP * this.octave + (1 - OCTAVE_KEEP) * octave;
    return octave - this.octave;
  }
}

// The loudest of the first seconds, for voices that were trained on levels which know it from the start.
export function loudestDb(samples, seconds) {
  const mel = new LiveMel(1);
  const rows = mel.push(samples.subarray(0, seconds * RATE));
  return Math.max(FLOOR_DB, ...rows.flatMap((row) => row.loudness_db));
}

const sum = (a, b) => a + b;
const hannWindow = (size) => Float64Array.from({ length: size }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / size));

// Triangles of unit area on the mel scale (O'Shaughnessy), lifted 6 dB per octave: per band { begin, weights }.
function melFilters(bands) {
  const mel = (hz) => 2595 * Math.log10(1 + hz / 700);
  const [low, high] = BAND_HZ.map(mel);
  const edges = Array.from({ length: bands + 2 }, (_, i) => 700 * (10 ** ((low + ((high - low) * i) / (bands + 1)) / 2595) - 1));
  const hz = Array.from({ length: SPECTRUM_FFT / 2 + 1 }, (_, i) => (i * RATE) / SPECTRUM_FFT);
  const windowPower = ((3 / 8) * SPECTRUM * SPECTRUM) / 4;
  return Array.from({ length: bands }, (_, b) => {
    const [from, peak, to] = edges.slice(b, b + 3);
    let triangle = hz.map((f) => Math.max(0, Math.min((f - from) / (peak - from), (to - f) / (to - peak))));
    if (!triangle.some(Boolean)) { // narrower than a bin: the nearest one
      const nearest = hz.reduce((best, f, i) => (Math.abs(f - peak) < Math.abs(hz[best] - peak) ? i : best), 0);
      triangle = hz.map((_, i) => Number(i === nearest));
    }
    const area = triangle.reduce(sum), lift = (peak / 1000) ** 2;
    const begin = triangle.findIndex(Boolean), end = triangle.findLastIndex(Boolean) + 1;
    return { begin, weights: triangle.slice(begin, end).map((value) => (value / area) * (lift / windowPower)) };
  });
}

// SPDX-License-Identifier: Apache-2.0
// How the person moves (avatar3d/motion/_manner.py, _polish.py): keeps what the network says near what was seen of them.

const NEIGHBOURS = 10, PULL = 0.2, RIDGE = 1e-5;
const NEAR = 0.35, SHUT = 0.1, SEAL = 0.8; // lips this near, in shares of their range, are drawn shut: _seal.py
const SEAL_RIDGE = 1e-3;

export class Manner {
  // tensors: name -> { shape, data }; guarded: expressions are pulled to what was seen, and lips that come near meet,
  // beside all being kept in range
  constructor(tensors, guarded) {
    this.guarded = guarded;
    const of = (name) => tensors[`manner.${name}`].data;
    this.gain = of("gain")[0];
    this.usualLids = of("usual_lids")[0];
    this.pauseFrames = of("pause_frames")[0]; // longer silence shuts the mouth
    for (const name of ["closed", "low", "high", "closing"]) this[name] = of(name);
    const width = this.closed.length, seen = of("seen"), change = of("seal_change");
    const parting = Array.from(of("seal_gap"), (_, i) => Float64Array.from(change.subarray(i * width, (i + 1) * width)));
    const gram = parting.map((a) => parting.map((b) => dot(a, b)));
    const trace = gram.reduce((total, row, i) => total + row[i], 0);
    gram.forEach((row, i) => { row[i] += SEAL_RIDGE * trace + 1e-12; });
    this.lips = { gap: of("seal_gap"), parting, gram, range_u: of("seal_range_u") };
    this.seen = Array.from({ length: seen.length / width }, (_, i) => seen.subarray(i * width, (i + 1) * width));
    this.habit = { mean: of("blink_log_interval")[0], spread: of("blink_log_spread")[0] };
  }

  // What the person might do instead of `said` [K], as far as `gate` (0 shut .. 1) is open.
  kept(said, gate) {
    const meant = said.map((value) => this.gain * value);
    const near = this.guarded ? this.#pulled(meant) : meant;
    const usual = near.map((value, k) => Math.min(this.high[k], Math.max(this.low[k], value)));
    const sealed = this.guarded ? this.#sealed(usual) : usual;
    return sealed.map((value, k) => gate * value + (1 - gate) * this.closed[k]);
  }

  // The expression [K] with its lids further shut by `lid` 0..1.
  withLids(expression, lid) { return expression.map((value, k) => value + lid * this.closing[k]); }

  // The expression [K] whose lips, where they come near, are drawn to those of the shut mouth by the least change.
  #sealed(code) {
    const { gap, parting, gram, range_u: [low, high] } = this.lips, { closed } = this;
    const apart = gap.map((value, i) => value + dot(parting[i], code));
    const opening = (Math.hypot(...apart.slice(0, 3)) + Math.hypot(...apart.slice(3, 6)) + Math.hypot(...apart.slice(6))) / 3;
    const share = (opening - low) / Math.max(high - low, 1e-6);
    const pull = SEAL * Math.min(1, Math.max(0, (NEAR - share) / (NEAR - SHUT)));
    if (!pull) return code;
    const away = Float64Array.from(closed, (value, k) => value - code[k]);
    const pulls = solved(gram.map((row) => [...row]), parting.map((row) => dot(row, away)));
    return code.map((value, k) => {
      const moved = value + pull * pulls.reduce((sum, one, i) => sum + one * parting[i][k], 0);
      return Math.min(Math.max(this.high[k], closed[k]), Math.max(Math.min(this.low[k], closed[k]), moved));
    });
  }

  // A share of the way to the affine hull of the nearest faces seen (locally linear embedding).
  #pulled(code) {
    const differences = this.seen
      .map((face) => code.map((value, k) => value - face[k]))
      .map((difference) => ({ difference, distance: dot(difference, difference) }))
      .sort((a, b) => a.distance - b.distance)
      .slice(0, NEIGHBOURS)
      .map(({ difference }) => Float64Array.from(difference));
    const gram = differences.map((a) => differences.map((b) => dot(a, b)));
    const trace = gram.reduce((total, row, i) => total + row[i], 0);
    gram.forEach((row, i) => { row[i] += (RIDGE * trace) / gram.length + 1e-12; });
    const weights = solved(gram, gram.map(() => 1));
    const total = weights.reduce((a, b) => a + b);
    // the hull's point is the code minus the weighted differences
    return code.map((value, k) => value - PULL * weights.reduce((sum, w, i) => sum + (w / total) * differences[i][k], 0));
  }
}

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

// x with A x = b, by Gauss' elimination in place; A is positive definite, so no row need be exchanged.
function solved(A, b) {
  const x = [...b];
  for (let p = 0; p < A.length; p++) {
    for (let r = p + 1; r < A.length; r++) {
      const factor = A[r][p] / A[p][p];
      for (let c = p; c < A.length; c++) A[r][c] -= factor * A[p][c];
      x[r] -= factor * x[p];
    }
  }
  for (let p = A.length - 1; p >= 0; p--) {
    for (let c = p + 1; c < A.length; c++) x[p] -= A[p][c] * x[c];
    x[p] /= A[p][p];
  }
  return x;
}

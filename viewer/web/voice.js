// SPDX-License-Identifier: Apache-2.0
// The avatar's own voice (avatar3d/motion/_tcn_net.py): stacks of dilated convolutions that vote, from rows of sound to
// expressions. A few million multiplications a second, so plain JavaScript does it and no runtime need be fetched.

export class Network {
  // config: the shape as avatar.json has it; tensors: name -> { shape, data }
  constructor(config, tensors) {
    const of = (name) => tensors[`net.${name}`];
    const layer = (name, dilation, groups, after) =>
      new Convolution(of(`${name}.weight`), of(`${name}.bias`).data, dilation, groups, after);
    const { members, dilations, contexts, ahead = null } = config; // ahead: rows after a frame that it sees; null: as before
    this.members = members;
    this.width = config.expressions;
    this.mean = of("feature_mean").data;
    this.scale = of("feature_scale").data;
    this.enter = layer("enter", 1, 1, ahead ?? 1);
    this.blocks = dilations.map((dilation, i) => layer(`blocks.${i}`, dilation, members, ahead === null ? dilation : 0));
    this.leave = layer("leave", 1, members, 0);
    this.linear = new Convolution(of("linear"), of("linear_bias").data, 1, 1, of("linear").shape[2] - 1 - Math.max(...contexts));
    const stack = [this.enter, ...this.blocks];
    const total = (side) => Math.max(this.linear[side], stack.reduce((reach, one) => reach + one[side], 0));
    this.before = total("before"); // rows before and after a frame that its expression depends on
    this.after = total("after");
  }

  normalised(row) { return row.map((value, i) => (value - this.mean[i]) / this.scale[i]); }

  // The mean [width] of the members' expressions at `frame` of normalised rows; beyond their ends there is nothing.
  at(rows, frame) {
    let [low, high] = [frame, frame];
    const spans = [this.leave, ...[...this.blocks].reverse()].map((layer) => {
      const span = [low, high];
      [low, high] = [Math.max(0, low - layer.before), Math.min(rows.length - 1, high + layer.after)];
      return span;
    }).reverse();
    let hidden = this.enter.through(rows, low, high);
    for (const values of hidden.values()) values.forEach((value, i) => { values[i] = gelu(value); });
    this.blocks.forEach((block, i) => {
      const next = block.through(hidden, ...spans[i]);
      for (const [t, values] of next) {
        const kept = hidden.get(t);
        for (let c = 0; c < values.length; c++) values[c] = kept[c] + gelu(values[c]);
      }
      hidden = next;
    });
    const deep = this.leave.through(hidden, frame, frame).get(frame);
    const plain = this.linear.through(rows, frame, frame).get(frame);
    const said = new Float32Array(this.width);
    deep.forEach((value, o) => { said[o % this.width] += (value + plain[o]) / this.members; });
    return said;
  }
}

// A convolution over time in groups; out[t] sees rows from t - before to t + after.
class Convolution {
  constructor({ shape: [outputs, inputs, taps], data }, bias, dilation, groups, after) {
    Object.assign(this, { outputs, inputs, taps, bias, dilation, after });
    this.before = (taps - 1) * dilation - after;
    this.perGroup = outputs / groups;
    this.weights = new Float32Array(data.length); // [tap, output, input]: a row of inputs lies together
    for (let o = 0, from = 0; o < outputs; o++) {
      for (let i = 0; i < inputs; i++) {
        for (let tap = 0; tap < taps; tap++, from++) this.weights[(tap * outputs + o) * inputs + i] = data[from];
      }
    }
  }

  // Frames low..high of rows (an array, or a Map by frame; where there is none, zeros), as a Map by frame.
  through(rows, low, high) {
    const { outputs, inputs, taps, bias, dilation, before, perGroup, weights } = this;
    const row = Array.isArray(rows) ? (t) => rows[t] : (t) => rows.get(t);
    const made = new Map();
    for (let t = low; t <= high; t++) {
      const out = Float32Array.from(bias);
      for (let tap = 0; tap < taps; tap++) {
        const seen = row(t + tap * dilation - before);
        if (!seen) continue;
        for (let o = 0, w = tap * outputs * inputs; o < outputs; o++) {
          const first = Math.floor(o / perGroup) * inputs;
          let sum = 0;
          for (let i = 0; i < inputs; i++, w++) sum += weights[w] * seen[first + i];
          out[o] += sum;
        }
      }
      made.set(t, out);
    }
    return made;
  }
}

const gelu = (x) => 0.5 * x * (1 + errorFunction(x / Math.SQRT2));

// To 2e-7: Abramowitz and Stegun, 7.1.26.
function errorFunction(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - tail * Math.exp(-x * x));
}

// SPDX-License-Identifier: Apache-2.0
// safetensors, and the packed form of compact avatars (avatar3d/store/packed.py says what it is).

import { fromHalves, inflated } from "./bytes.js";

const KINDS = { F32: Float32Array, F16: Uint16Array, I8: Int8Array, U8: Uint8Array, I32: Int32Array, I64: BigInt64Array };

// { tensors: name -> { shape, data }, about }; half-precision numbers come as whole ones.
export function readTensors(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = 8 + Number(view.getBigUint64(0, true));
  const { __metadata__: beside, ...entries } = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start)));
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: [begin, end] }] of Object.entries(entries)) {
    if (!KINDS[dtype] || start + end > bytes.length) throw new Error(`${name} cannot be read`);
    // a copy: typed arrays must begin at a multiple of their numbers' size
    const data = new KINDS[dtype](bytes.slice(start + begin, start + end).buffer);
    tensors[name] = { shape, data: dtype === "F16" ? fromHalves(data) : data };
  }
  return { tensors, about: JSON.parse(beside?.about ?? "{}") };
}

export async function readPacked(bytes) {
  const { tensors: stored, about } = readTensors(await inflated(bytes, "gzip"));
  const tensors = Object.fromEntries(Object.entries(stored).filter(([name]) => !name.includes(".")));
  for (const [name, { planes, order }] of Object.entries(about)) {
    const bytes_ = Array.from({ length: planes }, (_, plane) => stored[`${name}.${plane}`]);
    tensors[name] = onGrid(bytes_, stored[`${name}.step`], order);
  }
  return tensors;
}

// Whole numbers, whose sign is the lowest bit, times their steps; axes back in their own order.
function onGrid(planes, step, order) {
  const { shape } = planes[0]; // axis a stands where axis order[a] belongs
  const own = order.map((_, axis) => shape[order.indexOf(axis)]);
  const ownStride = strides(own), stepStride = strides(step.shape);
  const three = (list, fill) => [...Array(3 - order.length).fill(fill), ...list];
  const [A, B, C] = three(shape, 1);
  const [a, b, c] = three(order.map((axis) => ownStride[axis]), 0);
  const [i, j, k] = three(step.shape.map((size, axis) => (size === 1 ? 0 : stepStride[axis])), 0);
  const data = new Float32Array(A * B * C);
  let from = 0;
  for (let x = 0; x < A; x++) {
    for (let y = 0; y < B; y++) {
      for (let z = 0; z < C; z++, from++) {
        let code = 0;
        for (let p = planes.length - 1; p >= 0; p--) code = code * 256 + planes[p].data[from];
        const whole = code % 2 ? -(code + 1) / 2 : code / 2;
        data[x * a + y * b + z * c] = whole * 2 ** (step.data[x * i + y * j + z * k] / 2);
      }
    }
  }
  return { shape: own, data };
}

const strides = (shape) => shape.map((_, axis) => shape.slice(axis + 1).reduce((product, size) => product * size, 1));

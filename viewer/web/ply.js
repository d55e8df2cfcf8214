// SPDX-License-Identifier: Apache-2.0
// The neutral splats, as the binary PLY of 3D Gaussian splatting (avatar3d/ply.py).

const SH_0 = 0.5 / Math.sqrt(Math.PI); // colour = 0.5 + SH_0 * f_dc
const HEADER_LIMIT = 65536;

// means, quats, log_scales, opacity_logits, colours, each { shape, data }
export function readSplats(bytes) {
  const text = new TextDecoder("latin1").decode(bytes.subarray(0, HEADER_LIMIT));
  const end = text.indexOf("end_header\n") + "end_header\n".length;
  const count = Number(/element vertex (\d+)/.exec(text)?.[1]);
  const names = Array.from(text.slice(0, end).matchAll(/property float (\w+)/g), (match) => match[1]);
  if (!text.startsWith("ply\nformat binary_little_endian 1.0") || !(count >= 0) || bytes.length < end + 4 * count * names.length) {
    throw new Error("no little-endian PLY of floats, or cut short");
  }
  const table = new Float32Array(bytes.slice(end, end + 4 * count * names.length).buffer);
  const columns = (wanted, change = (value) => value) => {
    const places = wanted.map((name) => names.indexOf(name));
    if (places.includes(-1)) throw new Error(`no attribute ${wanted}`);
    const data = new Float32Array(count * places.length);
    for (let i = 0, to = 0; i < count; i++) for (const place of places) data[to++] = change(table[i * names.length + place]);
    return { shape: [count, places.length], data };
  };
  const numbered = (name, many) => Array.from({ length: many }, (_, i) => `${name}_${i}`);
  return {
    means: columns(["x", "y", "z"]),
    quats: columns(numbered("rot", 4)),
    log_scales: columns(numbered("scale", 3)),
    opacity_logits: columns(["opacity"]),
    colours: columns(numbered("f_dc", 3), (value) => 0.5 + SH_0 * value),
  };
}

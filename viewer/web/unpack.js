// SPDX-License-Identifier: Apache-2.0
// The payload: named typed arrays behind one another, gzipped, in base64.

const KINDS = { f32: Float32Array, u16: Uint16Array, u8: Uint8Array };

export async function unpack(base64, entries) {
  const bytes = Uint8Array.from(atob(base64.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  return Object.fromEntries(
    entries.map(({ name, kind, offset, length }) => [name, new KINDS[kind](buffer, offset, length)]),
  );
}

// All 65536 half-precision numbers; a table is faster than bit work per value.
export function halfTable() {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31;
    const fraction = (bits & 1023) / 1024;
    const size = exponent === 0 ? fraction * 2 ** -14 : (1 + fraction) * 2 ** (exponent - 15);
    table[bits] = exponent === 31 ? NaN : bits >> 15 ? -size : size;
  }
  return table;
}

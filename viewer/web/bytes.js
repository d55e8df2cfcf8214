// SPDX-License-Identifier: Apache-2.0
// Bytes: out of base64, out of gzip and zip's deflate, half-precision numbers, checksums.

export function fromBase64(text) {
  const letters = atob(text.trim());
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

// kind: "gzip" or "deflate-raw"
export async function inflated(bytes, kind) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(kind));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Float32Array from the bits of half-precision numbers.
export function fromHalves(halves) {
  const table = halfTable();
  return Float32Array.from(halves, (bits) => table[bits]);
}

// All 65536 half-precision numbers; a table is faster than bit work per value.
function halfTable() {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31;
    const fraction = (bits & 1023) / 1024;
    const size = exponent === 0 ? fraction * 2 ** -14 : (1 + fraction) * 2 ** (exponent - 15);
    table[bits] = exponent === 31 ? NaN : bits >> 15 ? -size : size;
  }
  return table;
}

// sha256 as hex; null where the browser computes none (pages over plain http from another machine)
export async function checksum(bytes) {
  if (!globalThis.crypto?.subtle) return null;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// SPDX-License-Identifier: Apache-2.0
// Zip archives, stored or deflated (PKWARE's APPNOTE 4.3; no encryption, no zip64: an avatar has a few MB).

import { inflated } from "./bytes.js";
import { Refusal } from "./refusal.js";

const END = 0x06054b50, ENTRY = 0x02014b50, LOCAL = 0x04034b50;
const LONGEST_END = 65557; // bytes: the record at the end with the longest comment

// The files of an archive: name -> function that gives its bytes.
export function readZip(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = endOf(view);
  const files = new Map();
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    if (at + 46 > end || view.getUint32(at, true) !== ENTRY) throw damagedZip();
    const [nameSize, extra, comment] = [28, 30, 32].map((offset) => view.getUint16(at + offset, true));
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameSize));
    const entry = { method: view.getUint16(at + 10, true), size: view.getUint32(at + 20, true), start: view.getUint32(at + 42, true) };
    if (!name.endsWith("/")) files.set(name, () => contents(bytes, view, entry));
    at += 46 + nameSize + extra + comment;
  }
  return files;
}

function endOf(view) {
  for (let at = view.byteLength - 22; at >= Math.max(0, view.byteLength - LONGEST_END); at--) {
    if (view.getUint32(at, true) === END) return at;
  }
  throw damagedZip();
}

async function contents(bytes, view, { method, size, start }) {
  if (start + 30 > bytes.length || view.getUint32(start, true) !== LOCAL || ![0, 8].includes(method)) throw damagedZip();
  const begin = start + 30 + view.getUint16(start + 26, true) + view.getUint16(start + 28, true);
  const packed = bytes.subarray(begin, begin + size);
  if (method === 0) return packed;
  try {
    return await inflated(packed, "deflate-raw");
  } catch {
    throw damagedZip();
  }
}

const damagedZip = () => new Refusal("This zip file is damaged, or is none.", "Copy it again, or drop the avatar's folder instead.");

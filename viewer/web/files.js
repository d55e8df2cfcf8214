// SPDX-License-Identifier: Apache-2.0
// Where an avatar's files come from. Every source is a function: name -> promise of bytes.

import { Refusal } from "./refusal.js";
import { readZip } from "./zip.js";

const MANIFEST = "avatar.json";

// A folder behind http, beside the page.
export const served = (base) => async (name) => {
  const answer = await fetch(new URL(name, base)).catch(() => null);
  if (!answer?.ok) throw missing(name);
  return new Uint8Array(await answer.arrayBuffer());
};

// A zip of an avatar's folder, or of its contents.
export const zipped = (bytes) => rooted(readZip(bytes));

// Files that were dropped or chosen: path -> File.
export const picked = (files) => rooted(
  new Map(Array.from(files, ([path, file]) => [path, async () => new Uint8Array(await file.arrayBuffer())])),
);

// Names count from where avatar.json lies.
function rooted(files) {
  const found = [...files.keys()].filter((name) => name === MANIFEST || name.endsWith(`/${MANIFEST}`));
  if (!found.length) throw new Refusal("There is no avatar.json in this.", "Drop a folder NAME.avatar, or a zip of one.");
  const root = found.sort((a, b) => a.length - b.length)[0].slice(0, -MANIFEST.length);
  return async (name) => {
    const read = files.get(root + name);
    if (!read) throw missing(name);
    return read();
  };
}

const missing = (name) => Object.assign(
  new Refusal(`The avatar's file ${name} is missing.`, "The avatar is damaged: copy or create it again."), { missing: name },
);

// Everything in a drop, folders walked through: path -> File.
export async function dropped(transfer) {
  const entries = Array.from(transfer.items, (item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return new Map(Array.from(transfer.files, (file) => [file.name, file]));
  const files = new Map();
  for (const entry of entries) await walk(entry, files);
  return files;
}

async function walk(entry, files) {
  if (entry.isFile) {
    files.set(entry.fullPath.replace(/^\//, ""), await new Promise((done, fail) => entry.file(done, fail)));
    return;
  }
  const reader = entry.createReader();
  for (;;) { // a reader gives a hundred entries at a time
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) return;
    for (const child of some) await walk(child, files);
  }
}

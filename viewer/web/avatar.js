// SPDX-License-Identifier: Apache-2.0
// Opens an avatar: reads and checks its files, and gives them as the arrays that painter, driver and voice take.

import { checksum } from "./bytes.js";
import { readSplats } from "./ply.js";
import { Refusal } from "./refusal.js";
import { readPacked, readTensors } from "./tensors.js";

const VERSION = 2;
const PACKED = "head.safetensors.gz"; // of a compact avatar
const CLIP = /^clips\/(.+)\.safetensors$/;
const SOUNDS = ["flac", "wav"];
const FLOATS = ["arkit_map", "body_map", "camera_K", "code_offset", "code_scale", "pose_offset", "pose_scale", "rest_pose"];

// read: name -> promise of bytes (see files.js)
export async function openAvatar(read) {
  const about = manifest(await read("avatar.json"));
  const files = about.files;
  const get = async (name) => verified(await read(name), name, files[name]);
  const picture = PACKED in files ? "background.webp" : "background.png";
  const [parts, room] = await Promise.all([headParts(get, PACKED in files), get(picture)]);
  const { width, height } = about.head.config;
  return {
    title: about.about?.name ?? "avatar",
    consent: about.about?.consent ?? "not stated",
    blur: about.rasterizer.blur_px2,
    camera: cameraOf(parts.camera_K.data, width, height),
    splats: splats(parts),
    parts: Object.fromEntries(FLOATS.map((name) => [name, parts[name].data])),
    room: await createImageBitmap(new Blob([room]), { colorSpaceConversion: "none", premultiplyAlpha: "none" }),
    clips: await clips(get, files),
    voice: voiceOf(about, get),
  };
}

function manifest(bytes) {
  let about = null;
  try {
    about = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw damagedFile("avatar.json");
  }
  if (about.format !== "avatar3d" || about.version !== VERSION) {
    throw new Refusal(`This avatar has format ${about.format} ${about.version}; this page plays avatar3d ${VERSION}.`, "Make the avatar again.");
  }
  if (about.head?.part !== "linear") {
    throw new Refusal(`A page plays linear heads, and this one is ${about.head?.part}.`, "Bake it first: avatar3d bake NAME.avatar");
  }
  return about;
}

async function verified(bytes, name, expected) {
  const found = expected && (await checksum(bytes));
  if (found && found !== expected) throw damagedFile(name);
  return bytes;
}

async function headParts(get, compact) {
  if (compact) return get(PACKED).then(damageNamed(readPacked, PACKED));
  const [rig, plain] = await Promise.all([
    get("rig.safetensors").then(damageNamed(readTensors, "rig.safetensors")),
    get("splats.ply").then(damageNamed(readSplats, "splats.ply")),
  ]);
  const { table_steps: steps, ...tensors } = rig.tensors;
  if (steps) tensors.tables = { shape: tensors.tables.shape, data: stepped(tensors.tables.data, steps.data) };
  return { ...tensors, ...plain };
}

const damageNamed = (parse, name) => async (bytes) => {
  try {
    return await parse(bytes);
  } catch {
    throw damagedFile(name);
  }
};

const damagedFile = (name) => new Refusal(`The avatar's file ${name} is damaged.`, "Copy the avatar again, or create it again.");

// Tables [K,N,9] of whole numbers times their steps [N,3], of positions, rotations and colours.
function stepped(whole, steps) {
  const tables = new Float32Array(whole.length), row = 3 * steps.length;
  for (let start = 0; start < whole.length; start += row) {
    for (let i = 0, at = start; i < steps.length; i++) {
      const step = steps[i];
      for (const end = at + 3; at < end; at++) tables[at] = whole[at] * step;
    }
  }
  return tables;
}

function splats({ means, quats, log_scales, opacity_logits, colours, skin_logits, tables }) {
  const logistic = ({ data }) => data.map((value) => 1 / (1 + Math.exp(-value)));
  return {
    means: means.data, quats: quats.data, colours: colours.data, tables: tables.data, components: tables.shape[0],
    scales: log_scales.data.map(Math.exp), opacities: logistic(opacity_logits), skin: logistic(skin_logits),
  };
}

const cameraOf = (K, width, height) => ({ focal: [K[0], K[4]], middle: [K[2], K[5]], size: [width, height] });

// The voice for sound that is still coming, or else the one for whole sounds: { part, config, listen, tensors() }.
function voiceOf({ live_voice: live, voice, files }, get) {
  const whole = `audio2motion${live ? "_live" : ""}.safetensors`, packed = `${whole}.gz`;
  const tensors = async () => {
    if (!(packed in files)) return (await damageNamed(readTensors, whole)(await get(whole))).tensors;
    const found = await damageNamed(readPacked, packed)(await get(packed)); // in which dots of names are slashes
    return Object.fromEntries(Object.entries(found).map(([name, tensor]) => [name.replaceAll("/", "."), tensor]));
  };
  return live || voice ? { ...(live ?? voice), tensors } : null;
}

// Every clip with its sound, if it has one: { name, fps, basis, frames, rows, sound: promise of bytes or null }.
async function clips(get, files) {
  const names = Object.keys(files).map((file) => CLIP.exec(file)?.[1]).filter(Boolean);
  return Promise.all(names.map(async (name) => {
    const file = `clips/${name}.safetensors`;
    const { tensors: rows, about } = await get(file).then(damageNamed(readTensors, file));
    const sound = SOUNDS.map((kind) => `clips/${name}.${kind}`).find((path) => path in files);
    return { name, fps: about.fps, basis: about.basis, frames: rows.head.shape[0], rows, sound: sound ? () => get(sound) : null };
  }));
}

// SPDX-License-Identifier: Apache-2.0
// The page: opens an avatar, lets it act, and hears what its visitor wants.

import { Actor } from "./actor.js";
import { openAvatar } from "./avatar.js";
import { fromBase64 } from "./bytes.js";
import { byId, connectCamera, makeSliders } from "./controls.js";
import { dropped, picked, served, zipped } from "./files.js";
import { openVoice } from "./hearing.js";
import { record, save } from "./recording.js";
import { Refusal } from "./refusal.js";
import { Loudspeaker, Playback } from "./sound.js";
import { spoken, spokenLive } from "./speech.js";
import { context } from "./splats.js";
import { FPS, Stage } from "./stage.js";
import { follow } from "./streaming.js";

const CLIPS = ["said", "sample"]; // the ones to play first, where there are any
const LARGEST_ASKED_PX = 4096;
const now = () => performance.now() / 1000;

class Player {
  constructor() {
    this.speaker = new Loudspeaker();
    this.calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  }

  // read: name -> promise of bytes
  async show(read) {
    this.gl ??= context(byId("picture"));
    this.say("Opening…");
    const avatar = await openAvatar(read);
    this.rest();
    this.avatar = avatar;
    this.stage?.painter.dispose();
    this.stage = new Stage(this.gl, avatar);
    this.actor = new Actor(avatar, this.stage.driver, FPS);
    this.actor.moving = !this.calm;
    this.playback = null;
    this.voice = avatar.voice && openVoice(avatar.voice);
    this.voice?.then(({ manner }) => { this.actor.manner = manner; }, () => {}); // its use says why it failed
    await this.choose(CLIPS.find((name) => this.actor.clips.has(name)) ?? [...this.actor.clips.keys()][0]);
    this.#offer();
    byId("trouble").hidden = true;
    this.draw();
    const { title, consent, splats } = avatar;
    this.say(`${title}: ${splats.skin.length.toLocaleString()} splats. Consent: ${consent}. Drag to turn, scroll to zoom.`);
  }

  // A clip of the avatar, to be played from its beginning.
  async choose(name) {
    const clip = this.avatar.clips.find((one) => one.name === name);
    if (!clip) return;
    const acted = this.actor.clips.get(name);
    this.playback?.pause();
    this.playback = new Playback(this.speaker, acted.seconds);
    this.script = () => ({ face: acted.at(this.playback.time * acted.fps) });
    this.sound = clip.sound; // decoded at the first play
  }

  async play() {
    if (!this.playback) return;
    if (this.playback.playing) return this.playback.pause();
    this.rest();
    if (this.sound) this.playback.sound = await this.speaker.decoded(await this.sound());
    this.sound = null;
    this.actor.act(this.script);
    await this.playback.play();
  }

  async seek(seconds) {
    if (!this.playback) return;
    if (this.actor.script !== this.script) { this.rest(); this.actor.act(this.script); }
    await this.playback.seek(seconds);
  }

  // A sound file, or bytes of one, said by the avatar.
  async speak(bytes) {
    const voice = await this.#speaking();
    const { playback, script } = await spoken(bytes, voice, this.speaker, FPS, (done) => this.say(`Listening… ${Math.round(100 * done)} %`));
    this.rest();
    Object.assign(this, { playback, script, sound: null });
    this.say("Said by this avatar's own voice model.");
    await this.play();
  }

  async toggleMicrophone() {
    if (this.live) return this.rest();
    const voice = await this.#speaking();
    this.rest();
    this.live = await spokenLive(voice, this.speaker);
    this.actor.act(this.live.script);
    this.#pressed("microphone", true);
    this.say(`Speak: the face follows ${voice.late_s.toFixed(1)} s later. Nothing is recorded or sent.`);
  }

  async toggleStream(address) {
    if (this.streamed) return this.rest();
    this.rest();
    const stream = follow(address, () => { this.rest(); this.say("The stream has ended."); });
    this.streamed = stream;
    try {
      await stream.opened;
    } catch (error) {
      this.rest();
      throw error;
    }
    this.actor.act(stream.script);
    this.#pressed("connect", true);
    this.say(`Following ${address}.`);
  }

  async toggleRecording() {
    if (!this.recording) {
      this.recording = record(byId("picture"), this.speaker);
      this.#pressed("record", true);
      return this.say("Recording. Press again to save.");
    }
    const end = this.recording;
    this.recording = null;
    this.#pressed("record", false);
    this.film = await end();
    save(this.film, this.avatar.title);
    this.say(`Saved ${this.film.size.toLocaleString()} bytes.`);
  }

  // Ends whatever is acted.
  rest() {
    this.playback?.pause();
    this.live?.stop();
    this.streamed?.stop();
    this.live = this.streamed = null;
    for (const name of ["microphone", "connect"]) this.#pressed(name, false);
    this.actor?.act(null);
  }

  draw() {
    if (!this.stage) return;
    this.stage.draw(this.actor.face(now()));
    const { playback } = this;
    const over = playback && !playback.playing && playback.time >= playback.seconds && this.actor.script === this.script;
    if (over && playback.seconds) { playback.seek(0); this.actor.act(null); }
    this.#tell();
  }

  say(text) { byId("message").textContent = text; }

  // What went wrong, in words: over the picture where there is none.
  refuse(error) {
    const { message, remedy = "Please tell the makers of avatar3d what you did." } = error;
    this.say(`${message} ${remedy}`);
    if (this.stage) return;
    byId("what").textContent = message;
    byId("remedy").textContent = remedy;
    byId("trouble").hidden = false;
  }

  async #speaking() {
    if (!this.voice) throw new Refusal("This avatar has no voice.", "Create it from a video in which the person speaks.");
    return this.voice;
  }

  #offer() {
    const { clips } = this.actor;
    for (const id of ["play", "time"]) byId(id).disabled = !clips.size;
    for (const id of ["microphone", "record", "connect"]) byId(id).disabled = false;
    byId("pick").hidden = clips.size < 2;
    byId("clip").replaceChildren(...Array.from(clips.keys(), (name) => new Option(name, name)));
    byId("clip").value = CLIPS.find((name) => clips.has(name)) ?? byId("clip").value;
    byId("moving").checked = this.actor.moving;
    byId("text").hidden = typeof window.avatarSpeech !== "function";
    this.reset();
  }

  #tell() {
    const { playback } = this;
    if (!playback) return;
    const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;
    byId("play").textContent = playback.playing ? "Pause" : "Play";
    byId("clock").textContent = `${clock(playback.time)} / ${clock(playback.seconds)}`;
    if (document.activeElement !== byId("time") || playback.playing) byId("time").value = playback.time / playback.seconds || 0;
  }

  #pressed(id, on) { byId(id).setAttribute("aria-pressed", on); }
}

function connectPage(player) {
  const trying = (act) => async (event) => {
    try {
      await act(event);
    } catch (error) {
      player.refuse(error);
    }
  };
  const on = (id, name, act) => byId(id).addEventListener(name, trying(act));
  connectCamera(byId("picture"), () => player.stage, trying(() => player.play()));
  player.reset = makeSliders(byId("sliders"), ({ scores, turn }) => { if (player.actor) Object.assign(player.actor, { scores, turn }); });
  on("play", "click", () => player.play());
  on("time", "input", ({ target }) => player.seek(target.value * player.playback.seconds));
  on("clip", "change", ({ target }) => { player.rest(); return player.choose(target.value); });
  on("microphone", "click", () => player.toggleMicrophone());
  on("record", "click", () => player.toggleRecording());
  on("front", "click", () => player.stage?.front());
  on("behind", "change", ({ target }) => { player.stage.behind = target.value; });
  on("moving", "change", ({ target }) => { player.actor.moving = target.checked; player.actor.act(player.actor.script); });
  on("connect", "click", () => player.toggleStream(byId("address").value));
  on("reset", "click", () => player.reset());
  on("say", "click", async () => player.speak(new Uint8Array(await window.avatarSpeech(byId("words").value))));
  on("file", "change", ({ target }) => taken(player, new Map(Array.from(target.files, (file) => [file.name, file]))));
  on("folder", "change", ({ target }) => taken(player, new Map(Array.from(target.files, (file) => [file.webkitRelativePath, file]))));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", trying(async (event) => {
    event.preventDefault();
    await taken(player, await dropped(event.dataTransfer));
  }));
  for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
  byId("picture").addEventListener("webglcontextlost", () => player.say("The graphics card has been lost. Load the page again."));
}

// Files that were dropped or chosen: a zip or a folder of an avatar, or a sound to say.
async function taken(player, files) {
  if (!files.size) return;
  const [[path, file]] = files;
  if (files.size > 1 || path.endsWith("avatar.json")) return player.show(picked(files));
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (/\.(zip|avatar)$/i.test(path)) return player.show(zipped(bytes));
  if (!player.stage) throw new Refusal(`${path} is no avatar.`, "Open a folder NAME.avatar, or a zip of one, first.");
  return player.speak(bytes);
}

// What the address asks for, for programs that show the page in their own picture: ?bare&behind=nothing&size=1080
function asked(player) {
  const wishes = new URLSearchParams(location.search);
  const size = Math.min(LARGEST_ASKED_PX, Number(wishes.get("size")));
  if (size > 0) player.stage.resize(Math.round(size));
  const behind = wishes.get("behind");
  if (["room", "plain", "nothing"].includes(behind)) byId("behind").value = player.stage.behind = behind;
}

async function main(player) {
  if (new URLSearchParams(location.search).has("bare")) document.body.classList.add("bare");
  const inlined = byId("avatar").textContent.trim();
  if (!inlined && location.protocol === "file:") {
    throw new Refusal(
      "A page on disk cannot read the files beside it.",
      "Drop the folder NAME.avatar on this page; or serve it (python3 -m http.server) and open http://localhost:8000.",
    );
  }
  await player.show(inlined ? zipped(fromBase64(inlined)) : served(document.baseURI));
  asked(player);
}

const player = new Player();
window.avatarPlayer = player; // for tests, and for other scripts on the page
connectPage(player);
const tick = () => { player.draw(); requestAnimationFrame(tick); };
player.ready = main(player).catch((error) => player.refuse(error)).then(tick);

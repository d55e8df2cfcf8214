// SPDX-License-Identifier: Apache-2.0
// The live page: sends the microphone, a sound file or the camera, draws what comes back, and measures how long that took.

const RATE = 16000;
const PIECE_MS = 20; // of a sound file
const LEAD_MS = 400; // a file is heard that much after it is sent, so that every picture is there in time
const CAMERA_PX = 256;
const CAMERA_MS = 40; // between two camera pictures, at least
const TIMES = 500; // that figures are made of

const byId = (id) => document.getElementById(id);
const say = (text) => { byId("message").textContent = text; };
const percentile = (times, share) => [...times].sort((a, b) => a - b)[Math.floor(share * (times.length - 1))];

class Times {
  constructor(id) { this.id = id; this.times = []; }

  add(ms) {
    this.times.push(ms);
    if (this.times.length > TIMES) this.times.shift();
  }

  show() {
    if (!this.times.length) return;
    const [middle, late] = [0.5, 0.99].map((share) => percentile(this.times, share).toFixed(0));
    byId(this.id).textContent = `${middle} ms (median), ${late} ms (99 of 100 within)`;
  }
}

class Page {
  constructor() {
    this.times = { sound: new Times("sound"), camera: new Times("camera") };
    this.drawn = [];
    this.driver = null; // "mic", "cam", "file": one at a time
    this.stop = () => {};
    this.waiting = 0; // camera pictures that were not answered
    this.due = []; // of a file: pictures that come before their sound
    this.paint = byId("picture").getContext("2d", { alpha: false });
    this.connect();
    byId("mic").onclick = () => this.drive("mic", () => this.listen());
    byId("cam").onclick = () => this.drive("cam", () => this.watch());
    byId("file").onchange = (event) => this.take(event.target.files[0]);
    byId("settle").onclick = () => this.wish({ settle: true });
    byId("size").onchange = (event) => this.wish({ size: Number(event.target.value) });
    byId("mirror").onchange = (event) => byId("picture").classList.toggle("mirrored", event.target.checked);
    for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
      document.addEventListener(kind, (event) => {
        event.preventDefault();
        document.body.classList.toggle("dragged", kind === "dragenter" || kind === "dragover");
        if (kind === "drop") this.take(event.dataTransfer.files[0]);
      });
    }
    setInterval(() => this.tell(), 500);
  }

  connect() {
    this.socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = ({ data }) => (typeof data === "string" ? this.told(JSON.parse(data)) : this.got(data));
    this.socket.onclose = ({ reason }) => {
      this.drive(null);
      say(`The connection has ended${reason ? `: ${reason}` : ""}. Load the page again to go on.`);
    };
  }

  told(about) {
    if (!about.name) return;
    byId("name").textContent = about.name;
    byId("mic").disabled = !about.voice;
    byId("file").disabled = !about.voice;
    byId("cam").disabled = !about.camera;
    say(about.note || "Choose what drives the avatar, or drop a sound file.");
  }

  wish(about) { if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(about)); }

  send(kind, stamp, body) {
    if (this.socket.readyState !== WebSocket.OPEN || this.socket.bufferedAmount > 1 << 18) return;
    const message = new Uint8Array(9 + body.byteLength);
    message[0] = kind.charCodeAt(0);
    new DataView(message.buffer).setFloat64(1, stamp);
    message.set(new Uint8Array(body), 9);
    this.socket.send(message);
  }

  async got(data) {
    const stamp = new DataView(data).getFloat64(1);
    this.waiting = 0;
    const picture = await createImageBitmap(new Blob([new Uint8Array(data, 9)], { type: "image/jpeg" }));
    if (this.driver === "file" && !Number.isNaN(stamp)) {
      setTimeout(() => this.show(picture, NaN), Math.max(0, stamp + LEAD_MS - performance.now()));
    } else this.show(picture, stamp);
  }

  show(picture, stamp) {
    const canvas = byId("picture");
    if (canvas.width !== picture.width) canvas.width = canvas.height = picture.width;
    this.paint.drawImage(picture, 0, 0);
    picture.close();
    const now = performance.now();
    this.drawn = this.drawn.filter((time) => now - time < 2000).concat(now);
    if (Number.isNaN(stamp)) return;
    if (this.driver === "mic") this.times.sound.add(now - stamp);
    if (this.driver === "cam") this.times.camera.add(now - stamp);
  }

  tell() {
    this.drawn = this.drawn.filter((time) => performance.now() - time < 2000);
    byId("rate").textContent = `${(this.drawn.length / 2).toFixed(1)} a second, ${byId("picture").width} px`;
    this.times.sound.show();
    this.times.camera.show();
  }

  // One driver at a time; the same button again lets go.
  async drive(name, begin) {
    const again = this.driver === name;
    this.stop();
    this.stop = () => {};
    this.driver = again ? null : name;
    for (const id of ["mic", "cam"]) byId(id).setAttribute("aria-pressed", String(this.driver === id));
    byId("settle").hidden = this.driver !== "cam";
    if (!this.driver) return;
    try {
      await begin();
    } catch (error) {
      this.driver = null;
      for (const id of ["mic", "cam"]) byId(id).setAttribute("aria-pressed", "false");
      say(error.name === "NotAllowedError" ? "The browser was told not to allow this; allow it beside the address."
        : error.name === "NotFoundError" ? "No such device was found." : `This did not work: ${error.message}`);
    }
  }

  async device(wanted) {
    // browsers give devices to pages of this machine and to https alone
    if (!navigator.mediaDevices) throw new Error("the browser gives devices to https and to this machine only");
    return navigator.mediaDevices.getUserMedia(wanted);
  }

  async listen() {
    const media = await this.device({ audio: { echoCancellation: true, noiseSuppression: true, channelCount: 1 } });
    const context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
    this.stop = () => { media.getTracks().forEach((track) => track.stop()); context.close(); };
    await context.audioWorklet.addModule("live_worklet.js");
    const pieces = new AudioWorkletNode(context, "pieces", { numberOfOutputs: 0 });
    pieces.port.onmessage = ({ data }) => this.send("a", performance.now() - 1000 * context.baseLatency, data);
    context.createMediaStreamSource(media).connect(pieces);
    say("Listening.");
  }

  async watch() {
    const media = await this.device({ video: { width: 640, height: 480, frameRate: 30, facingMode: "user" } });
    const film = Object.assign(document.createElement("video"), { srcObject: media, muted: true, playsInline: true });
    await film.play();
    const small = Object.assign(document.createElement("canvas"), { width: CAMERA_PX, height: CAMERA_PX });
    const paint = small.getContext("2d", { alpha: false });
    let last = 0;
    const look = async (now, frame) => {
      if (this.driver !== "cam") return;
      // no second picture is sent before the first is answered, but for one in flight
      if (this.waiting < 2 && now - last >= CAMERA_MS - 5) {
        last = now;
        this.waiting += 1;
        const seen = frame?.captureTime ?? performance.now();
        const side = Math.min(film.videoWidth, film.videoHeight);
        const [left, top] = [(film.videoWidth - side) / 2, (film.videoHeight - side) / 2];
        paint.drawImage(film, left, top, side, side, 0, 0, CAMERA_PX, CAMERA_PX);
        const jpeg = await new Promise((done) => small.toBlob(done, "image/jpeg", 0.8));
        this.send("v", seen, await jpeg.arrayBuffer());
      }
      film.requestVideoFrameCallback(look);
    };
    this.stop = () => media.getTracks().forEach((track) => track.stop());
    film.requestVideoFrameCallback(look);
    say("Look into the camera with a calm face, then press “I look ahead, at rest”.");
  }

  take(file) { if (file) this.drive("file", () => this.play(file)); }

  // A file is sent as it would be spoken, and heard LEAD_MS later, when its pictures are there.
  async play(file) {
    const context = new AudioContext();
    const sound = await context.decodeAudioData(await file.arrayBuffer()).catch(() => {
      throw new Error("there is no sound in this file that the browser understands");
    });
    const plain = new OfflineAudioContext(1, Math.max(1, Math.ceil(sound.duration * RATE)), RATE);
    const source = Object.assign(plain.createBufferSource(), { buffer: sound });
    source.connect(plain.destination);
    source.start();
    const samples = Int16Array.from((await plain.startRendering()).getChannelData(0), (x) => 32767 * Math.max(-1, Math.min(1, x)));
    const heard = Object.assign(context.createBufferSource(), { buffer: sound });
    heard.connect(context.destination);
    await context.resume();
    const began = performance.now();
    const delay = context.outputLatency || context.baseLatency || 0;
    heard.start(context.currentTime + Math.max(0, LEAD_MS / 1000 - delay));
    let sent = 0;
    const size = RATE * PIECE_MS / 1000;
    const timer = setInterval(() => {
      while (sent < samples.length && performance.now() - began >= 1000 * (sent + size) / RATE) {
        const piece = samples.slice(sent, sent + size);
        sent += size;
        this.send("a", began + 1000 * sent / RATE, piece.buffer);
      }
    }, PIECE_MS / 2);
    const end = () => { clearInterval(timer); heard.onended = null; heard.stop(); context.close(); };
    this.stop = end;
    heard.onended = () => { if (this.stop === end) { this.drive(null); say("The file has ended."); } };
    say(`Saying ${file.name}.`);
  }
}

window.livePage = new Page();

// SPDX-License-Identifier: Apache-2.0
// The microphone: blocks of samples as they come, through an AudioWorklet. Nothing of it leaves the page.

import { Refusal } from "./refusal.js";

// From a data: address, since a page from disk may load no file beside it. Eight blocks go together: 20 ms, and fewer
// messages than blocks.
const TAP = `registerProcessor("tap", class extends AudioWorkletProcessor {
  held = [];
  process([[samples]]) {
    if (samples) this.held.push(...samples);
    if (this.held.length >= 1024) { this.port.postMessage(Float32Array.from(this.held)); this.held = []; }
    return true;
  }
})`;

const REFUSALS = {
  NotAllowedError: ["The microphone is blocked.", "Allow it for this page in the browser's address bar, then try again."],
  NotFoundError: ["No microphone was found.", "Plug one in, then try again."],
  NotReadableError: ["The microphone cannot be used.", "Close other programs that use it, then try again."],
};

// Calls `hear(samples)` until the function that this gives is called; `tap` gets the sound too, where it is named.
export async function listen(context, hear, tap = null) {
  if (!navigator.mediaDevices) {
    throw new Refusal("Browsers give no microphone to this page.", "Open it over https, from http://localhost, or from disk.");
  }
  let stream = null;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, autoGainControl: true } });
  } catch (error) {
    throw new Refusal(...(REFUSALS[error.name] ?? [`The microphone does not answer: ${error.message}.`, "Try again."]));
  }
  await context.resume();
  await context.audioWorklet.addModule(`data:text/javascript,${encodeURIComponent(TAP)}`);
  const source = context.createMediaStreamSource(stream);
  const node = new AudioWorkletNode(context, "tap", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  node.port.onmessage = ({ data }) => hear(data);
  source.connect(node);
  if (tap) source.connect(tap);
  return () => {
    node.port.onmessage = null;
    source.disconnect();
    stream.getTracks().forEach((track) => track.stop());
  };
}

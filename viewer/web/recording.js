// SPDX-License-Identifier: Apache-2.0
// Records the picture and what is heard, and gives the film to whoever looks.

import { Refusal } from "./refusal.js";

const KINDS = ["video/webm;codecs=vp9,opus", "video/webm;codecs=vp8,opus", "video/webm", "video/mp4"];
const FRAMES_PER_S = 30;

// Begins; the function that this gives ends it, with the film as a Blob.
export function record(canvas, speaker) {
  const kind = window.MediaRecorder && KINDS.find((one) => MediaRecorder.isTypeSupported(one));
  if (!kind || !canvas.captureStream) throw new Refusal("This browser cannot record.", "Use a current Chrome, Edge, Firefox or Safari.");
  speaker.out; // makes the tap
  const stream = new MediaStream([...canvas.captureStream(FRAMES_PER_S).getTracks(), ...speaker.tap.stream.getTracks()]);
  const recorder = new MediaRecorder(stream, { mimeType: kind, videoBitsPerSecond: 4e6 });
  const parts = [];
  recorder.ondataavailable = ({ data }) => parts.push(data);
  recorder.start(1000);
  return () => new Promise((done) => {
    recorder.onstop = () => done(new Blob(parts, { type: kind.split(";")[0] }));
    recorder.stop();
  });
}

// Offers a Blob for saving.
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${name}.${blob.type.endsWith("mp4") ? "mp4" : "webm"}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

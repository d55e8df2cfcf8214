// SPDX-License-Identifier: Apache-2.0
// A face that another program streams over a WebSocket, message by message as JSON (`scoresFromMessage` says which).

import { scoresFromMessage } from "./arkit.js";
import { Refusal } from "./refusal.js";

// Connects; gives a script for the actor (see actor.js) and how to end it. `ended` is called when the other side goes.
export function follow(address, ended) {
  if (!/^wss?:\/\/./.test(address) || !URL.canParse(address)) {
    throw new Refusal(`${address} is no address of a WebSocket.`, "Write ws://ADDRESS:PORT or wss://ADDRESS.");
  }
  const socket = new WebSocket(address);
  let last = { names: [], scores: {}, turn: [0, 0, 0] };
  let messages = 0;
  socket.onmessage = ({ data }) => {
    try {
      last = scoresFromMessage(JSON.parse(data), last.names) ?? last;
      messages++;
    } catch {
      // a message that is no JSON is left out: the next one comes within a frame
    }
  };
  socket.onclose = () => ended(messages);
  return {
    opened: new Promise((done, fail) => {
      socket.onopen = done;
      socket.onerror = () => fail(new Refusal(`Nothing answers at ${address}.`, "Start the program that streams the face, then connect again."));
    }),
    script: () => ({ scores: last.scores, turn: last.turn }),
    stop: () => { socket.onclose = null; socket.close(); },
  };
}

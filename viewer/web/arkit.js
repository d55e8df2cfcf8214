// SPDX-License-Identifier: Apache-2.0
// ARKit's 52 expressions: their names, and what they ask of a head.

// In the order in which arkit_map holds all but the last, behind a first row for MediaPipe's `_neutral`.
export const ARKIT = `browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft
  cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight
  eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight
  jawForward jawLeft jawOpen jawRight mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight
  mouthFunnel mouthLeft mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight
  mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight mouthStretchLeft
  mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft noseSneerRight tongueOut`.split(/\s+/);
export const UNSEEN = "tongueOut"; // the tracker sees no tongue, so no head moves one

const EYEBALL = 0.4; // the iris' way across the eye: this many eye widths times the sine of the eye's turn
const LOOK_RAD = 0.5; // turn of an eye whose eyeLook score is 1

// What scores (name -> 0..1) add to a face: { expression [E], blink [right, left], gaze [4] }.
export function faceFromScores(scores, map, width) {
  const of = (name) => scores[name] ?? 0;
  const expression = new Float32Array(width);
  ARKIT.forEach((name, index) => {
    const score = of(name);
    if (!score || name === UNSEEN) return;
    for (let e = 0; e < width; e++) expression[e] += score * map[(index + 1) * width + e];
  });
  const look = (side, inwards) => [
    EYEBALL * Math.sin(LOOK_RAD * inwards * (of(`eyeLookIn${side}`) - of(`eyeLookOut${side}`))),
    EYEBALL * Math.sin(LOOK_RAD * (of(`eyeLookDown${side}`) - of(`eyeLookUp${side}`))),
  ];
  return {
    expression,
    blink: [of("eyeBlinkRight"), of("eyeBlinkLeft")],
    gaze: [...look("Right", 1), ...look("Left", -1)], // the person's left is the picture's right
  };
}

// The face that the map gives where every score is 0.
export const restingExpression = (map, width) => map.slice(map.length - width);

// Of a message {"names": [...], "values": [...], "head": [yaw, pitch, roll]}; `names` may be left out once they were
// said. Names are ARKit's, or Live Link Face's, whose HeadYaw, HeadPitch and HeadRoll (rad) serve as well.
export function scoresFromMessage(message, lastNames) {
  const { names = lastNames, values, head } = message;
  if (!Array.isArray(names) || !Array.isArray(values) || names.length !== values.length) return null;
  const scores = {};
  names.forEach((name, i) => {
    const value = Number(values[i]);
    if (Number.isFinite(value)) scores[String(name)[0].toLowerCase() + String(name).slice(1)] = value;
  });
  const turn = Array.isArray(head) ? head.map(Number) : ["headYaw", "headPitch", "headRoll"].map((name) => scores[name] ?? 0);
  return { names, scores, turn: turn.length === 3 && turn.every(Number.isFinite) ? turn : [0, 0, 0] };
}

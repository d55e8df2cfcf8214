// SPDX-License-Identifier: Apache-2.0
// Rotations and rigid poses as in avatar3d/geometry.py: quaternions wxyz, poses [quaternion, shift] named b_from_a.

export const multiply = ([aw, ax, ay, az], [bw, bx, by, bz]) => [
  aw * bw - ax * bx - ay * by - az * bz,
  aw * bx + ax * bw + ay * bz - az * by,
  aw * by - ax * bz + ay * bw + az * bx,
  aw * bz + ax * by - ay * bx + az * bw,
];

export const unit = (vector) => {
  const length = Math.hypot(...vector) || 1;
  return Array.from(vector, (value) => value / length);
};

export const conjugate = ([w, x, y, z]) => [w, -x, -y, -z];

// Of a rotation vector: axis times angle, rad.
export function quatFromTurn(turn) {
  const angle = Math.hypot(...turn);
  const share = angle < 1e-6 ? 0.5 : Math.sin(angle / 2) / angle;
  return [Math.cos(angle / 2), ...Array.from(turn, (value) => value * share)];
}

export function turnFromQuat(quat) {
  const [w, ...xyz] = unit(quat).map((value, _, all) => (all[0] < 0 ? -value : value));
  const sine = Math.hypot(...xyz);
  const share = sine > 1e-7 ? (2 * Math.atan2(sine, w)) / sine : 2;
  return xyz.map((value) => value * share);
}

// Rotation matrix (row-major, 9 numbers) of a quaternion of any length.
export function matrixFromQuat([w, x, y, z]) {
  const n = 2 / (w * w + x * x + y * y + z * z);
  return [
    1 - n * (y * y + z * z), n * (x * y - w * z), n * (x * z + w * y),
    n * (x * y + w * z), 1 - n * (x * x + z * z), n * (y * z - w * x),
    n * (x * z - w * y), n * (y * z + w * x), 1 - n * (x * x + y * y),
  ];
}

export function rotated(quat, [x, y, z]) {
  const m = matrixFromQuat(quat);
  return [0, 3, 6].map((row) => m[row] * x + m[row + 1] * y + m[row + 2] * z);
}

// c_from_a of c_from_b and b_from_a
export function composed(second, first) {
  const shift = rotated(second, first.slice(4, 7));
  return [...unit(multiply(second, first)), ...shift.map((value, i) => value + second[4 + i])];
}

// Between two poses; the quaternions may lie on either side of the sphere.
export function between(a, b, share) {
  const side = a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3] < 0 ? -1 : 1;
  const mixed = Array.from(a, (value, i) => value + share * ((i < 4 ? side : 1) * b[i] - value));
  return [...unit(mixed.slice(0, 4)), ...mixed.slice(4)];
}

// Yaw to the left, pitch down, roll, in this order about the head's own axes (rad), on a neck at `neck`.
export function headTurn([yaw, pitch, roll], neck) {
  const about = (axis, angle) => quatFromTurn([0, 1, 2].map((i) => (i === axis ? angle : 0)));
  const quat = multiply(multiply(about(1, yaw), about(0, pitch)), about(2, roll));
  const moved = rotated(quat, neck);
  return [...quat, ...neck.map((value, i) => value - moved[i])];
}

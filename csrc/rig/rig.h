// SPDX-License-Identifier: Apache-2.0
// The linear rig of one Gaussian: offsets added, then carried by a blend of two rigid frames. Host and device.
//
//   mean'   = B m + w (H - B) m,  m = mean + offset[0:3],  w = sigmoid(skin)
//   quat'   = (b + w (h - b)) * (1, offset[3:6] / 2) * quat,  h and b on the same half of the sphere
//   colour' = clamp(colour + offset[6:9], 0, 1)
//
// H = (R_h | t_h) and B = (R_b | t_b) are rigid frames with unit quaternions h and b; * is the Hamilton product.
#pragma once

#include <cmath>

#ifdef __CUDACC__
#define RIG_FN __host__ __device__ inline
#else
#define RIG_FN inline
#endif

namespace avatar3d::rig {

constexpr int kChannels = 9;  // of an offset: position 3, rotation vector 3, colour 3

struct Quat {
  float w, x, y, z;
};

struct Vec {
  float x, y, z;
};

RIG_FN Vec operator+(Vec a, Vec b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
RIG_FN Vec operator-(Vec a, Vec b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
RIG_FN Vec operator*(float s, Vec a) { return {s * a.x, s * a.y, s * a.z}; }
RIG_FN float dot(Vec a, Vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
RIG_FN Vec cross(Vec a, Vec b) { return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x}; }

RIG_FN Quat operator+(Quat a, Quat b) { return {a.w + b.w, a.x + b.x, a.y + b.y, a.z + b.z}; }
RIG_FN Quat operator-(Quat a, Quat b) { return {a.w - b.w, a.x - b.x, a.y - b.y, a.z - b.z}; }
RIG_FN Quat operator*(float s, Quat a) { return {s * a.w, s * a.x, s * a.y, s * a.z}; }
RIG_FN float dot(Quat a, Quat b) { return a.w * b.w + a.x * b.x + a.y * b.y + a.z * b.z; }
RIG_FN Quat conj(Quat a) { return {a.w, -a.x, -a.y, -a.z}; }
RIG_FN Quat mul(Quat a, Quat b) {
  return {a.w * b.w - a.x * b.x - a.y * b.y - a.z * b.z, a.w * b.x + a.x * b.w + a.y * b.z - a.z * b.y,
          a.w * b.y - a.x * b.z + a.y * b.w + a.z * b.x, a.w * b.z + a.x * b.y - a.y * b.x + a.z * b.w};
}

// a rigid frame: rotation rows, the same rotation as a unit quaternion, translation
struct Frame {
  Vec row[3];
  Quat quat;
  Vec shift;
};

RIG_FN Vec turn(const Frame& f, Vec p) { return {dot(f.row[0], p), dot(f.row[1], p), dot(f.row[2], p)}; }
RIG_FN Vec turn_back(const Frame& f, Vec p) { return p.x * f.row[0] + p.y * f.row[1] + p.z * f.row[2]; }

// pose: quaternion wxyz of any length but zero, translation
RIG_FN Frame frame_of(const float* pose) {
  const Quat raw{pose[0], pose[1], pose[2], pose[3]};
  const Quat q = (1.0f / std::sqrt(dot(raw, raw))) * raw;
  Frame f;
  f.row[0] = {1 - 2 * (q.y * q.y + q.z * q.z), 2 * (q.x * q.y - q.w * q.z), 2 * (q.x * q.z + q.w * q.y)};
  f.row[1] = {2 * (q.x * q.y + q.w * q.z), 1 - 2 * (q.x * q.x + q.z * q.z), 2 * (q.y * q.z - q.w * q.x)};
  f.row[2] = {2 * (q.x * q.z - q.w * q.y), 2 * (q.y * q.z + q.w * q.x), 1 - 2 * (q.x * q.x + q.y * q.y)};
  f.quat = q;
  f.shift = {pose[4], pose[5], pose[6]};
  return f;
}

// A second pose is brought to the same half of the sphere as the first, so that their blend is short.
RIG_FN Frame near_frame(const float* pose, const Frame& first) {
  Frame f = frame_of(pose);
  if (dot(f.quat, first.quat) < 0) f.quat = -1.0f * f.quat;
  return f;
}

RIG_FN float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }
RIG_FN float clamp01(float x) { return x < 0 ? 0.0f : x > 1 ? 1.0f : x; }
RIG_FN float inside01(float x) { return x >= 0 && x <= 1 ? 1.0f : 0.0f; }

struct Gaussian {
  Vec mean;
  Quat quat;
  Vec colour;
};

struct Offset {
  Vec position, rotation, colour;
};

RIG_FN Gaussian carried(const Gaussian& g, const Offset& o, float w, const Frame& head, const Frame& body) {
  const Vec m = g.mean + o.position;
  const Vec at_body = turn(body, m) + body.shift;
  const Vec at_head = turn(head, m) + head.shift;
  const Quat frame = body.quat + w * (head.quat - body.quat);
  const Quat half_turn{1.0f, 0.5f * o.rotation.x, 0.5f * o.rotation.y, 0.5f * o.rotation.z};
  const Vec c = g.colour + o.colour;
  return {at_body + w * (at_head - at_body),
          mul(frame, mul(half_turn, g.quat)),
          {clamp01(c.x), clamp01(c.y), clamp01(c.z)}};
}

// What the whole set does to a frame: sums over Gaussians, from which the pose's gradient follows.
struct Pull {
  Vec force;   // sum of w dL/dmean'
  Vec torque;  // sum of w (R m) x dL/dmean'
  Quat quat;   // sum of w dL/dframe quaternion
};

struct Reverse {
  Gaussian gaussian;
  Offset offset;
  float skin;
};

RIG_FN void add_pull(Pull& pull, float w, Vec lever, Vec d_mean, Quat d_frame) {
  pull.force = pull.force + w * d_mean;
  pull.torque = pull.torque + w * cross(lever, d_mean);
  pull.quat = pull.quat + w * d_frame;
}

// Gradients of everything from those of `carried`, d.
RIG_FN Reverse reversed(const Gaussian& g, const Offset& o, float w, const Frame& head, const Frame& body,
                        const Gaussian& d, Pull& head_pull, Pull& body_pull) {
  const Vec m = g.mean + o.position;
  const Vec head_lever = turn(head, m), body_lever = turn(body, m);
  const Vec apart = head_lever + head.shift - body_lever - body.shift;
  const Quat frame = body.quat + w * (head.quat - body.quat);
  const Quat half_turn{1.0f, 0.5f * o.rotation.x, 0.5f * o.rotation.y, 0.5f * o.rotation.z};
  const Quat d_frame = mul(d.quat, conj(mul(half_turn, g.quat)));
  const Quat d_local = mul(conj(frame), d.quat);
  const Quat d_half = mul(d_local, conj(g.quat));
  const Vec c = g.colour + o.colour;
  Reverse r;
  r.gaussian.mean = (1 - w) * turn_back(body, d.mean) + w * turn_back(head, d.mean);
  r.gaussian.quat = mul(conj(half_turn), d_local);
  r.gaussian.colour = {inside01(c.x) * d.colour.x, inside01(c.y) * d.colour.y, inside01(c.z) * d.colour.z};
  r.offset = {r.gaussian.mean, {0.5f * d_half.x, 0.5f * d_half.y, 0.5f * d_half.z}, r.gaussian.colour};
  r.skin = w * (1 - w) * (dot(apart, d.mean) + dot(d_frame, head.quat - body.quat));
  add_pull(head_pull, w, head_lever, d.mean, d_frame);
  add_pull(body_pull, 1 - w, body_lever, d.mean, d_frame);
  return r;
}

// Gradient with respect to a small turn of the frame about its own origin, in world axes: R -> exp(turn) R.
RIG_FN Vec turn_gradient(const Pull& pull, const Frame& f) {
  const Quat q = mul(pull.quat, conj(f.quat));
  return pull.torque + 0.5f * Vec{q.x, q.y, q.z};
}

}  // namespace avatar3d::rig

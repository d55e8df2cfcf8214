// SPDX-License-Identifier: Apache-2.0
// The CPU body of avatar3d.ops.rig: the formulas of rig.h over all Gaussians. Arrays are contiguous float32.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "common.h"
#include "pool.h"
#include "rig/rig.h"

using namespace avatar3d;
using namespace avatar3d::rig;

namespace {

constexpr int64_t kBlock = 256;  // Gaussians at a time

int blocks_of(int64_t count) { return static_cast<int>((count + kBlock - 1) / kBlock); }

struct Arrays {
  const float *means, *quats, *colours, *skin_logits;
};

Vec vec_at(const float* p, int64_t i) { return {p[3 * i], p[3 * i + 1], p[3 * i + 2]}; }
Quat quat_at(const float* p, int64_t i) { return {p[4 * i], p[4 * i + 1], p[4 * i + 2], p[4 * i + 3]}; }
void put(float* p, int64_t i, Vec v) { p[3 * i] = v.x, p[3 * i + 1] = v.y, p[3 * i + 2] = v.z; }
void put(float* p, int64_t i, Quat q) { p[4 * i] = q.w, p[4 * i + 1] = q.x, p[4 * i + 2] = q.y, p[4 * i + 3] = q.z; }

Gaussian gaussian_at(const Arrays& a, int64_t i) {
  return {vec_at(a.means, i), quat_at(a.quats, i), vec_at(a.colours, i)};
}

Offset offset_at(const float* offsets, int64_t i) {
  const float* o = offsets + kChannels * i;
  return {{o[0], o[1], o[2]}, {o[3], o[4], o[5]}, {o[6], o[7], o[8]}};
}

void add(Pull& sum, const Pull& part) {
  sum.force = sum.force + part.force;
  sum.torque = sum.torque + part.torque;
  sum.quat = sum.quat + part.quat;
}

// [6]: turn, shift
void put_pose_gradient(float* out, const Pull& pull, const Frame& frame) {
  const Vec turned = turn_gradient(pull, frame);
  const float values[6] = {turned.x, turned.y, turned.z, pull.force.x, pull.force.y, pull.force.z};
  std::memcpy(out, values, sizeof values);
}

}  // namespace

// means, colours [N,3], quats [N,4], skin_logits [N], offsets [N,9], poses head and body [7] ->
// out_means, out_colours [N,3], out_quats [N,4]
A3D_EXPORT int avatar3d_rig_forward(const float* means, const float* quats, const float* colours,
                                    const float* skin_logits, const float* offsets, const float* head_pose,
                                    const float* body_pose, int64_t count, float* out_means, float* out_quats,
                                    float* out_colours) {
  const Arrays arrays{means, quats, colours, skin_logits};
  const Frame head = frame_of(head_pose);
  const Frame body = near_frame(body_pose, head);
  Pool::shared().run(blocks_of(count), [&](int block, int) {
    const int64_t begin = int64_t{block} * kBlock, end = std::min(count, begin + kBlock);
    for (int64_t i = begin; i < end; ++i) {
      const float w = sigmoid(arrays.skin_logits[i]);
      const Gaussian g = carried(gaussian_at(arrays, i), offset_at(offsets, i), w, head, body);
      put(out_means, i, g.mean), put(out_quats, i, g.quat), put(out_colours, i, g.colour);
    }
  });
  return kDone;
}

// d_means, d_colours [N,3], d_quats [N,4]: upstream -> gradients of the inputs; g_head and g_body [6] are those of a
// turn about the frame's origin in world axes and of a shift
A3D_EXPORT int avatar3d_rig_backward(const float* means, const float* quats, const float* colours,
                                     const float* skin_logits, const float* offsets, const float* head_pose,
                                     const float* body_pose, const float* d_means, const float* d_quats,
                                     const float* d_colours, int64_t count, float* g_means, float* g_quats,
                                     float* g_colours, float* g_skin, float* g_offsets, float* g_head, float* g_body) {
  const Arrays arrays{means, quats, colours, skin_logits};
  const Frame head = frame_of(head_pose);
  const Frame body = near_frame(body_pose, head);
  return guarded([&] {
    const int blocks = blocks_of(count);
    // summed in the order of the blocks, whichever thread did them: the same input gives the same bits
    std::vector<Pull> head_pulls(blocks, Pull{}), body_pulls(blocks, Pull{});
    Pool::shared().run(blocks, [&](int block, int) {
      const int64_t begin = int64_t{block} * kBlock, end = std::min(count, begin + kBlock);
      for (int64_t i = begin; i < end; ++i) {
        const Gaussian d{vec_at(d_means, i), quat_at(d_quats, i), vec_at(d_colours, i)};
        const Reverse r = reversed(gaussian_at(arrays, i), offset_at(offsets, i), sigmoid(skin_logits[i]), head, body,
                                   d, head_pulls[block], body_pulls[block]);
        put(g_means, i, r.gaussian.mean), put(g_quats, i, r.gaussian.quat), put(g_colours, i, r.gaussian.colour);
        g_skin[i] = r.skin;
        put(g_offsets, 3 * i, r.offset.position), put(g_offsets, 3 * i + 1, r.offset.rotation);
        put(g_offsets, 3 * i + 2, r.offset.colour);
      }
    });
    Pull head_pull{}, body_pull{};
    for (const Pull& part : head_pulls) add(head_pull, part);
    for (const Pull& part : body_pulls) add(body_pull, part);
    put_pose_gradient(g_head, head_pull, head);
    put_pose_gradient(g_body, body_pull, body);
    return kDone;
  });
}

// SPDX-License-Identifier: Apache-2.0
// The CUDA body of avatar3d.ops.rig, for a batch of images: Gaussians are shared by all, offsets and poses are each
// image's own. Backward, a thread is a Gaussian and walks over the images, so that it alone sums what they share; what
// pulls on the poses is summed by block and then over blocks, always in the same order.
#include "cuda/cuda.h"
// after the words of CUDA that it needs
#include "rig/rig.h"

namespace avatar3d {
namespace rig {
namespace {

constexpr int kPose = 7;
constexpr int kPullFloats = sizeof(Pull) / sizeof(float), kPulls = 2 * kPullFloats;  // head's, then body's
constexpr int kWarps = cuda::kThreads / cuda::kWarp;

struct Scene {
  const float *means, *quats, *colours, *skin_logits;  // [N,..]
  const float *offsets, *heads, *bodies;               // [B,N,9] [B,7] [B,7]
  int64_t count, images;
};

struct Results {
  float *means, *quats, *colours;  // [B,N,..]
};

struct Upstream {
  const float *means, *quats, *colours;  // [B,N,..]
};

struct Gradients {
  float *means, *quats, *colours, *skin, *offsets;  // [N,..], offsets [B,N,9]
};

__device__ inline Vec vec_at(const float* p, int64_t i) { return {p[3 * i], p[3 * i + 1], p[3 * i + 2]}; }
__device__ inline Quat quat_at(const float* p, int64_t i) {
  return {p[4 * i], p[4 * i + 1], p[4 * i + 2], p[4 * i + 3]};
}
__device__ inline void put(float* p, int64_t i, Vec v) { p[3 * i] = v.x, p[3 * i + 1] = v.y, p[3 * i + 2] = v.z; }
__device__ inline void put(float* p, int64_t i, Quat q) {
  p[4 * i] = q.w, p[4 * i + 1] = q.x, p[4 * i + 2] = q.y, p[4 * i + 3] = q.z;
}

__device__ inline Gaussian gaussian_at(const Scene& s, int64_t i) {
  return {vec_at(s.means, i), quat_at(s.quats, i), vec_at(s.colours, i)};
}
__device__ inline Offset offset_at(const float* offsets, int64_t i) {
  return {vec_at(offsets, 3 * i), vec_at(offsets, 3 * i + 1), vec_at(offsets, 3 * i + 2)};
}

// The frames of an image, worked out by one thread for its block. All threads call it.
__device__ void meet_frames(const Scene& s, int64_t image, Frame* frames) {
  __syncthreads();
  if (threadIdx.x == 0) {
    frames[0] = frame_of(s.heads + kPose * image);
    frames[1] = near_frame(s.bodies + kPose * image, frames[0]);
  }
  __syncthreads();
}

__global__ void __launch_bounds__(cuda::kThreads) carry_all(Scene s, Results out) {
  __shared__ Frame frames[2];
  const int64_t i = cuda::thread_index(), image = blockIdx.y, at = image * s.count + i;
  meet_frames(s, image, frames);
  if (i >= s.count) return;
  const Gaussian g =
      carried(gaussian_at(s, i), offset_at(s.offsets, at), sigmoid(s.skin_logits[i]), frames[0], frames[1]);
  put(out.means, at, g.mean), put(out.quats, at, g.quat), put(out.colours, at, g.colour);
}

// parts [pulls] <- the pulls of all threads of the block; shared [warps,pulls]
__device__ void sum_pulls(const Pull* pulls, float* shared, float* parts) {
  const float* mine = reinterpret_cast<const float*>(pulls);
  for (int k = 0; k < kPulls; ++k) {
    const float sum = cuda::warp_sum(mine[k]);
    if (cuda::lane() == 0) shared[cuda::warp() * kPulls + k] = sum;
  }
  __syncthreads();
  if (threadIdx.x < kPulls) {
    float sum = 0;
    for (int warp = 0; warp < kWarps; ++warp) sum += shared[warp * kPulls + threadIdx.x];
    parts[threadIdx.x] = sum;
  }
}

__device__ inline void add(Reverse& sum, const Reverse& part) {
  sum.gaussian.mean = sum.gaussian.mean + part.gaussian.mean;
  sum.gaussian.quat = sum.gaussian.quat + part.gaussian.quat;
  sum.gaussian.colour = sum.gaussian.colour + part.gaussian.colour;
  sum.skin += part.skin;
}

// parts [blocks,B,pulls]
__global__ void __launch_bounds__(cuda::kThreads) reverse_all(Scene s, Upstream d, Gradients out, float* parts) {
  float* shared = cuda::shared_memory<float>();
  __shared__ Frame frames[2];
  const int64_t i = cuda::thread_index();
  const bool exists = i < s.count;
  const Gaussian g = exists ? gaussian_at(s, i) : Gaussian{};
  const float skin = exists ? sigmoid(s.skin_logits[i]) : 0.f;
  Reverse sum = {};
  for (int64_t image = 0; image < s.images; ++image) {
    meet_frames(s, image, frames);
    const int64_t at = image * s.count + i;
    Pull pulls[2] = {};
    if (exists) {
      const Gaussian slope{vec_at(d.means, at), quat_at(d.quats, at), vec_at(d.colours, at)};
      const Reverse one =
          reversed(g, offset_at(s.offsets, at), skin, frames[0], frames[1], slope, pulls[0], pulls[1]);
      put(out.offsets, 3 * at, one.offset.position), put(out.offsets, 3 * at + 1, one.offset.rotation);
      put(out.offsets, 3 * at + 2, one.offset.colour);
      add(sum, one);
    }
    sum_pulls(pulls, shared, parts + (blockIdx.x * s.images + image) * kPulls);
  }
  if (!exists) return;
  put(out.means, i, sum.gaussian.mean), put(out.quats, i, sum.gaussian.quat);
  put(out.colours, i, sum.gaussian.colour);
  out.skin[i] = sum.skin;
}

__device__ inline void put_pose_gradient(float* out, const Pull& pull, const Frame& frame) {
  put(out, 0, turn_gradient(pull, frame));
  put(out, 1, pull.force);
}

// One block of one warp an image: g_head and g_body [B,6] from parts [blocks,B,pulls].
__global__ void __launch_bounds__(cuda::kWarp)
add_pulls(Scene s, const float* parts, int64_t blocks, float* g_head, float* g_body) {
  __shared__ Pull pulls[2];
  const int64_t image = blockIdx.x;
  for (int k = 0; k < kPulls; ++k) {
    float sum = 0;
    for (int64_t block = cuda::lane(); block < blocks; block += cuda::kWarp) {
      sum += parts[(block * s.images + image) * kPulls + k];
    }
    sum = cuda::warp_sum(sum);
    if (cuda::lane() == 0) reinterpret_cast<float*>(pulls)[k] = sum;
  }
  if (cuda::lane()) return;
  const Frame head = frame_of(s.heads + kPose * image);
  put_pose_gradient(g_head + 6 * image, pulls[0], head);
  put_pose_gradient(g_body + 6 * image, pulls[1], near_frame(s.bodies + kPose * image, head));
}

}  // namespace
}  // namespace rig
}  // namespace avatar3d

using namespace avatar3d;

// As the CPU's, but offsets [B,N,9], poses [B,7] and what comes out have B images in front.
A3D_EXPORT int avatar3d_cuda_rig_forward(const float* means, const float* quats, const float* colours,
                                         const float* skin_logits, const float* offsets, const float* head_poses,
                                         const float* body_poses, int64_t count, int64_t images, float* out_means,
                                         float* out_quats, float* out_colours, void* stream) {
  const rig::Scene scene{means, quats, colours, skin_logits, offsets, head_poses, body_poses, count, images};
  return cuda::launch(rig::carry_all, dim3(cuda::blocks_for(count), static_cast<unsigned>(images)), cuda::kThreads, 0,
                      stream, scene, rig::Results{out_means, out_quats, out_colours});
}

// How many floats of scratch memory avatar3d_cuda_rig_backward wants.
A3D_EXPORT int64_t avatar3d_cuda_rig_scratch(int64_t count, int64_t images) {
  return cuda::blocks_for(count) * images * rig::kPulls;
}

A3D_EXPORT int avatar3d_cuda_rig_backward(const float* means, const float* quats, const float* colours,
                                          const float* skin_logits, const float* offsets, const float* head_poses,
                                          const float* body_poses, const float* d_means, const float* d_quats,
                                          const float* d_colours, int64_t count, int64_t images, float* scratch,
                                          float* g_means, float* g_quats, float* g_colours, float* g_skin,
                                          float* g_offsets, float* g_head, float* g_body, void* stream) {
  const rig::Scene scene{means, quats, colours, skin_logits, offsets, head_poses, body_poses, count, images};
  const rig::Upstream upstream{d_means, d_quats, d_colours};
  const rig::Gradients gradients{g_means, g_quats, g_colours, g_skin, g_offsets};
  return cuda::all({cuda::launch(rig::reverse_all, cuda::blocks_for(count), cuda::kThreads,
                                 sizeof(float) * rig::kWarps * rig::kPulls, stream, scene, upstream, gradients, scratch),
                    cuda::launch(rig::add_pulls, static_cast<unsigned>(images), cuda::kWarp, 0, stream, scene, scratch,
                                 int64_t{cuda::blocks_for(count)}, g_head, g_body)});
}

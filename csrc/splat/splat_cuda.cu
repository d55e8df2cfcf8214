// SPDX-License-Identifier: Apache-2.0
// CUDA: from the moments to the gradients of everything, a thread per Gaussian. It goes through the images itself, so
// that what they share is summed in a register and in a fixed order.
#include "splat/bin_cuda.h"

namespace avatar3d {
namespace splat {
namespace {

constexpr int kPose = 12;

struct GradientArrays {
  float* rows[kRows];  // each as its row of the scene: [B,N,..] or [N,..]
  float* pose;         // [B,3,4], or null: not wanted
};

struct Parts {
  float values[kRows][4] = {};
};

__device__ inline bool any_moment(const float* m) {
  bool found = false;
  for (int k = 0; k < kMoments; ++k) found = found || m[k] != 0.f;
  return found;
}

// What is not drawn has no moments; its projection may have no numbers either, hence not looked at.
__device__ inline void gradients_of(const Batch& batch, int image, int64_t i, const float* m, Parts& out, float* pose) {
  const Source s = source_at(batch, image, i);
  const Pinhole camera = batch.camera(image);
  Projected<float> p;
  project(camera, s.mean, s.quat, s.scale, p);
  Gradients<float> d;
  project_backward(camera, p, s.mean, m, d);
  for (int k = 0; k < 3; ++k) {
    out.values[kMeans][k] = d.mean[k];
    out.values[kScales][k] = d.scale[k];
    out.values[kColours][k] = m[kRed + k];
  }
  for (int k = 0; k < 4; ++k) out.values[kQuats][k] = d.quat[k];
  out.values[kOpacities][0] = m[kSum] / s.opacity;
  for (int k = 0; k < kPose; ++k) pose[k] = d.pose[k];
}

// Row number `at`.
__device__ inline void write_row(const GradientArrays& out, int row, int64_t at, const Parts& parts) {
  const int width = width_of(row);
  for (int k = 0; k < width; ++k) out.rows[row][at * width + k] = parts.values[row][k];
}

__global__ void __launch_bounds__(kThreads) write_gradients(Batch batch, const float* moments, GradientArrays out) {
  const int64_t i = cuda::thread_index();
  const bool exists = i < batch.count;
  Parts shared;
  for (int image = 0; image < batch.images; ++image) {
    const int64_t at = image * batch.count + i;
    Parts mine;
    float pose[kPose] = {}, m[kMoments] = {};
    for (int k = 0; exists && k < kMoments; ++k) m[k] = moments[at * kMomentRow + k];
    if (any_moment(m)) gradients_of(batch, image, i, m, mine, pose);
    for (int row = 0; row < kRows; ++row) {
      if (batch.stride[row] && exists) write_row(out, row, at, mine);
      for (int k = 0; k < width_of(row); ++k) shared.values[row][k] += mine.values[row][k];
    }
    for (int k = 0; out.pose && k < kPose; ++k) {
      const float sum = cuda::warp_sum(pose[k]);
      if (cuda::lane() == 0 && sum != 0.f) atomicAdd(out.pose + kPose * image + k, sum);
    }
  }
  for (int row = 0; row < kRows; ++row) {
    if (!batch.stride[row] && exists) write_row(out, row, i, shared);
  }
}

}  // namespace
}  // namespace splat
}  // namespace avatar3d

using namespace avatar3d;
using namespace avatar3d::splat;

extern "C" {

struct A3dCudaGradients {
  float *means, *quats, *scales, *opacities, *colours;  // as the scene's
  float* pose;                                          // [B,3,4] of cam_from_world, or null: not wanted
};
}

// Gradients of everything but K from the moments [B,N,12].
A3D_EXPORT int avatar3d_cuda_splat_gradients(const A3dCudaScene* scene, const float* moments,
                                             const A3dCudaGradients* out, void* stream) {
  Batch batch;
  if (const Status fault = batch_from_scene(*scene, batch)) return fault;
  const GradientArrays arrays{{out->means, out->quats, out->scales, out->opacities, out->colours}, out->pose};
  const size_t pose_bytes = out->pose ? kPose * sizeof(float) * batch.images : 0;
  return cuda::all({cuda::zero(out->pose, pose_bytes, stream),
                    cuda::launch(write_gradients, dim3(cuda::blocks_for(batch.count)), kThreads, 0, stream, batch,
                                 moments, arrays)});
}

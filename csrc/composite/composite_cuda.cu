// SPDX-License-Identifier: Apache-2.0
// The CUDA body of avatar3d.ops.composite: a warp is a ray and takes as many of its samples at a time as it has lanes. A
// ray's sums are added in a fixed order: the same bits in every run.
#include "composite/composite.h"
#include "cuda/cuda.h"

namespace avatar3d {
namespace composite {
namespace {

constexpr int kRays = cuda::kThreads / cuda::kWarp;  // of a block

struct Medium {
  A3dSamples samples;
  const float *density, *values;
  int width;
  float stop;
};

// A lane's sample; without one it absorbs nothing.
struct Sample {
  int64_t at;
  bool own;
  float density = 0, begin = 0, end = 0;

  __device__ Sample(const Medium& m, int64_t first, int64_t ray_end) : at(first + cuda::lane()), own(at < ray_end) {
    if (own) density = m.density[at], begin = m.samples.begins[at], end = m.samples.ends[at];
  }
  __device__ float absorbs() const { return absorbed(density, begin, end); }
  __device__ float middle() const { return (begin + end) * 0.5f; }
};

__device__ inline float of_last_lane(float x) { return __shfl_sync(cuda::kAllLanes, x, cuda::kWarp - 1); }
__device__ inline float from_before(float x, float first) {
  const float before = __shfl_up_sync(cuda::kAllLanes, x, 1);
  return cuda::lane() ? before : first;
}
__device__ inline float from_behind(float x, float last) {
  const float behind = __shfl_down_sync(cuda::kAllLanes, x, 1);
  return cuda::lane() + 1 < cuda::kWarp ? behind : last;
}

__device__ inline int64_t ray_of_warp() { return static_cast<int64_t>(blockIdx.x) * kRays + cuda::warp(); }

__global__ void __launch_bounds__(cuda::kThreads)
sum_rays(Medium m, float* out_values, float* out_alpha, float* out_depth) {
  const int64_t ray = ray_of_warp();
  if (ray >= m.samples.rays) return;
  const Rows rows = rows_of(m.samples, ray);
  float sums[kMostValues] = {}, alpha = 0, depth = 0, taken = 0, light = 1;
  for (int64_t first = rows.begin; first < rows.end && light >= m.stop; first += cuda::kWarp) {
    const Sample sample(m, first, rows.end);
    const float so_far = taken + cuda::warp_running_sum(sample.absorbs()), after = light_after(so_far);
    const float before = from_before(after, light);
    if (sample.own && before >= m.stop) {
      const float weight = before - after;
      A3D_WRITE_OUT
      for (int k = 0; k < kMostValues; ++k) {
        if (k < m.width) sums[k] = muladd(weight, m.values[sample.at * m.width + k], sums[k]);
      }
      alpha += weight;
      depth = muladd(weight, sample.middle(), depth);
    }
    taken = of_last_lane(so_far), light = of_last_lane(after);
  }
  A3D_WRITE_OUT
  for (int k = 0; k < kMostValues; ++k) {
    if (k >= m.width) break;
    const float sum = cuda::warp_sum(sums[k]);
    if (!cuda::lane()) out_values[ray * m.width + k] = sum;
  }
  alpha = cuda::warp_sum(alpha), depth = cuda::warp_sum(depth);
  if (!cuda::lane()) out_alpha[ray] = alpha, out_depth[ray] = depth;
}

// Leaves the light behind each sample in d_density; returns where the samples begin that no light reaches.
__device__ inline int64_t light_up(const Medium& m, const Rows& rows, float* d_density) {
  float taken = 0, light = 1;
  int64_t first = rows.begin;
  for (; first < rows.end && light >= m.stop; first += cuda::kWarp) {
    const Sample sample(m, first, rows.end);
    const float so_far = taken + cuda::warp_running_sum(sample.absorbs()), after = light_after(so_far);
    if (sample.own) d_density[sample.at] = after;
    taken = of_last_lane(so_far), light = of_last_lane(after);
  }
  __syncwarp();
  return min(first, rows.end);
}

__global__ void __launch_bounds__(cuda::kThreads)
differentiate_rays(Medium m, const float* by_values, const float* by_alpha, const float* by_depth, float* d_density,
                   float* d_values) {
  const int64_t ray = ray_of_warp();
  if (ray >= m.samples.rays) return;
  const Rows rows = rows_of(m.samples, ray);
  const int64_t dark = light_up(m, rows, d_density);
  for (int64_t at = dark + cuda::lane(); at < rows.end; at += cuda::kWarp) d_density[at] = 0;
  for (int64_t i = dark * m.width + cuda::lane(); d_values && i < rows.end * m.width; i += cuda::kWarp) d_values[i] = 0;
  const float *pull = by_values + ray * m.width, pull_alpha = by_alpha[ray], pull_depth = by_depth[ray];
  float behind = 0;
  const int64_t steps = (dark - rows.begin + cuda::kWarp - 1) / cuda::kWarp;
  for (int64_t first = rows.begin + steps * cuda::kWarp; (first -= cuda::kWarp) >= rows.begin;) {
    const Sample sample(m, first, rows.end);
    const float after = sample.own ? d_density[sample.at] : 0.f;
    const float before = from_before(after, first > rows.begin && !cuda::lane() ? d_density[first - 1] : 1.f);
    const bool counts = sample.own && before >= m.stop;
    const float weight = counts ? before - after : 0.f;
    float slope = muladd(pull_depth, sample.middle(), pull_alpha);
    for (int k = 0; k < m.width && sample.own; ++k) {
      slope = muladd(pull[k], m.values[sample.at * m.width + k], slope);
      if (d_values) d_values[sample.at * m.width + k] = weight * pull[k];
    }
    const float pulled = cuda::warp_running_sum_back(counts ? weight * slope : 0.f) + behind;
    const float rest = from_behind(pulled, behind);
    if (sample.own) {
      const float found = slope_by_density(sample.density, sample.begin, sample.end, after, slope, rest);
      d_density[sample.at] = counts ? found : 0.f;
    }
    behind = __shfl_sync(cuda::kAllLanes, pulled, 0);
  }
}

Status too_wide(int width) { return width > kMostValues ? kTooLarge : kDone; }

}  // namespace
}  // namespace composite
}  // namespace avatar3d

// As the CPU's; `samples` lies on the host, what it points to on the device.
A3D_EXPORT int avatar3d_cuda_composite_forward(const A3dSamples* samples, const float* density, const float* values,
                                               int32_t width, float stop, float* out_values, float* alpha, float* depth,
                                               void* stream) {
  using namespace avatar3d;
  using namespace avatar3d::composite;
  if (const Status status = too_wide(width)) return status;
  return cuda::launch(sum_rays, cuda::blocks_for(samples->rays, kRays), cuda::kThreads, 0, stream,
                      Medium{*samples, density, values, width, stop}, out_values, alpha, depth);
}

A3D_EXPORT int avatar3d_cuda_composite_backward(const A3dSamples* samples, const float* density, const float* values,
                                                int32_t width, float stop, const float* by_values,
                                                const float* by_alpha, const float* by_depth, float* d_density,
                                                float* d_values, void* stream) {
  using namespace avatar3d;
  using namespace avatar3d::composite;
  if (const Status status = too_wide(width)) return status;
  return cuda::launch(differentiate_rays, cuda::blocks_for(samples->rays, kRays), cuda::kThreads, 0, stream,
                      Medium{*samples, density, values, width, stop}, by_values, by_alpha, by_depth, d_density,
                      d_values);
}

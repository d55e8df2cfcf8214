// SPDX-License-Identifier: Apache-2.0
// Kernels that are right and kernels that are wrong, to test the stand-in itself.
#include "cuda/cuda.h"

namespace {

using namespace avatar3d;
using namespace avatar3d::cuda;

// out[i] = in[count - 1 - i], by way of shared memory
__global__ void reverse(const float* in, float* out, bool with_barrier) {
  float* shared = shared_memory<float>();
  shared[threadIdx.x] = in[threadIdx.x];
  if (with_barrier) __syncthreads();
  out[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

__global__ void leave_early(const float* in, float* out) {
  if (threadIdx.x == 3) return;
  __syncthreads();
  out[threadIdx.x] = in[threadIdx.x];
}

__global__ void two_barriers(const float* in, float* out) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = in[threadIdx.x];
}

__global__ void missing_lane(const float* in, float* out) {
  if (lane() != 5) out[threadIdx.x] = __shfl_xor_sync(kAllLanes, in[threadIdx.x], 1);
}

__global__ void foreign_mask(const float* in, float* out) {
  out[threadIdx.x] = __shfl_sync(0xffffu, in[threadIdx.x], 0);
}

__global__ void past_the_end(const float* in, float* out) {
  shared_memory<float>()[blockDim.x] = in[0];
  out[threadIdx.x] = in[threadIdx.x];
}

__global__ void sums(const float* in, float* out) {
  float* scratch = shared_memory<float>();
  const float sum = block_sum(in[threadIdx.x], scratch);
  const unsigned even = __ballot_sync(kAllLanes, lane() % 2 == 0);
  const int many = __syncthreads_count(threadIdx.x % 3 == 0);
  float* to = out + 4 * blockIdx.x;
  if (threadIdx.x == 0) to[0] = sum, to[1] = static_cast<float>(even & 0xffff), to[2] = static_cast<float>(many);
  const int most = warp_max(lane() * 7 % 32);
  const float low = __shfl_down_sync(kAllLanes, in[threadIdx.x], 16, 32);
  if (threadIdx.x == 0) to[3] = static_cast<float>(most) + 100 * low;
}

__global__ void every_half(const __half* in, float* out) {
  const int64_t i = thread_index();
  out[i] = __half2float(in[i]);
}

}  // namespace

A3D_EXPORT int misuse(int which, const float* in, float* out, int threads, int bytes) {
  switch (which) {
    case 0: return launch(reverse, dim3(1), threads, bytes, nullptr, in, out, true);
    case 1: return launch(reverse, dim3(1), threads, bytes, nullptr, in, out, false);
    case 2: return launch(leave_early, dim3(1), threads, bytes, nullptr, in, out);
    case 3: return launch(two_barriers, dim3(1), threads, bytes, nullptr, in, out);
    case 4: return launch(missing_lane, dim3(1), threads, bytes, nullptr, in, out);
    case 5: return launch(foreign_mask, dim3(1), threads, bytes, nullptr, in, out);
    case 6: return launch(past_the_end, dim3(1), threads, bytes, nullptr, in, out);
    case 8:
      return launch(every_half, dim3(256), threads, bytes, nullptr, reinterpret_cast<const __half*>(in), out);
    default: return launch(sums, dim3(3), threads, bytes, nullptr, in, out);
  }
}

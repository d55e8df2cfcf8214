// SPDX-License-Identifier: Apache-2.0
// What every CUDA body shares: launching, errors as Status, shared memory, warps. A kernel is launched with `launch`,
// never with <<<>>>, so that the tests can run the same file without a GPU: AVATAR3D_SHIM swaps CUDA for the tests'
// stand-in, which runs blocks one after another and the threads of a block as fibres.
//
// Functions at the border to C are named avatar3d_cuda_*, take device pointers and the stream last, allocate nothing,
// never wait for the device, and so can be captured in a CUDA graph.
#pragma once

#include <initializer_list>
#include <tuple>
#include <utility>

#include "common.h"
#include "scalar.h"

#ifdef AVATAR3D_SHIM
#include "cuda_shim.h"
#else
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#endif

// Before a loop whose counter picks registers: they have no address, so the loop must be written out.
#ifdef __CUDACC__
#define A3D_WRITE_OUT _Pragma("unroll")
#else
#define A3D_WRITE_OUT
#endif

namespace avatar3d {
namespace cuda {

constexpr int kWarp = 32;
constexpr int kThreads = 256;  // of a block, where nothing speaks for another number
constexpr unsigned kAllLanes = 0xffffffffu;

// Keeps CUDA's words for avatar3d_cuda_error(); in cuda.cu.
Status status_of(cudaError_t error);

// The first fault, if any, of launches made in this order: `return all({zero(...), launch(...), launch(...)});`
inline Status all(std::initializer_list<Status> statuses) {
  for (const Status status : statuses) {
    if (status != kDone) return status;
  }
  return kDone;
}

#ifdef AVATAR3D_SHIM

template <class... Wanted, class... Given>
Status launch(void (*kernel)(Wanted...), dim3 blocks, int threads, size_t shared_bytes, void*, Given... given) {
  return status_of(shim::run(blocks, threads, shared_bytes, [=] { kernel(static_cast<Wanted>(given)...); }));
}

template <class T>
T* shared_memory() {
  return static_cast<T*>(shim::shared_memory());
}

#else

template <class... Wanted, size_t... kIndex>
cudaError_t launch_with(void (*kernel)(Wanted...), dim3 blocks, int threads, size_t shared_bytes, void* stream,
                        std::tuple<Wanted...>& arguments, std::index_sequence<kIndex...>) {
  void* pointers[] = {&std::get<kIndex>(arguments)...};
  return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), blocks, dim3(static_cast<unsigned>(threads)), pointers,
                          shared_bytes, static_cast<cudaStream_t>(stream));
}

// No blocks: nothing is done. At most 48 KiB of shared memory.
template <class... Wanted, class... Given>
Status launch(void (*kernel)(Wanted...), dim3 blocks, int threads, size_t shared_bytes, void* stream, Given... given) {
  static_assert(sizeof...(Wanted) == sizeof...(Given), "one argument per parameter of the kernel");
  if (!blocks.x || !blocks.y || !blocks.z) return kDone;
  std::tuple<Wanted...> arguments(static_cast<Wanted>(given)...);
  return status_of(launch_with(kernel, blocks, threads, shared_bytes, stream, arguments,
                               std::make_index_sequence<sizeof...(Wanted)>()));
}

// The block's dynamic shared memory, on a boundary of 16 bytes; its contents are arbitrary at first.
template <class T>
__device__ T* shared_memory() {
  extern __shared__ float4 avatar3d_shared_memory[];
  return reinterpret_cast<T*>(avatar3d_shared_memory);
}

#endif

inline Status zero(void* memory, size_t bytes, void* stream) {
  return bytes ? status_of(cudaMemsetAsync(memory, 0, bytes, static_cast<cudaStream_t>(stream))) : kDone;
}

// Blocks of `threads` for `count` threads.
inline unsigned blocks_for(int64_t count, int threads = kThreads) {
  return static_cast<unsigned>((count + threads - 1) / threads);
}

__device__ inline int64_t thread_index() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
__device__ inline int warp() { return static_cast<int>(threadIdx.x) / kWarp; }

// Over all 32 lanes, for every lane.
__device__ inline float warp_sum(float x) {
  for (int step = kWarp / 2; step; step /= 2) x += __shfl_xor_sync(kAllLanes, x, step);
  return x;
}
__device__ inline int warp_max(int x) {
  for (int step = kWarp / 2; step; step /= 2) x = max(x, __shfl_xor_sync(kAllLanes, x, step));
  return x;
}

// Over the lanes up to this one, or from this one on.
__device__ inline float warp_running_sum(float x) {
  for (int step = 1; step < kWarp; step *= 2) {
    const float before = __shfl_up_sync(kAllLanes, x, step);
    if (lane() >= step) x += before;
  }
  return x;
}
__device__ inline float warp_running_sum_back(float x) {
  for (int step = 1; step < kWarp; step *= 2) {
    const float behind = __shfl_down_sync(kAllLanes, x, step);
    if (lane() + step < kWarp) x += behind;
  }
  return x;
}

// Sums over a block; every thread of the block calls it, thread 0 gets the result. `scratch`: kWarp floats, shared.
__device__ inline float block_sum(float x, float* scratch) {
  x = warp_sum(x);
  __syncthreads();
  if (lane() == 0) scratch[warp()] = x;
  __syncthreads();
  const int warps = static_cast<int>(blockDim.x + kWarp - 1) / kWarp;
  return warp() ? 0.f : warp_sum(lane() < warps ? scratch[lane()] : 0.f);
}

// Adds four floats that lie on a boundary of 16 bytes; one instruction where the device has it.
__device__ inline void add4(float* to, float a, float b, float c, float d) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  atomicAdd(reinterpret_cast<float4*>(to), make_float4(a, b, c, d));
#else
  atomicAdd(to, a);
  atomicAdd(to + 1, b);
  atomicAdd(to + 2, c);
  atomicAdd(to + 3, d);
#endif
}

}  // namespace cuda
}  // namespace avatar3d

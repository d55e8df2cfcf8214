// SPDX-License-Identifier: Apache-2.0
// CUDA: sorts each cell's list near to far, one block per cell. A bitonic network in its form with every comparison
// upwards (Batcher 1968), so that a list need not be a power of two long: what lies past its end counts as infinitely
// far and never moves.
#pragma once

#include "splat/bin_cuda.h"

namespace avatar3d {
namespace splat {

constexpr int kChunk = 2048;  // keys sorted in shared memory at a time

// One round: keys i and partner for all pairs of groups of 2*half; in the first round of a merge the partner mirrors i.
__device__ inline void exchange(Key* keys, uint32_t n, uint32_t half, bool mirrored) {
  const uint32_t pairs = (n + 2 * half - 1) / (2 * half) * half;
  for (uint32_t pair = threadIdx.x; pair < pairs; pair += blockDim.x) {
    const uint32_t within = pair & (half - 1), group = 2 * (pair - within);
    const uint32_t i = group + within, partner = mirrored ? group + 2 * half - 1 - within : i + half;
    if (partner >= n) continue;
    const Key a = keys[i], b = keys[partner];
    if (b < a) keys[i] = b, keys[partner] = a;
  }
}

// Between rounds: a warp's 32 pairs lie within 64 keys while groups are no longer than that, and then only it must wait.
__device__ inline void settle(uint32_t half_before, uint32_t half) {
  if (half_before > kWarp || half > kWarp) {
    __syncthreads();
  } else {
    __syncwarp();
  }
}

// The rounds of halves below `half`; the keys were last touched by rounds of `half`.
__device__ inline void merge_down(Key* keys, uint32_t n, uint32_t half) {
  for (uint32_t below = half / 2; below; below /= 2) {
    settle(2 * below, below);
    exchange(keys, n, below, false);
  }
}

__device__ inline void sort_short(Key* keys, uint32_t n) {
  for (uint32_t half = 1; half < n; half *= 2) {
    settle(half / 2, half);
    exchange(keys, n, half, true);
    merge_down(keys, n, half);
  }
}

// `body` works on keys [first, first + m) in shared memory.
template <class Body>
__device__ inline void in_shared(Key* keys, uint32_t first, uint32_t n, Body&& body) {
  Key* shared = cuda::shared_memory<Key>();
  const uint32_t m = n - first < kChunk ? n - first : kChunk;
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < m; i += blockDim.x) shared[i] = keys[first + i];
  __syncthreads();
  body(shared, m);
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < m; i += blockDim.x) keys[first + i] = shared[i];
  __syncthreads();
}

__device__ inline void sort_keys(Key* keys, uint32_t n) {
  for (uint32_t first = 0; first < n; first += kChunk) in_shared(keys, first, n, sort_short);
  for (uint32_t half = kChunk; half < n; half *= 2) {
    exchange(keys, n, half, true);
    for (uint32_t below = half / 2; below >= kChunk; below /= 2) {
      __syncthreads();
      exchange(keys, n, below, false);
    }
    for (uint32_t first = 0; first < n; first += kChunk) {
      in_shared(keys, first, n, [](Key* shared, uint32_t m) { merge_down(shared, m, kChunk); });
    }
  }
}

}  // namespace splat
}  // namespace avatar3d

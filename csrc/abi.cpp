// SPDX-License-Identifier: Apache-2.0
// What a library says about itself before anything else is asked of it.
#include "common.h"

A3D_EXPORT int avatar3d_abi() { return AVATAR3D_ABI; }
A3D_EXPORT const char* avatar3d_source_hash() { return AVATAR3D_SOURCE_HASH; }

// The best instruction set of this processor: 0 portable, 1 avx2 (x86-64-v3), 2 avx512 (x86-64-v4).
A3D_EXPORT int avatar3d_best_isa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))) return 0;
  if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd"))) {
    return 1;
  }
  return 2;
#else
  return 0;
#endif
}

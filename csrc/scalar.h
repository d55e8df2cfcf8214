// SPDX-License-Identifier: Apache-2.0
// One float as the number type T of the maths headers: what simd.h offers for Vec, here for host and device. Include it
// before a template that uses it, since a float has no namespace in which its functions could be looked up later.
#pragma once

#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define A3D_MATHS __host__ __device__ __forceinline__
#else
#define A3D_MATHS static inline __attribute__((always_inline))
#endif

namespace avatar3d {

// compilers are told to contract these into one instruction (GCC: -ffp-contract=fast, nvcc: by default)
A3D_MATHS float muladd(float a, float b, float c) { return a * b + c; }
A3D_MATHS float negmuladd(float a, float b, float c) { return c - a * b; }

// the second where one is no number, as the processor's instructions do it
A3D_MATHS float min(float a, float b) { return a < b ? a : b; }
A3D_MATHS float max(float a, float b) { return a > b ? a : b; }
A3D_MATHS int min(int a, int b) { return a < b ? a : b; }
A3D_MATHS int max(int a, int b) { return a > b ? a : b; }
A3D_MATHS int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
A3D_MATHS int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }
A3D_MATHS float clamp(float x, float low, float high) { return min(max(x, low), high); }
A3D_MATHS float abs(float x) { return fabsf(x); }
A3D_MATHS float sqrt(float x) { return sqrtf(x); }
A3D_MATHS float log2(float x) { return log2f(x); }

A3D_MATHS float select(bool m, float a, float b) { return m ? a : b; }
A3D_MATHS float keep(bool m, float a) { return m ? a : 0.f; }  // a where m, else 0
A3D_MATHS float muladd_where(bool m, float a, float b, float c) { return m ? muladd(a, b, c) : c; }
A3D_MATHS bool any(bool m) { return m; }

// 2^x and 1/x to about one unit in the last place; results below 1e-38 may be 0
A3D_MATHS float exp2(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}
A3D_MATHS float reciprocal(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return 1.f / x;
#endif
}

}  // namespace avatar3d

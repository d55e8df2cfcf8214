// SPDX-License-Identifier: Apache-2.0
// Sixteen floats at a time, whatever the machine. One of three bodies is compiled in: AVX-512 (one register), AVX2 (two
// registers) or the compiler's own vectors (anything else). The rest of the kernels is written once on top of it.
//
// Vec: load, store, + - * /, muladd, min, max, sqrt, exp2, log2, reciprocal, select, keep, transpose, ...
// Mask: & | and-not, bits, any.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common.h"

namespace avatar3d {
inline namespace simd {

constexpr int kLanes = 16;

// 2^f on [0,1), relative error 7.5e-8 before rounding (least squares with reweighting towards equal ripple)
constexpr float kExp2[6] = {1.8775766e-3f, 8.9893397e-3f, 5.5826318e-2f, 2.4015361e-1f, 6.9315308e-1f, 9.9999994e-1f};

}  // namespace simd
}  // namespace avatar3d

#if defined(__AVX512F__) && defined(__AVX512DQ__) && !defined(AVATAR3D_PORTABLE)
#include "simd/avx512.h"
#elif defined(__AVX2__) && defined(__FMA__) && !defined(AVATAR3D_PORTABLE)
#include "simd/avx2.h"
#else
#include "simd/portable.h"
#endif

namespace avatar3d {
inline namespace simd {

A3D_INLINE Vec operator-(Vec a) { return Vec(0.f) - a; }
A3D_INLINE Vec& operator+=(Vec& a, Vec b) { return a = a + b; }
A3D_INLINE Vec clamp(Vec x, Vec low, Vec high) { return min(max(x, low), high); }
A3D_INLINE Vec abs(Vec x) { return max(x, -x); }
A3D_INLINE bool any(Mask m) { return bits(m) != 0; }

// log2 of positive normal numbers, error below 2e-7: log2(2^e m) = e + 2 log2(e) atanh((m - 1) / (m + 1)), m in [.75,1.5)
A3D_INLINE Vec log2(Vec x) {
  Vec exponent, mantissa;
  split_float(x, exponent, mantissa);
  const Vec s = (mantissa - Vec(1.f)) / (mantissa + Vec(1.f)), s2 = s * s;
  const Vec series = muladd(muladd(muladd(muladd(Vec(2.f / 9), s2, Vec(2.f / 7)), s2, Vec(2.f / 5)), s2, Vec(2.f / 3)),
                            s2, Vec(2.f));
  return muladd(series * s, Vec(1.44269504f), exponent);
}

// 4x4 pixels as one Vec: lane 4y+x <-> p[y*stride + x]
A3D_INLINE Vec load_block(const float* p, ptrdiff_t stride) {
  return from_quarters(p, p + stride, p + 2 * stride, p + 3 * stride);
}
A3D_INLINE void store_block(float* p, ptrdiff_t stride, Vec a) {
  to_quarters(a, p, p + stride, p + 2 * stride, p + 3 * stride);
}

// For each bit b of 0..15: the indices first + lane whose mask has bit b, appended to lists[b*stride + lengths[b] ...].
// Up to 16 entries behind the end of each list are overwritten.
#ifndef A3D_APPEND_BY_BIT
A3D_INLINE void append_by_bit(const uint32_t* masks, uint32_t first, uint32_t* lists, size_t stride, int* lengths) {
  for (int lane = 0; lane < kLanes; ++lane) {
    for (uint32_t m = masks[lane]; m; m &= m - 1) {
      const int b = __builtin_ctz(m);
      lists[b * stride + lengths[b]++] = first + lane;
    }
  }
}
#endif

// `count` (1..16) rows of `columns` floats, read as one Vec per column; missing rows repeat the last one.
A3D_INLINE void load_columns(const float* rows, int columns, int count, Vec* out) {
  alignas(64) float staged[4][kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    const float* row = rows + static_cast<size_t>(lane < count ? lane : count - 1) * columns;
    for (int k = 0; k < columns; ++k) staged[k][lane] = row[k];
  }
  for (int k = 0; k < columns; ++k) out[k] = load(staged[k]);
}

}  // namespace simd
}  // namespace avatar3d

// SPDX-License-Identifier: Apache-2.0
// Sixteen floats at a time, whatever the machine. One of three bodies is compiled in: AVX-512 (one register), AVX2 (two
// registers) or the compiler's own vectors (anything else). The rest of the kernels is written once on top of it.
//
// Vec: load, load_quarter (lane i is p[i % 4]), store, + - * /, muladd, min, max, sqrt, exp2_each, log2,
// reciprocal, select, keep, transpose, ...
// Mask: & | and-not, bits, any.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "common.h"

namespace avatar3d {
inline namespace simd {

constexpr int kLanes = 16;

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

// 2^f on [0,1), relative error 7.5e-8 before rounding (least squares, reweighted towards equal ripple)
constexpr float kExp2[6] = {1.8775766e-3f, 8.9893397e-3f, 5.5826318e-2f, 2.4015361e-1f, 6.9315308e-1f, 9.9999994e-1f};

// 2^x of kCount vectors in place, step by step over all of them: one alone would wait for itself at every step.
template <int kCount>
A3D_INLINE void exp2_each(Vec* x) {
  Vec f[kCount], p[kCount];
#pragma GCC unroll 8
  for (int j = 0; j < kCount; ++j) x[j] = exp2_limited(x[j]);
#pragma GCC unroll 8
  for (int j = 0; j < kCount; ++j) f[j] = fraction(x[j]);
#pragma GCC unroll 8
  for (int j = 0; j < kCount; ++j) p[j] = muladd(Vec(kExp2[0]), f[j], Vec(kExp2[1]));
#pragma GCC unroll 8
  for (int k = 2; k < 6; ++k) {
#pragma GCC unroll 8
    for (int j = 0; j < kCount; ++j) p[j] = muladd(p[j], f[j], Vec(kExp2[k]));
  }
#pragma GCC unroll 8
  for (int j = 0; j < kCount; ++j) x[j] = times_exp2_floor(p[j], x[j]);
}

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

// For each bit b of 0..15: the places < n of the masks that have it, in order, at lists[b*stride ...]; lengths[b] of them.
// masks[n .. n+15] are 0. Up to 16 entries behind the end of each list are overwritten.
#ifndef A3D_LISTS_BY_BIT
A3D_INLINE void lists_by_bit(const uint32_t* masks, int n, uint32_t* lists, size_t stride, int* lengths) {
  for (int b = 0; b < 16; ++b) lengths[b] = 0;
  for (int i = 0; i < n; ++i) {
    for (uint32_t m = masks[i]; m; m &= m - 1) {
      const int b = __builtin_ctz(m);
      lists[b * stride + lengths[b]++] = static_cast<uint32_t>(i);
    }
  }
}
#endif

// Sixteen rows of kWidth numbers, read as or written from one Vec per column.
#ifndef A3D_COLUMNS
template <int kWidth>
A3D_INLINE void columns_from_rows(const float* rows, Vec* out) {
  alignas(64) float staged[kWidth][kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int k = 0; k < kWidth; ++k) staged[k][lane] = rows[lane * kWidth + k];
  }
  for (int k = 0; k < kWidth; ++k) out[k] = load(staged[k]);
}
template <int kWidth>
A3D_INLINE void rows_from_columns(const Vec* columns, float* rows) {
  alignas(64) float staged[kWidth][kLanes];
  for (int k = 0; k < kWidth; ++k) store(staged[k], columns[k]);
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int k = 0; k < kWidth; ++k) rows[lane * kWidth + k] = staged[k][lane];
  }
}
#endif

// `count` (1..16) rows of kWidth (1, 3, 4) numbers, read as one Vec per column; missing rows repeat the last one.
template <int kWidth>
A3D_INLINE void load_columns(const float* rows, int count, Vec* out) {
  alignas(64) float whole[kWidth * kLanes];
  if (count < kLanes) {
    for (int i = 0; i < kWidth * kLanes; ++i) {
      whole[i] = rows[std::min(i / kWidth, count - 1) * kWidth + i % kWidth];
    }
    rows = whole;
  }
  if constexpr (kWidth == 1) {
    *out = load(rows);
  } else {
    columns_from_rows<kWidth>(rows, out);
  }
}

// The first `count` rows, from one Vec per column.
template <int kWidth>
A3D_INLINE void store_columns(const Vec* columns, int count, float* rows) {
  alignas(64) float whole[kWidth * kLanes];
  float* to = count < kLanes ? whole : rows;
  if constexpr (kWidth == 1) {
    store(to, *columns);
  } else {
    rows_from_columns<kWidth>(columns, to);
  }
  if (count < kLanes) std::copy(whole, whole + count * kWidth, rows);
}

}  // namespace simd
}  // namespace avatar3d

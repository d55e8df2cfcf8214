// SPDX-License-Identifier: Apache-2.0
// The AVX-512 body of simd.h: a Vec is one register, a Mask one mask register.
#pragma once

// GCC 12 takes its own headers' way to say "anything" for a mistake
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

namespace avatar3d {
inline namespace simd {

struct Vec {
  __m512 v;
  Vec() = default;
  A3D_CONVERT Vec(__m512 x) : v(x) {}
  explicit A3D_CONVERT Vec(float x) : v(_mm512_set1_ps(x)) {}
};
struct Mask {
  __mmask16 m;
};

A3D_INLINE Vec load(const float* p) { return _mm512_loadu_ps(p); }
A3D_INLINE void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
A3D_INLINE Vec load_quarter(const float* p) { return _mm512_broadcast_f32x4(_mm_loadu_ps(p)); }
A3D_INLINE Vec operator+(Vec a, Vec b) { return _mm512_add_ps(a.v, b.v); }
A3D_INLINE Vec operator-(Vec a, Vec b) { return _mm512_sub_ps(a.v, b.v); }
A3D_INLINE Vec operator*(Vec a, Vec b) { return _mm512_mul_ps(a.v, b.v); }
A3D_INLINE Vec operator/(Vec a, Vec b) { return _mm512_div_ps(a.v, b.v); }
A3D_INLINE Vec muladd(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a.v, b.v, c.v); }      // c + a b
A3D_INLINE Vec negmuladd(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a.v, b.v, c.v); }  // c - a b
A3D_INLINE Vec min(Vec a, Vec b) { return _mm512_min_ps(a.v, b.v); }
A3D_INLINE Vec max(Vec a, Vec b) { return _mm512_max_ps(a.v, b.v); }
A3D_INLINE Vec sqrt(Vec a) { return _mm512_sqrt_ps(a.v); }
A3D_INLINE Mask operator>=(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)}; }
A3D_INLINE Mask operator>(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
A3D_INLINE Mask operator&(Mask a, Mask b) { return {static_cast<__mmask16>(a.m & b.m)}; }
A3D_INLINE unsigned bits(Mask m) { return m.m; }
A3D_INLINE Vec select(Mask m, Vec a, Vec b) { return _mm512_mask_mov_ps(b.v, m.m, a.v); }
A3D_INLINE Vec keep(Mask m, Vec a) { return _mm512_maskz_mov_ps(m.m, a.v); }  // a where m, else 0
A3D_INLINE Vec muladd_where(Mask m, Vec a, Vec b, Vec c) { return _mm512_mask3_fmadd_ps(a.v, b.v, c.v, m.m); }
A3D_INLINE Vec min_where(Mask m, Vec a, Vec b) { return _mm512_maskz_min_ps(m.m, a.v, b.v); }  // else 0

// To a few parts in 1e8: the machine's 14-bit guess and one Newton step.
A3D_INLINE Vec reciprocal(Vec a) {
  const __m512 guess = _mm512_rcp14_ps(a.v);
  return _mm512_mul_ps(guess, _mm512_fnmadd_ps(a.v, guess, _mm512_set1_ps(2.f)));
}

// The steps of exp2, see simd.h. The machine's instructions need no limits.
A3D_INLINE Vec exp2_limited(Vec x) { return x; }
A3D_INLINE Vec fraction(Vec x) { return _mm512_reduce_ps(x.v, 0x09); }
A3D_INLINE Vec times_exp2_floor(Vec a, Vec x) { return _mm512_scalef_ps(a.v, x.v); }

A3D_INLINE void split_float(Vec x, Vec& exponent, Vec& mantissa) {
  mantissa = _mm512_getmant_ps(x.v, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src);
  exponent = _mm512_getexp_ps(_mm512_div_ps(x.v, mantissa.v));
}

A3D_INLINE Vec from_quarters(const float* a, const float* b, const float* c, const float* d) {
  __m512 r = _mm512_castps128_ps512(_mm_loadu_ps(a));
  r = _mm512_insertf32x4(r, _mm_loadu_ps(b), 1);
  r = _mm512_insertf32x4(r, _mm_loadu_ps(c), 2);
  return _mm512_insertf32x4(r, _mm_loadu_ps(d), 3);
}
A3D_INLINE void to_quarters(Vec v, float* a, float* b, float* c, float* d) {
  _mm_storeu_ps(a, _mm512_castps512_ps128(v.v));
  _mm_storeu_ps(b, _mm512_extractf32x4_ps(v.v, 1));
  _mm_storeu_ps(c, _mm512_extractf32x4_ps(v.v, 2));
  _mm_storeu_ps(d, _mm512_extractf32x4_ps(v.v, 3));
}

// Within each quarter: a0 b0 a1 b1; a2 b2 a3 b3; a0 a1 b0 b1; a2 a3 b2 b3; a1 a0 a3 a2.
A3D_INLINE Vec quarters_low(Vec a, Vec b) { return _mm512_unpacklo_ps(a.v, b.v); }
A3D_INLINE Vec quarters_high(Vec a, Vec b) { return _mm512_unpackhi_ps(a.v, b.v); }
A3D_INLINE Vec halves_low(Vec a, Vec b) { return _mm512_shuffle_ps(a.v, b.v, 0x44); }
A3D_INLINE Vec halves_high(Vec a, Vec b) { return _mm512_shuffle_ps(a.v, b.v, 0xee); }
A3D_INLINE Vec swap_neighbours(Vec a) { return _mm512_permute_ps(a.v, 0xb1); }

// Lanes become rows and rows lanes, in four rounds that each swap halves of doubled width.
A3D_INLINE void transpose(Vec* r) {
  __m512 t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_ps(r[2 * i].v, r[2 * i + 1].v);
    t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i].v, r[2 * i + 1].v);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512d a = _mm512_castps_pd(t[4 * i]), b = _mm512_castps_pd(t[4 * i + 1]);
    const __m512d c = _mm512_castps_pd(t[4 * i + 2]), d = _mm512_castps_pd(t[4 * i + 3]);
    r[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
    r[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
    r[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
    r[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_f32x4(r[i].v, r[i + 4].v, 0x88);
    t[i + 4] = _mm512_shuffle_f32x4(r[i].v, r[i + 4].v, 0xdd);
    t[i + 8] = _mm512_shuffle_f32x4(r[i + 8].v, r[i + 12].v, 0x88);
    t[i + 12] = _mm512_shuffle_f32x4(r[i + 8].v, r[i + 12].v, 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

#define A3D_COLUMNS  // see simd.h
template <int kWidth>
A3D_INLINE void columns_from_rows(const float* rows, Vec* out) {
  static_assert(kWidth == 3 || kWidth == 4);
  __m512 r[kWidth];
  for (int k = 0; k < kWidth; ++k) r[k] = _mm512_loadu_ps(rows + k * kLanes);
  const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
#pragma GCC unroll 4
  for (int k = 0; k < kWidth; ++k) {
    const __m512i at = _mm512_add_epi32(_mm512_mullo_epi32(lane, _mm512_set1_epi32(kWidth)), _mm512_set1_epi32(k));
    const __mmask16 behind = _mm512_cmpge_epi32_mask(at, _mm512_set1_epi32(2 * kLanes));
    const __m512 low = _mm512_permutex2var_ps(r[0], at, r[1]);
    const __m512 high = _mm512_permutex2var_ps(r[2], at, r[kWidth - 1]);
    out[k] = _mm512_mask_mov_ps(low, behind, high);
  }
}
template <int kWidth>
A3D_INLINE void rows_from_columns(const Vec* columns, float* rows) {
  static_assert(kWidth == 3 || kWidth == 4);
#pragma GCC unroll 4
  for (int k = 0; k < kWidth; ++k) {
    alignas(64) int32_t from[kLanes];
    __mmask16 behind = 0;
    for (int i = 0; i < kLanes; ++i) {
      const int at = k * kLanes + i, column = at % kWidth;
      from[i] = at / kWidth + (column % 2 ? kLanes : 0);
      behind |= (column >= 2) << i;
    }
    const __m512i index = _mm512_load_si512(from);
    const __m512 low = _mm512_permutex2var_ps(columns[0].v, index, columns[1].v);
    const __m512 high = _mm512_permutex2var_ps(columns[2].v, index, columns[kWidth - 1].v);
    _mm512_storeu_ps(rows + k * kLanes, _mm512_mask_mov_ps(low, behind, high));
  }
}

#define A3D_LISTS_BY_BIT  // see simd.h
A3D_INLINE void lists_by_bit(const uint32_t* masks, int n, uint32_t* lists, size_t stride, int* lengths) {
  const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  int length[16] = {};  // in registers, since the compiler must assume that `lists` overwrites `lengths`
  for (int first = 0; first < n; first += kLanes) {
    const __m512i m = _mm512_loadu_si512(masks + first);
    const __m512i index = _mm512_add_epi32(lane, _mm512_set1_epi32(first));
#pragma GCC unroll 16
    for (int b = 0; b < 16; ++b) {
      const __mmask16 has = _mm512_test_epi32_mask(m, _mm512_set1_epi32(1 << b));
      _mm512_storeu_si512(lists + b * stride + length[b], _mm512_maskz_compress_epi32(has, index));
      length[b] += __builtin_popcount(has);
    }
  }
  for (int b = 0; b < 16; ++b) lengths[b] = length[b];
}

}  // namespace simd
}  // namespace avatar3d

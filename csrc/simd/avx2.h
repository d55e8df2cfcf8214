// SPDX-License-Identifier: Apache-2.0
// The AVX2 body of simd.h: a Vec is two registers, a Mask two registers of all-ones or all-zeros lanes.
#pragma once

#include <immintrin.h>

namespace avatar3d {
inline namespace simd {

struct Vec {
  __m256 a, b;
  Vec() = default;
  A3D_CONVERT Vec(__m256 low, __m256 high) : a(low), b(high) {}
  explicit A3D_CONVERT Vec(float x) : a(_mm256_set1_ps(x)), b(a) {}
};
struct Mask {
  __m256 a, b;
};

A3D_INLINE Vec load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
A3D_INLINE void store(float* p, Vec x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
A3D_INLINE Vec load_quarter(const float* p) {
  const __m256 half = _mm256_broadcast_ps(reinterpret_cast<const __m128*>(p));
  return {half, half};
}
A3D_INLINE Vec operator+(Vec x, Vec y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
A3D_INLINE Vec operator-(Vec x, Vec y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
A3D_INLINE Vec operator*(Vec x, Vec y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
A3D_INLINE Vec operator/(Vec x, Vec y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
A3D_INLINE Vec muladd(Vec x, Vec y, Vec z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
A3D_INLINE Vec negmuladd(Vec x, Vec y, Vec z) {
  return {_mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b)};
}
A3D_INLINE Vec min(Vec x, Vec y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
A3D_INLINE Vec max(Vec x, Vec y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
A3D_INLINE Vec sqrt(Vec x) { return {_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)}; }
A3D_INLINE Mask operator>=(Vec x, Vec y) {
  return {_mm256_cmp_ps(x.a, y.a, _CMP_GE_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_GE_OQ)};
}
A3D_INLINE Mask operator>(Vec x, Vec y) {
  return {_mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ)};
}
A3D_INLINE Mask operator&(Mask x, Mask y) { return {_mm256_and_ps(x.a, y.a), _mm256_and_ps(x.b, y.b)}; }
A3D_INLINE unsigned bits(Mask m) {
  return static_cast<unsigned>(_mm256_movemask_ps(m.a)) | static_cast<unsigned>(_mm256_movemask_ps(m.b)) << 8;
}
A3D_INLINE Vec select(Mask m, Vec x, Vec y) {
  return {_mm256_blendv_ps(y.a, x.a, m.a), _mm256_blendv_ps(y.b, x.b, m.b)};
}
A3D_INLINE Vec keep(Mask m, Vec x) { return {_mm256_and_ps(m.a, x.a), _mm256_and_ps(m.b, x.b)}; }  // x where m, else 0
A3D_INLINE Vec muladd_where(Mask m, Vec x, Vec y, Vec z) { return muladd(keep(m, x), y, z); }
A3D_INLINE Vec min_where(Mask m, Vec x, Vec y) { return keep(m, min(x, y)); }  // else 0
A3D_INLINE Vec reciprocal(Vec x) { return Vec(1.f) / x; }

// The steps of exp2, see simd.h.
A3D_INLINE Vec exp2_limited(Vec x) { return min(max(x, Vec(-126.f)), Vec(127.f)); }
A3D_INLINE Vec fraction(Vec x) { return {_mm256_sub_ps(x.a, _mm256_floor_ps(x.a)), _mm256_sub_ps(x.b, _mm256_floor_ps(x.b))}; }
A3D_INLINE __m256 times_half(__m256 a, __m256 x) {
  const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(_mm256_floor_ps(x)), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), exponent));
}
A3D_INLINE Vec times_exp2_floor(Vec a, Vec x) { return {times_half(a.a, x.a), times_half(a.b, x.b)}; }

A3D_INLINE void split_half(__m256 x, __m256& exponent, __m256& mantissa) {
  // the bits of .75 taken off first: the exponent then changes at .75 2^e instead of 2^e
  const __m256i raw = _mm256_castps_si256(x), e = _mm256_srai_epi32(_mm256_sub_epi32(raw, _mm256_set1_epi32(0x3f400000)), 23);
  exponent = _mm256_cvtepi32_ps(e);
  mantissa = _mm256_castsi256_ps(_mm256_sub_epi32(raw, _mm256_slli_epi32(e, 23)));
}
A3D_INLINE void split_float(Vec x, Vec& exponent, Vec& mantissa) {
  split_half(x.a, exponent.a, mantissa.a);
  split_half(x.b, exponent.b, mantissa.b);
}

A3D_INLINE Vec from_quarters(const float* a, const float* b, const float* c, const float* d) {
  return {_mm256_set_m128(_mm_loadu_ps(b), _mm_loadu_ps(a)), _mm256_set_m128(_mm_loadu_ps(d), _mm_loadu_ps(c))};
}
A3D_INLINE void to_quarters(Vec v, float* a, float* b, float* c, float* d) {
  _mm_storeu_ps(a, _mm256_castps256_ps128(v.a));
  _mm_storeu_ps(b, _mm256_extractf128_ps(v.a, 1));
  _mm_storeu_ps(c, _mm256_castps256_ps128(v.b));
  _mm_storeu_ps(d, _mm256_extractf128_ps(v.b, 1));
}

// Within each quarter: x0 y0 x1 y1; x2 y2 x3 y3; x0 x1 y0 y1; x2 x3 y2 y3; x1 x0 x3 x2.
A3D_INLINE Vec quarters_low(Vec x, Vec y) { return {_mm256_unpacklo_ps(x.a, y.a), _mm256_unpacklo_ps(x.b, y.b)}; }
A3D_INLINE Vec quarters_high(Vec x, Vec y) { return {_mm256_unpackhi_ps(x.a, y.a), _mm256_unpackhi_ps(x.b, y.b)}; }
A3D_INLINE Vec halves_low(Vec x, Vec y) {
  return {_mm256_shuffle_ps(x.a, y.a, 0x44), _mm256_shuffle_ps(x.b, y.b, 0x44)};
}
A3D_INLINE Vec halves_high(Vec x, Vec y) {
  return {_mm256_shuffle_ps(x.a, y.a, 0xee), _mm256_shuffle_ps(x.b, y.b, 0xee)};
}
A3D_INLINE Vec swap_neighbours(Vec x) { return {_mm256_permute_ps(x.a, 0xb1), _mm256_permute_ps(x.b, 0xb1)}; }

A3D_INLINE void transpose_8x8(__m256* r) {
  __m256 t[8], u[8];
  for (int i = 0; i < 4; ++i) {
    t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 2; ++i) {
    u[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
    u[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
    u[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
    u[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
    r[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
  }
}
A3D_INLINE void transpose(Vec* r) {
  __m256 quarter[4][8];  // top left, top right, bottom left, bottom right
  for (int i = 0; i < 8; ++i) {
    quarter[0][i] = r[i].a;
    quarter[1][i] = r[i].b;
    quarter[2][i] = r[i + 8].a;
    quarter[3][i] = r[i + 8].b;
  }
  for (auto& q : quarter) transpose_8x8(q);
  for (int i = 0; i < 8; ++i) {
    r[i] = {quarter[0][i], quarter[2][i]};
    r[i + 8] = {quarter[1][i], quarter[3][i]};
  }
}

// Row m: the places of the bits of m, in order; the rest is anything.
struct PlacesOfBits {
  alignas(64) uint8_t at[256][8] = {};
  constexpr PlacesOfBits() {
    for (int m = 0; m < 256; ++m) {
      for (int bit = 0, n = 0; bit < 8; ++bit) {
        if (m >> bit & 1) at[m][n++] = static_cast<uint8_t>(bit);
      }
    }
  }
};
constexpr PlacesOfBits kPlacesOfBits;

#define A3D_LISTS_BY_BIT  // see simd.h
A3D_INLINE void lists_by_bit(const uint32_t* masks, int n, uint32_t* lists, size_t stride, int* lengths) {
  int length[16] = {};
  for (int first = 0; first < n; first += 8) {
    const __m256i m = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(masks + first));
    const __m256i base = _mm256_set1_epi32(first);
#pragma GCC unroll 16
    for (int b = 0; b < 16; ++b) {
      const auto has = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_slli_epi32(m, 31 - b))));
      const __m128i places = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kPlacesOfBits.at[has]));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(lists + b * stride + length[b]),
                          _mm256_add_epi32(base, _mm256_cvtepu8_epi32(places)));
      length[b] += __builtin_popcount(has);
    }
  }
  for (int b = 0; b < 16; ++b) lengths[b] = length[b];
}

}  // namespace simd
}  // namespace avatar3d

// SPDX-License-Identifier: Apache-2.0
// What simd.h lacks for series: sums along the lanes of a Vec, and lanes that move to their neighbours.
#pragma once

#include <cstring>

#include "simd.h"

namespace avatar3d {
inline namespace simd {

A3D_INLINE Vec exp2(Vec x) {
  exp2_each<1>(&x);
  return x;
}

// 0, 1 .. 15
A3D_INLINE Vec lane_numbers() {
  alignas(64) static constexpr float kNumbers[kLanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return load(kNumbers);
}

// The first `count` lanes.
A3D_INLINE Mask first_lanes(int count) { return Vec(static_cast<float>(count)) > lane_numbers(); }

// Every `stride`-th float of a series; from the lane `last` on, the one of that lane.
A3D_INLINE Vec load_each(const float* p, int stride, int last) {
  alignas(64) float found[kLanes];
  for (int i = 0; i < kLanes; ++i) found[i] = p[std::min(i, last) * stride];
  return load(found);
}

#if defined(__AVX512F__) && defined(__AVX512DQ__) && !defined(AVATAR3D_PORTABLE)

// Lane i from lane i - kBy or i + kBy, 0 where there is none.
template <int kBy>
A3D_INLINE Vec moved_up(Vec x) {
  return _mm512_castsi512_ps(_mm512_alignr_epi32(_mm512_castps_si512(x.v), _mm512_setzero_si512(), kLanes - kBy));
}
template <int kBy>
A3D_INLINE Vec moved_down(Vec x) {
  return _mm512_castsi512_ps(_mm512_alignr_epi32(_mm512_setzero_si512(), _mm512_castps_si512(x.v), kBy));
}

// Lane i: the sum of the lanes 0 .. i, or i .. 15.
A3D_INLINE Vec running_sum(Vec x) {
  x = x + moved_up<1>(x);
  x = x + moved_up<2>(x);
  x = x + moved_up<4>(x);
  return x + moved_up<8>(x);
}
A3D_INLINE Vec running_sum_back(Vec x) {
  x = x + moved_down<1>(x);
  x = x + moved_down<2>(x);
  x = x + moved_down<4>(x);
  return x + moved_down<8>(x);
}

// Lane i from lane i - 1, the first one given; lane i from lane i + 1, the last one given.
A3D_INLINE Vec from_before(Vec x, float first) {
  const __m512i before = _mm512_castps_si512(_mm512_set1_ps(first));
  return _mm512_castsi512_ps(_mm512_alignr_epi32(_mm512_castps_si512(x.v), before, kLanes - 1));
}
A3D_INLINE Vec from_behind(Vec x, float last) {
  const __m512i behind = _mm512_castps_si512(_mm512_set1_ps(last));
  return _mm512_castsi512_ps(_mm512_alignr_epi32(behind, _mm512_castps_si512(x.v), 1));
}

A3D_INLINE float last_lane(Vec x) { return _mm_cvtss_f32(_mm_permute_ps(_mm512_extractf32x4_ps(x.v, 3), 0xff)); }
A3D_INLINE float first_lane(Vec x) { return _mm512_cvtss_f32(x.v); }

#elif defined(__AVX2__) && defined(__FMA__) && !defined(AVATAR3D_PORTABLE)

template <int kBytes>
A3D_INLINE __m256 up_in_quarters(__m256 x) {
  return _mm256_castsi256_ps(_mm256_slli_si256(_mm256_castps_si256(x), kBytes));
}
template <int kBytes>
A3D_INLINE __m256 down_in_quarters(__m256 x) {
  return _mm256_castsi256_ps(_mm256_srli_si256(_mm256_castps_si256(x), kBytes));
}
A3D_INLINE __m256 running_half(__m256 x) {
  x = _mm256_add_ps(x, up_in_quarters<4>(x));
  x = _mm256_add_ps(x, up_in_quarters<8>(x));
  const __m256 ends = _mm256_permute_ps(x, 0xff);
  return _mm256_add_ps(x, _mm256_permute2f128_ps(ends, ends, 0x08));  // the lower quarter's into the upper one
}
A3D_INLINE __m256 running_half_back(__m256 x) {
  x = _mm256_add_ps(x, down_in_quarters<4>(x));
  x = _mm256_add_ps(x, down_in_quarters<8>(x));
  const __m256 starts = _mm256_permute_ps(x, 0x00);
  return _mm256_add_ps(x, _mm256_permute2f128_ps(starts, starts, 0x81));
}
A3D_INLINE float last_of(__m256 x) { return _mm_cvtss_f32(_mm_permute_ps(_mm256_extractf128_ps(x, 1), 0xff)); }

A3D_INLINE Vec running_sum(Vec x) {
  const __m256 low = running_half(x.a);
  return {low, _mm256_add_ps(running_half(x.b), _mm256_set1_ps(last_of(low)))};
}
A3D_INLINE Vec running_sum_back(Vec x) {
  const __m256 high = running_half_back(x.b);
  return {_mm256_add_ps(running_half_back(x.a), _mm256_set1_ps(_mm256_cvtss_f32(high))), high};
}

A3D_INLINE Vec from_before(Vec x, float first) {
  const __m256i up = _mm256_set_epi32(6, 5, 4, 3, 2, 1, 0, 7);
  const __m256 low = _mm256_permutevar8x32_ps(x.a, up), high = _mm256_permutevar8x32_ps(x.b, up);
  return {_mm256_blend_ps(low, _mm256_set1_ps(first), 1), _mm256_blend_ps(high, low, 1)};
}
A3D_INLINE Vec from_behind(Vec x, float last) {
  const __m256i down = _mm256_set_epi32(0, 7, 6, 5, 4, 3, 2, 1);
  const __m256 low = _mm256_permutevar8x32_ps(x.a, down), high = _mm256_permutevar8x32_ps(x.b, down);
  return {_mm256_blend_ps(low, high, 0x80), _mm256_blend_ps(high, _mm256_set1_ps(last), 0x80)};
}

A3D_INLINE float last_lane(Vec x) { return last_of(x.b); }
A3D_INLINE float first_lane(Vec x) { return _mm256_cvtss_f32(x.a); }

#else

A3D_INLINE Vec running_sum(Vec x) {
  for (int i = 1; i < kLanes; ++i) x.v[i] += x.v[i - 1];
  return x;
}
A3D_INLINE Vec running_sum_back(Vec x) {
  for (int i = kLanes - 2; i >= 0; --i) x.v[i] += x.v[i + 1];
  return x;
}
A3D_INLINE Vec from_before(Vec x, float first) {
  Vec out;
  out.v[0] = first;
  for (int i = 1; i < kLanes; ++i) out.v[i] = x.v[i - 1];
  return out;
}
A3D_INLINE Vec from_behind(Vec x, float last) {
  Vec out;
  for (int i = 0; i + 1 < kLanes; ++i) out.v[i] = x.v[i + 1];
  out.v[kLanes - 1] = last;
  return out;
}
A3D_INLINE float last_lane(Vec x) { return x.v[kLanes - 1]; }
A3D_INLINE float first_lane(Vec x) { return x.v[0]; }

#endif

// The sums of four vectors' lanes.
A3D_INLINE void sums_of_four(const Vec* x, float* out) {
  const Vec a = quarters_low(x[0], x[1]) + quarters_high(x[0], x[1]);
  const Vec b = quarters_low(x[2], x[3]) + quarters_high(x[2], x[3]);
  alignas(64) float quarter[4][4];
  store(quarter[0], halves_low(a, b) + halves_high(a, b));
  for (int k = 0; k < 4; ++k) out[k] = (quarter[0][k] + quarter[1][k]) + (quarter[2][k] + quarter[3][k]);
}

}  // namespace simd
}  // namespace avatar3d

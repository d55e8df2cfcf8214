// SPDX-License-Identifier: Apache-2.0
// What simd.h lacks for tables: whole numbers in lanes, and short runs of floats read from or added to sixteen places.
// Runs, since neighbours in a table are fetched by one load where a gather per float would take several.
#pragma once

#include <cstring>

#include "simd.h"

namespace avatar3d {
inline namespace simd {

#if defined(__AVX2__) && !defined(__AVX512F__) && !defined(AVATAR3D_PORTABLE)

// By hand, since the compiler sends vectors of its own that are wider than a register through memory.
struct Whole {
  __m256i a, b;
};
A3D_INLINE Whole operator+(Whole x, Whole y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
A3D_INLINE Whole operator+(Whole x, uint32_t y) {
  const __m256i all = _mm256_set1_epi32(static_cast<int>(y));
  return x + Whole{all, all};
}
A3D_INLINE Whole operator*(Whole x, uint32_t y) {
  const __m256i all = _mm256_set1_epi32(static_cast<int>(y));
  return {_mm256_mullo_epi32(x.a, all), _mm256_mullo_epi32(x.b, all)};
}
A3D_INLINE Whole operator^(Whole x, Whole y) { return {_mm256_xor_si256(x.a, y.a), _mm256_xor_si256(x.b, y.b)}; }
A3D_INLINE Whole operator&(Whole x, uint32_t y) {
  const __m256i all = _mm256_set1_epi32(static_cast<int>(y));
  return {_mm256_and_si256(x.a, all), _mm256_and_si256(x.b, all)};
}
A3D_INLINE Whole operator>>(Whole x, uint32_t bits) {
  const __m128i count = _mm_cvtsi32_si128(static_cast<int>(bits));
  return {_mm256_srl_epi32(x.a, count), _mm256_srl_epi32(x.b, count)};
}
A3D_INLINE void store(uint32_t* p, Whole x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.a);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), x.b);
}

// The whole part of numbers in 0 .. 2^31, also as `floor`.
A3D_INLINE Whole truncated(Vec x, Vec& floor) {
  const Whole whole{_mm256_cvttps_epi32(x.a), _mm256_cvttps_epi32(x.b)};
  floor = {_mm256_cvtepi32_ps(whole.a), _mm256_cvtepi32_ps(whole.b)};
  return whole;
}

#else

typedef uint32_t Whole __attribute__((vector_size(64)));
typedef int32_t SignedWhole __attribute__((vector_size(64)));
typedef float WholeFloats __attribute__((vector_size(64)));
static_assert(sizeof(Whole) == sizeof(Vec), "a Whole and a Vec have the same lanes");

// The whole part of numbers in 0 .. 2^31, also as `floor`.
A3D_INLINE Whole truncated(Vec x, Vec& floor) {
  WholeFloats flat;
  std::memcpy(&flat, &x, sizeof flat);
  const SignedWhole whole = __builtin_convertvector(flat, SignedWhole);
  flat = __builtin_convertvector(whole, WholeFloats);
  std::memcpy(&floor, &flat, sizeof floor);
  return (Whole)whole;
}
A3D_INLINE void store(uint32_t* p, Whole x) { std::memcpy(p, &x, sizeof x); }

#endif

// Bit i: the bit bit[i] (0..63) of words[at[i]].
#if defined(__AVX512F__) && defined(__AVX512DQ__) && !defined(AVATAR3D_PORTABLE)
A3D_INLINE unsigned eight_bits_of(const uint64_t* words, __m256i at, __m256i bit) {
  __mmask8 all = 0xff;
  asm("" : "+Yk"(all));  // as gather_pairs
  const __m512i found = _mm512_mask_i32gather_epi64(_mm512_setzero_si512(), all, at, words, 8);
  return _mm512_test_epi64_mask(found, _mm512_sllv_epi64(_mm512_set1_epi64(1), _mm512_cvtepu32_epi64(bit)));
}
A3D_INLINE unsigned bits_of(const uint64_t* words, Whole at, Whole bit) {
  const __m512i a = (__m512i)at, b = (__m512i)bit;
  return eight_bits_of(words, _mm512_castsi512_si256(a), _mm512_castsi512_si256(b)) |
         eight_bits_of(words, _mm512_extracti64x4_epi64(a, 1), _mm512_extracti64x4_epi64(b, 1)) << 8;
}
#else
A3D_INLINE unsigned bits_of(const uint64_t* words, Whole at, Whole bit) {
  alignas(64) uint32_t place[kLanes], shift[kLanes];
  store(place, at), store(shift, bit);
  unsigned found = 0;
  for (int i = 0; i < kLanes; ++i) found |= static_cast<unsigned>(words[place[i]] >> shift[i] & 1) << i;
  return found;
}
#endif

// Makes the compiler fetch what was just stored from memory again: sixteen loads are cheaper than taking a register
// apart.
A3D_INLINE void settle(const uint32_t* p) { asm volatile("" : : "r"(p) : "memory"); }

#if defined(__AVX2__) && !defined(AVATAR3D_PORTABLE)

// as integers: a double would have to lie on eight bytes
A3D_INLINE __m128 load_two(const float* p) {
  return _mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
A3D_INLINE void add_two(float* p, const float* pair) {
  _mm_storel_pi(reinterpret_cast<__m64*>(p), _mm_add_ps(load_two(p), load_two(pair)));
}
A3D_INLINE void add_four(float* p, __m128 four) { _mm_storeu_ps(p, _mm_add_ps(_mm_loadu_ps(p), four)); }

#else

A3D_INLINE void add_two(float* p, const float* pair) { p[0] += pair[0], p[1] += pair[1]; }

#endif

#if defined(__AVX512F__) && defined(__AVX512DQ__) && !defined(AVATAR3D_PORTABLE)

// 4x4 numbers within each quarter of the registers change rows and columns.
A3D_INLINE void transpose_quarters(Vec* r) {
  const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(r[0].v, r[1].v));
  const __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(r[0].v, r[1].v));
  const __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(r[2].v, r[3].v));
  const __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(r[2].v, r[3].v));
  r[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
  r[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
  r[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
  r[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
}

// Into zeros, since a gather waits for whatever its register held before; and the compiler, which takes a gather of all
// lanes for one that does not, must not know that it is.
A3D_INLINE __m512 gather_pairs(const float* base, __m256i at) {
  __mmask8 all = 0xff;
  asm("" : "+Yk"(all));
  return _mm512_castpd_ps(_mm512_mask_i32gather_pd(_mm512_setzero_pd(), all, at, base, 4));
}
A3D_INLINE void load_pairs(const float* base, Whole at, Vec* pair) {
  const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  const __m512 a = gather_pairs(base, _mm512_castsi512_si256((__m512i)at));
  const __m512 b = gather_pairs(base, _mm512_extracti64x4_epi64((__m512i)at, 1));
  pair[0] = _mm512_permutex2var_ps(a, even, b);
  pair[1] = _mm512_permutex2var_ps(a, odd, b);
}

// Lanes 2i and 2i+1 of the output are lane i of `pair`: lanes 0-7 in out[0], 8-15 in out[1].
A3D_INLINE void interleave(const Vec* pair, float* out) {
  const __m512i first = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
  _mm512_store_ps(out, _mm512_permutex2var_ps(pair[0].v, first, pair[1].v));
  _mm512_store_ps(out + kLanes, _mm512_permutex2var_ps(pair[0].v, second, pair[1].v));
}

A3D_INLINE void add_quarters(Vec v, float* a, float* b, float* c, float* d) {
  add_four(a, _mm512_castps512_ps128(v.v));
  add_four(b, _mm512_extractf32x4_ps(v.v, 1));
  add_four(c, _mm512_extractf32x4_ps(v.v, 2));
  add_four(d, _mm512_extractf32x4_ps(v.v, 3));
}

#elif defined(__AVX2__) && !defined(AVATAR3D_PORTABLE)

A3D_INLINE void transpose_quarters(__m256& r0, __m256& r1, __m256& r2, __m256& r3) {
  const __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(r0, r1)), b = _mm256_castps_pd(_mm256_unpackhi_ps(r0, r1));
  const __m256d c = _mm256_castps_pd(_mm256_unpacklo_ps(r2, r3)), d = _mm256_castps_pd(_mm256_unpackhi_ps(r2, r3));
  r0 = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
  r1 = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
  r2 = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
  r3 = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
}
A3D_INLINE void transpose_quarters(Vec* r) {
  transpose_quarters(r[0].a, r[1].a, r[2].a, r[3].a);
  transpose_quarters(r[0].b, r[1].b, r[2].b, r[3].b);
}

A3D_INLINE __m128 two_pairs(const float* a, const float* b) {
  return _mm_loadh_pi(load_two(a), reinterpret_cast<const __m64*>(b));
}
A3D_INLINE void load_pairs(const float* base, const uint32_t* at, __m256& low, __m256& high) {
  const __m256 c = _mm256_set_m128(two_pairs(base + at[4], base + at[5]), two_pairs(base + at[0], base + at[1]));
  const __m256 d = _mm256_set_m128(two_pairs(base + at[6], base + at[7]), two_pairs(base + at[2], base + at[3]));
  low = _mm256_shuffle_ps(c, d, 0x88);
  high = _mm256_shuffle_ps(c, d, 0xdd);
}
A3D_INLINE void load_pairs(const float* base, Whole at, Vec* pair) {
  alignas(64) uint32_t index[kLanes];
  store(index, at);
  settle(index);
  load_pairs(base, index, pair[0].a, pair[1].a);
  load_pairs(base, index + 8, pair[0].b, pair[1].b);
}

A3D_INLINE void interleave(__m256 low, __m256 high, float* out) {
  const __m256 a = _mm256_unpacklo_ps(low, high), b = _mm256_unpackhi_ps(low, high);
  _mm256_store_ps(out, _mm256_permute2f128_ps(a, b, 0x20));
  _mm256_store_ps(out + 8, _mm256_permute2f128_ps(a, b, 0x31));
}
A3D_INLINE void interleave(const Vec* pair, float* out) {
  interleave(pair[0].a, pair[1].a, out);
  interleave(pair[0].b, pair[1].b, out + kLanes);
}

A3D_INLINE void add_quarters(Vec v, float* a, float* b, float* c, float* d) {
  add_four(a, _mm256_castps256_ps128(v.a));
  add_four(b, _mm256_extractf128_ps(v.a, 1));
  add_four(c, _mm256_castps256_ps128(v.b));
  add_four(d, _mm256_extractf128_ps(v.b, 1));
}

#else

A3D_INLINE void transpose_quarters(Vec* r) {
  float rows[4][kLanes], columns[4][kLanes];
  for (int i = 0; i < 4; ++i) store(rows[i], r[i]);
  for (int i = 0; i < 4; ++i) {
    for (int lane = 0; lane < kLanes; ++lane) columns[i][lane] = rows[lane % 4][lane / 4 * 4 + i];
  }
  for (int i = 0; i < 4; ++i) r[i] = load(columns[i]);
}

A3D_INLINE void load_pairs(const float* base, Whole at, Vec* pair) {
  float low[kLanes], high[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) low[lane] = base[at[lane]], high[lane] = base[at[lane] + 1];
  pair[0] = load(low), pair[1] = load(high);
}

A3D_INLINE void interleave(const Vec* pair, float* out) {
  float low[kLanes], high[kLanes];
  store(low, pair[0]), store(high, pair[1]);
  for (int lane = 0; lane < kLanes; ++lane) out[2 * lane] = low[lane], out[2 * lane + 1] = high[lane];
}

A3D_INLINE void add_quarters(Vec v, float* a, float* b, float* c, float* d) {
  float flat[kLanes], *to[4] = {a, b, c, d};
  store(flat, v);
  for (int lane = 0; lane < kLanes; ++lane) to[lane / 4][lane % 4] += flat[lane];
}

#endif

// four[k], lane i <- base[at[i] + k]
A3D_INLINE void load_quads(const float* base, const uint32_t* at, Vec* four) {
  for (int j = 0; j < 4; ++j) {
    four[j] = from_quarters(base + at[j], base + at[4 + j], base + at[8 + j], base + at[12 + j]);
  }
  transpose_quarters(four);
}

// base[at[i] + k] += lane i of four[k], one i after the other: they may meet. `four` is lost.
A3D_INLINE void add_quads(float* base, const uint32_t* at, Vec* four) {
  transpose_quarters(four);
  for (int j = 0; j < 4; ++j) {
    add_quarters(four[j], base + at[j], base + at[4 + j], base + at[8 + j], base + at[12 + j]);
  }
}

// The same with single numbers.
A3D_INLINE Vec load_singles(const float* base, const uint32_t* at) {
  alignas(64) float flat[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) flat[lane] = base[at[lane]];
  return load(flat);
}
A3D_INLINE void add_singles(float* base, const uint32_t* at, Vec one) {
  alignas(64) float flat[kLanes];
  store(flat, one);
  for (int lane = 0; lane < kLanes; ++lane) base[at[lane]] += flat[lane];
}

// The same with runs of two.
A3D_INLINE void add_pairs(float* base, const uint32_t* at, const Vec* pair) {
  alignas(64) float staged[2 * kLanes];
  interleave(pair, staged);
  for (int lane = 0; lane < kLanes; ++lane) add_two(base + at[lane], staged + 2 * lane);
}

}  // namespace simd
}  // namespace avatar3d

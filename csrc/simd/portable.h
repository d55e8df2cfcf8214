// SPDX-License-Identifier: Apache-2.0
// The body of simd.h for every other machine: the compiler's vector types, which it maps to whatever there is.
#pragma once

#include <cmath>
#include <cstring>

namespace avatar3d {
inline namespace simd {

typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));

struct Vec {
  Floats v;
  Vec() = default;
  A3D_CONVERT Vec(Floats x) : v(x) {}
  explicit A3D_CONVERT Vec(float x) : v(Floats{} + x) {}
};
struct Mask {
  Ints m;  // -1 or 0
};

A3D_INLINE Vec load(const float* p) {
  Vec a;
  std::memcpy(&a.v, p, sizeof a.v);
  return a;
}
A3D_INLINE void store(float* p, Vec a) { std::memcpy(p, &a.v, sizeof a.v); }
A3D_INLINE Vec load_quarter(const float* p) {
  Vec a;
  for (int i = 0; i < kLanes; ++i) a.v[i] = p[i % 4];
  return a;
}
A3D_INLINE Vec operator+(Vec a, Vec b) { return a.v + b.v; }
A3D_INLINE Vec operator-(Vec a, Vec b) { return a.v - b.v; }
A3D_INLINE Vec operator*(Vec a, Vec b) { return a.v * b.v; }
A3D_INLINE Vec operator/(Vec a, Vec b) { return a.v / b.v; }
A3D_INLINE Vec muladd(Vec a, Vec b, Vec c) { return c.v + a.v * b.v; }
A3D_INLINE Vec negmuladd(Vec a, Vec b, Vec c) { return c.v - a.v * b.v; }
A3D_INLINE Vec min(Vec a, Vec b) { return a.v < b.v ? a.v : b.v; }
A3D_INLINE Vec max(Vec a, Vec b) { return a.v > b.v ? a.v : b.v; }
A3D_INLINE Vec sqrt(Vec a) {
  for (int i = 0; i < kLanes; ++i) a.v[i] = std::sqrt(a.v[i]);
  return a;
}
A3D_INLINE Mask operator>=(Vec a, Vec b) { return {a.v >= b.v}; }
A3D_INLINE Mask operator>(Vec a, Vec b) { return {a.v > b.v}; }
A3D_INLINE Mask operator&(Mask a, Mask b) { return {a.m & b.m}; }
A3D_INLINE unsigned bits(Mask m) {
  unsigned packed = 0;
  for (int i = 0; i < kLanes; ++i) packed |= static_cast<unsigned>(m.m[i] & 1) << i;
  return packed;
}
A3D_INLINE Vec select(Mask m, Vec a, Vec b) { return m.m ? a.v : b.v; }
A3D_INLINE Vec keep(Mask m, Vec a) { return m.m ? a.v : Floats{}; }  // a where m, else 0
A3D_INLINE Vec muladd_where(Mask m, Vec a, Vec b, Vec c) { return muladd(keep(m, a), b, c); }
A3D_INLINE Vec min_where(Mask m, Vec a, Vec b) { return keep(m, min(a, b)); }  // else 0
A3D_INLINE Vec reciprocal(Vec a) { return Vec(1.f) / a; }

A3D_INLINE Ints floor_to_int(Vec x) {
  const Ints whole = __builtin_convertvector(x.v, Ints);  // towards zero
  return whole + (__builtin_convertvector(whole, Floats) > x.v);
}

// The steps of exp2, see simd.h.
A3D_INLINE Vec exp2_limited(Vec x) { return min(max(x, Vec(-126.f)), Vec(127.f)); }
A3D_INLINE Vec fraction(Vec x) { return x.v - __builtin_convertvector(floor_to_int(x), Floats); }
A3D_INLINE Vec times_exp2_floor(Vec a, Vec x) {
  return reinterpret_cast<Floats>(reinterpret_cast<Ints>(a.v) + (floor_to_int(x) << 23));
}

// See avx2.h.
A3D_INLINE void split_float(Vec x, Vec& exponent, Vec& mantissa) {
  const Ints raw = reinterpret_cast<Ints>(x.v), e = (raw - 0x3f400000) >> 23;
  exponent = __builtin_convertvector(e, Floats);
  mantissa = reinterpret_cast<Floats>(raw - (e << 23));
}

A3D_INLINE Vec from_quarters(const float* a, const float* b, const float* c, const float* d) {
  float flat[kLanes];
  std::memcpy(flat, a, 16);
  std::memcpy(flat + 4, b, 16);
  std::memcpy(flat + 8, c, 16);
  std::memcpy(flat + 12, d, 16);
  return load(flat);
}
A3D_INLINE void to_quarters(Vec v, float* a, float* b, float* c, float* d) {
  float flat[kLanes];
  store(flat, v);
  std::memcpy(a, flat, 16);
  std::memcpy(b, flat + 4, 16);
  std::memcpy(c, flat + 8, 16);
  std::memcpy(d, flat + 12, 16);
}

// Within each quarter: a0 b0 a1 b1; a2 b2 a3 b3; a0 a1 b0 b1; a2 a3 b2 b3; a1 a0 a3 a2.
template <int kFirst, int kStep>
A3D_INLINE Vec quarters_mixed(Vec a, Vec b) {
  Vec out;
  for (int i = 0; i < kLanes; ++i) {
    const int k = i % 4, from = i - k + kFirst + (kStep == 1 ? k % 2 : k / 2);
    out.v[i] = (kStep == 1 ? k / 2 : k % 2) ? b.v[from] : a.v[from];
  }
  return out;
}
A3D_INLINE Vec quarters_low(Vec a, Vec b) { return quarters_mixed<0, 2>(a, b); }
A3D_INLINE Vec quarters_high(Vec a, Vec b) { return quarters_mixed<2, 2>(a, b); }
A3D_INLINE Vec halves_low(Vec a, Vec b) { return quarters_mixed<0, 1>(a, b); }
A3D_INLINE Vec halves_high(Vec a, Vec b) { return quarters_mixed<2, 1>(a, b); }
A3D_INLINE Vec swap_neighbours(Vec a) {
  Vec out;
  for (int i = 0; i < kLanes; ++i) out.v[i] = a.v[i ^ 1];
  return out;
}

A3D_INLINE void transpose(Vec* r) {
  float rows[kLanes][kLanes], columns[kLanes][kLanes];
  for (int i = 0; i < kLanes; ++i) store(rows[i], r[i]);
  for (int i = 0; i < kLanes; ++i) {
    for (int j = 0; j < kLanes; ++j) columns[i][j] = rows[j][i];
  }
  for (int i = 0; i < kLanes; ++i) r[i] = load(columns[i]);
}

}  // namespace simd
}  // namespace avatar3d

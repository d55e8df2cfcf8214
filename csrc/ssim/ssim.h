// SPDX-License-Identifier: Apache-2.0
// The structural similarity of two pictures (Wang et al. 2004) at one pixel and its derivatives, on a number type T as in
// splat.h. Window: 11 taps of a Gaussian of sigma 1.5 px, zeros beyond the picture.
#pragma once

#include <cmath>

#include "common.h"

#ifdef __CUDACC__
#define A3D_SSIM_MATHS __host__ __device__ __forceinline__
#else
#define A3D_SSIM_MATHS A3D_INLINE
#endif

namespace avatar3d {
namespace ssim {

constexpr int kReach = 5;  // taps on either side
constexpr int kTaps = 2 * kReach + 1;
constexpr float kC1 = 0.01f * 0.01f, kC2 = 0.03f * 0.03f;

inline void window(float* taps) {
  double sum = 0, raw[kTaps];
  for (int i = 0; i < kTaps; ++i) sum += raw[i] = std::exp(-(i - kReach) * (i - kReach) / (2 * 1.5 * 1.5));
  for (int i = 0; i < kTaps; ++i) taps[i] = static_cast<float>(raw[i] / sum);
}

// What is blurred: x, y, x^2 + y^2 (the two variances only ever appear as their sum), x y.
template <class T>
struct Blurred {
  T x, y, squares, product;
};

// The similarity, and its derivatives by three of the blurred values (y belongs to the picture that stays).
template <class T>
struct Similarity {
  T value, by_x, by_squares, by_product;
};

template <class T>
A3D_SSIM_MATHS Similarity<T> similarity(const Blurred<T>& b) {
  const T two(2.f), c1(kC1), c2(kC2);
  const T means = b.x * b.y, mean_squares = muladd(b.x, b.x, b.y * b.y);
  const T a1 = muladd(two, means, c1), a2 = muladd(two, b.product - means, c2);
  const T b1 = mean_squares + c1, b2 = b.squares - mean_squares + c2;
  const T inverse = T(1.f) / (b1 * b2), inv_b1 = b2 * inverse, inv_b2 = b1 * inverse;  // divisions are dear
  const T value = a1 * a2 * inverse;
  const T by_x = two * muladd(b.y * (a2 - a1), inverse, b.x * value * (inv_b2 - inv_b1));
  return {value, by_x, -(value * inv_b2), two * a1 * inverse};
}

}  // namespace ssim
}  // namespace avatar3d

// SPDX-License-Identifier: Apache-2.0
// A band of rows of one colour plane on its way through the loss: composed, blurred down and across, compared, and the
// derivatives blurred again, four rows at a time. Every value lives in rings of sixteen rows, so that all of it stays in
// the second-level cache and the halo of a band is worked out again only at its two ends.
//
// Block k makes the similarity's derivatives from row first - kReach + kStep k on, out of picture rows up to kReach before
// and after; the gradient follows kBehind blocks later, when all the derivatives about its rows are there.
#pragma once

#include <algorithm>

#include "simd.h"
#include "ssim/ssim.h"

namespace avatar3d {
namespace ssim {

#if defined(__AVX512F__)
constexpr int kStep = 4;  // rows of a block: as many as keep their sums in registers
#else
constexpr int kStep = 2;
#endif
constexpr int kRing = 16;  // rows kept: what a block needs on both sides, and the block that far behind
constexpr int kBehind = (2 * kReach + kStep - 1) / kStep;  // blocks between derivatives and gradient
constexpr int kPad = kLanes;  // zeros on either side of a row; at least kReach, and aligned
constexpr int kWindow = kStep + 2 * kReach;  // rows that a block of blurred rows is made of

// What is compared, and where the gradients go; a null pointer is not there or not wanted.
struct Picture {
  const float *rgb, *alpha, *background;  // [3,H,W], and [H,W] [3,H,W] to be laid over
  const float *target, *weight;           // [3,H,W] [H,W]
  float *d_rgb, *d_alpha, *d_background;
  int width, height;
  int64_t pixels() const { return static_cast<int64_t>(width) * height; }
  int whole() const { return (width + kLanes - 1) / kLanes * kLanes; }
  int stride() const { return whole() + 2 * kPad; }
};

struct Shares {
  float similarity;  // d loss / d (sum of similarities)
  float difference;  // d loss / d (sum of weight times |a - b|)
};

struct Sums {
  double similarity = 0, difference = 0;
};

struct Scratch {
  Buffer<float> floats;
};

// Sixteen pixels of a row, the last vector of a row filled up with zeros.
A3D_INLINE Vec load_some(const float* p, int count) {
  if (count >= kLanes) return load(p);
  alignas(64) float staged[kLanes] = {};
  std::copy(p, p + count, staged);
  return load(staged);
}
A3D_INLINE void store_some(float* p, Vec v, int count) {
  if (count >= kLanes) return store(p, v);
  alignas(64) float staged[kLanes];
  store(staged, v);
  std::copy(staged, staged + count, p);
}
A3D_INLINE double sum_lanes(Vec v) {
  alignas(64) float staged[kLanes];
  store(staged, v);
  double sum = 0;
  for (float lane : staged) sum += lane;
  return sum;
}

struct Taps {
  float at[kTaps];
  Taps() { window(at); }
};

class Band {
 public:
  Band(const Picture& picture, int first, int last, Scratch& scratch, const Taps& taps, Shares shares)
      : p_(picture), first_(first), last_(last), stride_(picture.stride()), taps_(taps), shares_(shares) {
    const size_t row = stride_, rings = size_t{5} * kRing * row, down = size_t{4} * kStep * row;
    float* at = scratch.floats.need(rings + down + 3 * row);
    std::fill(at, at + rings + down + 3 * row, 0.f);
    x_ = at + kPad;
    y_ = x_ + kRing * row;
    slopes_ = y_ + kRing * row;
    down_ = slopes_ + 3 * kRing * row;
    slope_row_ = down_ + 4 * kStep * row;
  }

  // Adds one plane's sums, and writes its gradients where they are wanted.
  void run(int plane, Sums& sums) {
    const bool compared = shares_.similarity != 0, wanted = p_.d_rgb != nullptr;
    const int blocks = (last_ - first_ + kStep - 1) / kStep + kBehind;
    int loaded = first_ - 2 * kReach;
    for (int k = 0; k < blocks; ++k) {
      const int y = first_ - kReach + kStep * k;
      for (; loaded < y + kStep + kReach; ++loaded) load_row(plane, loaded, sums);
      if (compared) {
        blur_down_pictures(y);
        for (int i = 0; i < kStep; ++i) compare_row(y + i, i, wanted, sums);
      }
      if (wanted && k >= kBehind) gradient_block(plane, first_ + kStep * (k - kBehind), compared);
    }
  }

 private:
  float* ring_row(float* ring, int y) const {
    return ring + static_cast<size_t>((y - first_ + kRing) % kRing) * stride_;
  }
  bool inside(int y) const { return y >= 0 && y < p_.height; }
  bool own(int y) const { return y >= first_ && y < last_; }

  void load_row(int plane, int y, Sums& sums) {
    float *to_x = ring_row(x_, y), *to_y = ring_row(y_, y);
    if (!inside(y)) {
      std::fill(to_x, to_x + p_.whole(), 0.f);
      std::fill(to_y, to_y + p_.whole(), 0.f);
      return;
    }
    const int64_t flat = static_cast<int64_t>(y) * p_.width, planar = plane * p_.pixels() + flat;
    Vec difference(0.f);
    for (int x = 0; x < p_.width; x += kLanes) {
      const int count = p_.width - x;
      Vec a = load_some(p_.rgb + planar + x, count);
      if (p_.alpha) {
        const Vec light = Vec(1.f) - load_some(p_.alpha + flat + x, count);
        a = muladd(light, load_some(p_.background + planar + x, count), a);
      }
      const Vec b = load_some(p_.target + planar + x, count);
      store(to_x + x, a);
      store(to_y + x, b);
      if (own(y)) difference = muladd(load_some(p_.weight + flat + x, count), abs(a - b), difference);
    }
    sums.difference += sum_lanes(difference);
  }

  // kStep blurred rows of kCount values; `values(i, out)` gives those of row i of the kWindow rows that count.
  template <int kCount, class Values>
  A3D_CONVERT void blur_down(Values&& values, Vec (*sums)[kStep]) const {
    for (int field = 0; field < kCount; ++field) {
#pragma GCC unroll 4
      for (int r = 0; r < kStep; ++r) sums[field][r] = Vec(0.f);
    }
#pragma GCC unroll 14
    for (int i = 0; i < kWindow; ++i) {
      Vec value[kCount];
      values(i, value);
#pragma GCC unroll 4
      for (int r = 0; r < kStep; ++r) {
        if (i < r || i - r >= kTaps) continue;
        const Vec tap(taps_.at[i - r]);
#pragma GCC unroll 4
        for (int field = 0; field < kCount; ++field) sums[field][r] = muladd(value[field], tap, sums[field][r]);
      }
    }
  }

  A3D_CONVERT Vec blur_across(const float* centre) const {
    Vec even = load(centre) * Vec(taps_.at[kReach]), odd(0.f);
#pragma GCC unroll 5
    for (int i = 1; i <= kReach; ++i) {
      Vec& sum = i % 2 ? odd : even;
      sum = muladd(load(centre - i) + load(centre + i), Vec(taps_.at[kReach + i]), sum);
    }
    return even + odd;
  }

  float* down_row(int field, int i) const { return down_ + static_cast<size_t>(field * kStep + i) * stride_; }

  // x, y, x^2 + y^2 and x y, blurred down, of rows y .. y + kStep - 1
  void blur_down_pictures(int y) {
    const float *xs[kWindow], *ys[kWindow];
    for (int i = 0; i < kWindow; ++i) xs[i] = ring_row(x_, y - kReach + i), ys[i] = ring_row(y_, y - kReach + i);
    for (int x = 0; x < p_.width; x += kLanes) {
      Vec sums[4][kStep];
      blur_down<4>(
          [&](int i, Vec* value) __attribute__((always_inline)) {
            value[0] = load(xs[i] + x), value[1] = load(ys[i] + x);
            value[2] = muladd(value[0], value[0], value[1] * value[1]), value[3] = value[0] * value[1];
          },
          sums);
      for (int field = 0; field < 4; ++field) {
#pragma GCC unroll 4
        for (int i = 0; i < kStep; ++i) store(down_row(field, i) + x, sums[field][i]);
      }
    }
  }

  // The similarity along row y, the i-th of its block; and its derivatives, blurred across, into their rings.
  void compare_row(int y, int i, bool wanted, Sums& sums) {
    const size_t plane = static_cast<size_t>(kRing) * stride_;
    if (!inside(y)) {
      for (int k = 0; k < 3; ++k) {
        float* to = ring_row(slopes_ + k * plane, y);
        std::fill(to, to + p_.whole(), 0.f);
      }
      return;
    }
    Vec total(0.f);
    for (int x = 0; x < p_.width; x += kLanes) {
      const Similarity<Vec> one =
          similarity(Blurred<Vec>{blur_across(down_row(0, i) + x), blur_across(down_row(1, i) + x),
                                  blur_across(down_row(2, i) + x), blur_across(down_row(3, i) + x)});
      // what the filled-up last vector makes up must not reach the sum, nor the second blur
      const int count = p_.width - x;
      total += only(one.value, count);
      store(slope_row_ + x, only(one.by_x, count));
      store(slope_row_ + stride_ + x, only(one.by_squares, count));
      store(slope_row_ + 2 * stride_ + x, only(one.by_product, count));
    }
    if (own(y)) sums.similarity += sum_lanes(total);
    if (!wanted) return;
    for (int k = 0; k < 3; ++k) {
      float* to = ring_row(slopes_ + k * plane, y);
      for (int x = 0; x < p_.width; x += kLanes) store(to + x, blur_across(slope_row_ + k * stride_ + x));
    }
  }

  A3D_CONVERT Vec only(Vec v, int count) const {
    if (count >= kLanes) return v;
    alignas(64) float staged[kLanes];
    store(staged, v);
    return load_some(staged, count);
  }

  // d loss / d rgb of rows y .. y + kStep - 1, and what follows for alpha and the background. The blur is its own
  // transpose.
  void gradient_block(int plane, int y, bool compared) {
    const int rows = std::min(kStep, last_ - y);
    const size_t ring = static_cast<size_t>(kRing) * stride_;
    const float* slopes[kWindow];
    for (int i = 0; i < kWindow; ++i) slopes[i] = ring_row(slopes_, y - kReach + i);
    for (int x = 0; x < p_.width; x += kLanes) {
      Vec sums[3][kStep];
      if (compared) {
        blur_down<3>(
            [&](int i, Vec* value) __attribute__((always_inline)) {
#pragma GCC unroll 3
              for (int k = 0; k < 3; ++k) value[k] = load(slopes[i] + k * ring + x);
            },
            sums);
      }
      for (int i = 0; i < rows; ++i) {
        const Vec a = load(ring_row(x_, y + i) + x), b = load(ring_row(y_, y + i) + x);
        Vec similarity(0.f);
        if (compared) similarity = muladd(Vec(2.f) * a, sums[1][i], muladd(b, sums[2][i], sums[0][i]));
        put_gradient(plane, y + i, x, a - b, similarity);
      }
    }
  }

  A3D_CONVERT void put_gradient(int plane, int y, int x, Vec difference, Vec similarity) const {
    const int64_t flat = static_cast<int64_t>(y) * p_.width + x, planar = plane * p_.pixels() + flat;
    const int count = p_.width - x;
    const Vec l1 = load_some(p_.weight + flat, count) * Vec(shares_.difference), zero(0.f);
    Vec slope = keep(difference > zero, l1) - keep(zero > difference, l1);
    slope = muladd(similarity, Vec(shares_.similarity), slope);
    store_some(p_.d_rgb + planar, slope, count);
    if (!p_.alpha) return;
    const Vec covered = slope * load_some(p_.background + planar, count);
    const Vec before = plane ? load_some(p_.d_alpha + flat, count) : zero;
    store_some(p_.d_alpha + flat, before - covered, count);
    const Vec light = Vec(1.f) - load_some(p_.alpha + flat, count);
    store_some(p_.d_background + planar, light * slope, count);
  }

  const Picture& p_;
  const int first_, last_;
  const ptrdiff_t stride_;
  const Taps& taps_;
  const Shares shares_;
  float *x_, *y_;      // rings of the composed picture and of the target
  float* slopes_;      // three rings: the similarity's derivatives, blurred across
  float* down_;        // [4, kStep] rows blurred down
  float* slope_row_;   // three rows of derivatives
};

}  // namespace ssim
}  // namespace avatar3d

// SPDX-License-Identifier: Apache-2.0
// The CPU body of avatar3d.ops.ssim: weighted L1 and SSIM of a picture, with the gradient made on the way. Bands of rows
// are blurred across, then down, in scratch space that stays in the second-level cache.
#include "ssim/ssim.h"

#include <algorithm>

#include "pool.h"
#include "simd.h"

namespace avatar3d {
namespace ssim {
namespace {

constexpr int kBand = 16;                       // rows
constexpr int kFields = 4;                      // most values blurred at once
constexpr int kPad = kLanes;                    // zeros left of a row; more than kReach, and aligned

struct Picture {
  const float *rgb, *target, *weight;  // [3,H,W] [3,H,W] [H,W]
  int width, height;
  int64_t pixels() const { return static_cast<int64_t>(width) * height; }
  int stride() const { return (width + kLanes - 1) / kLanes * kLanes + 2 * kPad; }  // of a padded row
};

struct Scratch {
  Buffer<float> row;     // [fields, stride] one padded row of each value
  Buffer<float> across;  // [fields, band + 2 reach, stride] blurred across
};

struct Workspace {
  std::vector<Scratch> threads;
  Buffer<float> slopes;  // [3 planes, 3 derivatives, H, stride - 2 pad]
  std::vector<double> similarity, difference;  // per chunk
};

struct Taps {
  float at[kTaps];
  Taps() { window(at); }
};

A3D_INLINE Vec blur_across(const float* centre, const Taps& taps) {
  Vec sum = load(centre) * Vec(taps.at[kReach]);
  for (int i = 1; i <= kReach; ++i) sum = muladd(load(centre - i) + load(centre + i), Vec(taps.at[kReach + i]), sum);
  return sum;
}

A3D_INLINE Vec blur_down(const float* centre, ptrdiff_t stride, const Taps& taps) {
  Vec sum = load(centre) * Vec(taps.at[kReach]);
  for (int i = 1; i <= kReach; ++i) {
    sum = muladd(load(centre - i * stride) + load(centre + i * stride), Vec(taps.at[kReach + i]), sum);
  }
  return sum;
}

// Rows first - reach .. last + reach of `fields` values blurred across, zero beyond the picture. `fill(y, rows, stride)`
// writes one row of each value at rows + field * stride.
template <int kCount, class Fill>
void blur_rows_across(const Picture& p, int first, int last, Scratch& s, const Taps& taps, Fill&& fill) {
  const int stride = p.stride(), rows = kBand + 2 * kReach;
  float* row = s.row.need(static_cast<size_t>(kFields) * stride);
  float* across = s.across.need(static_cast<size_t>(kFields) * rows * stride);
  std::fill(row, row + kCount * stride, 0.f);
  for (int y = first - kReach; y < last + kReach; ++y) {
    const bool inside = y >= 0 && y < p.height;
    if (inside) fill(y, row + kPad, stride);
    for (int field = 0; field < kCount; ++field) {
      float* to = across + (static_cast<size_t>(field) * rows + (y - first + kReach)) * stride;
      for (int x = 0; x < p.width; x += kLanes) {
        store(to + x, inside ? blur_across(row + field * stride + kPad + x, taps) : Vec(0.f));
      }
    }
  }
}

A3D_INLINE const float* blurred_row(const Scratch& s, int stride, int field, int row) {
  return s.across.data() + (static_cast<size_t>(field) * (kBand + 2 * kReach) + row + kReach) * stride;
}

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
A3D_INLINE double sum_some(Vec v, int count) {
  alignas(64) float staged[kLanes];
  store(staged, v);
  float sum = 0;
  for (int i = 0; i < std::min(count, kLanes); ++i) sum += staged[i];
  return sum;
}

float* slope_row(float* slopes, const Picture& p, int plane, int derivative, int y) {
  const size_t width = p.stride() - 2 * kPad;
  return slopes + ((static_cast<size_t>(plane) * 3 + derivative) * p.height + y) * width;
}

// The similarity of a band, summed; its derivatives by the blurred values where `slopes` is given.
double compare_band(const Picture& p, int plane, int first, int last, Scratch& s, const Taps& taps, float* slopes) {
  const float *a = p.rgb + plane * p.pixels(), *b = p.target + plane * p.pixels();
  blur_rows_across<4>(p, first, last, s, taps, [&](int y, float* row, int stride) {
    const float *ra = a + static_cast<int64_t>(y) * p.width, *rb = b + static_cast<int64_t>(y) * p.width;
    for (int x = 0; x < p.width; x += kLanes) {
      const Vec va = load_some(ra + x, p.width - x), vb = load_some(rb + x, p.width - x);
      store(row + x, va);
      store(row + stride + x, vb);
      store(row + 2 * stride + x, muladd(va, va, vb * vb));
      store(row + 3 * stride + x, va * vb);
    }
  });
  double sum = 0;
  const int stride = p.stride();
  for (int y = first; y < last; ++y) {
    const float* rows[4];
    for (int field = 0; field < 4; ++field) rows[field] = blurred_row(s, stride, field, y - first);
    for (int x = 0; x < p.width; x += kLanes) {
      const Blurred<Vec> blurred{blur_down(rows[0] + x, stride, taps), blur_down(rows[1] + x, stride, taps),
                                 blur_down(rows[2] + x, stride, taps), blur_down(rows[3] + x, stride, taps)};
      const Similarity<Vec> one = similarity(blurred);
      sum += sum_some(one.value, p.width - x);
      if (!slopes) continue;
      // padding beyond the row's end must not leak into the second blur: it is cut when read back
      store(slope_row(slopes, p, plane, 0, y) + x, one.by_x);
      store(slope_row(slopes, p, plane, 1, y) + x, one.by_squares);
      store(slope_row(slopes, p, plane, 2, y) + x, one.by_product);
    }
  }
  return sum;
}

struct Shares {
  float similarity;  // d loss / d (sum of similarities)
  float difference;  // d loss / d (sum of weight times |a - b|)
};

// d loss / d rgb of a band. The blur is its own transpose.
void band_gradient(const Picture& p, int plane, int first, int last, Scratch& s, const Taps& taps, float* slopes,
                   Shares shares, float* gradient) {
  const int stride = p.stride();
  if (slopes) {
    blur_rows_across<3>(p, first, last, s, taps, [&](int y, float* row, int) {
      for (int k = 0; k < 3; ++k) {
        const float* from = slope_row(slopes, p, plane, k, y);
        std::copy(from, from + p.width, row + k * stride);
      }
    });
  }
  const auto blurred = [&](int field, int y, int x) {
    return blur_down(blurred_row(s, stride, field, y - first) + x, stride, taps);
  };
  for (int y = first; y < last; ++y) {
    const int64_t at = static_cast<int64_t>(y) * p.width;
    for (int x = 0; x < p.width; x += kLanes) {
      const int count = p.width - x;
      const Vec a = load_some(p.rgb + plane * p.pixels() + at + x, count);
      const Vec b = load_some(p.target + plane * p.pixels() + at + x, count);
      const Vec l1 = load_some(p.weight + at + x, count) * Vec(shares.difference), difference = a - b, zero(0.f);
      Vec slope = keep(difference > zero, l1) - keep(zero > difference, l1);
      if (slopes) {
        const Vec squares = Vec(2.f) * a * blurred(1, y, x), product = b * blurred(2, y, x);
        slope = muladd(blurred(0, y, x) + squares + product, Vec(shares.similarity), slope);
      }
      store_some(gradient + plane * p.pixels() + at + x, slope, count);
    }
  }
}

double weighted_difference(const Picture& p, int plane, int first, int last) {
  double sum = 0;
  const float *a = p.rgb + plane * p.pixels(), *b = p.target + plane * p.pixels();
  for (int y = first; y < last; ++y) {
    Vec row(0.f);
    const int64_t at = static_cast<int64_t>(y) * p.width;
    for (int x = 0; x < p.width; x += kLanes) {
      const int count = p.width - x;
      const Vec difference = load_some(a + at + x, count) - load_some(b + at + x, count);
      row = muladd(load_some(p.weight + at + x, count), abs(difference), row);
    }
    sum += sum_some(row, kLanes);
  }
  return sum;
}

Status image_loss(const Picture& p, float share, float* loss, float* gradient) {
  Loan<Workspace> work;
  const Taps taps;
  Pool& pool = Pool::shared();
  const int bands = (p.height + kBand - 1) / kBand, chunks = 3 * bands;
  if (work->threads.size() < static_cast<size_t>(pool.threads())) work->threads.resize(pool.threads());
  work->similarity.assign(chunks, 0);
  work->difference.assign(chunks, 0);
  const size_t slope_floats = static_cast<size_t>(9) * p.height * (p.stride() - 2 * kPad);
  float* slopes = gradient && share != 0 ? work->slopes.need(slope_floats) : nullptr;
  const auto first = [](int chunk) { return chunk / 3 * kBand; };
  const auto last = [&](int chunk) { return std::min(p.height, (chunk / 3 + 1) * kBand); };
  pool.run(chunks, [&](int chunk, int slot) {
    const int plane = chunk % 3;
    work->difference[chunk] = weighted_difference(p, plane, first(chunk), last(chunk));
    if (share == 0) return;
    work->similarity[chunk] =
        compare_band(p, plane, first(chunk), last(chunk), work->threads[slot], taps, slopes);
  });
  double weights = 0, similarity = 0, difference = 0;
  for (int64_t i = 0; i < p.pixels(); ++i) weights += p.weight[i];
  for (int chunk = 0; chunk < chunks; ++chunk) {
    similarity += work->similarity[chunk];
    difference += work->difference[chunk];
  }
  const double per_value = 1.0 / (3.0 * p.pixels()), per_weight = weights > 0 ? 1.0 / (3.0 * weights) : 0.0;
  *loss = static_cast<float>((1.0 - share) * difference * per_weight +
                             (share != 0 ? share * (1.0 - similarity * per_value) : 0.0));
  if (!gradient) return kDone;
  const Shares shares{static_cast<float>(-share * per_value), static_cast<float>((1.0 - share) * per_weight)};
  pool.run(chunks, [&](int chunk, int slot) {
    band_gradient(p, chunk % 3, first(chunk), last(chunk), work->threads[slot], taps, slopes, shares, gradient);
  });
  return kDone;
}

}  // namespace
}  // namespace ssim
}  // namespace avatar3d

// loss = (1 - share) sum(weight |rgb - target|) / (3 sum(weight)) + share (1 - SSIM), a single number; gradient [3,H,W] by
// rgb, or null: not wanted.
A3D_EXPORT int avatar3d_image_loss(const float* rgb, const float* target, const float* weight, int width, int height,
                                   float share, float* loss, float* gradient) {
  return avatar3d::guarded([&] {
    return avatar3d::ssim::image_loss({rgb, target, weight, width, height}, share, loss, gradient);
  });
}

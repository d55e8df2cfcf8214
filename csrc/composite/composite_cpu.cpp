// SPDX-License-Identifier: Apache-2.0
// The CPU body of avatar3d.ops.composite: sixteen neighbours of a ray at a time, a sum along the lanes for the light
// that reaches each. A task is some rays that follow each other: what a ray writes past its end, the next one of the
// task writes again.
#include <algorithm>
#include <cstring>

#include "composite/composite.h"
#include "pool.h"
#include "simd.h"
#include "simd/scan.h"

namespace avatar3d {
namespace composite {
namespace {

constexpr int kTask = 64;  // rays

// Sixteen rows of an array [count,width], as columns; rows past its end repeat the last one.
template <int kWidth>
A3D_INLINE void read(const float* rows, int64_t at, int64_t count, Vec* columns) {
  load_columns<kWidth>(rows + at * kWidth, static_cast<int>(std::min<int64_t>(kLanes, count - at)), columns);
}
A3D_INLINE Vec read(const float* rows, int64_t at, int64_t count) {
  Vec column;
  read<1>(rows, at, count, &column);
  return column;
}

// Sixteen rows of an array, of which those from `end` on are not the task's.
template <int kWidth>
A3D_INLINE void write(const Vec* columns, int64_t at, int64_t end, float* rows) {
  store_columns<kWidth>(columns, static_cast<int>(std::min<int64_t>(kLanes, end - at)), rows + at * kWidth);
}

// Sixteen samples of a ray.
struct Block {
  int64_t at;
  int count;
  Mask own;  // lanes with a sample of this ray
  Vec density, begin, end;

  A3D_CONVERT Block(const float* densities, const A3dSamples& s, int64_t at_, int64_t ray_end)
      : at(at_), count(static_cast<int>(std::min<int64_t>(kLanes, ray_end - at_))), own(first_lanes(count)),
        density(read(densities, at_, s.count)), begin(read(s.begins, at_, s.count)), end(read(s.ends, at_, s.count)) {}

  A3D_CONVERT Vec absorbs() const { return keep(own, absorbed(density, begin, end)); }
  A3D_CONVERT Vec middle() const { return (begin + end) * Vec(0.5f); }
};

// The values of samples, [count,width]; kWidth is their number, or 0 for any.
template <int kWidth>
struct Values {
  static constexpr int kMost = kWidth ? kWidth : kMostValues;
  const float* rows;
  int64_t count;
  int any;

  A3D_CONVERT int width() const { return kWidth ? kWidth : any; }
  // Sixteen samples, as columns; what lies past the end of the array repeats the last one.
  A3D_CONVERT void columns(int64_t at, Vec* out) const {
    if constexpr (kWidth) {
      read<kWidth>(rows, at, count, out);
    } else {
      const int last = static_cast<int>(std::min<int64_t>(kLanes, count - at) - 1);
      for (int k = 0; k < any; ++k) out[k] = load_each(rows + at * any + k, any, last);
    }
  }
  // `own` samples of a ray, each its weight times one row of kLanes; more may be written, up to `end`.
  A3D_CONVERT void give(const float* row, Vec weight, int64_t at, int own, int64_t end, float* to) const {
    if constexpr (kWidth) {
      Vec columns[kWidth];
      for (int k = 0; k < kWidth; ++k) columns[k] = weight * Vec(row[k]);
      write<kWidth>(columns, at, end, to);
    } else {
      alignas(64) float each[kLanes], rows_of_all[kLanes * kMostValues + kLanes];
      store(each, weight);
      for (int i = 0; i < own; ++i) store(rows_of_all + i * any, Vec(each[i]) * load(row));  // the next one writes over
      std::memcpy(to + at * any, rows_of_all, sizeof(float) * static_cast<size_t>(own * any));
    }
  }
};

struct Out {
  float *values, *alpha, *depth;  // [rays,width] [rays] [rays]
};
struct Upstream {
  const float *values, *alpha, *depth;
};
struct Slopes {
  float *density, *values;  // [count] [count,width]; values null where not wanted
};

template <int kWidth>
struct Body {
  const A3dSamples& samples;
  const float* density;
  Values<kWidth> values;
  float stop;

  void sum_ray(int64_t ray, const Out& out) const {
    constexpr int kSums = (Values<kWidth>::kMost + 2 + 3) / 4 * 4;  // of alpha, depth and values; whole fours
    const Rows rows = rows_of(samples, ray);
    Vec sum[kSums];
#pragma GCC unroll 20
    for (int k = 0; k < kSums; ++k) sum[k] = Vec(0.f);
    float taken = 0, light = 1;
    for (int64_t at = rows.begin; at < rows.end && light >= stop; at += kLanes) {
      const Block block(density, samples, at, rows.end);
      const Vec so_far = Vec(taken) + running_sum(block.absorbs()), after = light_after(so_far);
      const Vec before = from_before(after, light);
      const Mask counts = block.own & (before >= Vec(stop));
      const Vec weight = keep(counts, before - after);
      Vec columns[Values<kWidth>::kMost];
      values.columns(at, columns);
      sum[0] += weight;
      sum[1] = muladd_where(counts, block.middle(), weight, sum[1]);
      for (int k = 0; k < values.width(); ++k) sum[2 + k] = muladd_where(counts, columns[k], weight, sum[2 + k]);
      taken = last_lane(so_far), light = last_lane(after);
    }
    float total[kSums];
    for (int k = 0; k < values.width() + 2; k += 4) sums_of_four(sum + k, total + k);
    out.alpha[ray] = total[0], out.depth[ray] = total[1];
    std::copy(total + 2, total + 2 + values.width(), out.values + ray * values.width());
  }

  // Leaves the light behind each sample in d_density; returns where the samples begin that no light reaches.
  int64_t light_up(const Rows& rows, int64_t task_end, float* d_density) const {
    float taken = 0, light = 1;
    int64_t at = rows.begin;
    for (; at < rows.end && light >= stop; at += kLanes) {
      const Vec so_far = Vec(taken) + running_sum(Block(density, samples, at, rows.end).absorbs());
      const Vec after = light_after(so_far);
      write<1>(&after, at, task_end, d_density);
      taken = last_lane(so_far), light = last_lane(after);
    }
    return std::min(at, rows.end);
  }

  void differentiate_ray(int64_t ray, int64_t task_end, const Upstream& by, const Slopes& to) const {
    const Rows rows = rows_of(samples, ray);
    const int64_t dark = light_up(rows, task_end, to.density);
    std::fill(to.density + dark, to.density + rows.end, 0.f);
    const int width = values.width();
    if (to.values) std::fill(to.values + dark * width, to.values + rows.end * width, 0.f);
    alignas(64) float pull[kLanes] = {};
    std::copy(by.values + ray * width, by.values + (ray + 1) * width, pull);
    const Vec by_alpha(by.alpha[ray]), by_depth(by.depth[ray]);
    float behind = 0;
    for (int64_t at = rows.begin + (dark - rows.begin + kLanes - 1) / kLanes * kLanes; (at -= kLanes) >= rows.begin;) {
      const Block block(density, samples, at, rows.end);
      const Vec after = read(to.density, at, task_end);
      const Vec before = from_before(after, at > rows.begin ? to.density[at - 1] : 1.f);
      const Mask counts = block.own & (before >= Vec(stop));
      const Vec weight = keep(counts, before - after);
      Vec columns[Values<kWidth>::kMost], slope = muladd(by_depth, block.middle(), by_alpha);
      values.columns(at, columns);
      for (int k = 0; k < width; ++k) slope = muladd(Vec(pull[k]), columns[k], slope);
      const Vec pulled = running_sum_back(keep(counts, weight * slope)) + Vec(behind);
      const Vec d_density = keep(counts, slope_by_density(block.density, block.begin, block.end, after, slope,
                                                          from_behind(pulled, behind)));
      write<1>(&d_density, at, task_end, to.density);
      if (to.values) values.give(pull, weight, at, block.count, task_end, to.values);
      behind = first_lane(pulled);
    }
  }

  template <class Each>
  void each_task(Each&& each) const {
    Pool::shared().run(static_cast<int>((samples.rays + kTask - 1) / kTask), [&](int task, int) {
      const int64_t first = int64_t{task} * kTask;
      each(first, std::min(samples.rays, first + kTask));
    });
  }

  void forward(const Out& out) const {
    each_task([&](int64_t first, int64_t end) {
      for (int64_t ray = first; ray < end; ++ray) sum_ray(ray, out);
    });
  }

  void backward(const Upstream& by, const Slopes& to) const {
    each_task([&](int64_t first, int64_t end) {
      const int64_t task_end = rows_of(samples, end - 1).end;
      for (int64_t ray = first; ray < end; ++ray) differentiate_ray(ray, task_end, by, to);
    });
  }
};

bool in_order(const A3dSamples& s) {
  bool rises = s.first[0] == 0 && s.first[s.rays] == s.count;
  for (int64_t i = 0; i < s.rays; ++i) rises &= s.first[i] <= s.first[i + 1];
  return rises;
}

template <class Call>
int run(const A3dSamples& s, const float* density, const float* values, int width, float stop, Call&& call) {
  return guarded([&] {
    if (!in_order(s)) return kOutOfOrder;
    switch (width) {
      case 1: return call(Body<1>{s, density, {values, s.count, width}, stop}), kDone;
      case 3: return call(Body<3>{s, density, {values, s.count, width}, stop}), kDone;
      case 4: return call(Body<4>{s, density, {values, s.count, width}, stop}), kDone;
      default: break;
    }
    if (width > kMostValues) return kTooLarge;
    return call(Body<0>{s, density, {values, s.count, width}, stop}), kDone;
  });
}

}  // namespace
}  // namespace composite
}  // namespace avatar3d

// density [count], values [count,width] -> out_values [rays,width], alpha [rays], depth [rays]
A3D_EXPORT int avatar3d_composite_forward(const A3dSamples* samples, const float* density, const float* values,
                                          int32_t width, float stop, float* out_values, float* alpha, float* depth) {
  return avatar3d::composite::run(*samples, density, values, width, stop,
                                  [&](auto body) { body.forward({out_values, alpha, depth}); });
}

// the gradients of the three -> d_density [count], d_values [count,width]; d_values null where it is not wanted
A3D_EXPORT int avatar3d_composite_backward(const A3dSamples* samples, const float* density, const float* values,
                                           int32_t width, float stop, const float* by_values, const float* by_alpha,
                                           const float* by_depth, float* d_density, float* d_values) {
  return avatar3d::composite::run(*samples, density, values, width, stop, [&](auto body) {
    body.backward({by_values, by_alpha, by_depth}, {d_density, d_values});
  });
}

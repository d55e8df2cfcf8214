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

// Sums of weights times values. kWidth 0: any number of them, a sample at a time.
template <int kWidth>
struct Sums {
  Vec sum[kWidth];
  A3D_CONVERT explicit Sums(int) {
    for (Vec& one : sum) one = Vec(0.f);
  }
  A3D_CONVERT void add(const float* values, int64_t at, int64_t count, int, Mask counts, Vec weight) {
    Vec columns[kWidth];
    read<kWidth>(values, at, count, columns);
    for (int k = 0; k < kWidth; ++k) sum[k] = muladd_where(counts, columns[k], weight, sum[k]);
  }
  A3D_CONVERT void give(float* out) const {
    for (int k = 0; k < kWidth; ++k) out[k] = simd::sum(sum[k]);
  }
};
template <>
struct Sums<0> {
  int width;
  float sum[kMostValues] = {};
  explicit Sums(int width_) : width(width_) {}
  void add(const float* values, int64_t at, int64_t, int own, Mask counts, Vec weight) {
    alignas(64) float each[kLanes];
    store(each, weight);
    for (int i = 0; i < own && (bits(counts) >> i & 1); ++i) {
      const float* row = values + (at + i) * width;
      for (int k = 0; k < width; ++k) sum[k] += each[i] * row[k];
    }
  }
  void give(float* out) const { std::copy(sum, sum + width, out); }
};

// How the loss changes with the values of a ray: kept while its samples go by.
template <int kWidth>
struct Pull {
  Vec by[kWidth];
  A3D_CONVERT Pull(const float* gradient, int) {
    for (int k = 0; k < kWidth; ++k) by[k] = Vec(gradient[k]);
  }
  // The slope by the weight of each sample.
  A3D_CONVERT Vec by_weight(const float* values, int64_t at, int64_t count, int) const {
    Vec columns[kWidth], slope = Vec(0.f);
    read<kWidth>(values, at, count, columns);
    for (int k = 0; k < kWidth; ++k) slope = muladd(by[k], columns[k], slope);
    return slope;
  }
  A3D_CONVERT void give(Vec weight, int64_t at, int64_t end, int, float* out) const {
    Vec columns[kWidth];
    for (int k = 0; k < kWidth; ++k) columns[k] = weight * by[k];
    write<kWidth>(columns, at, end, out);
  }
};
template <>
struct Pull<0> {
  const float* by;
  int width;
  Pull(const float* gradient, int width_) : by(gradient), width(width_) {}
  Vec by_weight(const float* values, int64_t at, int64_t, int own) const {
    alignas(64) float slope[kLanes] = {};
    for (int i = 0; i < own; ++i) {
      for (int k = 0; k < width; ++k) slope[i] += by[k] * values[(at + i) * width + k];
    }
    return load(slope);
  }
  void give(Vec weight, int64_t at, int64_t, int own, float* out) const {
    alignas(64) float each[kLanes];
    store(each, weight);
    for (int i = 0; i < own; ++i) {
      for (int k = 0; k < width; ++k) out[(at + i) * width + k] = each[i] * by[k];
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
  const float *density, *values;
  int width;
  float stop;

  void sum_ray(int64_t ray, const Out& out) const {
    const Rows rows = rows_of(samples, ray);
    Sums<kWidth> sums(width);
    Vec alpha(0.f), depth(0.f);
    float taken = 0, light = 1;
    for (int64_t at = rows.begin; at < rows.end && light >= stop; at += kLanes) {
      const Block block(density, samples, at, rows.end);
      const Vec so_far = Vec(taken) + running_sum(block.absorbs()), after = light_after(so_far);
      const Vec before = from_before(after, light);
      const Mask counts = block.own & (before >= Vec(stop));
      const Vec weight = keep(counts, before - after);
      sums.add(values, at, samples.count, block.count, counts, weight);
      alpha += weight;
      depth = muladd_where(counts, block.middle(), weight, depth);
      taken = last_lane(so_far), light = last_lane(after);
    }
    sums.give(out.values + ray * width);
    out.alpha[ray] = sum(alpha), out.depth[ray] = sum(depth);
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
    if (to.values) std::fill(to.values + dark * width, to.values + rows.end * width, 0.f);
    const Pull<kWidth> pull(by.values + ray * width, width);
    const Vec by_alpha(by.alpha[ray]), by_depth(by.depth[ray]);
    float behind = 0;
    for (int64_t at = rows.begin + (dark - rows.begin + kLanes - 1) / kLanes * kLanes; (at -= kLanes) >= rows.begin;) {
      const Block block(density, samples, at, rows.end);
      const Vec after = read(to.density, at, task_end);
      const Vec before = from_before(after, at > rows.begin ? to.density[at - 1] : 1.f);
      const Mask counts = block.own & (before >= Vec(stop));
      const Vec weight = keep(counts, before - after);
      const Vec slope = muladd(by_depth, block.middle(), by_alpha) +
                        pull.by_weight(values, at, samples.count, block.count);
      const Vec pulled = running_sum_back(keep(counts, weight * slope)) + Vec(behind);
      const Vec d_density = keep(counts, slope_by_density(block.density, block.begin, block.end, after, slope,
                                                          from_behind(pulled, behind)));
      write<1>(&d_density, at, task_end, to.density);
      if (to.values) pull.give(weight, at, task_end, block.count, to.values);
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

template <class Call>
int run(const A3dSamples& samples, const float* density, const float* values, int width, float stop, Call&& call) {
  return guarded([&] {
    switch (width) {
      case 1: return call(Body<1>{samples, density, values, width, stop}), kDone;
      case 3: return call(Body<3>{samples, density, values, width, stop}), kDone;
      case 4: return call(Body<4>{samples, density, values, width, stop}), kDone;
      default: return width > kMostValues ? kTooLarge : (call(Body<0>{samples, density, values, width, stop}), kDone);
    }
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

// SPDX-License-Identifier: Apache-2.0
// The CPU body of avatar3d.ops.splat and its C ABI. Arrays are contiguous float32 unless said otherwise.
#include <array>

#include "splat/frame.h"
#include "splat/tile_backward.h"

namespace avatar3d {
namespace splat {
namespace {

struct Workspace : Frame {
  Buffer<float> moments;         // [hits,10]
  Buffer<uint32_t> group_start;  // per group of Gaussians
};

// kept.hits is filled in; allocate == null: nothing is kept.
Status forward(const Gaussians& g, const Pinhole& camera, const Grid& grid, State kept, void* (*allocate)(int64_t),
               const Planes& out) {
  if (g.count > kMost) return kTooLarge;
  Loan<Workspace> work;
  State state = allocate ? kept : work->state(g.count, grid);
  project_all(g, camera, grid, state.records, work->binning);
  if (const Status fault = list_hits(g.count, grid, allocate, *work, state)) return fault;
  for_all_tiles(grid, *work, [&](int tile, TileScratch& scratch, int) {
    draw_tile(tile, grid, state, scratch, [&](const float* planes) { write_tile(planes, tile, grid, out); });
  });
  return kDone;
}

// The first slot of each group of Gaussians, from what its last one says.
const uint32_t* group_starts(int64_t count, const State& state, Workspace& work) {
  const int groups = groups_of(count);
  uint32_t *start = work.group_start.need(groups), next = 0;
  for (int group = 0; group < groups; ++group) {
    start[group] = next;
    const int64_t last = std::min(count, static_cast<int64_t>(group + 1) * kGroup) - 1;
    next += field_bits(state.records + last * kRecord, kFirstSlot) + field_bits(state.records + last * kRecord, kSlots);
  }
  return start;
}

// The moments of all hits, a Gaussian's side by side.
HitMoments moments_of_hits(int64_t count, const Grid& grid, const State& state, const UpstreamPlanes& upstream,
                           Workspace& work) {
  const HitMoments moments{work.moments.need(static_cast<size_t>(state.hit_count) * kMoments + kLanes),
                           group_starts(count, state, work)};
  for_all_tiles(grid, work, [&](int tile, TileScratch& scratch, int) {
    upstream.depth ? replay_tile<true>(tile, grid, state, upstream, scratch, moments)
                   : replay_tile<false>(tile, grid, state, upstream, scratch, moments);
  });
  return moments;
}

// A Gaussian's moments summed over its hits, always in the same order. Lanes from kMoments on are anything.
A3D_INLINE Vec moments_of(const float* record, const float* group_rows) {
  constexpr uint32_t kFew = 4;  // most have no more: these are added without branches
  alignas(64) static constexpr float kNothing[kLanes] = {};
  const uint32_t slots = field_bits(record, kSlots);
  const float* from = group_rows + static_cast<size_t>(field_bits(record, kFirstSlot)) * kMoments;
  Vec sum(0.f);
  for (uint32_t slot = 0; slot < kFew; ++slot) sum += load(slot < slots ? from + slot * kMoments : kNothing);
  for (uint32_t slot = kFew; slot < slots; ++slot) sum += load(from + static_cast<size_t>(slot) * kMoments);
  return sum;
}

// Moments of sixteen Gaussians, one Vec per moment.
A3D_INLINE void load_moments(const float* records, const float* group_rows, int lanes, Vec* m) {
  for (int lane = 0; lane < kLanes; ++lane) {
    m[lane] = lane < lanes ? moments_of(records + lane * kRecord, group_rows) : Vec(0.f);
  }
  transpose(m);
}

struct GradientArrays {
  float *means, *quats, *scales, *opacities, *colours;  // as Gaussians
  float* pose;                                          // [3,4], or null: not wanted
};

A3D_INLINE void gradients_of_block(const Gaussians& g, const Pinhole& camera, const float* records,
                                   const float* group_rows, int64_t first, const GradientArrays& out, Vec* pose) {
  const int lanes = static_cast<int>(std::min<int64_t>(kLanes, g.count - first));
  Vec mean[3], quat[4], scale[3], opacity, colour[3], m[kLanes];
  load_columns<3>(g.means + 3 * first, lanes, mean);
  load_columns<4>(g.quats + 4 * first, lanes, quat);
  load_columns<3>(g.scales + 3 * first, lanes, scale);
  load_columns<1>(g.opacities + first, lanes, &opacity);
  load_moments(records + first * kRecord, group_rows, lanes, m);
  Projected<Vec> p;
  project(camera, mean, quat, scale, p);
  load_columns<3>(g.colours + 3 * first, lanes, colour);
  const Mask drawn = is_drawn(p, mean, quat, scale, opacity, colour);
  Gradients<Vec> d;
  project_backward(camera, p, mean, m, d);
  // what is not drawn has moments of zero, but zero times its infinities is not
  for (Vec& x : d.mean) x = keep(drawn, x);
  for (Vec& x : d.quat) x = keep(drawn, x);
  for (Vec& x : d.scale) x = keep(drawn, x);
  const Vec d_opacity = keep(drawn, m[kSum] / opacity);
  store_columns<3>(d.mean, lanes, out.means + 3 * first);
  store_columns<4>(d.quat, lanes, out.quats + 4 * first);
  store_columns<3>(d.scale, lanes, out.scales + 3 * first);
  store_columns<1>(&d_opacity, lanes, out.opacities + first);
  store_columns<3>(m + kRed, lanes, out.colours + 3 * first);
  for (int i = 0; out.pose && i < 12; ++i) pose[i] += keep(drawn, d.pose[i]);
}

Status backward(const Gaussians& g, const Pinhole& camera, const Grid& grid, const State& state,
                const UpstreamPlanes& upstream, const GradientArrays& out) {
  Loan<Workspace> work;
  const HitMoments moments = moments_of_hits(g.count, grid, state, upstream, *work);
  const int groups = groups_of(g.count);
  std::vector<std::array<double, 12>> poses(out.pose ? groups : 0);
  Pool::shared().run(groups, [&](int group, int) {
    Vec pose[12];
    for (Vec& x : pose) x = Vec(0.f);
    const float* rows = moments.row(moments.group_start[group]);
    const int64_t end = std::min(g.count, static_cast<int64_t>(group + 1) * kGroup);
    for (int64_t first = static_cast<int64_t>(group) * kGroup; first < end; first += kLanes) {
      gradients_of_block(g, camera, state.records, rows, first, out, pose);
    }
    for (int i = 0; out.pose && i < 12; ++i) {
      alignas(64) float lanes[kLanes];
      store(lanes, pose[i]);
      poses[group][i] = 0;
      for (float lane : lanes) poses[group][i] += lane;
    }
  });
  for (int i = 0; out.pose && i < 12; ++i) {
    double sum = 0;
    for (const auto& pose : poses) sum += pose[i];
    out.pose[i] = static_cast<float>(sum);
  }
  return kDone;
}

// The sums of w and of w times a picture are the gradients of depth and colour for that picture upstream and ones.
Status weights(int64_t count, const Grid& grid, const State& state, const float* picture, float* weight,
               float* colour) {
  Loan<Workspace> work;
  std::vector<float> ones(static_cast<size_t>(grid.width) * grid.height, 1.f);
  const HitMoments moments = moments_of_hits(count, grid, state, {picture, nullptr, ones.data()}, *work);
  for (int64_t i = 0; i < count; ++i) {
    alignas(64) float sum[kLanes];
    store(sum, moments_of(state.records + i * kRecord, moments.row(moments.group_start[i / kGroup])));
    std::copy(sum + kRed, sum + kRed + 3, colour + 3 * i);
    weight[i] = sum[kDepth];
  }
  return kDone;
}

}  // namespace
}  // namespace splat
}  // namespace avatar3d

extern "C" {

// What a backward pass needs, written by forward. With tiles = ceil(W/16) ceil(H/16):
struct A3dKept {
  float* records;       // [N,16]
  int64_t* tile_start;  // [tiles+1]
  float* pixels;        // [2,tiles,256]
  void* hits;           // [2,hits] 32-bit; forward asks for it
};

struct A3dGradients {
  float *means, *quats, *scales, *opacities, *colours;
  float* pose;  // [3,4] of cam_from_world, or null: not wanted
};
}

namespace {

using avatar3d::splat::camera;
using avatar3d::splat::gaussians;
using avatar3d::splat::Grid;

avatar3d::splat::State state(const A3dScene& s, const A3dKept& kept, bool filled) {
  const int64_t tiles = Grid(s.width, s.height).tiles();
  float* last = kept.pixels + tiles * avatar3d::splat::kTilePixels;
  const int64_t count = filled ? kept.tile_start[tiles] : 0;
  auto* hits = static_cast<uint32_t*>(kept.hits);
  return {kept.records, kept.tile_start, kept.pixels, last, hits, hits + count, count};
}

}  // namespace

// Draws rgb [3,H,W], alpha [H,W], depth [H,W]. `allocate` is called once with the number of hits and returns room for
// them; if it is null nothing is kept, and `kept` may be null as well.
A3D_EXPORT int avatar3d_splat_forward(const A3dScene* scene, const A3dKept* kept, void* (*allocate)(int64_t),
                                      float* rgb, float* alpha, float* depth) {
  return avatar3d::guarded([&] {
    return avatar3d::splat::forward(gaussians(*scene), camera(*scene), Grid(scene->width, scene->height),
                                    allocate ? state(*scene, *kept, false) : avatar3d::splat::State{}, allocate,
                                    {rgb, alpha, depth});
  });
}

// Gradients of everything but K. Upstream arrays may be null, which means zero.
A3D_EXPORT int avatar3d_splat_backward(const A3dScene* scene, const A3dKept* kept, const float* d_rgb,
                                       const float* d_alpha, const float* d_depth, const A3dGradients* out) {
  return avatar3d::guarded([&] {
    return avatar3d::splat::backward(
        gaussians(*scene), camera(*scene), Grid(scene->width, scene->height), state(*scene, *kept, true),
        {d_rgb, d_alpha, d_depth},
        {out->means, out->quats, out->scales, out->opacities, out->colours, out->pose});
  });
}

// Per Gaussian the sum over pixels of w (weight [N]) and of w times `picture` [3,H,W] (colour [N,3]).
A3D_EXPORT int avatar3d_splat_weights(const A3dScene* scene, const A3dKept* kept, const float* picture, float* weight,
                                      float* colour) {
  return avatar3d::guarded([&] {
    return avatar3d::splat::weights(scene->count, Grid(scene->width, scene->height), state(*scene, *kept, true), picture,
                                    weight, colour);
  });
}

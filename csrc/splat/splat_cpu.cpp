// SPDX-License-Identifier: Apache-2.0
// The CPU body of avatar3d.ops.splat and its C ABI. Arrays are contiguous float32 unless said otherwise.
#include <array>
#include <limits>

#include "splat/bin.h"
#include "splat/tile.h"
#include "splat/tile_backward.h"

namespace avatar3d {
namespace splat {
namespace {

constexpr int kTilesPerChunk = 4;
constexpr int kGradientChunk = 64;  // blocks of 16 Gaussians
constexpr int64_t kMost = std::numeric_limits<int32_t>::max();

struct Workspace {
  Binning binning;
  Buffer<float> records;  // these three: where nothing is kept for a backward pass
  Buffer<int64_t> tile_start;
  Buffer<Hit> hits;
  std::vector<TileScratch> tiles;  // one per thread
  Buffer<float> moments;           // [hits,10]
};

// Calls body(tile, scratch, slot) for all tiles on all threads, a few neighbours at a time.
template <class Body>
void for_all_tiles(const Grid& grid, Workspace& work, Body&& body) {
  Pool& pool = Pool::shared();
  const size_t threads = pool.threads();
  if (work.tiles.size() < threads) work.tiles.resize(threads);
  pool.run((grid.tiles() + kTilesPerChunk - 1) / kTilesPerChunk, [&](int chunk, int slot) {
    const int end = std::min(grid.tiles(), (chunk + 1) * kTilesPerChunk);
    for (int tile = chunk * kTilesPerChunk; tile < end; ++tile) body(tile, work.tiles[slot], slot);
  });
}

// kept.hits is filled in; allocate == null: nothing is kept.
Status forward(const Gaussians& g, const Pinhole& camera, const Grid& grid, State kept, void* (*allocate)(int64_t),
               const Planes& out) {
  if (g.count > kMost) return kTooLarge;
  Loan<Workspace> work;
  Binning& b = work->binning;
  State state = kept;
  if (!allocate) {
    state.records = work->records.need(static_cast<size_t>(g.count) * kRecord);
    state.tile_start = work->tile_start.need(grid.tiles() + 1);
  }
  project_all(g, camera, grid, state.records, b.boxes.need(g.count));
  sort_by_depth(state.records, g.count, b);
  const Parts parts{Pool::shared().threads(), b.visible};
  const int64_t hits = count_hits(grid, parts, b);
  if (hits > kMost) return kTooLarge;
  state.hits = allocate ? static_cast<Hit*>(allocate(hits)) : work->hits.need(hits);
  if (hits && !state.hits) return kOutOfMemory;
  state.hit_count = hits;
  scatter_hits(grid, parts, b, hits, state);
  for_all_tiles(grid, *work, [&](int tile, TileScratch& scratch, int) {
    draw_tile(tile, grid, state, allocate != nullptr, scratch, out);
  });
  return kDone;
}

// The moments of all hits, a Gaussian's side by side: [hits,10].
const float* moments_of_hits(const Grid& grid, const State& state, const UpstreamPlanes& upstream, Workspace& work) {
  float* moments = work.moments.need(static_cast<size_t>(state.hit_count) * kMoments + kLanes);
  for_all_tiles(grid, work, [&](int tile, TileScratch& scratch, int) {
    upstream.depth ? replay_tile<true>(tile, grid, state, upstream, scratch, moments)
                   : replay_tile<false>(tile, grid, state, upstream, scratch, moments);
  });
  return moments;
}

// A Gaussian's moments summed over its hits, always in the same order. Lanes from kMoments on are anything.
A3D_INLINE Vec moments_of(const float* record, const float* moments) {
  constexpr uint32_t kFew = 4;  // most have no more: these are added without branches
  alignas(64) static constexpr float kNothing[kLanes] = {};
  const uint32_t slots = field_bits(record, kSlots);
  const float* from = moments + static_cast<size_t>(field_bits(record, kFirstSlot)) * kMoments;
  Vec sum(0.f);
  for (uint32_t slot = 0; slot < kFew; ++slot) sum += load(slot < slots ? from + slot * kMoments : kNothing);
  for (uint32_t slot = kFew; slot < slots; ++slot) sum += load(from + static_cast<size_t>(slot) * kMoments);
  return sum;
}

// Moments of sixteen Gaussians, one Vec per moment.
A3D_INLINE void load_moments(const float* records, const float* moments, int lanes, Vec* m) {
  for (int lane = 0; lane < kLanes; ++lane) {
    m[lane] = lane < lanes ? moments_of(records + lane * kRecord, moments) : Vec(0.f);
  }
  transpose(m);
}

// Writes `columns` numbers of sixteen Gaussians, one Vec per number, as rows.
A3D_INLINE void store_rows(const Vec* columns, int width, int lanes, float* out) {
  alignas(64) float staged[4][kLanes];
  for (int k = 0; k < width; ++k) store(staged[k], columns[k]);
  for (int lane = 0; lane < lanes; ++lane) {
    for (int k = 0; k < width; ++k) out[lane * width + k] = staged[k][lane];
  }
}

struct GradientArrays {
  float *means, *quats, *scales, *opacities, *colours;  // as Gaussians
  float* pose;                                          // [3,4], or null: not wanted
};

A3D_INLINE void gradients_of_block(const Gaussians& g, const Pinhole& camera, const float* records,
                                   const float* moments, int64_t first, const GradientArrays& out, Vec* pose) {
  const int lanes = static_cast<int>(std::min<int64_t>(kLanes, g.count - first));
  Vec mean[3], quat[4], scale[3], opacity, colour[3], m[kLanes];
  load_columns(g.means + 3 * first, 3, lanes, mean);
  load_columns(g.quats + 4 * first, 4, lanes, quat);
  load_columns(g.scales + 3 * first, 3, lanes, scale);
  load_columns(g.opacities + first, 1, lanes, &opacity);
  load_moments(records + first * kRecord, moments, lanes, m);
  Projected<Vec> p;
  project(camera, mean, quat, scale, p);
  load_columns(g.colours + 3 * first, 3, lanes, colour);
  const Mask drawn = is_drawn(p, mean, quat, scale, opacity, colour);
  Gradients<Vec> d;
  project_backward(camera, p, mean, m, d);
  // what is not drawn has moments of zero, but zero times its infinities is not
  for (Vec& x : d.mean) x = keep(drawn, x);
  for (Vec& x : d.quat) x = keep(drawn, x);
  for (Vec& x : d.scale) x = keep(drawn, x);
  const Vec d_opacity = keep(drawn, m[kSum] / opacity);
  store_rows(d.mean, 3, lanes, out.means + 3 * first);
  store_rows(d.quat, 4, lanes, out.quats + 4 * first);
  store_rows(d.scale, 3, lanes, out.scales + 3 * first);
  store_rows(&d_opacity, 1, lanes, out.opacities + first);
  store_rows(m + kRed, 3, lanes, out.colours + 3 * first);
  for (int i = 0; out.pose && i < 12; ++i) pose[i] += keep(drawn, d.pose[i]);
}

Status backward(const Gaussians& g, const Pinhole& camera, const Grid& grid, const State& state,
                const UpstreamPlanes& upstream, const GradientArrays& out) {
  Loan<Workspace> work;
  const float* moments = moments_of_hits(grid, state, upstream, *work);
  const int64_t blocks = (g.count + kLanes - 1) / kLanes;
  const int chunks = static_cast<int>((blocks + kGradientChunk - 1) / kGradientChunk);
  std::vector<std::array<double, 12>> poses(out.pose ? chunks : 0);
  Pool::shared().run(chunks, [&](int chunk, int) {
    Vec pose[12];
    for (Vec& x : pose) x = Vec(0.f);
    const int64_t end = std::min(blocks, static_cast<int64_t>(chunk + 1) * kGradientChunk);
    for (int64_t block = static_cast<int64_t>(chunk) * kGradientChunk; block < end; ++block) {
      gradients_of_block(g, camera, state.records, moments, block * kLanes, out, pose);
    }
    for (int i = 0; out.pose && i < 12; ++i) {
      alignas(64) float lanes[kLanes];
      store(lanes, pose[i]);
      poses[chunk][i] = 0;
      for (float lane : lanes) poses[chunk][i] += lane;
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
  const float* moments = moments_of_hits(grid, state, {picture, nullptr, ones.data()}, *work);
  for (int64_t i = 0; i < count; ++i) {
    alignas(64) float sum[kLanes];
    store(sum, moments_of(state.records + i * kRecord, moments));
    std::copy(sum + kRed, sum + kRed + 3, colour + 3 * i);
    weight[i] = sum[kDepth];
  }
  return kDone;
}

}  // namespace
}  // namespace splat
}  // namespace avatar3d

extern "C" {

struct A3dScene {
  const float *means, *quats, *scales, *opacities, *colours;  // [N,3] [N,4] wxyz [N,3] [N] [N,3]
  const float *cam_from_world, *K;                            // [4,4] [3,3]
  int64_t count;
  int32_t width, height;
};

// What a backward pass needs, written by forward. With tiles = ceil(W/16) ceil(H/16):
struct A3dKept {
  float* records;       // [N,16]
  int64_t* tile_start;  // [tiles+1]
  float* pixels;        // [2,tiles,256]
  void* hits;           // [hits,2] 32-bit; forward asks for it
};

struct A3dGradients {
  float *means, *quats, *scales, *opacities, *colours;
  float* pose;  // [3,4] of cam_from_world, or null: not wanted
};
}

namespace {

using avatar3d::splat::Grid;
using avatar3d::splat::Hit;

avatar3d::splat::Gaussians gaussians(const A3dScene& s) {
  return {s.means, s.quats, s.scales, s.opacities, s.colours, s.count};
}
avatar3d::splat::Pinhole camera(const A3dScene& s) {
  return avatar3d::splat::pinhole(s.cam_from_world, s.K, s.width, s.height);
}
avatar3d::splat::State state(const A3dScene& s, const A3dKept& kept, bool filled) {
  const int64_t tiles = Grid(s.width, s.height).tiles();
  float* last = kept.pixels + tiles * avatar3d::splat::kTilePixels;
  return {kept.records, kept.tile_start, kept.pixels, last, static_cast<Hit*>(kept.hits),
          filled ? kept.tile_start[tiles] : 0};
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

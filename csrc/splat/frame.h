// SPDX-License-Identifier: Apache-2.0
// One picture from projection to tiles: the room it takes, and the steps that every way of drawing shares.
#pragma once

#include <limits>

#include "splat/bin.h"
#include "splat/tile.h"

extern "C" {

struct A3dScene {
  const float *means, *quats, *scales, *opacities, *colours;  // [N,3] [N,4] wxyz [N,3] [N] [N,3]
  const float *cam_from_world, *K;                            // [4,4] [3,3]
  int64_t count;
  int32_t width, height;
};

}

namespace avatar3d {
namespace splat {

inline Gaussians gaussians(const A3dScene& s) { return {s.means, s.quats, s.scales, s.opacities, s.colours, s.count}; }
inline Pinhole camera(const A3dScene& s) { return pinhole(s.cam_from_world, s.K, s.width, s.height); }

constexpr int kTilesPerChunk = 4;
constexpr int64_t kMost = std::numeric_limits<int32_t>::max();

struct Frame {
  Binning binning;
  Buffer<float> records;  // these three: where nothing is kept for a backward pass
  Buffer<int64_t> tile_start;
  Buffer<uint32_t> hits;
  std::vector<TileScratch> tiles;  // one per thread

  // A state that lasts as long as this frame, and from which there is no way back.
  State state(int64_t count, const Grid& grid) {
    State one{};
    one.records = records.need(static_cast<size_t>(count) * kRecord);
    one.tile_start = tile_start.need(grid.tiles() + 1);
    return one;
  }
};

// From what the projection left in frame.binning and state.records to tile lists. allocate == null: the hits are the
// frame's.
inline Status list_hits(int64_t count, const Grid& grid, void* (*allocate)(int64_t), Frame& frame, State& state) {
  Binning& b = frame.binning;
  if (b.hits > kMost) return kTooLarge;
  sort_by_depth(count, b);
  const Parts parts{Pool::shared().threads(), b.visible};
  count_hits(grid, parts, b);
  state.hits = allocate ? static_cast<uint32_t*>(allocate(b.hits)) : frame.hits.need(b.hits);
  if (b.hits && !state.hits) return kOutOfMemory;
  state.masks = allocate ? state.hits + b.hits : nullptr;
  state.hit_count = b.hits;
  scatter_hits(grid, parts, b, state);
  return kDone;
}

// Calls body(tile, scratch, slot) for all tiles on all threads, a few neighbours at a time.
template <class Body>
void for_all_tiles(const Grid& grid, Frame& frame, Body&& body) {
  Pool& pool = Pool::shared();
  const size_t threads = pool.threads();
  if (frame.tiles.size() < threads) frame.tiles.resize(threads);
  pool.run((grid.tiles() + kTilesPerChunk - 1) / kTilesPerChunk, [&](int chunk, int slot) {
    const int end = std::min(grid.tiles(), (chunk + 1) * kTilesPerChunk);
    for (int tile = chunk * kTilesPerChunk; tile < end; ++tile) body(tile, frame.tiles[slot], slot);
  });
}

}  // namespace splat
}  // namespace avatar3d

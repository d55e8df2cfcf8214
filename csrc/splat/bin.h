// SPDX-License-Identifier: Apache-2.0
// From Gaussians to depth-sorted tile lists: project, sort once by depth, scatter stably into tiles.
#pragma once

#include <algorithm>
#include <cstring>
#include <utility>

#include "pool.h"
#include "simd.h"
#include "splat/splat.h"
#include "splat/state.h"

namespace avatar3d {
namespace splat {

struct Gaussians {
  const float *means, *quats, *scales, *opacities, *colours;  // [N,3] [N,4] [N,3] [N] [N,3]
  int64_t count;
};

struct Box {
  int left, right, top, bottom;  // tiles, right and bottom excluded
};

struct Binning {
  Buffer<Box> boxes;                     // per Gaussian; empty where it is not drawn
  Buffer<uint32_t> keys[2], order[2];    // visible Gaussians, being sorted
  Buffer<int64_t> cursor;                // [parts,stride] counts, then places
  int64_t visible = 0;
};

constexpr int kProjectChunk = 64;  // blocks of 16 Gaussians in one piece of work

A3D_INLINE Mask small_enough(Vec x) { return Vec(kLargest) >= abs(x); }  // false for NaN

A3D_INLINE Mask is_drawn(const Projected<Vec>& p, const Vec* mean, const Vec* quat, const Vec* scale, Vec opacity,
                         const Vec* colour) {
  Mask ok = (p.cam[2] > Vec(kNear)) & (p.length2 > Vec(kShortestQuat2)) & (p.det > Vec(0.f)) &
            (Vec(kLargestDet) > p.det) & (opacity >= Vec(kAlphaMin)) & small_enough(opacity);
  for (int i = 0; i < 3; ++i) ok = ok & small_enough(mean[i]) & small_enough(scale[i]) & small_enough(colour[i]);
  for (int i = 0; i < 4; ++i) ok = ok & small_enough(quat[i]);
  return ok & small_enough(p.cam[2]) & small_enough(p.u) & small_enough(p.v);
}

A3D_INLINE void write_records(const Projected<Vec>& p, Vec opacity, const Vec* colour, int lanes, Vec* reach,
                              float* records) {
  const Vec log2_o = log2(opacity), zero(0.f);
  const Vec sigmas2 = max(log2_o - Vec(kLog2AlphaMin), zero) * Vec(2.f / kLog2E);  // 2 ln(255 o)
  reach[0] = sqrt(sigmas2 * p.blur.xx);
  reach[1] = sqrt(sigmas2 * p.blur.yy);
  Vec out[kRecord] = {p.u, p.v, p.conic.xx * Vec(-0.5f * kLog2E), p.conic.xy * Vec(-kLog2E),
                      p.conic.yy * Vec(-0.5f * kLog2E), log2_o, colour[0], colour[1], colour[2], p.cam[2],
                      -(p.conic.xy / p.conic.yy), -(p.conic.xy / p.conic.xx), zero, zero, zero, zero};
  transpose(out);
  for (int lane = 0; lane < lanes; ++lane) store(records + lane * kRecord, out[lane]);
}

// The tiles with a pixel centre within reach.
A3D_INLINE void write_boxes(const Projected<Vec>& p, Mask drawn, const Vec* reach, const Grid& grid, int lanes,
                            Box* boxes) {
  const Vec per_tile(1.f / kTile), half(0.5f), one(1.f), zero(0.f);
  const Vec columns(static_cast<float>(grid.columns)), rows(static_cast<float>(grid.rows));
  alignas(64) float edge[4][kLanes];
  store(edge[0], keep(drawn, clamp((p.u - reach[0] - half) * per_tile, zero, columns)));
  store(edge[1], keep(drawn, clamp((p.u + reach[0] - half) * per_tile + one, zero, columns)));
  store(edge[2], keep(drawn, clamp((p.v - reach[1] - half) * per_tile, zero, rows)));
  store(edge[3], keep(drawn, clamp((p.v + reach[1] - half) * per_tile + one, zero, rows)));
  for (int lane = 0; lane < lanes; ++lane) {
    boxes[lane] = {static_cast<int>(edge[0][lane]), static_cast<int>(edge[1][lane]), static_cast<int>(edge[2][lane]),
                   static_cast<int>(edge[3][lane])};
  }
}

inline void project_all(const Gaussians& g, const Pinhole& camera, const Grid& grid, float* records, Box* boxes) {
  const int64_t blocks = (g.count + kLanes - 1) / kLanes;
  const int chunks = static_cast<int>((blocks + kProjectChunk - 1) / kProjectChunk);
  Pool::shared().run(chunks, [&](int chunk, int) {
    const int64_t end = std::min(blocks, static_cast<int64_t>(chunk + 1) * kProjectChunk);
    for (int64_t block = static_cast<int64_t>(chunk) * kProjectChunk; block < end; ++block) {
      const int64_t first = block * kLanes;
      const int lanes = static_cast<int>(std::min<int64_t>(kLanes, g.count - first));
      Vec mean[3], quat[4], scale[3], opacity, colour[3], reach[2];
      load_columns(g.means + 3 * first, 3, lanes, mean);
      load_columns(g.quats + 4 * first, 4, lanes, quat);
      load_columns(g.scales + 3 * first, 3, lanes, scale);
      load_columns(g.opacities + first, 1, lanes, &opacity);
      load_columns(g.colours + 3 * first, 3, lanes, colour);
      Projected<Vec> p;
      project(camera, mean, quat, scale, p);
      write_records(p, opacity, colour, lanes, reach, records + first * kRecord);
      write_boxes(p, is_drawn(p, mean, quat, scale, opacity, colour), reach, grid, lanes, boxes + first);
    }
  });
}

// Positive floats sort like their bits. Least significant digit first, 11 bits a round, only over the bits in use.
inline void sort_by_depth(float* records, int64_t count, Binning& b) {
  constexpr int kDigit = 11, kBins = 1 << kDigit;
  uint32_t *keys = b.keys[0].need(count), *order = b.order[0].need(count);
  uint32_t *keys_to = b.keys[1].need(count), *order_to = b.order[1].need(count);
  const Box* boxes = b.boxes.data();
  int64_t n = 0;
  int64_t hits = 0;
  uint32_t low = ~0u, high = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t key;
    std::memcpy(&key, records + i * kRecord + kZ, sizeof key);
    const int across = boxes[i].right - boxes[i].left, down = boxes[i].bottom - boxes[i].top;
    set_field_bits(records + i * kRecord, kFirstSlot, hits);
    set_field_bits(records + i * kRecord, kSlots, across * down);
    set_field_bits(records + i * kRecord, kSlot, hits - boxes[i].top * across - boxes[i].left);
    set_field_bits(records + i * kRecord, kSlotsAcross, across);
    hits += across * down;
    keys[n] = key;
    order[n] = static_cast<uint32_t>(i);
    const bool drawn = boxes[i].left < boxes[i].right && boxes[i].top < boxes[i].bottom;
    low = drawn ? std::min(low, key) : low;
    high = drawn ? std::max(high, key) : high;
    n += drawn;
  }
  b.visible = n;
  for (int shift = 0; n && shift < 32 && (high - low) >> shift; shift += kDigit) {
    uint32_t places[kBins] = {};
    for (int64_t i = 0; i < n; ++i) ++places[(keys[i] - low) >> shift & (kBins - 1)];
    uint32_t sum = 0;
    for (uint32_t& place : places) sum += std::exchange(place, sum);
    for (int64_t i = 0; i < n; ++i) {
      const uint32_t to = places[(keys[i] - low) >> shift & (kBins - 1)]++;
      keys_to[to] = keys[i];
      order_to[to] = order[i];
    }
    std::swap(keys, keys_to);
    std::swap(order, order_to);
  }
  if (n && order != b.order[0].data()) std::swap(b.order[0], b.order[1]);
}

// Calls visit(tile, used) for the tiles of a box. Most boxes are at most 2x2 tiles, in no order that a processor could
// predict: for them all four are visited, `used` says which count. Tiles up to columns + 1 past the last may be visited.
template <class Visit>
A3D_INLINE void for_each_tile(const Box& box, int columns, Visit&& visit) {
  const int first = box.top * columns + box.left;
  const bool wide = box.right - box.left == 2, tall = box.bottom - box.top == 2;
  if (box.right - box.left <= 2 && box.bottom - box.top <= 2) {
    visit(first, true);
    visit(first + 1, wide);
    visit(first + columns, tall);
    visit(first + columns + 1, wide && tall);
    return;
  }
  for (int y = box.top; y < box.bottom; ++y) {
    for (int x = box.left; x < box.right; ++x) visit(y * columns + x, true);
  }
}

// The sorted Gaussians are cut into as many parts as there are threads; each part counts its hits per tile, and writes
// them behind those of the parts before it. So tile lists come out sorted, whoever works faster.
struct Parts {
  int count;
  int64_t total;
  int64_t begin(int part) const { return total * part / count; }
  int stride(const Grid& grid) const { return grid.tiles() + grid.columns + 2; }  // of a part's counts
};

inline int64_t count_hits(const Grid& grid, const Parts& parts, Binning& b) {
  const int tiles = grid.tiles(), stride = parts.stride(grid);
  int64_t* cursor = b.cursor.need(static_cast<size_t>(stride) * parts.count);
  Pool::shared().run(parts.count, [&](int part, int) {
    int64_t* mine = cursor + static_cast<size_t>(part) * stride;
    std::fill(mine, mine + stride, 0);
    for (int64_t i = parts.begin(part); i < parts.begin(part + 1); ++i) {
      for_each_tile(b.boxes.data()[b.order[0].data()[i]], grid.columns, [&](int tile, bool used) { mine[tile] += used; });
    }
  });
  int64_t hits = 0;
  for (int tile = 0; tile < tiles; ++tile) {
    for (int part = 0; part < parts.count; ++part) {
      hits += std::exchange(cursor[static_cast<size_t>(part) * stride + tile], hits);
    }
  }
  return hits;
}

inline void scatter_hits(const Grid& grid, const Parts& parts, Binning& b, int64_t hits, State& state) {
  const int tiles = grid.tiles(), stride = parts.stride(grid);
  int64_t* cursor = b.cursor.data();
  std::copy(cursor, cursor + tiles, state.tile_start);
  state.tile_start[tiles] = hits;
  Pool::shared().run(parts.count, [&](int part, int) {
    int64_t* mine = cursor + static_cast<size_t>(part) * stride;
    Hit nowhere;
    for (int64_t i = parts.begin(part); i < parts.begin(part + 1); ++i) {
      const uint32_t id = b.order[0].data()[i];
      for_each_tile(b.boxes.data()[id], grid.columns, [&](int tile, bool used) {
        Hit* to = used ? state.hits + mine[tile] : &nowhere;
        to->gaussian = id;
        mine[tile] += used;
      });
    }
  });
}

}  // namespace splat
}  // namespace avatar3d

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

// What kGroup Gaussians in a row come to.
struct GroupTotals {
  int64_t hits = 0, visible = 0;
  uint32_t nearest = ~0u, farthest = 0;  // keys
};

struct Binning {
  Buffer<Box> boxes;                     // per Gaussian; empty where it is not drawn
  Buffer<GroupTotals> totals;            // per group
  Buffer<uint64_t> order[2];             // depth and number of Gaussians being sorted, those that are not drawn last
  Buffer<uint32_t> cursor;               // [parts,stride] counts, then places
  int64_t visible = 0, hits = 0;
  uint32_t nearest = ~0u, farthest = 0;

  uint32_t sorted(int64_t i) const { return static_cast<uint32_t>(order[0].data()[i]); }
};

constexpr uint32_t kKeyOfNothing = 0x7f800000;  // infinity

A3D_INLINE void write_records(const Projected<Vec>& p, Vec opacity, const Vec* colour, int lanes, Vec* reach,
                              float* records) {
  const Vec log2_o = log2(opacity), zero(0.f);
  reach_of(p, log2_o, reach);
  Vec out[kRecord] = {p.u, p.v, p.conic.xx * Vec(-0.5f * kLog2E), p.conic.xy * Vec(-kLog2E),
                      p.conic.yy * Vec(-0.5f * kLog2E), log2_o, colour[0], colour[1], colour[2], p.cam[2],
                      -(p.conic.xy / p.conic.yy), -(p.conic.xy / p.conic.xx), zero, zero, zero, zero};
  transpose(out);
  for (int lane = 0; lane < lanes; ++lane) store(records + lane * kRecord, out[lane]);
}

// The tiles with a pixel centre within reach, one row of `edges` per lane: left, right, top, bottom.
A3D_INLINE void reached_tiles(const Projected<Vec>& p, Mask drawn, const Vec* reach, const Grid& grid,
                              float (*edges)[kLanes]) {
  const Vec per_tile(1.f / kTile), half(0.5f), one(1.f), zero(0.f);
  const Vec columns(static_cast<float>(grid.columns)), rows(static_cast<float>(grid.rows));
  store(edges[0], keep(drawn, clamp((p.u - reach[0] - half) * per_tile, zero, columns)));
  store(edges[1], keep(drawn, clamp((p.u + reach[0] - half) * per_tile + one, zero, columns)));
  store(edges[2], keep(drawn, clamp((p.v - reach[1] - half) * per_tile, zero, rows)));
  store(edges[3], keep(drawn, clamp((p.v + reach[1] - half) * per_tile + one, zero, rows)));
}

// One Gaussian's box, key and slots (state.h), which are counted within its group. Positive floats sort like their bits.
A3D_INLINE void place(const Box& box, int64_t index, float* record, Binning& b, GroupTotals& totals) {
  const uint32_t across = box.right - box.left, down = box.bottom - box.top, slots = across * down;
  const uint32_t depth = field_bits(record, kZ), first = static_cast<uint32_t>(totals.hits);
  set_field_bits(record, kFirstSlot, first);
  set_field_bits(record, kSlots, slots);
  set_field_bits(record, kSlot, first - box.top * across - box.left);
  set_field_bits(record, kSlotsAcross, across);
  b.boxes.data()[index] = box;
  b.order[0].data()[index] = static_cast<uint64_t>(slots ? depth : kKeyOfNothing) << 32 | index;
  totals.hits += slots;
  totals.visible += slots != 0;
  totals.nearest = std::min(totals.nearest, slots ? depth : ~0u);
  totals.farthest = std::max(totals.farthest, slots ? depth : 0u);
}

// Sixteen Gaussians side by side in registers.
struct Sixteen {
  Vec mean[3], quat[4], scale[3], opacity, colour[3];
};

A3D_INLINE int lanes_from(const Gaussians& g, int64_t first) {
  return static_cast<int>(std::min<int64_t>(kLanes, g.count - first));
}

A3D_INLINE void load_sixteen(const Gaussians& g, int64_t first, Sixteen& block) {
  const int lanes = lanes_from(g, first);
  load_columns<3>(g.means + 3 * first, lanes, block.mean);
  load_columns<4>(g.quats + 4 * first, lanes, block.quat);
  load_columns<3>(g.scales + 3 * first, lanes, block.scale);
  load_columns<1>(g.opacities + first, lanes, &block.opacity);
  load_columns<3>(g.colours + 3 * first, lanes, block.colour);
}

A3D_INLINE void project_block(const Sixteen& g, const Pinhole& camera, const Grid& grid, int64_t first, int lanes,
                              float* records, Binning& b, GroupTotals& totals) {
  Vec reach[2];
  Projected<Vec> p;
  project(camera, g.mean, g.quat, g.scale, p);
  write_records(p, g.opacity, g.colour, lanes, reach, records + first * kRecord);
  alignas(64) float edges[4][kLanes];
  reached_tiles(p, is_drawn(p, g.mean, g.quat, g.scale, g.opacity, g.colour), reach, grid, edges);
  for (int lane = 0; lane < lanes; ++lane) {
    const Box box{static_cast<int>(edges[0][lane]), static_cast<int>(edges[1][lane]),
                  static_cast<int>(edges[2][lane]), static_cast<int>(edges[3][lane])};
    place(box, first + lane, records + (first + lane) * kRecord, b, totals);
  }
}

// Calls project(first, end, totals) for each group of Gaussians on all threads; what they come to is left in `b`.
template <class Project>
void bin_groups(int64_t count, Binning& b, Project&& project) {
  const int groups = groups_of(count);
  b.boxes.need(count);
  b.order[0].need(count);
  GroupTotals* totals = b.totals.need(groups);
  Pool::shared().run(groups, [&](int group, int) {
    GroupTotals mine;
    const int64_t first = static_cast<int64_t>(group) * kGroup;
    project(first, std::min(count, first + kGroup), mine);
    totals[group] = mine;
  });
  b.hits = b.visible = 0;
  b.nearest = ~0u, b.farthest = 0;
  for (int group = 0; group < groups; ++group) {
    b.hits += totals[group].hits;
    b.visible += totals[group].visible;
    b.nearest = std::min(b.nearest, totals[group].nearest);
    b.farthest = std::max(b.farthest, totals[group].farthest);
  }
}

inline void project_all(const Gaussians& g, const Pinhole& camera, const Grid& grid, float* records, Binning& b) {
  bin_groups(g.count, b, [&](int64_t first, int64_t end, GroupTotals& totals) {
    for (; first < end; first += kLanes) {
      Sixteen block;
      load_sixteen(g, first, block);
      project_block(block, camera, grid, first, lanes_from(g, first), records, b, totals);
    }
  });
}

// Least significant digit first, in as few equal digits as will do; nothing comes after everything.
inline void sort_by_depth(int64_t count, Binning& b) {
  constexpr int kMostBits = 12;
  if (!b.visible) return;
  uint64_t *order = b.order[0].data(), *to = b.order[1].need(count);
  const uint32_t low = b.nearest, all = b.farthest - low + (b.visible < count);
  const int bits = all ? 32 - __builtin_clz(all) : 0, rounds = (bits + kMostBits - 1) / kMostBits;
  const int digit_bits = rounds ? (bits + rounds - 1) / rounds : 0;
  for (int shift = 0; shift < bits; shift += digit_bits) {
    const uint32_t bins = 1u << digit_bits;
    const auto digit = [&](uint64_t x) {
      return std::min(static_cast<uint32_t>(x >> 32) - low, all) >> shift & (bins - 1);
    };
    uint32_t places[1 << kMostBits] = {};
    for (int64_t i = 0; i < count; ++i) ++places[digit(order[i])];
    uint32_t sum = 0;
    for (uint32_t bin = 0; bin < bins; ++bin) sum += std::exchange(places[bin], sum);
    for (int64_t i = 0; i < count; ++i) to[places[digit(order[i])]++] = order[i];
    std::swap(order, to);
  }
  if (order != b.order[0].data()) std::swap(b.order[0], b.order[1]);
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

inline void count_hits(const Grid& grid, const Parts& parts, Binning& b) {
  const int tiles = grid.tiles(), stride = parts.stride(grid);
  uint32_t* cursor = b.cursor.need(static_cast<size_t>(stride) * parts.count);
  Pool::shared().run(parts.count, [&](int part, int) {
    uint32_t* mine = cursor + static_cast<size_t>(part) * stride;
    std::fill(mine, mine + stride, 0u);
    for (int64_t i = parts.begin(part); i < parts.begin(part + 1); ++i) {
      for_each_tile(b.boxes.data()[b.sorted(i)], grid.columns, [&](int tile, bool used) { mine[tile] += used; });
    }
  });
  uint32_t hits = 0;
  for (int tile = 0; tile < tiles; ++tile) {
    for (int part = 0; part < parts.count; ++part) {
      hits += std::exchange(cursor[static_cast<size_t>(part) * stride + tile], hits);
    }
  }
}

inline void scatter_hits(const Grid& grid, const Parts& parts, Binning& b, State& state) {
  const int tiles = grid.tiles(), stride = parts.stride(grid);
  uint32_t* cursor = b.cursor.data();
  std::copy(cursor, cursor + tiles, state.tile_start);
  state.tile_start[tiles] = b.hits;
  Pool::shared().run(parts.count, [&](int part, int) {
    uint32_t* mine = cursor + static_cast<size_t>(part) * stride;
    uint32_t nowhere;
    for (int64_t i = parts.begin(part); i < parts.begin(part + 1); ++i) {
      const uint32_t id = b.sorted(i);
      for_each_tile(b.boxes.data()[id], grid.columns, [&](int tile, bool used) {
        *(used ? state.hits + mine[tile] : &nowhere) = id;
        mine[tile] += used;
      });
    }
  });
}

}  // namespace splat
}  // namespace avatar3d

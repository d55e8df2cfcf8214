// SPDX-License-Identifier: Apache-2.0
// One tile of the picture, backward: each block's list is replayed from far to near. Per pair only e = alpha dL/dalpha
// and w = alpha T are formed, and summed over pixels into moments (splat.h).
#pragma once

#include "splat/tile.h"

namespace avatar3d {
namespace splat {

struct UpstreamPlanes {
  const float *rgb, *alpha, *depth;  // [3,H,W] [H,W] [H,W]; each may be null, which means zero
};

enum Plane { kPlaneR, kPlaneG, kPlaneB, kPlaneAlpha, kPlaneDepth, kPlanes };

// Sends for the upstream gradients of one tile: they lie in many places, and the records are gathered meanwhile.
inline void prefetch_tile(const UpstreamPlanes& upstream, int tile, const Grid& grid) {
  const int x = tile % grid.columns * kTile, y = tile / grid.columns * kTile;
  const size_t pixels = static_cast<size_t>(grid.width) * grid.height;
  for (int row = y; row < std::min(y + kTile, grid.height); ++row) {
    const size_t at = static_cast<size_t>(row) * grid.width + x;
    for (int plane = 0; upstream.rgb && plane < 3; ++plane) __builtin_prefetch(upstream.rgb + plane * pixels + at);
    if (upstream.alpha) __builtin_prefetch(upstream.alpha + at);
    if (upstream.depth) __builtin_prefetch(upstream.depth + at);
  }
}

// The upstream gradients of one tile, zero beyond the picture.
inline void read_tile(const UpstreamPlanes& upstream, int tile, const Grid& grid, float* planes) {
  const int x = tile % grid.columns * kTile, y = tile / grid.columns * kTile;
  const int width = std::min(kTile, grid.width - x), height = std::min(kTile, grid.height - y);
  const size_t pixels = static_cast<size_t>(grid.width) * grid.height, corner = static_cast<size_t>(y) * grid.width + x;
  for (int plane = 0; plane < kPlanes; ++plane) {
    const float* whole = plane < 3 ? upstream.rgb : plane == kPlaneAlpha ? upstream.alpha : upstream.depth;
    const float* from = whole + (plane < 3 ? plane * pixels : 0) + corner;
    float* to = planes + plane * kTilePixels;
    if (!whole || width < kTile || height < kTile) std::fill(to, to + kTilePixels, 0.f);
    if (!whole) continue;
    for (int row = 0; row < height; ++row, from += grid.width, to += kTile) std::copy(from, from + width, to);
  }
}

// The pixels of a block are summed by multiplying broadcast rows of four pixels with constants, so that nothing is
// transposed. For e: over the rows of a block with 1, y, yy, 1, each in a quarter of a Vec; the columns of that as it is
// and times x, x, 0, xx are then summed. For w: with the upstream gradients, a plane in each quarter.
//
// x and y count from the centre of the Gaussian's home: the block of the tile that is nearest to its mean. From farther
// away, small second moments would be differences of large ones.
constexpr int kSteps = 7;  // from home to a block of the same tile: -3 .. 3 blocks
constexpr Field kHomeX = kFirstSlot, kHomeY = kSlots;  // in a tile's own copy of a record

struct PixelMoments {
  alignas(64) float row[kSteps][4][kLanes] = {}, column[kSteps][kLanes] = {};
  constexpr PixelMoments() {
    for (int step = 0; step < kSteps; ++step) {
      for (int i = 0; i < 4; ++i) {
        const float at = 4 * (step - kSteps / 2) + i - 1.5f;  // x or y
        const float along_y[4] = {1, at, at * at, 1}, along_x[4] = {at, at, 0, at * at};
        for (int k = 0; k < 4; ++k) {
          for (int x = 0; x < 4; ++x) row[step][i][4 * k + x] = along_y[k];
          column[step][4 * k + i] = along_x[k];
        }
      }
    }
  }
};
constexpr PixelMoments kPixelMoments;

A3D_INLINE int block_along(float distance_px) {
  return std::min(std::max(static_cast<int>(distance_px * 0.25f), 0), 3);  // whole numbers: no branches to mispredict
}

// Upstream gradients of a block's sixteen pixels: one Vec per plane, and one per row of pixels with the planes that
// weights are summed with.
struct BlockUpstream {
  Vec v[kPlanes], row[4];
  BlockUpstream() = default;
  explicit BlockUpstream(const float* tile_planes, int block) {
    const float* corner = tile_planes + (block >> 2) * 4 * kTile + 4 * (block & 3);
    const auto plane = [&](int which) { return corner + which * kTilePixels; };
    for (int k = 0; k < kPlanes; ++k) v[k] = load_block(plane(k), kTile);
    for (int y = 0; y < 4; ++y) {
      const int at = y * kTile;
      row[y] = from_quarters(plane(kPlaneR) + at, plane(kPlaneG) + at, plane(kPlaneB) + at, plane(kPlaneDepth) + at);
    }
  }
};

// Within each quarter: the sums of a, b, c and c.
A3D_INLINE Vec quarter_sums(Vec a, Vec b, Vec c) {
  const Vec ab = quarters_low(a, b) + quarters_high(a, b);  // a0+a2, b0+b2, a1+a3, b1+b3
  const Vec cc = c + swap_neighbours(c);                    // c0+c1 twice, c2+c3 twice
  return halves_low(ab, cc) + halves_high(ab, cc);
}

// kUnroll entries on their way from pixels to sums. They wait in memory while the next ones are worked on: the two have
// nothing to do with each other, and so hide each other's latencies.
struct Pending {
  alignas(64) float e[kUnroll][kLanes], w[kUnroll][kLanes];
  float* to[kUnroll];                    // the Gaussians' sums: in quarters 1 x r r, y xy g g, yy 0 b b, 1 xx z z
  const float (*rows[kUnroll])[kLanes];  // of kPixelMoments
  const float* columns[kUnroll];
  const BlockUpstream* up;
};

A3D_INLINE void add_pixels(const Pending& p) {
  Vec of_e[kUnroll], of_w[kUnroll];
  A3D_UNROLL of_e[j] = load_quarter(p.e[j]) * load(p.rows[j][0]);
  A3D_UNROLL of_w[j] = load_quarter(p.w[j]) * p.up->row[0];
#pragma GCC unroll 4
  for (int y = 1; y < 4; ++y) {
    A3D_UNROLL of_e[j] = muladd(load_quarter(p.e[j] + 4 * y), load(p.rows[j][y]), of_e[j]);
    A3D_UNROLL of_w[j] = muladd(load_quarter(p.w[j] + 4 * y), p.up->row[y], of_w[j]);
  }
  A3D_UNROLL store(p.to[j], load(p.to[j]) + quarter_sums(of_e[j], of_e[j] * load(p.columns[j]), of_w[j]));
}

// Nothing, to be added to `nowhere`: what is before the first.
inline void start(Pending& p, float* nowhere) {
  static const BlockUpstream none = {};
  for (int j = 0; j < kUnroll; ++j) {
    std::fill(p.e[j], p.e[j] + kLanes, 0.f);
    std::fill(p.w[j], p.w[j] + kLanes, 0.f);
    p.to[j] = nowhere;
    p.rows[j] = kPixelMoments.row[0];
    p.columns[j] = kPixelMoments.column[0];
  }
  p.up = &none;
}

// Where moments go: a row for each (tile, Gaussian) pair, see state.h.
struct HitMoments {
  float* rows;                  // [hits,10]
  const uint32_t* group_start;  // the first slot of each group of Gaussians

  float* row(uint32_t slot) const { return rows + static_cast<size_t>(slot) * kMoments; }
  uint32_t slot(const float* record, uint32_t gaussian, int tile, int columns) const {
    const uint32_t y = tile / columns, x = tile % columns;
    return group_start[gaussian / kGroup] + field_bits(record, kSlot) + y * field_bits(record, kSlotsAcross) + x;
  }
};

// From the sums of a Gaussian of a tile, about the centre of its home, to its moments about its own mean.
inline void write_moments(const float* r, const float* sum, Corner tile_corner, float* out) {
  const float ox = tile_corner.x + 4 * static_cast<int>(field_bits(r, kHomeX)) + 1.5f - r[kU];
  const float oy = tile_corner.y + 4 * static_cast<int>(field_bits(r, kHomeY)) + 1.5f - r[kV];
  const float all = sum[0], x = sum[1], y = sum[4], xy = sum[5], yy = sum[8], xx = sum[13];
  out[kSum] = all;
  out[kX] = x + ox * all;
  out[kY] = y + oy * all;
  out[kXX] = xx + ox * (ox * all + 2 * x);
  out[kXY] = xy + ox * y + oy * (ox * all + x);
  out[kYY] = yy + oy * (oy * all + 2 * y);
  for (int plane = 0; plane < 4; ++plane) out[kRed + plane] = sum[4 * plane + 2];
}

// light: T at the end of each pixel. With g = dL/d(colour, alpha, depth) . (c, 1, z) and u the sum of w g of everything
// behind: dL/dalpha = T g - u / (1 - alpha).
template <bool kWithDepth, bool kFinished>
A3D_INLINE void replay_block(const Entries& in, int block, Vec light, Vec last, const BlockUpstream& up, float* sums,
                             Pending*& now, Pending*& before) {
  const Vec px = load(kPixelX) + Vec(in.corner.x), py = load(kPixelY) + Vec(in.corner.y);
  const Vec fullest(kAlphaMax), one(1.f);
  Vec behind(0.f);
  const auto* rows = &kPixelMoments.row[kSteps / 2 + block / 4];
  const auto* columns = &kPixelMoments.column[kSteps / 2 + block % 4];
  for (int k = (in.count - 1) / kUnroll * kUnroll; k >= 0; k -= kUnroll) {
    const float* r[kUnroll];
    Vec raw[kUnroll], alpha[kUnroll], inverse[kUnroll], g[kUnroll];
    A3D_UNROLL {
      const size_t at = static_cast<size_t>(in.list[k + kUnroll - 1 - j]) * kRecord;
      r[j] = in.records + at;
      now->to[j] = sums + at;
      now->rows[j] = *(rows - field_bits(r[j], kHomeY));
      now->columns[j] = *(columns - field_bits(r[j], kHomeX));
    }
    now->up = &up;
    alphas(r, px, py, raw, alpha);
    if (kFinished) A3D_UNROLL alpha[j] = keep(last >= Vec(static_cast<float>(k + kUnroll - 1 - j)), alpha[j]);
    A3D_UNROLL inverse[j] = reciprocal(one - alpha[j]);
    A3D_UNROLL g[j] = muladd(Vec(r[j][kB]), up.v[kPlaneB], up.v[kPlaneAlpha]);
    A3D_UNROLL g[j] = muladd(Vec(r[j][kG]), up.v[kPlaneG], g[j]);
    A3D_UNROLL g[j] = muladd(Vec(r[j][kR]), up.v[kPlaneR], g[j]);
    if (kWithDepth) A3D_UNROLL g[j] = muladd(Vec(r[j][kZ]), up.v[kPlaneDepth], g[j]);
    A3D_UNROLL {
      light = light * inverse[j];
      const Vec weight = alpha[j] * light;
      const Vec d_alpha = light * g[j] - behind * inverse[j];
      behind = muladd(weight, g[j], behind);
      // a clamped alpha does not move
      store(now->e[j], keep(fullest >= raw[j], alpha[j] * d_alpha));
      store(now->w[j], weight);
    }
    add_pixels(*before);
    std::swap(now, before);
  }
}

// Brings the records of a tile side by side, as the forward pass did; the moments of those left out are zero.
A3D_INLINE void gather_again(const State& state, int tile, int columns, TileScratch& s, const HitMoments& out) {
  const int64_t first = state.tile_start[tile];
  uint32_t* slots = s.slots.need(state.tile_start[tile + 1] - first + 1);
  int n = 0;
  gather_records(state, tile, s, [&](int64_t hit, const float* record) {
    const uint32_t mask = state.masks[hit];
    slots[n] = out.slot(record, state.hits[hit], tile, columns);
    __builtin_prefetch(out.row(slots[n]), 1);
    if (!mask) std::fill_n(out.row(slots[n]), kMoments, 0.f);
    n += mask != 0;
    return mask;
  });
  list_blocks(s);
  const Corner corner(tile, 0, columns);
  for (int i = 0; i < s.count; ++i) {
    float* r = s.records.data() + static_cast<size_t>(i) * kRecord;
    set_field_bits(r, kHomeX, block_along(r[kU] - corner.x));
    set_field_bits(r, kHomeY, block_along(r[kV] - corner.y));
  }
  const size_t floats = static_cast<size_t>(s.count + 1) * kRecord;
  float* sums = s.sums.need(floats);
  std::fill(sums, sums + floats, 0.f);
}

// Writes the moments of each of the tile's Gaussians.
template <bool kWithDepth>
inline void replay_tile(int tile, const Grid& grid, const State& state, const UpstreamPlanes& upstream, TileScratch& s,
                        const HitMoments& out) {
  if (state.tile_start[tile] == state.tile_start[tile + 1]) return;
  prefetch_tile(upstream, tile, grid);
  gather_again(state, tile, grid.columns, s, out);
  alignas(64) float planes[kPlanes * kTilePixels];
  read_tile(upstream, tile, grid, planes);
  Pending pending[2], *now = pending, *before = pending + 1;
  start(*before, s.sums.data() + static_cast<size_t>(s.count) * kRecord);
  alignas(64) BlockUpstream ups[2];
  int used = 0;
  for (int block = 0; block < kBlocks; ++block) {
    if (!s.lengths[block]) continue;
    const size_t pixel = (static_cast<size_t>(tile) * kBlocks + block) * kLanes;
    const float* last = state.last + pixel;
    const Vec light = abs(load(state.light + pixel));
    BlockUpstream& up = ups[used++ % 2];
    up = BlockUpstream(planes, block);
    Entries in{s.records.data(), s.list(block), s.lengths[block], Corner(tile, block, grid.columns)};
    if (state.light[pixel] < 0) {
      in.count = std::min(in.count, static_cast<int>(*std::max_element(last, last + kLanes)) + 1);
      replay_block<kWithDepth, true>(in, block, light, load(last), up, s.sums.data(), now, before);
    } else {
      replay_block<kWithDepth, false>(in, block, light, light, up, s.sums.data(), now, before);
    }
  }
  add_pixels(*before);
  for (int i = 0; i < s.count; ++i) {
    const size_t at = static_cast<size_t>(i) * kRecord;
    write_moments(s.records.data() + at, s.sums.data() + at, Corner(tile, 0, grid.columns), out.row(s.slots.data()[i]));
  }
}

}  // namespace splat
}  // namespace avatar3d

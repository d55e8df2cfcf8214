// SPDX-License-Identifier: Apache-2.0
// One tile of the picture, forward: which Gaussian touches which 4x4 block, then front-to-back blending of each block.
#pragma once

#include <algorithm>

#include "simd.h"
#include "splat/splat.h"
#include "splat/state.h"

namespace avatar3d {
namespace splat {

// Entries are blended four at a time, step by step over all four, to hide latencies; eight would not fit the registers.
constexpr int kUnroll = 4;
#define A3D_UNROLL _Pragma("GCC unroll 4") for (int j = 0; j < kUnroll; ++j)

alignas(64) constexpr float kPixelX[kLanes] = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3};
alignas(64) constexpr float kPixelY[kLanes] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};

struct TileScratch {
  Buffer<float> records;    // [n+1,16] the tile's Gaussians side by side, then one that is invisible
  Buffer<uint32_t> masks;   // [n+16]
  Buffer<uint32_t> lists;   // [16 blocks, stride] places in `records`
  Buffer<float> moments;    // [n+1,16] backward only
  int lengths[kBlocks];
  size_t stride = 0;

  const uint32_t* list(int block) const { return lists.data() + block * stride; }
};

struct Planes {
  float *rgb, *alpha, *depth;  // [3,H,W] [H,W] [H,W]
};

// Top left pixel centre of a block.
struct Corner {
  float x, y;
  Corner(int tile, int block, int columns)
      : x(tile % columns * kTile + 4 * (block & 3) + 0.5f), y(tile / columns * kTile + 4 * (block >> 2) + 0.5f) {}
};

inline void gather_records(const State& state, int64_t first, int n, TileScratch& s) {
  float* records = s.records.need(static_cast<size_t>(n + 1) * kRecord);
  const Hit* hits = state.hits + first;
  const auto record = [&](int i) { return state.records + static_cast<size_t>(hits[i].gaussian) * kRecord; };
  for (int i = 0; i < n; ++i) {
    if (i + 8 < n) __builtin_prefetch(record(i + 8));
    store(records + static_cast<size_t>(i) * kRecord, load(record(i)));
  }
  store(records + static_cast<size_t>(n) * kRecord, Vec(0.f));
  records[static_cast<size_t>(n) * kRecord + kLog2O] = -1000.f;
}

// Lanes are blocks here. The largest alpha within a block's rectangle of pixel centres lies at the Gaussian's centre or
// on an edge that faces it: on the nearest column, at the ridge's height, or on the nearest row, at the ridge's place.
A3D_INLINE unsigned blocks_touched(const float* r, Vec left, Vec top) {
  const Vec x0 = left - Vec(r[kU]), x1 = x0 + Vec(3.f), y0 = top - Vec(r[kV]), y1 = y0 + Vec(3.f), zero(0.f);
  const Vec xx(r[kQxx]), xy(r[kQxy]), yy(r[kQyy]);
  const Vec near_x = clamp(zero, x0, x1), near_y = clamp(zero, y0, y1);
  const Vec at_column = log2_alpha(near_x, clamp(Vec(r[kToY]) * near_x, y0, y1), xx, xy, yy, zero);
  const Vec at_row = log2_alpha(clamp(Vec(r[kToX]) * near_y, x0, x1), near_y, xx, xy, yy, zero);
  const float slack = 1e-3f;  // rounding must not lose a pixel
  return bits(max(at_column, at_row) >= Vec(kLog2AlphaMin - slack - r[kLog2O]));
}

inline void find_blocks(int tile, int columns, int n, TileScratch& s) {
  alignas(64) float left[kLanes], top[kLanes];
  for (int block = 0; block < kBlocks; ++block) {
    const Corner corner(tile, block, columns);
    left[block] = corner.x;
    top[block] = corner.y;
  }
  const Vec x = load(left), y = load(top);
  uint32_t* masks = s.masks.need(n + kLanes);
  for (int i = 0; i < n; ++i) masks[i] = blocks_touched(s.records.data() + static_cast<size_t>(i) * kRecord, x, y);
}

// From masks per Gaussian to one list per block, near to far, each filled up with the invisible Gaussian.
inline void list_blocks(int n, TileScratch& s) {
  std::fill(s.masks.data() + n, s.masks.data() + n + kLanes, 0u);
  s.stride = (static_cast<size_t>(n) + 2 * kLanes + kUnroll) / kLanes * kLanes + kLanes;
  uint32_t* lists = s.lists.need(s.stride * kBlocks + kLanes);
  lists_by_bit(s.masks.data(), n, lists, s.stride, s.lengths);
  for (int block = 0; block < kBlocks; ++block) {
    std::fill_n(lists + block * s.stride + s.lengths[block], kUnroll, static_cast<uint32_t>(n));
  }
}

// Alpha, not yet limited, of four entries at sixteen pixels.
A3D_INLINE void alphas(const float* const* r, Vec px, Vec py, Vec* alpha) {
  Vec dx[kUnroll], dy[kUnroll];
  A3D_UNROLL dx[j] = px - Vec(r[j][kU]);
  A3D_UNROLL dy[j] = py - Vec(r[j][kV]);
  A3D_UNROLL alpha[j] = log2_alpha(dx[j], dy[j], Vec(r[j][kQxx]), Vec(r[j][kQxy]), Vec(r[j][kQyy]), Vec(r[j][kLog2O]));
  exp2_each<kUnroll>(alpha);
}

struct Blended {
  Vec light, red, green, blue, depth, last;
};

A3D_INLINE Blended blend_block(const float* records, const uint32_t* list, int n, Corner corner) {
  const Vec px = load(kPixelX) + Vec(corner.x), py = load(kPixelY) + Vec(corner.y);
  const Vec faintest(kAlphaMin), fullest(kAlphaMax), stop(kStop), one(1.f), zero(0.f);
  Blended out{one, zero, zero, zero, zero, Vec(-1.f)};
  Vec light = one, place = zero;  // `light` runs on past the end of a pixel, which keeps masks off the carried chain
  for (int k = 0; k < n; k += kUnroll) {
    const float* r[kUnroll];
    Vec alpha[kUnroll];
    Mask seen[kUnroll], live;
    A3D_UNROLL r[j] = records + static_cast<size_t>(list[k + j]) * kRecord;
    alphas(r, px, py, alpha);
    A3D_UNROLL alpha[j] = min(alpha[j], fullest);
    A3D_UNROLL seen[j] = alpha[j] >= faintest;
    A3D_UNROLL alpha[j] = keep(seen[j], alpha[j]);
    A3D_UNROLL {
      const Vec weight = alpha[j] * light;
      light = negmuladd(alpha[j], light, light);
      live = light > stop;
      const Mask drawn = live & seen[j];
      out.red = muladd_where(drawn, weight, Vec(r[j][kR]), out.red);
      out.green = muladd_where(drawn, weight, Vec(r[j][kG]), out.green);
      out.blue = muladd_where(drawn, weight, Vec(r[j][kB]), out.blue);
      out.depth = muladd_where(drawn, weight, Vec(r[j][kZ]), out.depth);
      out.light = select(live, light, out.light);
      out.last = select(drawn, place, out.last);
      place = place + one;
    }
    if (!any(live)) break;
  }
  return out;
}

// Copies a tile's planes into the picture, cut at its right and lower edge.
inline void write_tile(const float* planes, int tile, const Grid& grid, const Planes& out) {
  const int x = tile % grid.columns * kTile, y = tile / grid.columns * kTile;
  const int width = std::min(kTile, grid.width - x), height = std::min(kTile, grid.height - y);
  const size_t pixels = static_cast<size_t>(grid.width) * grid.height, corner = static_cast<size_t>(y) * grid.width + x;
  float* const targets[5] = {out.rgb, out.rgb + pixels, out.rgb + 2 * pixels, out.alpha, out.depth};
  for (int plane = 0; plane < 5; ++plane) {
    const float* from = planes + plane * kTilePixels;
    float* to = targets[plane] + corner;
    for (int row = 0; row < height; ++row, from += kTile, to += grid.width) {
      if (width == kTile) {
        store(to, load(from));
      } else {
        std::copy(from, from + width, to);
      }
    }
  }
}

inline void draw_tile(int tile, const Grid& grid, const State& state, bool keep_state, TileScratch& s,
                      const Planes& out) {
  const int64_t first = state.tile_start[tile];
  const int n = static_cast<int>(state.tile_start[tile + 1] - first);
  gather_records(state, first, n, s);
  find_blocks(tile, grid.columns, n, s);
  list_blocks(n, s);
  for (int i = 0; keep_state && i < n; ++i) state.hits[first + i].mask = s.masks.data()[i];
  alignas(64) float planes[5 * kTilePixels];
  for (int block = 0; block < kBlocks; ++block) {
    const Blended b = blend_block(s.records.data(), s.list(block), s.lengths[block], Corner(tile, block, grid.columns));
    float* at = planes + (block >> 2) * 4 * kTile + 4 * (block & 3);
    store_block(at, kTile, b.red);
    store_block(at + kTilePixels, kTile, b.green);
    store_block(at + 2 * kTilePixels, kTile, b.blue);
    store_block(at + 3 * kTilePixels, kTile, Vec(1.f) - b.light);
    store_block(at + 4 * kTilePixels, kTile, b.depth);
    if (keep_state) {
      const size_t pixel = (static_cast<size_t>(tile) * kBlocks + block) * kLanes;
      store(state.light + pixel, b.light);
      store(state.last + pixel, b.last);
    }
  }
  write_tile(planes, tile, grid, out);
}

}  // namespace splat
}  // namespace avatar3d

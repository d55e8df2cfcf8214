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
  Buffer<float> sums;       // [n+1,16] backward only
  Buffer<uint32_t> slots;   // [n] backward only
  int count = 0;            // n: Gaussians of this tile that touch any of its blocks
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

// Lanes are blocks here; see peak_in_rectangle.
A3D_INLINE unsigned blocks_touched(const float* r, Vec left, Vec top) {
  const Vec x0 = left - Vec(r[kU]), x1 = x0 + Vec(3.f), y0 = top - Vec(r[kV]), y1 = y0 + Vec(3.f);
  const Vec peak = peak_in_rectangle(x0, x1, y0, y1, Vec(r[kQxx]), Vec(r[kQxy]), Vec(r[kQyy]), Vec(r[kToX]), Vec(r[kToY]));
  const float slack = 1e-3f;  // rounding must not lose a pixel
  return bits(peak >= Vec(kLog2AlphaMin - slack - r[kLog2O]));
}

// The records of a tile's hits on their way into the cache, well ahead of their use and on into the next tile.
A3D_INLINE void prefetch_record(const State& state, int64_t hit) {
  constexpr int kAhead = 48;
  const int64_t ahead = std::min(hit + kAhead, state.hit_count - 1);
  __builtin_prefetch(state.records + static_cast<size_t>(state.hits[ahead]) * kRecord);
}

// Brings the records of a tile side by side, with a mask of blocks for each: what `mask_of(hit, record)` says. Those
// that touch no block are left out, as boxes around ellipses are generous.
template <class MaskOf>
A3D_INLINE void gather_records(const State& state, int tile, TileScratch& s, MaskOf&& mask_of) {
  const int64_t first = state.tile_start[tile], end = state.tile_start[tile + 1];
  float* records = s.records.need(static_cast<size_t>(end - first + 1) * kRecord);
  uint32_t* masks = s.masks.need(end - first + kLanes);
  int n = 0;
  for (int64_t i = first; i < end; ++i) {
    prefetch_record(state, i);
    const float* record = state.records + static_cast<size_t>(state.hits[i]) * kRecord;
    const uint32_t mask = mask_of(i, record);
    store(records + static_cast<size_t>(n) * kRecord, load(record));
    masks[n] = mask;
    n += mask != 0;
  }
  s.count = n;
  store(records + static_cast<size_t>(n) * kRecord, Vec(0.f));
  records[static_cast<size_t>(n) * kRecord + kLog2O] = -1000.f;
}

// From masks per Gaussian to one list per block, near to far, each filled up with the invisible Gaussian.
inline void list_blocks(TileScratch& s) {
  const int n = s.count;
  std::fill(s.masks.data() + n, s.masks.data() + n + kLanes, 0u);
  s.stride = (static_cast<size_t>(n) + 2 * kLanes + kUnroll) / kLanes * kLanes + kLanes;
  uint32_t* lists = s.lists.need(s.stride * kBlocks + kLanes);
  lists_by_bit(s.masks.data(), n, lists, s.stride, s.lengths);
  for (int block = 0; block < kBlocks; ++block) {
    std::fill_n(lists + block * s.stride + s.lengths[block], kUnroll, static_cast<uint32_t>(n));
  }
}

// Alpha of four entries at sixteen pixels, 0 where it is too faint; `raw` is not yet limited.
A3D_INLINE void alphas(const float* const* r, Vec px, Vec py, Vec* raw, Vec* alpha) {
  const Vec faintest(kAlphaMin), fullest(kAlphaMax);
  Vec dx[kUnroll], dy[kUnroll];
  A3D_UNROLL dx[j] = px - Vec(r[j][kU]);
  A3D_UNROLL dy[j] = py - Vec(r[j][kV]);
  A3D_UNROLL raw[j] = log2_alpha(dx[j], dy[j], Vec(r[j][kQxx]), Vec(r[j][kQxy]), Vec(r[j][kQyy]), Vec(r[j][kLog2O]));
  exp2_each<kUnroll>(raw);
  A3D_UNROLL alpha[j] = min_where(raw[j] >= faintest, raw[j], fullest);
}

struct Blended {
  Vec light, red, green, blue, depth, last;
  bool finished;  // whether any pixel is
};

struct Entries {
  const float* records;
  const uint32_t* list;
  int count;
  Corner corner;
};

// The rest of a block, from entry k on, once a pixel is finished: `light` runs on past the end of a pixel, which keeps
// masks off the carried chain.
inline void blend_finishing(const Entries& in, int k, Blended& out) {
  const Vec px = load(kPixelX) + Vec(in.corner.x), py = load(kPixelY) + Vec(in.corner.y);
  const Vec stop(kStop), one(1.f);
  Vec light = out.light, place(static_cast<float>(k));
  out.last = place - one;
  out.finished = true;
  for (; k < in.count; k += kUnroll) {
    const float* r[kUnroll];
    Vec raw[kUnroll], alpha[kUnroll];
    Mask live;
    A3D_UNROLL r[j] = in.records + static_cast<size_t>(in.list[k + j]) * kRecord;
    alphas(r, px, py, raw, alpha);
    A3D_UNROLL {
      const Vec weight = alpha[j] * light;
      light = negmuladd(alpha[j], light, light);
      live = light > stop;
      out.red = muladd_where(live, weight, Vec(r[j][kR]), out.red);
      out.green = muladd_where(live, weight, Vec(r[j][kG]), out.green);
      out.blue = muladd_where(live, weight, Vec(r[j][kB]), out.blue);
      out.depth = muladd_where(live, weight, Vec(r[j][kZ]), out.depth);
      out.light = select(live, light, out.light);
      out.last = select(live, place, out.last);
      place = place + one;
    }
    if (!any(live)) break;
  }
}

// Few pixels are ever finished: until one is, nothing needs a mask.
A3D_INLINE Blended blend_block(const Entries& in) {
  const Vec px = load(kPixelX) + Vec(in.corner.x), py = load(kPixelY) + Vec(in.corner.y);
  const Vec stop(kStop), zero(0.f);
  Blended out{Vec(1.f), zero, zero, zero, zero, zero, false};
  for (int k = 0; k < in.count; k += kUnroll) {
    const float* r[kUnroll];
    Vec raw[kUnroll], alpha[kUnroll], light[kUnroll + 1];
    A3D_UNROLL r[j] = in.records + static_cast<size_t>(in.list[k + j]) * kRecord;
    alphas(r, px, py, raw, alpha);
    light[0] = out.light;
    A3D_UNROLL light[j + 1] = negmuladd(alpha[j], light[j], light[j]);
    if (any(stop >= light[kUnroll])) {
      blend_finishing(in, k, out);
      break;
    }
    A3D_UNROLL alpha[j] = alpha[j] * light[j];
    A3D_UNROLL {
      out.red = muladd(alpha[j], Vec(r[j][kR]), out.red);
      out.green = muladd(alpha[j], Vec(r[j][kG]), out.green);
      out.blue = muladd(alpha[j], Vec(r[j][kB]), out.blue);
      out.depth = muladd(alpha[j], Vec(r[j][kZ]), out.depth);
    }
    out.light = light[kUnroll];
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

// Lanes of `left` and `top` are a tile's blocks.
A3D_INLINE void block_corners(int tile, int columns, Vec& left, Vec& top) {
  alignas(64) float x[kBlocks], y[kBlocks];
  for (int block = 0; block < kBlocks; ++block) {
    const Corner corner(tile, block, columns);
    x[block] = corner.x;
    y[block] = corner.y;
  }
  left = load(x);
  top = load(y);
}

// What the backward pass needs of a block's pixels.
A3D_INLINE void keep_block(const Blended& b, const State& state, int tile, int block) {
  const size_t pixel = (static_cast<size_t>(tile) * kBlocks + block) * kLanes;
  store(state.light + pixel, b.finished ? -b.light : b.light);
  store(state.last + pixel, b.last);
}

// `write(planes)` takes red, green, blue, alpha and depth of the tile's pixels, [5,16,16].
template <class Write>
void draw_tile(int tile, const Grid& grid, const State& state, TileScratch& s, Write&& write) {
  Vec left, top;
  block_corners(tile, grid.columns, left, top);
  gather_records(state, tile, s, [&](int64_t hit, const float* record) {
    const uint32_t mask = blocks_touched(record, left, top);
    if (state.masks) state.masks[hit] = mask;
    return mask;
  });
  list_blocks(s);
  alignas(64) float planes[5 * kTilePixels];
  for (int block = 0; block < kBlocks; ++block) {
    const Corner corner(tile, block, grid.columns);
    const Blended b = blend_block({s.records.data(), s.list(block), s.lengths[block], corner});
    float* at = planes + (block >> 2) * 4 * kTile + 4 * (block & 3);
    store_block(at, kTile, b.red);
    store_block(at + kTilePixels, kTile, b.green);
    store_block(at + 2 * kTilePixels, kTile, b.blue);
    store_block(at + 3 * kTilePixels, kTile, Vec(1.f) - b.light);
    store_block(at + 4 * kTilePixels, kTile, b.depth);
    if (state.light) keep_block(b, state, tile, block);
  }
  write(planes);
}

}  // namespace splat
}  // namespace avatar3d

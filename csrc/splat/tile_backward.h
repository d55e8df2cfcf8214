// SPDX-License-Identifier: Apache-2.0
// One tile of the picture, backward: each block's list is replayed from far to near. Per pair only e = alpha dL/dalpha
// and w = alpha T are formed; sixteen Gaussians at a time they are turned into moments (splat.h).
#pragma once

#include "splat/tile.h"

namespace avatar3d {
namespace splat {

struct UpstreamPlanes {
  const float *rgb, *alpha, *depth;  // [3,H,W] [H,W] [H,W]; each may be null, which means zero
};

enum Plane { kPlaneR, kPlaneG, kPlaneB, kPlaneAlpha, kPlaneDepth, kPlanes };

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

// Upstream gradients of a block's sixteen pixels, as vectors and as numbers.
struct BlockUpstream {
  Vec v[kPlanes];
  alignas(64) float at[kPlanes][kLanes];
  explicit BlockUpstream(const float* tile_planes, int block) {
    const float* corner = tile_planes + (block >> 2) * 4 * kTile + 4 * (block & 3);
    for (int plane = 0; plane < kPlanes; ++plane) {
      v[plane] = load_block(corner + plane * kTilePixels, kTile);
      store(at[plane], v[plane]);
    }
  }
};

// Sixteen entries on their way from pixels to moments.
struct Batch {
  Vec e[kLanes], w[kLanes];
  alignas(64) uint32_t entry[kLanes];
  int size = 0;
};

// Sums of e times 1, x, y, xx, xy, yy over the 4x4 pixels, x and y from the block's centre, by adding what is opposite
// first. e[4y+x] holds pixel (x, y) of sixteen Gaussians.
A3D_INLINE void block_moments(const Vec* e, Vec* m) {
  const Vec near(0.5f), far(1.5f), near2(0.25f), far2(2.25f);
  Vec sum[4], x[4], xx[4];
#pragma GCC unroll 4
  for (int y = 0; y < 4; ++y) {
    const Vec *row = e + 4 * y, outer = row[0] + row[3], inner = row[1] + row[2];
    sum[y] = outer + inner;
    x[y] = muladd(far, row[3] - row[0], near * (row[2] - row[1]));
    xx[y] = muladd(far2, outer, near2 * inner);
  }
  m[kSum] = (sum[0] + sum[3]) + (sum[1] + sum[2]);
  m[kY] = muladd(far, sum[3] - sum[0], near * (sum[2] - sum[1]));
  m[kYY] = muladd(far2, sum[0] + sum[3], near2 * (sum[1] + sum[2]));
  m[kX] = (x[0] + x[3]) + (x[1] + x[2]);
  m[kXY] = muladd(far, x[3] - x[0], near * (x[2] - x[1]));
  m[kXX] = (xx[0] + xx[3]) + (xx[1] + xx[2]);
}

// Moments about a centre that lies at (-ox, -oy) of the present one.
A3D_INLINE void shift_moments(Vec ox, Vec oy, Vec* m) {
  m[kXX] = muladd(ox, muladd(ox, m[kSum], m[kX] + m[kX]), m[kXX]);
  m[kYY] = muladd(oy, muladd(oy, m[kSum], m[kY] + m[kY]), m[kYY]);
  m[kXY] = muladd(ox, m[kY], muladd(oy, muladd(ox, m[kSum], m[kX]), m[kXY]));
  m[kX] = muladd(ox, m[kSum], m[kX]);
  m[kY] = muladd(oy, m[kSum], m[kY]);
}

template <bool kWithDepth>
A3D_INLINE void flush(Batch& batch, const float* records, float* moments, Corner corner, const BlockUpstream& up) {
  alignas(64) float u[kLanes], v[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    if (i >= batch.size) {
      batch.e[i] = batch.w[i] = Vec(0.f);
      batch.entry[i] = batch.entry[0];
    }
    u[i] = records[static_cast<size_t>(batch.entry[i]) * kRecord + kU];
    v[i] = records[static_cast<size_t>(batch.entry[i]) * kRecord + kV];
  }
  Vec m[kLanes];
  transpose(batch.e);
  block_moments(batch.e, m);
  shift_moments(Vec(corner.x + 1.5f) - load(u), Vec(corner.y + 1.5f) - load(v), m);
  transpose(batch.w);
  constexpr int kSums = kWithDepth ? 4 : 3;
  constexpr int kFrom[4] = {kPlaneR, kPlaneG, kPlaneB, kPlaneDepth};
  Vec even[4] = {Vec(0.f), Vec(0.f), Vec(0.f), Vec(0.f)}, odd[4] = {Vec(0.f), Vec(0.f), Vec(0.f), Vec(0.f)};
#pragma GCC unroll 8
  for (int p = 0; p < kLanes; p += 2) {
#pragma GCC unroll 4
    for (int k = 0; k < kSums; ++k) {
      even[k] = muladd(batch.w[p], Vec(up.at[kFrom[k]][p]), even[k]);
      odd[k] = muladd(batch.w[p + 1], Vec(up.at[kFrom[k]][p + 1]), odd[k]);
    }
  }
  for (int k = 0; k < 4; ++k) m[kRed + k] = even[k] + odd[k];
  for (int k = kMoments; k < kLanes; ++k) m[k] = Vec(0.f);
  transpose(m);
  for (int i = 0; i < batch.size; ++i) {
    float* to = moments + static_cast<size_t>(batch.entry[i]) * kRecord;
    store(to, load(to) + m[i]);
  }
  batch.size = 0;
}

// light: T at the end of each pixel. With g = dL/d(colour, alpha, depth) . (c, 1, z) and u the sum of w g of everything
// behind: dL/dalpha = T g - u / (1 - alpha).
template <bool kWithDepth>
A3D_INLINE void replay_block(const float* records, float* moments, const uint32_t* list, Corner corner, Vec light,
                             Vec last, int n, const BlockUpstream& up) {
  const Vec px = load(kPixelX) + Vec(corner.x), py = load(kPixelY) + Vec(corner.y);
  const Vec faintest(kAlphaMin), fullest(kAlphaMax), one(1.f);
  Vec behind(0.f);
  Batch batch;
  for (int k = (n - 1) / kUnroll * kUnroll; k >= 0; k -= kUnroll) {
    const float* r[kUnroll];
    Vec raw[kUnroll], alpha[kUnroll], inverse[kUnroll], g[kUnroll];
    A3D_UNROLL r[j] = records + static_cast<size_t>(list[k + kUnroll - 1 - j]) * kRecord;
    alphas(r, px, py, raw);
    A3D_UNROLL alpha[j] = min(raw[j], fullest);
    A3D_UNROLL alpha[j] =
        keep((alpha[j] >= faintest) & (last >= Vec(static_cast<float>(k + kUnroll - 1 - j))), alpha[j]);
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
      batch.e[batch.size + j] = keep(fullest >= raw[j], alpha[j] * d_alpha);
      batch.w[batch.size + j] = weight;
      batch.entry[batch.size + j] = list[k + kUnroll - 1 - j];
    }
    batch.size += kUnroll;
    if (batch.size == kLanes) flush<kWithDepth>(batch, records, moments, corner, up);
  }
  if (batch.size) flush<kWithDepth>(batch, records, moments, corner, up);
}

template <bool kWithDepth>
inline void replay_tile(int tile, const Grid& grid, const State& state, const UpstreamPlanes& upstream, TileScratch& s,
                        float* moments_out) {
  const int64_t first = state.tile_start[tile];
  const int n = static_cast<int>(state.tile_start[tile + 1] - first);
  if (!n) return;
  gather_records(state, first, n, s);
  uint32_t* masks = s.masks.need(n + kLanes);
  for (int i = 0; i < n; ++i) masks[i] = state.hits[first + i].mask;
  list_blocks(n, s);
  float* moments = s.moments.need(static_cast<size_t>(n + 1) * kRecord);
  std::fill(moments, moments + static_cast<size_t>(n + 1) * kRecord, 0.f);
  alignas(64) float planes[kPlanes * kTilePixels];
  read_tile(upstream, tile, grid, planes);
  for (int block = 0; block < kBlocks; ++block) {
    const size_t pixel = (static_cast<size_t>(tile) * kBlocks + block) * kLanes;
    const float* last = state.last + pixel;
    const int drawn = static_cast<int>(*std::max_element(last, last + kLanes)) + 1;
    if (!drawn) continue;
    const BlockUpstream up(planes, block);
    replay_block<kWithDepth>(s.records.data(), moments, s.list(block), Corner(tile, block, grid.columns),
                             load(state.light + pixel), load(last), drawn, up);
  }
  for (int i = 0; i < n; ++i) {
    float* to = moments_out + static_cast<size_t>(state.hits[first + i].gaussian) * kRecord;
    store(to, load(to) + load(moments + static_cast<size_t>(i) * kRecord));
  }
}

}  // namespace splat
}  // namespace avatar3d

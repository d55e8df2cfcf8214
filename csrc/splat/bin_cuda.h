// SPDX-License-Identifier: Apache-2.0
// CUDA, first half of a picture: from Gaussians to unsorted tile lists. A batch of images is one long row of cells, image
// after image, tile after tile; counts, places and lists are per cell.
#pragma once

#include "cuda/cuda.h"
#include "splat/splat.h"

namespace avatar3d {
namespace splat {

using cuda::kAllLanes;
using cuda::kThreads;
using cuda::kWarp;
using Key = unsigned long long;  // depth's bits above the Gaussian's number: sorts near to far, ties by number

constexpr int kTile = 16;       // px
constexpr int kAlone = 16;      // tiles that one thread looks through; beyond, its warp helps
constexpr int kMomentRow = 12;  // floats of moments per Gaussian, in pieces of 16 bytes
constexpr float kSlack = 1e-3f;  // of log2(alpha): rounding must not lose a pixel

enum Row { kMeans, kQuats, kScales, kOpacities, kColours, kRows };
A3D_MATHS int width_of(int row) { return row == kQuats ? 4 : row == kOpacities ? 1 : 3; }

// B images of one size. Each row [B,N,..] may be shared by all of them: [N,..], with a stride of 0.
struct Batch {
  const float* rows[kRows];
  int64_t stride[kRows];  // floats from image to image
  const float *cam_from_world, *K;  // [B,4,4] [B,3,3]
  int64_t count;
  int images, width, height, columns, tiles;

  __host__ __device__ int64_t cells() const { return static_cast<int64_t>(images) * tiles; }
  __host__ __device__ int64_t pixels() const { return static_cast<int64_t>(width) * height; }
  __host__ __device__ const float* row(Row which, int image, int64_t i) const {
    return rows[which] + image * stride[which] + i * width_of(which);
  }
  __host__ __device__ Pinhole camera(int image) const {
    return pinhole(cam_from_world + 16 * image, K + 9 * image, width, height);
  }
};

// A projected Gaussian as the blending loop wants it: see Field in state.h. Three loads of 16 bytes.
struct alignas(16) Record {
  float u, v, xx, xy;
  float yy, log2_opacity, to_x, to_y;
  float red, green, blue, z;
};

// Tiles, right and bottom excluded; empty where a Gaussian is not drawn.
struct alignas(8) TileBox {
  uint16_t left, right, top, bottom;
  __host__ __device__ int area() const { return (right - left) * (bottom - top); }
};

struct Source {
  float mean[3], quat[4], scale[3], opacity, colour[3];
};

__device__ inline Source source_at(const Batch& batch, int image, int64_t i) {
  Source s;
  for (int k = 0; k < 3; ++k) s.mean[k] = batch.row(kMeans, image, i)[k];
  for (int k = 0; k < 4; ++k) s.quat[k] = batch.row(kQuats, image, i)[k];
  for (int k = 0; k < 3; ++k) s.scale[k] = batch.row(kScales, image, i)[k];
  s.opacity = *batch.row(kOpacities, image, i);
  for (int k = 0; k < 3; ++k) s.colour[k] = batch.row(kColours, image, i)[k];
  return s;
}

__device__ inline Record record_of(const Projected<float>& p, const float* colour, float log2_opacity) {
  return {p.u, p.v, p.conic.xx * (-0.5f * kLog2E), p.conic.xy * -kLog2E,
          p.conic.yy * (-0.5f * kLog2E), log2_opacity, -(p.conic.xy / p.conic.xx), -(p.conic.xy / p.conic.yy),
          colour[0], colour[1], colour[2], p.cam[2]};
}

// The tiles with a pixel centre within reach.
__device__ inline TileBox box_of(const Projected<float>& p, const float* reach, int columns, int rows) {
  const float per_tile = 1.f / kTile, wide = static_cast<float>(columns), tall = static_cast<float>(rows);
  return {static_cast<uint16_t>(clamp((p.u - reach[0] - 0.5f) * per_tile, 0.f, wide)),
          static_cast<uint16_t>(clamp((p.u + reach[0] - 0.5f) * per_tile + 1.f, 0.f, wide)),
          static_cast<uint16_t>(clamp((p.v - reach[1] - 0.5f) * per_tile, 0.f, tall)),
          static_cast<uint16_t>(clamp((p.v + reach[1] - 0.5f) * per_tile + 1.f, 0.f, tall))};
}

// Projects one Gaussian, writes its record, and returns the tiles it may touch.
__device__ inline TileBox place_gaussian(const Batch& batch, const Pinhole& camera, const Source& s, Record& record) {
  Projected<float> p;
  project(camera, s.mean, s.quat, s.scale, p);
  if (!is_drawn(p, s.mean, s.quat, s.scale, s.opacity, s.colour)) return {0, 0, 0, 0};
  const float log2_opacity = log2(s.opacity);
  float reach[2];
  reach_of(p, log2_opacity, reach);
  record = record_of(p, s.colour, log2_opacity);
  return box_of(p, reach, batch.columns, batch.tiles / batch.columns);
}

// Whether alpha reaches 1/255 at a pixel centre of the rectangle whose first centre is (left, top).
__device__ inline bool touches(const Record& r, float left, float top, float width, float height) {
  const float x0 = left - r.u, y0 = top - r.v;
  const float peak = peak_in_rectangle(x0, x0 + width, y0, y0 + height, r.xx, r.xy, r.yy, r.to_x, r.to_y);
  return peak >= kLog2AlphaMin - kSlack - r.log2_opacity;
}

__device__ inline bool touches_tile(const Record& r, int x, int y) {
  return touches(r, kTile * x + 0.5f, kTile * y + 0.5f, kTile - 1.f, kTile - 1.f);
}

__device__ inline Record record_of_lane(const Record& r, int from) {
  const auto its = [=](float field) { return __shfl_sync(kAllLanes, field, from); };
  return {its(r.u), its(r.v), its(r.xx), its(r.xy), its(r.yy), its(r.log2_opacity), its(r.to_x), its(r.to_y),
          0.f,      0.f,      0.f,       0.f};
}

// Calls visit(tile, key) for every tile that a Gaussian touches. All lanes of the warp call it, each with its own
// Gaussian; those with many tiles are looked through by the whole warp, or one thread would keep 31 waiting.
template <class Visit>
__device__ inline void for_each_tile(const Record& mine, const TileBox& box, Key key, int columns, Visit&& visit) {
  const int area = box.area();
  if (area <= kAlone) {
    for (int y = box.top; y < box.bottom; ++y) {
      for (int x = box.left; x < box.right; ++x) {
        if (touches_tile(mine, x, y)) visit(y * columns + x, key);
      }
    }
  }
  for (unsigned large = __ballot_sync(kAllLanes, area > kAlone); large; large &= large - 1) {
    const int from = __ffs(large) - 1;
    const Record r = record_of_lane(mine, from);
    const Key its_key = __shfl_sync(kAllLanes, key, from);
    const int left = __shfl_sync(kAllLanes, static_cast<int>(box.left), from);
    const int top = __shfl_sync(kAllLanes, static_cast<int>(box.top), from);
    const int wide = __shfl_sync(kAllLanes, box.right - box.left, from);
    const int its_area = __shfl_sync(kAllLanes, area, from);
    for (int k = cuda::lane(); k < its_area; k += kWarp) {
      const int x = left + k % wide, y = top + k / wide;
      if (touches_tile(r, x, y)) visit(y * columns + x, its_key);
    }
  }
}

__device__ inline Key key_of(const Record& record, int64_t i) {
  return static_cast<Key>(__float_as_uint(record.z)) << 32 | static_cast<Key>(i);
}
__device__ inline uint32_t gaussian_of(Key key) { return static_cast<uint32_t>(key); }

// starts[c] = sum of counts before c, starts[cells] = all; `cursor` [cells] gets a copy for the filling of the lists.
Status scan_cells(const unsigned* counts, int64_t cells, int64_t* starts, Key* cursor, void* stream);

}  // namespace splat
}  // namespace avatar3d

extern "C" {

// B images of one size. `own` says which rows are [B,N,..]; the others are [N,..], the same for all images.
struct A3dCudaScene {
  const float *means, *quats, *scales, *opacities, *colours;  // [B,N,3] [B,N,4] wxyz [B,N,3] [B,N] [B,N,3]
  const float *cam_from_world, *K;                            // [B,4,4] [B,3,3]
  int64_t count;
  int32_t images, width, height;
  uint32_t own;  // bit 0: means ... bit 4: colours
};
}

namespace avatar3d {
namespace splat {

// kTooLarge: more than the lists or the launches can count.
inline Status batch_from_scene(const A3dCudaScene& s, Batch& b) {
  constexpr int64_t most = 0x7fffffff;
  b = {{s.means, s.quats, s.scales, s.opacities, s.colours}, {}, s.cam_from_world, s.K, s.count, s.images, s.width,
       s.height, (s.width + kTile - 1) / kTile, 0};
  const int64_t rows = (s.height + kTile - 1) / kTile;
  for (int row = 0; row < kRows; ++row) b.stride[row] = s.own >> row & 1 ? s.count * width_of(row) : 0;
  if (b.columns > 0xffff || rows > 0xffff || s.images > 0xffff || s.count > most) return kTooLarge;
  if (b.columns * rows * s.images > most) return kTooLarge;
  b.tiles = static_cast<int>(b.columns * rows);
  return kDone;
}

}  // namespace splat
}  // namespace avatar3d

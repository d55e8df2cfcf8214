// SPDX-License-Identifier: Apache-2.0
// CUDA: who draws which pixel. A block draws a tile of 16x16; each of its eight warps 8x4 of them.
#pragma once

#include "splat/bin_cuda.h"

namespace avatar3d {
namespace splat {

constexpr int kWarpWide = 8, kWarpHigh = 4;  // px
constexpr int kWarps = kThreads / kWarp;

// A thread's pixel.
struct Seat {
  float left, top;  // its warp's first pixel centre
  float x, y;       // its own
  int64_t pixel;    // in the picture
  bool inside;      // the picture may end within the tile

  __device__ Seat(const Batch& batch, int tile) {
    const int corner_x = tile % batch.columns * kTile + cuda::warp() % 2 * kWarpWide;
    const int corner_y = tile / batch.columns * kTile + cuda::warp() / 2 * kWarpHigh;
    const int column = corner_x + cuda::lane() % kWarpWide, row = corner_y + cuda::lane() / kWarpWide;
    left = static_cast<float>(corner_x) + 0.5f, top = static_cast<float>(corner_y) + 0.5f;
    x = static_cast<float>(column) + 0.5f, y = static_cast<float>(row) + 0.5f;
    inside = column < batch.width && row < batch.height;
    pixel = static_cast<int64_t>(row) * batch.width + column;
  }

  __device__ bool warp_touched_by(const Record& r) const {
    return touches(r, left, top, kWarpWide - 1.f, kWarpHigh - 1.f);
  }
};

}  // namespace splat
}  // namespace avatar3d

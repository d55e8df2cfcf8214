// SPDX-License-Identifier: Apache-2.0
// What the forward pass leaves for the backward pass, in memory that the caller owns.
#pragma once

#include "common.h"

namespace avatar3d {
namespace splat {

constexpr int kTile = 16;                         // px; a tile is 4x4 blocks of 4x4 pixels
constexpr int kTilePixels = kTile * kTile;
constexpr int kBlocks = 16;                       // blocks per tile; a block is one Vec
constexpr int kRecord = 16;                       // floats per record: one cache line

// A projected Gaussian as the blending loop wants it. The conic is multiplied by -log2(e)/2 (and its mixed term doubled)
// so that alpha = 2^(quadratic). ToY (-xy/yy) and ToX (-xy/xx) lead to the ellipse's ridge; Reach is where alpha falls
// below 1/255.
enum Field { kU, kV, kQxx, kQxy, kQyy, kLog2O, kR, kG, kB, kZ, kToY, kToX, kReachX, kReachY, kFields };

struct Grid {
  int width, height, columns, rows;
  Grid(int w, int h) : width(w), height(h), columns((w + kTile - 1) / kTile), rows((h + kTile - 1) / kTile) {}
  int tiles() const { return columns * rows; }
};

// A (tile, Gaussian) pair.
struct Hit {
  uint32_t gaussian;
  uint32_t mask;  // which of the tile's blocks it touches
};

// Everything is allocated by the caller; all sizes but the number of hits are known beforehand.
struct State {
  float* records;       // [N,16]
  int64_t* tile_start;  // [tiles+1] into hits
  float* light;         // [tiles,16 blocks,16 pixels] light let through at the end
  float* last;          // [tiles,16 blocks,16 pixels] place in the block's list of the last contribution, -1: none
  Hit* hits;            // tile after tile, near to far
};

}  // namespace splat
}  // namespace avatar3d

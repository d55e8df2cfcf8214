// SPDX-License-Identifier: Apache-2.0
// What the forward pass leaves for the backward pass, in memory that the caller owns.
#pragma once

#include <cstring>

#include "common.h"
#include "simd.h"

namespace avatar3d {
namespace splat {

constexpr int kTile = 16;                         // px; a tile is 4x4 blocks of 4x4 pixels
constexpr int kTilePixels = kTile * kTile;
constexpr int kBlocks = 16;                       // blocks per tile; a block is one Vec
constexpr int kRecord = 16;                       // floats per record: one cache line

// A projected Gaussian as the blending loop wants it. The conic is multiplied by -log2(e)/2 (and its mixed term doubled)
// so that alpha = 2^(quadratic). ToY (-xy/yy) and ToX (-xy/xx) lead to the ellipse's ridge.
//
// The last four are whole numbers in the place of floats. The backward pass leaves one row of moments per (tile,
// Gaussian) pair, those of one Gaussian side by side and added in that order: so gradients are the same bits whichever
// thread did what. Slots of them begin at FirstSlot; the one of tile (x, y) is Slot + y SlotsAcross + x, modulo 2^32.
// Both count from the first slot of the Gaussian's group.
enum Field { kU, kV, kQxx, kQxy, kQyy, kLog2O, kR, kG, kB, kZ, kToY, kToX, kFirstSlot, kSlots, kSlot, kSlotsAcross };

inline uint32_t field_bits(const float* record, Field field) {
  uint32_t whole;
  std::memcpy(&whole, record + field, sizeof whole);
  return whole;
}
inline void set_field_bits(float* record, Field field, uint32_t whole) {
  std::memcpy(record + field, &whole, sizeof whole);
}

struct Grid {
  int width, height, columns, rows;
  Grid(int w, int h) : width(w), height(h), columns((w + kTile - 1) / kTile), rows((h + kTile - 1) / kTile) {}
  int tiles() const { return columns * rows; }
};

constexpr int kGroup = 64 * kLanes;  // Gaussians in one piece of work

inline int groups_of(int64_t count) { return static_cast<int>((count + kGroup - 1) / kGroup); }

// Everything is allocated by the caller; all sizes but the number of hits are known beforehand.
struct State {
  float* records;       // [N,16]
  int64_t* tile_start;  // [tiles+1] into hits
  float* light;         // [tiles,16 blocks,16 pixels] light let through at the end; all negative in a block where a
                        // pixel was finished (kStop) before its list was; null: nothing is kept
  float* last;          // [tiles,16 blocks,16 pixels] in such a block: place in its list of the last entry drawn, or -1;
                        // else 0
  uint32_t* hits;       // Gaussians, tile after tile, near to far
  uint32_t* masks;      // for each hit the blocks of its tile that it touches; null: not kept
  int64_t hit_count;
};

}  // namespace splat
}  // namespace avatar3d

// SPDX-License-Identifier: Apache-2.0
// Multiresolution hash encoding (Mueller et al. 2022, Instant NGP) of points in the unit cube: each level is a grid of
// vertices with kFeatures numbers, read by (bi- or tri-)linear interpolation. Maths once, on a number type T and its
// whole numbers U: Vec and Whole on the CPU, float and uint32_t in a CUDA file.
//
// A grid line, all x of one (y, z), always lies in a row: vertex (x, y, z) is row (y a + z b mod 2^32) / 2^shift + x.
// So x and x + 1 are neighbours and one load fetches both. Dense levels: shift 0, a = R + 1, b = (R + 1)^2. Hashed levels,
// 2^k rows: shift 32 - k, and a, b = 2^32 times badly approximable numbers (the golden section; powers of the plastic
// number), so that lines which share rows lie far from each other. They need R rows more: the last lines run over the
// end.
//
// The layout "ngp" is that of tiny-cuda-nn's grids of type Hash, whose tables can so be read: a level of scale s, any
// number, has R = ceil(s) + 1 vertices along an axis, and a coordinate of 0..1 is s times that, and .5. Dense levels:
// vertex (x, y, z) is row x + y R + z R^2, those past the last row from the first again; the other levels, 2^k rows:
// (x xor y p xor z q) mod 2^k, p and q prime. Nothing is known of where x + 1 lies, so every corner is read apart.
#pragma once

#include <cmath>

#include "common.h"
#include "scalar.h"

// One encoding: `levels` scales on each of `planes` choices of `dims` (2 or 3) columns of the points.
struct A3dGrid {
  const float* scales;  // [levels] cells along an axis; whole numbers but in the layout "ngp"
  const int32_t* axes;  // [planes,dims] columns of the points
  int32_t planes, dims, levels;
  int32_t features;   // 1, 2, 4 or 8
  int32_t log2_rows;  // of a level at most
  int32_t columns;    // of the points
  int32_t half;       // whether the CUDA body is given its table in half precision; the CPU's never is
  int32_t ngp;        // whether the layout is that
};

namespace avatar3d {
namespace hashgrid {

constexpr int kMostDims = 3;
constexpr int kMostGrids = 96;  // levels times planes

struct Level {
  int64_t first;  // of its rows in the table
  uint32_t rows;
  uint32_t stride[2];  // a, b; in the layout "ngp" R, R^2 or p, q
  uint32_t shift;      // in the layout "ngp" 1 where the level is hashed, else 0
  float scale;
  int32_t axis[kMostDims];
};

struct Levels {
  Level at[kMostGrids];
  int count = 0;
  bool ngp = false;
};

inline Level level_of(int resolution, int dims, int log2_rows, int64_t first) {
  const uint64_t line = static_cast<uint64_t>(resolution) + 1, dense = dims == 2 ? line * line : line * line * line;
  Level level{};
  level.first = first, level.scale = static_cast<float>(resolution);
  if (dense <= uint64_t{1} << log2_rows) {
    level.rows = static_cast<uint32_t>(dense);
    level.stride[0] = static_cast<uint32_t>(line), level.stride[1] = static_cast<uint32_t>(line * line);
    return level;
  }
  level.rows = (uint32_t{1} << log2_rows) + static_cast<uint32_t>(resolution);
  level.shift = static_cast<uint32_t>(32 - log2_rows);
  level.stride[0] = dims == 2 ? 0x9E3779B9u : 0xC13FA9A9u;
  level.stride[1] = 0x91E10DA5u;
  return level;
}

inline Level ngp_level_of(float scale, int dims, int log2_rows, int64_t first) {
  const uint64_t line = static_cast<uint64_t>(std::ceil(scale)) + 1, dense = dims == 2 ? line * line : line * line * line;
  const uint64_t most = uint64_t{1} << log2_rows, whole = (dense + 7) / 8 * 8;
  Level level{};
  level.first = first, level.scale = scale;
  level.rows = static_cast<uint32_t>(whole < most ? whole : most);
  level.shift = dense > most;
  level.stride[0] = level.shift ? 2654435761u : static_cast<uint32_t>(line);
  level.stride[1] = level.shift ? 805459861u : static_cast<uint32_t>(line * line);
  return level;
}

inline Levels levels_of(const A3dGrid& grid) {
  Levels found;
  found.ngp = grid.ngp;
  int64_t first = 0;
  for (int plane = 0; plane < grid.planes; ++plane) {
    for (int i = 0; i < grid.levels; ++i) {
      Level& level = found.at[found.count++];
      const float scale = grid.scales[i];
      level = grid.ngp ? ngp_level_of(scale, grid.dims, grid.log2_rows, first)
                       : level_of(static_cast<int>(scale), grid.dims, grid.log2_rows, first);
      for (int k = 0; k < grid.dims; ++k) level.axis[k] = grid.axes[plane * grid.dims + k];
      first += level.rows;
    }
  }
  return found;
}

// Where a point lies in a level: the cell's lines and the way through it.
template <int kDims, class T, class U>
struct Place {
  T fraction[kDims];
  U row[1 << (kDims - 1)];  // of the cell's lower x on its lines: y, y + 1; then the same at z + 1
};

// The position, held within the cube: beyond it the encoding is that of the nearest point of the border. NaN stays NaN.
template <class T>
A3D_MATHS T held(T x) {
  const T zero(0.f), one(1.f);
  return select(zero > x, zero, select(x > one, one, x));
}

// The slope by a position: none where it is held, or no number.
template <class T>
A3D_MATHS T unless_held(T x, T slope) {
  const T zero(0.f), one(1.f);
  return select(x >= zero, select(one >= x, slope, zero), zero);
}

// The whole part of numbers in 0 .. 2^31, also as `floor`.
A3D_MATHS uint32_t truncated(float x, float& floor) {
  const uint32_t whole = static_cast<uint32_t>(x);
  floor = static_cast<float>(whole);
  return whole;
}

template <int kDims, class U, class T>
A3D_MATHS Place<kDims, T, U> place_of(const Level& level, const T* position) {
  const T zero(0.f), cells(level.scale), last(level.scale - 0.5f);
  Place<kDims, T, U> place;
  U cell[kDims];
  for (int k = 0; k < kDims; ++k) {
    const T at = held(position[k]) * cells;
    // the last vertex belongs to the last cell, and what is no number to the first
    T floor;
    cell[k] = truncated(select(at >= zero, select(at >= last, last, at), zero), floor);
    place.fraction[k] = at - floor;
  }
  U start[1 << (kDims - 1)];
  start[0] = cell[1] * level.stride[0];
  if (kDims == 3) start[0] = start[0] + cell[kDims - 1] * level.stride[1];
  start[1] = start[0] + level.stride[0];
  if (kDims == 3) {
    for (int line = 0; line < 2; ++line) start[(2 + line) % (1 << (kDims - 1))] = start[line] + level.stride[1];
  }
  for (int line = 0; line < 1 << (kDims - 1); ++line) place.row[line] = (start[line] >> level.shift) + cell[0];
  return place;
}

// The same in the layout "ngp".
template <int kDims, class T, class U>
struct Corners {
  T fraction[kDims];
  U row[1 << kDims];  // of the cell's lower x on its lines, each followed by that of x + 1
};

// Of rows below twice as many as there are, those past the last one from the first again.
template <class U>
A3D_MATHS U from_the_first(U row, uint32_t rows) {
  const U past = row + (0u - rows);
  return past + (past >> 31u) * rows;
}

template <int kDims, class U, class T>
A3D_MATHS Corners<kDims, T, U> corners_of(const Level& level, const T* position) {
  const T zero(0.f), half(0.5f), scale(level.scale);
  Corners<kDims, T, U> corners;
  U share[kDims][2];  // of both ends' coordinates in the row
  for (int k = 0; k < kDims; ++k) {
    const uint32_t stride = k ? level.stride[k - 1] : 1u;
    const T at = muladd(held(position[k]), scale, half);
    T floor;
    share[k][0] = truncated(select(at >= zero, at, zero), floor) * stride;  // what is no number lies in the first cell
    share[k][1] = share[k][0] + stride;
    corners.fraction[k] = at - floor;
  }
  for (int corner = 0; corner < 1 << kDims; ++corner) {
    U row = share[0][corner & 1];
    for (int k = 1; k < kDims; ++k) {
      const U across = share[k][corner >> k & 1];
      row = level.shift ? row ^ across : row + across;
    }
    corners.row[corner] = level.shift ? row & (level.rows - 1) : from_the_first(row, level.rows);
  }
  return corners;
}

// How much each line counts: the interpolation across x.
template <int kDims, class T>
A3D_MATHS void line_weights(const T* fraction, T* weight) {
  const T one(1.f), y = fraction[1];
  weight[0] = one - y, weight[1] = y;
  if (kDims == 2) return;
  const T z = fraction[kDims - 1];
  for (int i = 0; i < 2; ++i) {
    weight[2 + i] = weight[i] * z;
    weight[i] = weight[i] - weight[2 + i];
  }
}

// The slopes of the interpolated value by y and z, from the values on the lines.
template <int kDims, class T>
A3D_MATHS void slopes_across(const T* fraction, const T* value, T* slope) {
  const T y = fraction[1], by_y = value[1] - value[0];
  slope[0] = by_y;
  if (kDims == 2) return;
  const T z = fraction[kDims - 1], by_z = value[2] - value[0];
  slope[0] = muladd(z, (value[3] - value[2]) - by_y, by_y);
  slope[1] = muladd(y, (value[3] - value[1]) - by_z, by_z);
}

}  // namespace hashgrid
}  // namespace avatar3d

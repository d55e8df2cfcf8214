// SPDX-License-Identifier: Apache-2.0
// Rays through a unit cube in steps of one length: which steps have their middle in an occupied cell. Host and device.
//
// Occupancy is a tree of 64-bit words: a bit is a cell, a word 4^3 cells; above it a bit is a word that is not empty, a
// word 4^3 of those. An empty word is left at once, whether it is one of cells or of words.
#pragma once

#include "common.h"
#include "scalar.h"

// Rays and how they walk.
struct A3dRays {
  const float *origins, *directions;  // [count,3]
  const float* jitter;                // [count], or null
  const uint8_t* occupied;            // [cells,cells,cells] by x, y, z
  int64_t count;
  int32_t cells, most;  // most: steps of a ray that are kept
  float step;
};

namespace avatar3d {
namespace march {

constexpr int kMostSteps = 1 << 24;  // of a ray: floats count no further
constexpr unsigned kSide = 4;        // of a word

// As many words of `kSide` along an axis as it takes.
A3D_MATHS unsigned words_along(unsigned cells) { return (cells + kSide - 1) / kSide; }
A3D_MATHS int64_t cube(int64_t side) { return side * side * side; }

// The bit of a cell in its word.
A3D_MATHS unsigned bit_of(unsigned x, unsigned y, unsigned z) {
  return (x % kSide * kSide + y % kSide) * kSide + z % kSide;
}
// The word of a cell, of `words` along an axis.
A3D_MATHS int64_t word_of(unsigned x, unsigned y, unsigned z, unsigned words) {
  return static_cast<int64_t>((static_cast<uint64_t>(x / kSide) * words + y / kSide) * words + z / kSide);
}

struct Tree {
  const uint64_t *words, *above;
  unsigned cells, along, along_above;  // cells, words and words of words along an axis
};

inline Tree tree_of(const uint64_t* memory, unsigned cells) {
  const unsigned along = words_along(cells);
  return {memory, memory + cube(along), cells, along, words_along(along)};
}
// How many words a tree has.
inline int64_t tree_size(unsigned cells) {
  const unsigned along = words_along(cells);
  return cube(along) + cube(words_along(along));
}

struct Ray {
  float at[3], by[3];        // in cells: at + t by
  float scale[3], shift[3];  // a plane between cells, x = i, is met at t = i scale + shift
  float start, far;          // of the first step, and where the cube ends; no way at all where the ray misses it
  float step, per_step;
};

// A ray's way through the cube along one axis.
A3D_MATHS void narrow(float origin, float direction, float& near, float& far) {
  const float infinity = HUGE_VALF;
  if (!(fabsf(origin) < infinity && fabsf(direction) < infinity)) {
    far = -1;
  } else if (direction == 0) {
    if (origin < 0 || origin > 1) far = -1;
  } else {
    const float one = -origin / direction, other = (1 - origin) / direction;
    near = max(near, min(one, other)), far = min(far, max(one, other));
  }
}

A3D_MATHS Ray ray_of(const A3dRays& rays, int64_t i) {
  Ray ray;
  const float infinity = HUGE_VALF, cells = static_cast<float>(rays.cells);
  float near = 0, far = infinity;
  for (int k = 0; k < 3; ++k) {
    const float origin = rays.origins[3 * i + k], direction = rays.directions[3 * i + k], inverse = 1 / direction;
    narrow(origin, direction, near, far);
    ray.at[k] = origin * cells, ray.by[k] = direction * cells;
    ray.scale[k] = direction == 0 ? 0 : inverse / cells;
    ray.shift[k] = direction == 0 ? infinity : -origin * inverse;
  }
  const bool hit = near < far && far < infinity;
  const float late = rays.jitter ? rays.jitter[i] : 0.f;
  ray.start = hit ? near + (late < 0 ? 0 : late > 1 ? 1 : late) * rays.step : 0;
  ray.far = hit ? far : -1;
  ray.step = rays.step, ray.per_step = 1 / rays.step;
  return ray;
}

template <class T>
A3D_MATHS T middle_of(const Ray& ray, T number) {
  return muladd(number + T(0.5f), T(ray.step), T(ray.start));
}

// The cell along an axis that a point of the ray lies in, as a number still; the border's beyond it.
template <class T>
A3D_MATHS T cell_along(const Ray& ray, int axis, T middle, unsigned cells) {
  const T cell = muladd(middle, T(ray.by[axis]), T(ray.at[axis]));
  return clamp(cell, T(0.f), T(static_cast<float>(cells - 1)));
}

// Where the step `number` is; its cell.
struct Spot {
  unsigned cell[3];
};
A3D_MATHS Spot spot_of(const Ray& ray, float middle, unsigned cells) {
  Spot spot;
  for (int k = 0; k < 3; ++k) spot.cell[k] = static_cast<unsigned>(static_cast<int>(cell_along(ray, k, middle, cells)));
  return spot;
}

// The first step that may lie outside the cube of `side` cells (a power of two) around a spot: one too early rather than
// one too late.
A3D_MATHS int step_beyond(const Ray& ray, const Spot& spot, unsigned side, int number) {
  float leaves = HUGE_VALF;
  for (int k = 0; k < 3; ++k) {
    const unsigned wall = (spot.cell[k] & (0 - side)) + (ray.by[k] > 0 ? side : 0);
    const float meets = muladd(static_cast<float>(static_cast<int>(wall)), ray.scale[k], ray.shift[k]);
    leaves = min(meets, leaves);
  }
  const float next = (leaves - ray.start) * ray.per_step - 0.5f;
  if (!(next > static_cast<float>(number + 1))) return number + 1;
  return next < static_cast<float>(kMostSteps) ? static_cast<int>(next) : kMostSteps;
}

// A word of the tree from the cells themselves; beyond the border all is empty.
A3D_MATHS uint64_t word_from(const uint8_t* occupied, unsigned cells, unsigned bx, unsigned by, unsigned bz) {
  uint64_t word = 0;
  for (unsigned x = bx * kSide; x < (bx + 1) * kSide && x < cells; ++x) {
    for (unsigned y = by * kSide; y < (by + 1) * kSide && y < cells; ++y) {
      const uint8_t* line = occupied + (static_cast<uint64_t>(x) * cells + y) * cells;
      for (unsigned z = bz * kSide; z < (bz + 1) * kSide && z < cells; ++z) {
        word |= static_cast<uint64_t>(line[z] != 0) << bit_of(x, y, z);
      }
    }
  }
  return word;
}

// A word of words.
A3D_MATHS uint64_t word_above(const uint64_t* words, unsigned along, unsigned ax, unsigned ay, unsigned az) {
  uint64_t word = 0;
  for (unsigned x = ax * kSide; x < (ax + 1) * kSide && x < along; ++x) {
    for (unsigned y = ay * kSide; y < (ay + 1) * kSide && y < along; ++y) {
      for (unsigned z = az * kSide; z < (az + 1) * kSide && z < along; ++z) {
        const bool any = words[(static_cast<uint64_t>(x) * along + y) * along + z] != 0;
        word |= static_cast<uint64_t>(any) << bit_of(x, y, z);
      }
    }
  }
  return word;
}

// The side of the largest empty cube of the tree around a spot, in cells; 0 where the spot is occupied.
A3D_MATHS unsigned empty_around(const Tree& tree, const Spot& spot) {
  const unsigned x = spot.cell[0], y = spot.cell[1], z = spot.cell[2];
  const unsigned bx = x / kSide, by = y / kSide, bz = z / kSide;
  const uint64_t above = tree.above[word_of(bx, by, bz, tree.along_above)];
  if (!above) return kSide * kSide;
  if (!(above >> bit_of(bx, by, bz) & 1)) return kSide;
  return tree.words[word_of(x, y, z, tree.along)] >> bit_of(x, y, z) & 1 ? 0 : 1;
}

}  // namespace march
}  // namespace avatar3d

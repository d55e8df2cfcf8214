// SPDX-License-Identifier: Apache-2.0
// The CPU body of avatar3d.ops.march. In the empty, a ray goes from one word of the tree to the next; in an occupied
// cell it looks at its next sixteen steps at once. A task is some rays; what it keeps is copied to its place when the
// numbers of all of them are known.
#include <algorithm>
#include <cstring>

#include "march/march.h"
#include "pool.h"
#include "simd.h"
#include "simd/lines.h"
#include "simd/scan.h"

// Where the samples go.
struct A3dSteps {
  int64_t* ray;
  float *begins, *ends;
};

namespace avatar3d {
namespace march {
namespace {

constexpr int kTask = 128;                   // rays
constexpr int64_t kRemembered = 1 << 22;      // steps for which room is kept for the next call

struct Workspace {
  Buffer<uint64_t> tree;
  Buffer<float> start;                    // of each ray
  std::vector<std::vector<int32_t>> kept; // the numbers of steps, task by task
};

// As `word_from` where the word lies within the cells and a cell is 0 or 1: four of a line by one multiplication.
uint64_t whole_word_from(const uint8_t* occupied, unsigned cells, unsigned bx, unsigned by, unsigned bz) {
  uint64_t word = 0;
  for (unsigned x = 0; x < kSide; ++x) {
    for (unsigned y = 0; y < kSide; ++y) {
      const uint64_t line = uint64_t{bx * kSide + x} * cells + by * kSide + y;
      uint32_t four;
      std::memcpy(&four, occupied + line * cells + bz * kSide, sizeof four);
      word |= static_cast<uint64_t>((four & 0x01010101u) * 0x01020408u >> 24 & 0xf) << bit_of(x, y, 0);
    }
  }
  return word;
}

Tree plant(const A3dRays& rays, Workspace& work) {
  const auto cells = static_cast<unsigned>(rays.cells);
  const unsigned along = words_along(cells), above = words_along(along);
  uint64_t* words = work.tree.need(static_cast<size_t>(tree_size(cells)));
  Pool::shared().run(static_cast<int>(above), [&](int task, int) {
    const auto ax = static_cast<unsigned>(task);
    for (unsigned bx = ax * kSide; bx < std::min((ax + 1) * kSide, along); ++bx) {
      for (unsigned by = 0; by < along; ++by) {
        for (unsigned bz = 0; bz < along; ++bz) {
          const bool whole = (std::max({bx, by, bz}) + 1) * kSide <= cells;
          words[(uint64_t{bx} * along + by) * along + bz] =
              (whole ? whole_word_from : word_from)(rays.occupied, cells, bx, by, bz);
        }
      }
    }
    for (unsigned ay = 0; ay < above; ++ay) {
      for (unsigned az = 0; az < above; ++az) {
        words[cube(along) + (int64_t{ax} * above + ay) * above + az] = word_above(words, along, ax, ay, az);
      }
    }
  });
  return tree_of(words, cells);
}

// Which of sixteen steps are in the cube and in occupied cells, bit by bit.
unsigned look(const Ray& ray, const Tree& tree, int number) {
  const Vec middle = middle_of(ray, Vec(static_cast<float>(number)) + lane_numbers());
  Whole cell[3], word[3];
  Vec floor;
  for (int k = 0; k < 3; ++k) {
    cell[k] = truncated(cell_along(ray, k, middle, tree.cells), floor);
    word[k] = cell[k] >> 2;
  }
  // bit_of: the rest of each division by kSide is what is left without its words
  const Whole bit = cell[0] * 16u + cell[1] * 4u + cell[2] + word[0] * (0u - 64) + word[1] * (0u - 16) + word[2] * (0u - 4);
  const unsigned found = bits_of(tree.words, (word[0] * tree.along + word[1]) * tree.along + word[2], bit);
  return found & bits(Vec(ray.far) > middle) & bits(first_lanes(kMostSteps - number));
}

// Puts the numbers of a ray's steps behind the first `count` of `kept`; returns how many there are then.
size_t walk(const Ray& ray, const Tree& tree, size_t most, size_t count, std::vector<int32_t>& kept) {
  most += count;
  // an empty cell is looked through, unless it takes more than sixteen steps
  const float fastest = max(fabsf(ray.by[0]), max(fabsf(ray.by[1]), fabsf(ray.by[2])));
  const bool leap = kLanes * ray.step * fastest < 1;
  for (int number = 0; number < kMostSteps && count < most;) {
    const float middle = middle_of(ray, static_cast<float>(number));
    if (!(middle < ray.far)) break;
    const Spot spot = spot_of(ray, middle, tree.cells);
    const unsigned side = empty_around(tree, spot);
    if (side > 1 || (side && leap)) {
      number = step_beyond(ray, spot, side, number);
      continue;
    }
    if (kept.size() < count + kLanes) kept.resize(2 * count + kLanes);
    for (unsigned found = look(ray, tree, number); found; found &= found - 1) {
      kept[count++] = number + __builtin_ctz(found);
    }
    number += kLanes;
  }
  return std::min(count, most);
}

void write_out(const A3dRays& rays, const Workspace& work, int task, const int64_t* first, const A3dSteps& out) {
  const int32_t* number = work.kept[task].data();
  for (int64_t i = int64_t{task} * kTask; i < std::min(rays.count, (int64_t{task} + 1) * kTask); ++i) {
    const float start = work.start.data()[i];
    for (int64_t row = first[i]; row < first[i + 1]; ++row, ++number) {
      out.ray[row] = i;
      out.begins[row] = muladd(static_cast<float>(*number), rays.step, start);
      out.ends[row] = muladd(static_cast<float>(*number + 1), rays.step, start);
    }
  }
}

Status run(const A3dRays& rays, int64_t* first, void* (*allocate)(int64_t)) {
  Loan<Workspace> work;
  const int tasks = static_cast<int>((rays.count + kTask - 1) / kTask);
  const Tree tree = plant(rays, *work);
  float* start = work->start.need(static_cast<size_t>(rays.count));
  if (work->kept.size() < static_cast<size_t>(tasks)) work->kept.resize(static_cast<size_t>(tasks));
  first[0] = 0;
  Pool::shared().run(tasks, [&](int task, int) {
    std::vector<int32_t>& kept = work->kept[task];
    size_t count = 0;
    for (int64_t i = int64_t{task} * kTask; i < std::min(rays.count, (int64_t{task} + 1) * kTask); ++i) {
      const Ray ray = ray_of(rays, i);
      start[i] = ray.start;
      const size_t before = count;
      count = walk(ray, tree, static_cast<size_t>(rays.most), before, kept);
      first[i + 1] = static_cast<int64_t>(count - before);
    }
  });
  for (int64_t i = 0; i < rays.count; ++i) first[i + 1] += first[i];
  const auto* out = static_cast<const A3dSteps*>(allocate(first[rays.count]));
  if (!out) return kOutOfMemory;
  Pool::shared().run(tasks, [&](int task, int) { write_out(rays, *work, task, first, *out); });
  if (first[rays.count] > kRemembered) work->kept = {};
  return kDone;
}

}  // namespace
}  // namespace march
}  // namespace avatar3d

// first [count + 1] is filled; then allocate(how many samples there are) returns where they go.
A3D_EXPORT int avatar3d_march(const A3dRays* rays, int64_t* first, void* (*allocate)(int64_t)) {
  return avatar3d::guarded([&] { return avatar3d::march::run(*rays, first, allocate); });
}

// SPDX-License-Identifier: Apache-2.0
// The CPU body of avatar3d.ops.hashgrid. Sixteen points at a time, feature by feature; rows of the caller's point-first
// arrays are made from (and split into) columns by 16x16 transpositions while they are in the first-level cache.
//
// Forward: a task is a block of points, so large that a level's table, once it is near, is read many times before the
// next level's takes its place. Backward: first the same for the positions, then a task is one level, so that nobody else
// adds to its table, in the order of the points: the same bits on any number of threads.
#include <algorithm>

#include "hashgrid/hashgrid.h"
#include "pool.h"
#include "simd.h"
#include "simd/lines.h"

namespace avatar3d {
namespace hashgrid {
namespace {

constexpr int64_t kBlock = 8192;      // points at most, and
constexpr int64_t kBlockRoom = 1 << 18;  // numbers of theirs: they should stay in the second-level cache
constexpr int64_t kSpanRoom = 1 << 21;   // as many are kept between the two halves of the backward
constexpr int kTasks = 4;                // for each thread, so that none waits long for the last

struct Scratch {
  Buffer<float> positions;  // [columns, block]
  Buffer<float> values;     // [grids * features, block]
};

// Vectors of a block, of all there are.
int64_t vecs_of_block(int64_t vecs, int width) {
  const int64_t fair = vecs / (int64_t{kTasks} * Pool::shared().threads());
  const int64_t most = std::min(kBlock, kBlockRoom / width) / kLanes;
  return std::max<int64_t>(std::min(fair, most), 8);
}

// Points whose columns are kept between the two halves of the backward. Sums depend on it, so that nothing but the shape
// may.
int64_t points_of_span(int width) { return std::max(kBlock, std::min(8 * kBlock, kSpanRoom / width / kLanes * kLanes)); }

// Columns a power of two apart would meet in one set of the cache.
int64_t apart(int64_t points) { return points + kLanes; }

struct Workspace {
  std::vector<Scratch> threads;
  Buffer<float> positions;  // [columns, span]
  Buffer<float> gradients;  // [grids * features, span]
};

struct Encoding {
  Levels levels;
  int features, columns;
  int width() const { return levels.count * features; }
};

// Which points the lanes of vector v hold.
struct Points {
  int64_t first, count, vecs;
  int64_t by_lane, by_vec;  // how far apart neighbouring lanes and vectors are
  int64_t at(int64_t v, int lane) const { return lane * by_lane + v * by_vec; }
  bool has(int64_t v, int lane) const { return at(v, lane) < count; }
  int64_t known(int64_t v, int lane) const { return first + std::min(at(v, lane), count - 1); }
};

Points in_order(int64_t first, int64_t count) {
  return {first, count, (count + kLanes - 1) / kLanes, 1, kLanes};
}

// Points next to each other often share a cell; apart, they do not meet in one vector, where an addition to the table
// would have to wait for the one before it.
Points spread(int64_t first, int64_t count) {
  const int64_t vecs = (count + kLanes - 1) / kLanes;
  return {first, count, vecs, vecs, 1};
}

// columns[k * stride + lane] <- rows[point, k]; lanes without a point repeat the last one, or are 0 where `zeros`.
void read_rows(const float* rows, int width, const Points& points, int64_t v, bool zeros, float* columns,
               int64_t stride) {
  const float* row[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) row[lane] = rows + points.known(v, lane) * width;
  int k = 0;
  for (; k + kLanes <= width; k += kLanes) {
    Vec block[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      block[lane] = zeros && !points.has(v, lane) ? Vec(0.f) : load(row[lane] + k);
    }
    transpose(block);
    for (int i = 0; i < kLanes; ++i) store(columns + (k + i) * stride, block[i]);
  }
  for (; k < width; ++k) {
    for (int lane = 0; lane < kLanes; ++lane) {
      columns[k * stride + lane] = zeros && !points.has(v, lane) ? 0.f : row[lane][k];
    }
  }
}

void write_rows(const float* columns, int64_t stride, const Points& points, int64_t v, int width, float* rows) {
  for (int k = 0; k < width; k += kLanes) {
    // the last block of a wide row reaches back, so that it is whole; what it writes twice is the same
    const int first = width < kLanes ? 0 : std::min(k, width - kLanes), count = std::min(kLanes, width);
    Vec block[kLanes];
    for (int i = 0; i < kLanes; ++i) block[i] = load(columns + (first + std::min(i, count - 1)) * stride);
    transpose(block);
    for (int lane = 0; lane < kLanes && points.has(v, lane); ++lane) {
      float* to = rows + points.known(v, lane) * width + first;
      if (count == kLanes) {
        store(to, block[lane]);
      } else {
        alignas(64) float staged[kLanes];
        store(staged, block[lane]);
        for (int i = 0; i < count; ++i) to[i] = staged[i];
      }
    }
  }
}

// A place, with its rows in memory where runs of more than two pairs are read.
template <int kDims_, int kFeatures_>
struct Spot {
  static constexpr int kDims = kDims_, kFeatures = kFeatures_, kLines = 1 << (kDims - 1);
  Place<kDims, Vec, Whole> place;
  alignas(64) uint32_t at[kLines][kLanes];

  A3D_CONVERT Spot(const Level& level, const float* positions, int64_t stride) {
    Vec position[kDims];
    for (int k = 0; k < kDims; ++k) position[k] = load(positions + level.axis[k] * stride);
    place = place_of<kDims, Whole>(level, position);
    if (kFeatures <= 2) return;
    for (int line = 0; line < kLines; ++line) store(at[line], place.row[line] * static_cast<uint32_t>(kFeatures));
    settle(at[0]);
  }
  A3D_CONVERT const Vec* fraction() const { return place.fraction; }
  // values of both ends of the cell on a line: features at x, then at x + 1
  A3D_CONVERT void read(const float* table, int line, Vec* run) const {
    if (kFeatures <= 2) {
      const Whole first = place.row[line] * static_cast<uint32_t>(kFeatures);
      for (int end = 0; end < kFeatures; ++end) load_pairs(table + 2 * end, first, run + 2 * end);
      return;
    }
    for (int quad = 0; quad < kFeatures / 2; ++quad) load_quads(table + 4 * quad, at[line], run + 4 * quad);
  }
  A3D_CONVERT void add(float* table, int line, Vec* run) {
    if (kFeatures <= 2) store(at[line], place.row[line] * static_cast<uint32_t>(kFeatures));
    if (kFeatures == 1) return add_pairs(table, at[line], run);
    for (int quad = 0; quad < kFeatures / 2; ++quad) add_quads(table + 4 * quad, at[line], run + 4 * quad);
  }
};

// The same in the layout "ngp".
template <int kDims_, int kFeatures_>
struct SpotApart {
  static constexpr int kDims = kDims_, kFeatures = kFeatures_, kLines = 1 << (kDims - 1);
  Corners<kDims, Vec, Whole> corners;
  alignas(64) uint32_t at[2 * kLines][kLanes];

  A3D_CONVERT SpotApart(const Level& level, const float* positions, int64_t stride) {
    Vec position[kDims];
    for (int k = 0; k < kDims; ++k) position[k] = load(positions + level.axis[k] * stride);
    corners = corners_of<kDims, Whole>(level, position);
    for (int i = 0; i < 2 * kLines; ++i) store(at[i], corners.row[i] * static_cast<uint32_t>(kFeatures));
    settle(at[0]);
  }
  A3D_CONVERT const Vec* fraction() const { return corners.fraction; }
  A3D_CONVERT void read(const float* table, int line, Vec* run) const {
    for (int corner = 2 * line; corner < 2 * line + 2; ++corner, run += kFeatures) {
      if (kFeatures == 1) *run = load_singles(table, at[corner]);
      if (kFeatures == 2) load_pairs(table, corners.row[corner] * 2u, run);
      for (int quad = 0; quad < kFeatures / 4; ++quad) load_quads(table + 4 * quad, at[corner], run + 4 * quad);
    }
  }
  A3D_CONVERT void add(float* table, int line, Vec* run) {
    for (int corner = 2 * line; corner < 2 * line + 2; ++corner, run += kFeatures) {
      if (kFeatures == 1) add_singles(table, at[corner], *run);
      if (kFeatures == 2) add_pairs(table, at[corner], run);
      for (int quad = 0; quad < kFeatures / 4; ++quad) add_quads(table + 4 * quad, at[corner], run + 4 * quad);
    }
  }
};

template <class Spot>
void encode(const Level& level, const float* table, const float* positions, int64_t stride, int64_t vecs,
            float* values) {
  constexpr int kDims = Spot::kDims, kFeatures = Spot::kFeatures, kLines = Spot::kLines;
  for (int64_t v = 0; v < vecs; ++v) {
    const Spot spot(level, positions + v * kLanes, stride);
    Vec weight[kLines], sum[2 * kFeatures], run[2 * kFeatures];
    line_weights<kDims>(spot.fraction(), weight);
#pragma GCC unroll 4
    for (int line = 0; line < kLines; ++line) {
      spot.read(table, line, run);
      for (int i = 0; i < 2 * kFeatures; ++i) sum[i] = line ? muladd(weight[line], run[i], sum[i]) : weight[0] * run[i];
    }
    for (int f = 0; f < kFeatures; ++f) {
      store(values + f * stride + v * kLanes, muladd(spot.fraction()[0], sum[kFeatures + f] - sum[f], sum[f]));
    }
  }
}

// d loss / d position added to slopes [columns, stride].
template <class Spot>
void slopes_by_position(const Level& level, const float* table, const float* positions, const float* gradients,
                        int64_t stride, int64_t vecs, float* slopes, int64_t slope_stride) {
  constexpr int kDims = Spot::kDims, kFeatures = Spot::kFeatures, kLines = Spot::kLines;
  for (int64_t v = 0; v < vecs; ++v) {
    const Spot spot(level, positions + v * kLanes, stride);
    Vec weight[kLines], run[2 * kFeatures], value[kLines], slope[kDims];
    line_weights<kDims>(spot.fraction(), weight);
    slope[0] = Vec(0.f);
#pragma GCC unroll 4
    for (int line = 0; line < kLines; ++line) {
      spot.read(table, line, run);
      Vec along(0.f);
      value[line] = Vec(0.f);
      for (int f = 0; f < kFeatures; ++f) {
        const Vec gradient = load(gradients + f * stride + v * kLanes), rise = run[kFeatures + f] - run[f];
        along = muladd(gradient, rise, along);
        value[line] = muladd(gradient, muladd(spot.fraction()[0], rise, run[f]), value[line]);
      }
      slope[0] = muladd(weight[line], along, slope[0]);
    }
    slopes_across<kDims>(spot.fraction(), value, slope + 1);
    for (int k = 0; k < kDims; ++k) {
      float* to = slopes + level.axis[k] * slope_stride + v * kLanes;
      store(to, muladd(slope[k], Vec(level.scale), load(to)));
    }
  }
}

template <class Spot>
void add_to_table(const Level& level, const float* positions, const float* gradients, int64_t stride, int64_t vecs,
                  float* table) {
  constexpr int kDims = Spot::kDims, kFeatures = Spot::kFeatures, kLines = Spot::kLines;
  for (int64_t v = 0; v < vecs; ++v) {
    Spot spot(level, positions + v * kLanes, stride);
    Vec weight[kLines], gradient[kFeatures], run[2 * kFeatures];
    line_weights<kDims>(spot.fraction(), weight);
    for (int f = 0; f < kFeatures; ++f) gradient[f] = load(gradients + f * stride + v * kLanes);
#pragma GCC unroll 4
    for (int line = 0; line < kLines; ++line) {
      for (int f = 0; f < kFeatures; ++f) {
        const Vec share = weight[line] * gradient[f];
        run[kFeatures + f] = share * spot.fraction()[0];
        run[f] = share - run[kFeatures + f];
      }
      spot.add(table, line, run);
    }
  }
}

template <class Spot>
struct Body {
  static constexpr int kFeatures = Spot::kFeatures;
  const Encoding& encoding;
  Workspace& work;

  const float* table_of(const float* tables, int grid) const {
    return tables + encoding.levels.at[grid].first * kFeatures;
  }

  // body(first vector, how many, the thread's scratch) for blocks of all vectors
  template <class Each>
  void each_block(int64_t vecs, Each&& body) {
    const int64_t most = vecs_of_block(vecs, encoding.width());
    Pool::shared().run(static_cast<int>((vecs + most - 1) / most), [&](int block, int slot) {
      const int64_t first = block * most;
      body(first, std::min(most, vecs - first), work.threads[slot]);
    });
  }

  void forward(const float* points, const float* tables, int64_t count, float* out) {
    const int width = encoding.width();
    each_block((count + kLanes - 1) / kLanes, [&](int64_t first, int64_t vecs, Scratch& scratch) {
      const Points here = in_order(first * kLanes, std::min(vecs * kLanes, count - first * kLanes));
      const int64_t stride = apart(vecs * kLanes);
      float* positions = scratch.positions.need(static_cast<size_t>(encoding.columns * stride));
      float* values = scratch.values.need(static_cast<size_t>(width * stride));
      for (int64_t v = 0; v < vecs; ++v) {
        read_rows(points, encoding.columns, here, v, false, positions + v * kLanes, stride);
      }
      for (int grid = 0; grid < encoding.levels.count; ++grid) {
        encode<Spot>(encoding.levels.at[grid], table_of(tables, grid), positions, stride, vecs,
                     values + grid * kFeatures * stride);
      }
      for (int64_t v = 0; v < vecs; ++v) write_rows(values + v * kLanes, stride, here, v, width, out);
    });
  }

  // The columns of a span's positions and gradients, and d_points [count, columns] of it where wanted.
  void split(const Points& span, int64_t stride, const float* points, const float* tables, const float* gradient,
             float* d_points) {
    const int width = encoding.width();
    float *positions = work.positions.data(), *gradients = work.gradients.data();
    each_block(span.vecs, [&](int64_t first, int64_t vecs, Scratch& scratch) {
      for (int64_t v = first; v < first + vecs; ++v) {
        read_rows(points, encoding.columns, span, v, false, positions + v * kLanes, stride);
        read_rows(gradient, width, span, v, true, gradients + v * kLanes, stride);
      }
      if (!d_points) return;
      const int64_t block = apart(vecs * kLanes);
      float* slopes = scratch.positions.need(static_cast<size_t>(encoding.columns * block));
      std::fill(slopes, slopes + encoding.columns * block, 0.f);
      for (int grid = 0; grid < encoding.levels.count; ++grid) {
        slopes_by_position<Spot>(encoding.levels.at[grid], table_of(tables, grid), positions + first * kLanes,
                                 gradients + grid * kFeatures * stride + first * kLanes, stride, vecs, slopes, block);
      }
      for (int64_t v = 0; v < vecs; ++v) {
        for (int k = 0; k < encoding.columns; ++k) {
          float* slope = slopes + k * block + v * kLanes;
          store(slope, unless_held(load(positions + k * stride + (first + v) * kLanes), load(slope)));
        }
        write_rows(slopes + v * kLanes, block, span, first + v, encoding.columns, d_points);
      }
    });
  }

  void backward(const float* points, const float* tables, const float* gradient, int64_t count, float* d_points,
                float* d_tables) {
    const int64_t most = std::min(points_of_span(encoding.width()), (count + kLanes - 1) / kLanes * kLanes);
    const int64_t stride = apart(most);
    work.positions.need(static_cast<size_t>(encoding.columns * stride));
    work.gradients.need(static_cast<size_t>(encoding.width() * stride));
    for (int64_t first = 0; first < std::max<int64_t>(count, 1); first += std::max<int64_t>(most, 1)) {
      const Points span = spread(first, std::min(most, count - first));
      split(span, stride, points, tables, gradient, d_points);
      if (!d_tables) continue;
      // the last levels are the largest, so they come first
      Pool::shared().run(encoding.levels.count, [&](int task, int) {
        const int grid = encoding.levels.count - 1 - task;
        const Level& level = encoding.levels.at[grid];
        float* table = d_tables + level.first * kFeatures;
        if (!first) std::fill(table, table + int64_t{level.rows} * kFeatures, 0.f);
        add_to_table<Spot>(level, work.positions.data(), work.gradients.data() + grid * kFeatures * stride, stride,
                           span.vecs, table);
      });
    }
  }
};

template <template <int, int> class Spot, int kDims, class Call>
Status with_features(const Encoding& encoding, Workspace& work, Call&& call) {
  switch (encoding.features) {
    case 1: return call(Body<Spot<kDims, 1>>{encoding, work}), kDone;
    case 2: return call(Body<Spot<kDims, 2>>{encoding, work}), kDone;
    case 4: return call(Body<Spot<kDims, 4>>{encoding, work}), kDone;
    case 8: return call(Body<Spot<kDims, 8>>{encoding, work}), kDone;
    default: return kTooLarge;
  }
}

template <template <int, int> class Spot, class Call>
Status with_dims(int dims, const Encoding& encoding, Workspace& work, Call&& call) {
  return dims == 2 ? with_features<Spot, 2>(encoding, work, call) : with_features<Spot, 3>(encoding, work, call);
}

template <class Call>
int run(const A3dGrid& grid, Call&& call) {
  return guarded([&] {
    if (grid.levels * grid.planes > kMostGrids) return kTooLarge;
    const Encoding encoding{levels_of(grid), grid.features, grid.columns};
    Loan<Workspace> work;
    const size_t threads = static_cast<size_t>(Pool::shared().threads());
    if (work->threads.size() < threads) work->threads.resize(threads);
    return grid.ngp ? with_dims<SpotApart>(grid.dims, encoding, *work, call)
                    : with_dims<Spot>(grid.dims, encoding, *work, call);
  });
}

}  // namespace
}  // namespace hashgrid
}  // namespace avatar3d

// points [count,columns], tables [rows,features] -> out [count, planes * levels * features]
A3D_EXPORT int avatar3d_hashgrid_forward(const A3dGrid* grid, const float* points, const float* tables, int64_t count,
                                         float* out) {
  return avatar3d::hashgrid::run(*grid, [&](auto body) { body.forward(points, tables, count, out); });
}

// gradient like `out` -> d_points like points, d_tables like tables; each null where it is not wanted
A3D_EXPORT int avatar3d_hashgrid_backward(const A3dGrid* grid, const float* points, const float* tables,
                                          const float* gradient, int64_t count, float* d_points, float* d_tables) {
  return avatar3d::hashgrid::run(
      *grid, [&](auto body) { body.backward(points, tables, gradient, count, d_points, d_tables); });
}

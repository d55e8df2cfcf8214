// SPDX-License-Identifier: Apache-2.0
// The CUDA body of avatar3d.ops.hashgrid: a thread is a point and walks over the levels, so that the threads of a warp
// are always in the same one. Rows of the point-first arrays go through a tile of shared memory, to be read and written
// whole. The table's numbers are float, or __half for half the reading: what is added up is float either way.
// Table gradients are float and added atomically: their last bits depend on the order.
#include "cuda/cuda.h"
#include "hashgrid/hashgrid.h"

namespace avatar3d {
namespace hashgrid {
namespace {

constexpr int kPoints = 128;           // of a block, one a thread
constexpr int kTile = 32;              // columns
constexpr int kTileStride = kTile + 1; // so that a column's values lie in different banks
constexpr size_t kTileBytes = sizeof(float) * kPoints * kTileStride;

// A block's part of an array [count,width]: columns start .. start + columns of it, in the tile.
struct Tile {
  int64_t first;
  int points, width, start, columns;

  __device__ Tile(int64_t count, int width_, int start_)
      : first(static_cast<int64_t>(blockIdx.x) * kPoints),
        points(static_cast<int>(min(count - first, int64_t{kPoints}))), width(width_), start(start_), columns(min(kTile, width_ - start_)) {}

  // move(element of the array, element of the tile) for each of both
  template <class Move>
  __device__ void each(float* tile, Move&& move) const {
    for (int i = static_cast<int>(threadIdx.x); i < points * columns; i += kPoints) {
      const int point = i / columns, column = i % columns;
      move((first + point) * width + start + column, tile[point * kTileStride + column]);
    }
  }
};

// As if the layout were "ngp": both ends of a line are read apart anyway.
template <int kDims>
__device__ Corners<kDims, float, uint32_t> corners_in(const Level& level, bool ngp, const float* point) {
  float position[kDims];
  for (int k = 0; k < kDims; ++k) position[k] = point[level.axis[k]];
  if (ngp) return corners_of<kDims, uint32_t>(level, position);
  const auto place = place_of<kDims, uint32_t>(level, position);
  Corners<kDims, float, uint32_t> corners;
  for (int k = 0; k < kDims; ++k) corners.fraction[k] = place.fraction[k];
  for (int i = 0; i < 1 << kDims; ++i) corners.row[i] = place.row[i / 2] + static_cast<uint32_t>(i % 2);
  return corners;
}

// As many numbers as one instruction reads.
template <class Number, int kCount>
struct __align__(sizeof(Number) * kCount) Packed {
  Number at[kCount];
};

__device__ inline float as_float(float x) { return x; }
__device__ inline float as_float(__half x) { return __half2float(x); }

// The numbers of a row. Rows begin on boundaries of their own size, or of 16 bytes where they are larger.
template <int kFeatures, class Number>
__device__ void read_row(const Number* row, float* values) {
  constexpr int kMost = 16 / static_cast<int>(sizeof(Number)), kCount = kFeatures < kMost ? kFeatures : kMost;
  for (int first = 0; first < kFeatures; first += kCount) {
    const auto packed = *reinterpret_cast<const Packed<Number, kCount>*>(row + first);
    for (int i = 0; i < kCount; ++i) values[first + i] = as_float(packed.at[i]);
  }
}

// Values of both ends of the cell on a line, whose rows in `table` are given: features at x, then at x + 1.
template <int kFeatures, class Number>
__device__ void read_run(const Number* table, const uint32_t* rows, float* run) {
  for (int end = 0; end < 2; ++end) {
    read_row<kFeatures>(table + static_cast<int64_t>(rows[end]) * kFeatures, run + end * kFeatures);
  }
}

template <int kDims, int kFeatures, class Number>
__device__ void encode_point(const Level& level, bool ngp, const float* point, const Number* tables, float* values) {
  constexpr int kLines = 1 << (kDims - 1);
  const auto corners = corners_in<kDims>(level, ngp, point);
  float weight[kLines], run[2 * kFeatures], sum[2 * kFeatures] = {};
  line_weights<kDims>(corners.fraction, weight);
  for (int line = 0; line < kLines; ++line) {
    read_run<kFeatures>(tables + level.first * kFeatures, corners.row + 2 * line, run);
    for (int i = 0; i < 2 * kFeatures; ++i) sum[i] = muladd(weight[line], run[i], sum[i]);
  }
  for (int f = 0; f < kFeatures; ++f) values[f] = muladd(corners.fraction[0], sum[kFeatures + f] - sum[f], sum[f]);
}

template <int kDims, int kFeatures, class Number>
__global__ void __launch_bounds__(kPoints)
encode(Levels levels, const float* points, int columns, const Number* tables, int64_t count, float* out) {
  float* values = cuda::shared_memory<float>();
  const int64_t mine = static_cast<int64_t>(blockIdx.x) * kPoints + threadIdx.x;
  const int width = levels.count * kFeatures;
  for (int start = 0; start < width; start += kTile) {
    const Tile tile(count, width, start);
    for (int column = 0; column < tile.columns && mine < count; column += kFeatures) {
      encode_point<kDims, kFeatures>(levels.at[(start + column) / kFeatures], levels.ngp, points + mine * columns,
                                     tables, values + threadIdx.x * kTileStride + column);
    }
    __syncthreads();
    tile.each(values, [&](int64_t to, float& value) { out[to] = value; });
    __syncthreads();
  }
}

template <int kFeatures>
__device__ void add_row(float* to, const float* row) {
  if (kFeatures % 4 == 0) {
    for (int i = 0; i < kFeatures; i += 4) cuda::add4(to + i, row[i], row[i + 1], row[i + 2], row[i + 3]);
  } else {
    for (int i = 0; i < kFeatures; ++i) atomicAdd(to + i, row[i]);
  }
}

template <int kDims, int kFeatures>
__device__ void add_to_table(const Level& level, const Corners<kDims, float, uint32_t>& corners, const float* gradient,
                             float* d_tables) {
  constexpr int kLines = 1 << (kDims - 1);
  float weight[kLines], run[2 * kFeatures];
  line_weights<kDims>(corners.fraction, weight);
  for (int line = 0; line < kLines; ++line) {
    for (int f = 0; f < kFeatures; ++f) {
      const float share = weight[line] * gradient[f];
      run[kFeatures + f] = share * corners.fraction[0];
      run[f] = share - run[kFeatures + f];
    }
    for (int end = 0; end < 2; ++end) {
      add_row<kFeatures>(d_tables + (level.first + corners.row[2 * line + end]) * kFeatures, run + end * kFeatures);
    }
  }
}

template <int kDims, int kFeatures, class Number>
__device__ void add_slopes(const Level& level, const Corners<kDims, float, uint32_t>& corners, const Number* tables,
                           const float* gradient, float* slopes) {
  constexpr int kLines = 1 << (kDims - 1);
  float weight[kLines], value[kLines], run[2 * kFeatures], slope[kDims] = {};
  line_weights<kDims>(corners.fraction, weight);
  for (int line = 0; line < kLines; ++line) {
    read_run<kFeatures>(tables + level.first * kFeatures, corners.row + 2 * line, run);
    float along = 0;
    value[line] = 0;
    for (int f = 0; f < kFeatures; ++f) {
      const float rise = run[kFeatures + f] - run[f];
      along = muladd(gradient[f], rise, along);
      value[line] = muladd(gradient[f], muladd(corners.fraction[0], rise, run[f]), value[line]);
    }
    slope[0] = muladd(weight[line], along, slope[0]);
  }
  slopes_across<kDims>(corners.fraction, value, slope + 1);
  for (int k = 0; k < kDims; ++k) slopes[level.axis[k]] += slope[k] * level.scale;
}

// d_points and d_tables are null where they are not wanted; d_tables is zero at first.
template <int kDims, int kFeatures, class Number>
__global__ void __launch_bounds__(kPoints)
differentiate(Levels levels, const float* points, int columns, const Number* tables, const float* gradient,
              int64_t count, float* d_points, float* d_tables) {
  float* gradients = cuda::shared_memory<float>();
  const int64_t mine = static_cast<int64_t>(blockIdx.x) * kPoints + threadIdx.x;
  const int width = levels.count * kFeatures;
  const bool slopes = d_points && mine < count;
  for (int k = 0; slopes && k < columns; ++k) d_points[mine * columns + k] = 0;
  for (int start = 0; start < width; start += kTile) {
    const Tile tile(count, width, start);
    tile.each(gradients, [&](int64_t from, float& value) { value = gradient[from]; });
    __syncthreads();
    for (int column = 0; column < tile.columns && mine < count; column += kFeatures) {
      const Level& level = levels.at[(start + column) / kFeatures];
      const float* own = gradients + threadIdx.x * kTileStride + column;
      const auto corners = corners_in<kDims>(level, levels.ngp, points + mine * columns);
      if (slopes) add_slopes<kDims, kFeatures>(level, corners, tables, own, d_points + mine * columns);
      if (d_tables) add_to_table<kDims, kFeatures>(level, corners, own, d_tables);
    }
    __syncthreads();
  }
  for (int k = 0; slopes && k < columns; ++k) {
    const int64_t at = mine * columns + k;
    d_points[at] = unless_held(points[at], d_points[at]);
  }
}

struct Arrays {
  const float* points;
  const void* tables;
  int64_t count;
};

template <int kDims, int kFeatures, class Number>
struct Body {
  const A3dGrid& grid;
  void* stream;

  Status forward(const Arrays& a, float* out) const {
    return cuda::launch(encode<kDims, kFeatures, Number>, cuda::blocks_for(a.count, kPoints), kPoints, kTileBytes,
                        stream, levels_of(grid), a.points, grid.columns, static_cast<const Number*>(a.tables), a.count,
                        out);
  }
  Status backward(const Arrays& a, const float* gradient, float* d_points, float* d_tables) const {
    const Levels levels = levels_of(grid);
    const Level& last = levels.at[levels.count - 1];
    const size_t bytes = sizeof(float) * static_cast<size_t>(last.first + last.rows) * kFeatures;
    return cuda::all({d_tables ? cuda::zero(d_tables, bytes, stream) : kDone,
                      cuda::launch(differentiate<kDims, kFeatures, Number>, cuda::blocks_for(a.count, kPoints), kPoints,
                                   kTileBytes, stream, levels, a.points, grid.columns,
                                   static_cast<const Number*>(a.tables), gradient, a.count, d_points, d_tables)});
  }
};

template <int kDims, class Number, class Call>
Status with_features(const A3dGrid& grid, void* stream, Call&& call) {
  switch (grid.features) {
    case 1: return call(Body<kDims, 1, Number>{grid, stream});
    case 2: return call(Body<kDims, 2, Number>{grid, stream});
    case 4: return call(Body<kDims, 4, Number>{grid, stream});
    case 8: return call(Body<kDims, 8, Number>{grid, stream});
    default: return kTooLarge;
  }
}

template <class Number, class Call>
Status with_dims(const A3dGrid& grid, void* stream, Call&& call) {
  return grid.dims == 2 ? with_features<2, Number>(grid, stream, call) : with_features<3, Number>(grid, stream, call);
}

template <class Call>
Status run(const A3dGrid& grid, void* stream, Call&& call) {
  if (grid.levels * grid.planes > kMostGrids) return kTooLarge;
  return grid.half ? with_dims<__half>(grid, stream, call) : with_dims<float>(grid, stream, call);
}

}  // namespace
}  // namespace hashgrid
}  // namespace avatar3d

// As the CPU's, but tables of `half` grids are __half; all tables begin on a boundary of 16 bytes. `grid` and what it
// points to lie on the host.
A3D_EXPORT int avatar3d_cuda_hashgrid_forward(const A3dGrid* grid, const float* points, const void* tables,
                                              int64_t count, float* out, void* stream) {
  return avatar3d::hashgrid::run(*grid, stream, [&](auto body) { return body.forward({points, tables, count}, out); });
}

A3D_EXPORT int avatar3d_cuda_hashgrid_backward(const A3dGrid* grid, const float* points, const void* tables,
                                               const float* gradient, int64_t count, float* d_points, float* d_tables,
                                               void* stream) {
  return avatar3d::hashgrid::run(*grid, stream, [&](auto body) {
    return body.backward({points, tables, count}, gradient, d_points, d_tables);
  });
}

// SPDX-License-Identifier: Apache-2.0
// CUDA body of avatar3d.ops.splat, first half: projection, and the tile lists near to far.
#include "splat/bin_cuda.h"
#include "splat/sort_cuda.h"

namespace avatar3d {
namespace splat {
namespace {

// A thread per Gaussian, a row of blocks per image: records, boxes, and how many Gaussians touch each cell.
__global__ void __launch_bounds__(kThreads) project_all(Batch batch, Record* records, TileBox* boxes, unsigned* counts) {
  __shared__ Pinhole camera;
  const int image = static_cast<int>(blockIdx.y);
  if (threadIdx.x == 0) camera = batch.camera(image);
  __syncthreads();
  const int64_t i = cuda::thread_index(), at = image * batch.count + i;
  Record record = {};
  TileBox box = {0, 0, 0, 0};
  if (i < batch.count) {
    box = place_gaussian(batch, camera, source_at(batch, image, i), record);
    records[at] = record;
    boxes[at] = box;
  }
  unsigned* mine = counts + static_cast<int64_t>(image) * batch.tiles;
  for_each_tile(record, box, 0, batch.columns, [=](int tile, Key) { atomicAdd(mine + tile, 1u); });
}

constexpr int kScanThreads = 1024;

// One block, see scan_cells.
__global__ void __launch_bounds__(kScanThreads)
    scan_counts(const unsigned* counts, int64_t cells, int64_t* starts, Key* cursor) {
  __shared__ int64_t sums[kWarp];
  __shared__ int64_t before;
  if (threadIdx.x == 0) before = 0;
  for (int64_t first = 0; first < cells; first += kScanThreads) {
    const int64_t c = first + threadIdx.x;
    const int64_t count = c < cells ? counts[c] : 0;
    int64_t sum = count;
    for (int step = 1; step < kWarp; step *= 2) {
      const int64_t other = __shfl_up_sync(kAllLanes, sum, step);
      if (cuda::lane() >= step) sum += other;
    }
    if (cuda::lane() == kWarp - 1) sums[cuda::warp()] = sum;
    __syncthreads();
    int64_t start = before + sum - count;
    for (int w = 0; w < cuda::warp(); ++w) start += sums[w];
    if (c < cells) starts[c] = start, cursor[c] = static_cast<Key>(start);
    __syncthreads();
    if (threadIdx.x == kScanThreads - 1) before = start + count;
  }
  __syncthreads();
  if (threadIdx.x == 0) starts[cells] = before;
}

// Fills the lists; what does not fit is left out here, and then no list is used at all.
__global__ void __launch_bounds__(kThreads)
    scatter_hits(Batch batch, const Record* records, const TileBox* boxes, Key* cursor, Key* hits, int64_t capacity) {
  const int image = static_cast<int>(blockIdx.y);
  const int64_t i = cuda::thread_index(), at = image * batch.count + i;
  Record record = {};
  TileBox box = {0, 0, 0, 0};
  if (i < batch.count) box = boxes[at];
  if (box.area()) record = records[at];
  Key* mine = cursor + static_cast<int64_t>(image) * batch.tiles;
  for_each_tile(record, box, key_of(record, i), batch.columns, [=](int tile, Key key) {
    const int64_t place = static_cast<int64_t>(atomicAdd(mine + tile, Key{1}));
    if (place < capacity) hits[place] = key;
  });
}

__global__ void __launch_bounds__(kThreads) sort_lists(const int64_t* starts, int64_t cells, Key* hits, int64_t capacity) {
  const int64_t cell = blockIdx.x, begin = starts[cell], n = starts[cell + 1] - begin;
  if (n < 2 || starts[cells] > capacity) return;
  sort_keys(hits + begin, static_cast<uint32_t>(n));
}

}  // namespace

Status scan_cells(const unsigned* counts, int64_t cells, int64_t* starts, Key* cursor, void* stream) {
  return cuda::launch(scan_counts, dim3(1), kScanThreads, 0, stream, counts, cells, starts, cursor);
}

}  // namespace splat
}  // namespace avatar3d

using namespace avatar3d;
using namespace avatar3d::splat;

// Projects and counts. records [B,N,12], boxes [B,N,4] 16-bit, starts [B tiles + 1] 64-bit, tiles = ceil(W/16)
// ceil(H/16), whose last one is the number of hits; counts [B tiles] 32-bit and cursor [B tiles] 64-bit are scratch,
// cursor until the lists are filled.
A3D_EXPORT int avatar3d_cuda_splat_project(const A3dCudaScene* scene, void* records, void* boxes, int64_t* starts,
                                           unsigned* counts, unsigned long long* cursor, void* stream) {
  Batch batch;
  if (const Status fault = batch_from_scene(*scene, batch)) return fault;
  const dim3 blocks(cuda::blocks_for(batch.count), static_cast<unsigned>(batch.images));
  return cuda::all({cuda::zero(counts, batch.cells() * sizeof *counts, stream),
                    cuda::launch(project_all, blocks, kThreads, 0, stream, batch, static_cast<Record*>(records),
                                 static_cast<TileBox*>(boxes), counts),
                    scan_cells(counts, batch.cells(), starts, cursor, stream)});
}

// Fills hits [capacity] 64-bit and sorts each cell's. Where more are needed than fit, nothing may be drawn from them:
// `draw` sees it by starts.
A3D_EXPORT int avatar3d_cuda_splat_list(const A3dCudaScene* scene, const void* records, const void* boxes,
                                        const int64_t* starts, unsigned long long* cursor, unsigned long long* hits,
                                        int64_t capacity, void* stream) {
  Batch batch;
  if (const Status fault = batch_from_scene(*scene, batch)) return fault;
  const dim3 blocks(cuda::blocks_for(batch.count), static_cast<unsigned>(batch.images));
  return cuda::all({cuda::launch(scatter_hits, blocks, kThreads, 0, stream, batch, static_cast<const Record*>(records),
                                 static_cast<const TileBox*>(boxes), cursor, hits, capacity),
                    cuda::launch(sort_lists, dim3(static_cast<unsigned>(batch.cells())), kThreads,
                                 kChunk * sizeof(Key), stream, starts, batch.cells(), hits, capacity)});
}

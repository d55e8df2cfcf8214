// SPDX-License-Identifier: Apache-2.0
// CUDA body of avatar3d.ops.splat, second half: a block per tile and image, a thread per pixel. A warp owns 8x4 pixels;
// its lanes test 32 Gaussians at a time against them, and only those that touch are blended, near to far.
#include "splat/tile_cuda.h"

namespace avatar3d {
namespace splat {
namespace {

struct Planes {
  float *rgb, *alpha, *depth;  // [B,3,H,W] [B,H,W] [B,H,W]
  float* light;                // [B,H,W] light let through at the end, or null: not kept
  int* last;                   // [B,H,W] place in the tile's list of the last contribution, -1: none
};

struct Blended {
  float light = 1.f, red = 0.f, green = 0.f, blue = 0.f, depth = 0.f;
  int last = -1;
  bool live;
};

__device__ inline void blend(const Record& r, int place, float x, float y, Blended& out) {
  const float raw = exp2(log2_alpha(x - r.u, y - r.v, r.xx, r.xy, r.yy, r.log2_opacity));
  const float alpha = min(raw, kAlphaMax);
  if (!out.live || !(alpha >= kAlphaMin)) return;
  const float after = negmuladd(alpha, out.light, out.light);
  out.live = after > kStop;
  if (!out.live) return;
  const float weight = alpha * out.light;
  out.red = muladd(weight, r.red, out.red);
  out.green = muladd(weight, r.green, out.green);
  out.blue = muladd(weight, r.blue, out.blue);
  out.depth = muladd(weight, r.z, out.depth);
  out.light = after;
  out.last = place;
}

__device__ inline void write_pixel(const Batch& batch, int image, int64_t pixel, const Blended& b, const Planes& out) {
  const int64_t size = batch.pixels(), at = image * size + pixel;
  float* rgb = out.rgb + 3 * image * size + pixel;
  rgb[0] = b.red, rgb[size] = b.green, rgb[2 * size] = b.blue;
  out.alpha[at] = 1.f - b.light;
  out.depth[at] = b.depth;
  if (out.light) out.light[at] = b.light, out.last[at] = b.last;
}

// A picture whose lists did not fit is no picture: it is made of NaN, and no Gaussian learns from it.
__device__ inline void spoil(Blended& b) {
  const float no_number = __uint_as_float(0x7fc00000u);
  b.red = b.green = b.blue = b.depth = b.light = no_number;
  b.last = -1;
}

__global__ void __launch_bounds__(kThreads)
    draw_tiles(Batch batch, const Record* records, const int64_t* starts, const Key* hits, int64_t capacity, Planes out) {
  Record* shared = cuda::shared_memory<Record>();
  const int image = static_cast<int>(blockIdx.y), tile = static_cast<int>(blockIdx.x);
  const int64_t cell = static_cast<int64_t>(image) * batch.tiles + tile, begin = starts[cell];
  const bool fits = starts[batch.cells()] <= capacity;
  const int n = fits ? static_cast<int>(starts[cell + 1] - begin) : 0;
  const Record* all = records + image * batch.count;
  const Seat seat(batch, tile);
  Blended b;
  b.live = seat.inside;
  for (int first = 0; first < n; first += kThreads) {
    if (!__syncthreads_or(b.live)) break;
    const int m = min(n - first, kThreads), mine = static_cast<int>(threadIdx.x);
    if (mine < m) shared[mine] = all[gaussian_of(hits[begin + first + mine])];
    __syncthreads();
    for (int group = 0; group < m && __any_sync(kAllLanes, b.live); group += kWarp) {
      const int k = group + cuda::lane();
      const bool reaches = k < m && seat.warp_touched_by(shared[k]);
      for (unsigned left = __ballot_sync(kAllLanes, reaches); left; left &= left - 1) {
        const int next = group + __ffs(left) - 1;
        blend(shared[next], first + next, seat.x, seat.y, b);
      }
    }
  }
  if (!fits) spoil(b);
  if (seat.inside) write_pixel(batch, image, seat.pixel, b, out);
}

}  // namespace
}  // namespace splat
}  // namespace avatar3d

using namespace avatar3d;
using namespace avatar3d::splat;

// Draws rgb [B,3,H,W], alpha [B,H,W], depth [B,H,W] from the lists of avatar3d_cuda_splat_list; NaN everywhere if they
// did not fit into `capacity`. light and last [B,H,W] are for the backward pass, or both null.
A3D_EXPORT int avatar3d_cuda_splat_draw(const A3dCudaScene* scene, const void* records, const int64_t* starts,
                                        const unsigned long long* hits, int64_t capacity, float* rgb, float* alpha,
                                        float* depth, float* light, int* last, void* stream) {
  Batch batch;
  if (const Status fault = batch_from_scene(*scene, batch)) return fault;
  const dim3 blocks(static_cast<unsigned>(batch.tiles), static_cast<unsigned>(batch.images));
  return cuda::launch(draw_tiles, blocks, kThreads, kThreads * sizeof(Record), stream, batch,
                      static_cast<const Record*>(records), starts, hits, capacity,
                      Planes{rgb, alpha, depth, light, last});
}

// SPDX-License-Identifier: Apache-2.0
// CUDA: what the pixels say about each Gaussian (Moment in splat.h). Each warp replays its list far to near. Per pair
// only e = alpha dL/dalpha and w = alpha T are formed; they are kept until sixteen Gaussians have gone by, and then read
// the other way round: a lane sums one Gaussian over half of the warp's pixels, whose places it knows. Summing each of
// the ten moments across lanes instead would take ten times five exchanges per Gaussian.
#include "splat/tile_cuda.h"

namespace avatar3d {
namespace splat {
namespace {

constexpr int kLoad = 128;        // records in shared memory at a time
constexpr int kBatch = 16;        // Gaussians turned at a time
constexpr int kStep = kWarp + 1;  // floats from Gaussian to Gaussian: no two lanes ever want the same bank

struct Upstream {
  const float *rgb, *alpha, *depth;  // [B,3,H,W] [B,H,W] [B,H,W]; each may be null, which means zero
  const float* light;                // [B,H,W] as kept
  const int* last;
};

struct Shared {
  Record records[kLoad];
  uint32_t gaussians[kLoad];
  float4 pixels[kWarps][kWarp];  // upstream of red, green, blue, depth
  float e[kWarps][kBatch * kStep], w[kWarps][kBatch * kStep];
};

struct Pixel {
  float light, red, green, blue, alpha, depth;
  float behind = 0.f;  // sum of w dL/dw over what was replayed
  int last = -1;
};

__device__ inline Pixel pixel_at(const Batch& batch, int image, const Seat& seat, const Upstream& up) {
  Pixel p = {};
  p.last = -1;
  if (!seat.inside) return p;
  const int64_t size = batch.pixels(), at = image * size + seat.pixel;
  const float* rgb = up.rgb ? up.rgb + 3 * image * size + seat.pixel : nullptr;
  if (rgb) p.red = rgb[0], p.green = rgb[size], p.blue = rgb[2 * size];
  if (up.alpha) p.alpha = up.alpha[at];
  if (up.depth) p.depth = up.depth[at];
  p.light = up.light[at], p.last = up.last[at];
  return p;
}

// e and w of one pair; false where the pair does not count. Takes the pixel one step nearer.
__device__ inline bool replay(const Record& r, int place, const Seat& seat, Pixel& p, float& e, float& w) {
  const float raw = exp2(log2_alpha(seat.x - r.u, seat.y - r.v, r.xx, r.xy, r.yy, r.log2_opacity));
  const float alpha = min(raw, kAlphaMax);
  e = w = 0.f;
  if (place > p.last || !(alpha >= kAlphaMin)) return false;
  const float inverse = reciprocal(1.f - alpha);
  p.light *= inverse;
  w = alpha * p.light;
  const float g = muladd(p.red, r.red, muladd(p.green, r.green, muladd(p.blue, r.blue, muladd(p.depth, r.z, p.alpha))));
  const float d_alpha = p.light * g - p.behind * inverse;
  p.behind = muladd(w, g, p.behind);
  e = raw <= kAlphaMax ? alpha * d_alpha : 0.f;  // a clamped alpha does not move
  return true;
}

// Moments of one Gaussian over sixteen pixels, two rows of the warp's; x and y from the middle of its 8x4 pixels.
__device__ inline void half_moments(const float* e, const float* w, const float4* pixels, int half, float* m) {
  for (int row = 0; row < 2; ++row) {
    const float y = static_cast<float>(2 * half + row) - 1.5f;
    float sum = 0.f, sum_x = 0.f, sum_xx = 0.f;
    for (int column = 0; column < kWarpWide; ++column) {
      const int k = row * kWarpWide + column;
      const float x = static_cast<float>(column) - 3.5f, value = e[k], weight = w[k];
      const float4 up = pixels[k];
      sum += value;
      sum_x = muladd(value, x, sum_x);
      sum_xx = muladd(value, x * x, sum_xx);
      m[kRed] = muladd(weight, up.x, m[kRed]);
      m[kGreen] = muladd(weight, up.y, m[kGreen]);
      m[kBlue] = muladd(weight, up.z, m[kBlue]);
      m[kDepth] = muladd(weight, up.w, m[kDepth]);
    }
    m[kSum] += sum, m[kX] += sum_x, m[kXX] += sum_xx;
    m[kY] = muladd(sum, y, m[kY]);
    m[kXY] = muladd(sum_x, y, m[kXY]);
    m[kYY] = muladd(sum, y * y, m[kYY]);
  }
}

// Turns the `size` Gaussians waiting in the warp's part of `shared` into moments and adds them up. `waiting`: which
// record lies in the place of this lane's Gaussian.
__device__ inline void flush(const Shared& shared, int size, int waiting, const Seat& seat, float* moments) {
  const int mine = cuda::lane() % kBatch, half = cuda::lane() / kBatch, warp = cuda::warp();
  const int at = mine * kStep + half * kBatch;
  float m[kMomentRow] = {};
  __syncwarp();
  if (mine < size) {
    half_moments(shared.e[warp] + at, shared.w[warp] + at, shared.pixels[warp] + half * kBatch, half, m);
  }
  for (int k = 0; k < kMoments; ++k) m[k] += __shfl_xor_sync(kAllLanes, m[k], kBatch);
  __syncwarp();
  if (mine >= size) return;
  const Record& r = shared.records[waiting];
  shift_moments(seat.left + 3.5f - r.u, seat.top + 1.5f - r.v, m);
  float* to = moments + static_cast<int64_t>(shared.gaussians[waiting]) * kMomentRow;
  // each half of the warp adds half of the ten
  if (half) {
    cuda::add4(to + kXY, m[kXY], m[kYY], m[kRed], m[kGreen]);
    atomicAdd(to + kDepth, m[kDepth]);
  } else {
    cuda::add4(to, m[kSum], m[kX], m[kY], m[kXX]);
    atomicAdd(to + kBlue, m[kBlue]);
  }
}

// The warp's share of the records [base, base + m) of the tile, far to near.
__device__ inline void replay_loaded(Shared& shared, int base, int m, const Seat& seat, int warp_last, Pixel& p,
                                     float* moments) {
  float *e = shared.e[cuda::warp()], *w = shared.w[cuda::warp()];
  int size = 0, waiting = 0;
  for (int group = (m - 1) / kWarp * kWarp; group >= 0; group -= kWarp) {
    const int k = group + cuda::lane();
    const bool reaches = k < m && base + k <= warp_last && seat.warp_touched_by(shared.records[k]);
    unsigned left = __ballot_sync(kAllLanes, reaches);
    while (left) {
      const int bit = kWarp - 1 - __clz(left), next = group + bit;
      left &= ~(1u << bit);
      float pair_e, pair_w;
      const bool counts = replay(shared.records[next], base + next, seat, p, pair_e, pair_w);
      if (!__any_sync(kAllLanes, counts)) continue;
      e[size * kStep + cuda::lane()] = pair_e;
      w[size * kStep + cuda::lane()] = pair_w;
      if (cuda::lane() % kBatch == size) waiting = next;
      if (++size == kBatch) {
        flush(shared, size, waiting, seat, moments);
        size = 0;
      }
    }
  }
  if (size) flush(shared, size, waiting, seat, moments);
}

__global__ void __launch_bounds__(kThreads)
    replay_tiles(Batch batch, const Record* records, const int64_t* starts, const Key* hits, Upstream up, float* moments) {
  Shared& shared = *cuda::shared_memory<Shared>();
  const int image = static_cast<int>(blockIdx.y), tile = static_cast<int>(blockIdx.x);
  const int64_t begin = starts[static_cast<int64_t>(image) * batch.tiles + tile];
  const Record* all = records + image * batch.count;
  float* mine = moments + image * batch.count * kMomentRow;
  const Seat seat(batch, tile);
  Pixel p = pixel_at(batch, image, seat, up);
  shared.pixels[cuda::warp()][cuda::lane()] = make_float4(p.red, p.green, p.blue, p.depth);
  const int warp_last = cuda::warp_max(p.last);
  __shared__ int lasts[kWarps];
  if (cuda::lane() == 0) lasts[cuda::warp()] = warp_last;
  __syncthreads();
  int last = -1;
  for (int warp = 0; warp < kWarps; ++warp) last = max(last, lasts[warp]);
  for (int base = last / kLoad * kLoad; base >= 0 && last >= 0; base -= kLoad) {
    const int m = min(last + 1 - base, kLoad), k = static_cast<int>(threadIdx.x);
    if (k < m) {
      const uint32_t gaussian = gaussian_of(hits[begin + base + k]);
      shared.records[k] = all[gaussian];
      shared.gaussians[k] = gaussian;
    }
    __syncthreads();
    if (base <= warp_last) replay_loaded(shared, base, m, seat, warp_last, p, mine);
    __syncthreads();
  }
}

}  // namespace
}  // namespace splat
}  // namespace avatar3d

using namespace avatar3d;
using namespace avatar3d::splat;

// moments [B,N,12]: ten sums (Moment in splat.h) and two that are 0. Upstream arrays may be null, which means zero;
// the others as kept by the forward pass.
A3D_EXPORT int avatar3d_cuda_splat_moments(const A3dCudaScene* scene, const void* records, const int64_t* starts,
                                           const unsigned long long* hits, const float* light, const int* last,
                                           const float* d_rgb, const float* d_alpha, const float* d_depth,
                                           float* moments, void* stream) {
  Batch batch;
  if (const Status fault = batch_from_scene(*scene, batch)) return fault;
  const dim3 blocks(static_cast<unsigned>(batch.tiles), static_cast<unsigned>(batch.images));
  const size_t bytes = static_cast<size_t>(batch.images) * batch.count * kMomentRow * sizeof(float);
  return cuda::all({cuda::zero(moments, bytes, stream),
                    cuda::launch(replay_tiles, blocks, kThreads, sizeof(Shared), stream, batch,
                                 static_cast<const Record*>(records), starts, hits,
                                 Upstream{d_rgb, d_alpha, d_depth, light, last}, moments)});
}

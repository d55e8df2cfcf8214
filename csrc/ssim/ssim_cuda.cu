// SPDX-License-Identifier: Apache-2.0
// The CUDA body of avatar3d.ops.ssim: weighted L1 and SSIM of a batch of pictures, with the gradient made on the way. A
// block is a tile of one plane, blurred across and then down in shared memory. Three launches: compare tiles; sum up,
// since the gradient needs each picture's total weight; blur the slopes. Sums have a fixed order: same bits each time.
#include "cuda/cuda.h"
// after the numbers it is a template on
#include "ssim/ssim.h"

namespace avatar3d {
namespace ssim {
namespace {

constexpr int kWide = 32, kHigh = 16;  // pixels of a tile
constexpr int kRows = kHigh + 2 * kReach, kColumns = kWide + 2 * kReach;
constexpr int kSums = 3;    // of a tile: similarity, weighted difference, weight
constexpr int kSlopes = 3;  // by the blurred values, see Similarity
constexpr int kTotalled = 2;  // of a picture, see total_up

struct Taps {
  float at[kTaps];
};

struct Pictures {
  const float *rgb, *target, *weight;  // [B,3,H,W] [B,3,H,W] [B,H,W]
  int width, height, images;
  float share;
  Taps taps;

  __host__ __device__ int across() const { return (width + kWide - 1) / kWide; }
  __host__ __device__ int tiles() const { return across() * ((height + kHigh - 1) / kHigh); }
  __host__ __device__ int64_t pixels() const { return static_cast<int64_t>(width) * height; }
  dim3 blocks() const { return dim3(static_cast<unsigned>(tiles()), 3, static_cast<unsigned>(images)); }
};

// The caller's scratch memory.
struct Scratch {
  float* slopes;    // [B,3,slopes,H,W]
  float* sums;      // [B,3,tiles,sums]
  float* totalled;  // [B,totalled]

  Scratch(const Pictures& p, float* memory, bool with_slopes)
      : slopes(memory), sums(slopes + (with_slopes ? slope_floats(p) : 0)), totalled(sums + sum_floats(p)) {}

  static int64_t floats(const Pictures& p, bool with_slopes) {
    return (with_slopes ? slope_floats(p) : 0) + sum_floats(p) + p.images * kTotalled;
  }
  static int64_t slope_floats(const Pictures& p) { return p.images * 3 * kSlopes * p.pixels(); }
  static int64_t sum_floats(const Pictures& p) { return static_cast<int64_t>(p.images) * 3 * p.tiles() * kSums; }
};

// A block's tile.
struct Here {
  int x0, y0, plane, image;
  __device__ explicit Here(const Pictures& p)
      : x0(static_cast<int>(blockIdx.x) % p.across() * kWide), y0(static_cast<int>(blockIdx.x) / p.across() * kHigh),
        plane(static_cast<int>(blockIdx.y)), image(static_cast<int>(blockIdx.z)) {}
  __device__ int64_t plane_at(const Pictures& p) const {
    return (static_cast<int64_t>(image) * 3 + plane) * p.pixels();
  }
};

// to [rows,columns]: the tile and a border of the blur's reach, zero beyond the picture
__device__ void load_tile(const Pictures& p, const Here& here, const float* plane, float* to) {
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kColumns; i += cuda::kThreads) {
    const int x = here.x0 + i % kColumns - kReach, y = here.y0 + i / kColumns - kReach;
    const bool inside = x >= 0 && x < p.width && y >= 0 && y < p.height;
    to[i] = inside ? plane[static_cast<int64_t>(y) * p.width + x] : 0.f;
  }
}

// across [fields,rows,wide] <- the fields blurred along rows; read(element of a tile, values) gives a pixel's fields
template <int kFields, class Read>
__device__ void blur_across(const Taps& taps, Read&& read, float* across) {
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kWide; i += cuda::kThreads) {
    float sum[kFields] = {};
    for (int tap = 0; tap < kTaps; ++tap) {
      float value[kFields];
      read(i / kWide * kColumns + i % kWide + tap, value);
      for (int k = 0; k < kFields; ++k) sum[k] = muladd(taps.at[tap], value[k], sum[k]);
    }
    for (int k = 0; k < kFields; ++k) across[k * kRows * kWide + i] = sum[k];
  }
}

// The fields at pixel i of the tile [high,wide], blurred.
template <int kFields>
__device__ void blur_down(const Taps& taps, const float* across, int i, float* sum) {
  for (int k = 0; k < kFields; ++k) {
    sum[k] = 0;
    const float* field = across + k * kRows * kWide + i;
    for (int tap = 0; tap < kTaps; ++tap) sum[k] = muladd(taps.at[tap], field[tap * kWide], sum[k]);
  }
}

// Calls body(pixel of the tile, offset in a plane) for the thread's pixels that are in the picture.
template <class Body>
__device__ void for_pixels(const Pictures& p, const Here& here, Body&& body) {
  for (int i = static_cast<int>(threadIdx.x); i < kHigh * kWide; i += cuda::kThreads) {
    const int x = here.x0 + i % kWide, y = here.y0 + i / kWide;
    if (x < p.width && y < p.height) body(i, static_cast<int64_t>(y) * p.width + x);
  }
}

constexpr size_t kCompareBytes = sizeof(float) * (2 * kRows * kColumns + 4 * kRows * kWide + cuda::kWarp);

__global__ void __launch_bounds__(cuda::kThreads) compare(Pictures p, float* slopes, float* sums) {
  float* a = cuda::shared_memory<float>();
  float *b = a + kRows * kColumns, *across = b + kRows * kColumns, *scratch = across + 4 * kRows * kWide;
  const Here here(p);
  load_tile(p, here, p.rgb + here.plane_at(p), a);
  load_tile(p, here, p.target + here.plane_at(p), b);
  __syncthreads();
  if (p.share != 0) {
    blur_across<4>(p.taps, [&](int at, float* value) {
      value[0] = a[at], value[1] = b[at], value[2] = muladd(a[at], a[at], b[at] * b[at]), value[3] = a[at] * b[at];
    }, across);
  }
  __syncthreads();
  float sum[kSums] = {};
  for_pixels(p, here, [&](int i, int64_t at) {
    const int centre = (i / kWide + kReach) * kColumns + i % kWide + kReach;
    const float weight = p.weight[here.image * p.pixels() + at];
    sum[1] += weight * fabsf(a[centre] - b[centre]);
    sum[2] += weight;
    if (p.share == 0) return;
    float blurred[4];
    blur_down<4>(p.taps, across, i, blurred);
    const Similarity<float> one = similarity(Blurred<float>{blurred[0], blurred[1], blurred[2], blurred[3]});
    sum[0] += one.value;
    if (!slopes) return;
    float* to = slopes + kSlopes * here.plane_at(p) + at;
    to[0] = one.by_x, to[p.pixels()] = one.by_squares, to[2 * p.pixels()] = one.by_product;
  });
  float* mine = sums + ((static_cast<int64_t>(here.image) * 3 + here.plane) * p.tiles() + blockIdx.x) * kSums;
  for (int k = 0; k < kSums; ++k) {
    const float all = cuda::block_sum(sum[k], scratch);
    if (threadIdx.x == 0) mine[k] = all;
  }
}

// One block a picture: its loss, and totalled: d loss / d (similarity), d loss / d (weighted difference).
__global__ void __launch_bounds__(cuda::kThreads)
total_up(Pictures p, const float* sums, float* loss, float* totalled) {
  double* parts = cuda::shared_memory<double>();  // [sums,threads]
  const int thread = static_cast<int>(threadIdx.x), tiles = 3 * p.tiles();
  const float* mine = sums + static_cast<int64_t>(blockIdx.x) * tiles * kSums;
  for (int k = 0; k < kSums; ++k) {
    double sum = 0;
    for (int tile = thread; tile < tiles; tile += cuda::kThreads) sum += mine[tile * kSums + k];
    parts[k * cuda::kThreads + thread] = sum;
  }
  for (int half = cuda::kThreads / 2; half; half /= 2) {
    __syncthreads();
    for (int k = 0; k < kSums && thread < half; ++k) {
      parts[k * cuda::kThreads + thread] += parts[k * cuda::kThreads + thread + half];
    }
  }
  if (thread) return;
  // each plane has added the weights up once
  const double weight = parts[2 * cuda::kThreads], per_weight = weight > 0 ? 1.0 / weight : 0.0;
  const double per_value = 1.0 / (3.0 * static_cast<double>(p.pixels()));
  const double apart = (1.0 - p.share) * parts[cuda::kThreads] * per_weight;
  loss[blockIdx.x] = static_cast<float>(apart + (p.share != 0 ? p.share * (1.0 - parts[0] * per_value) : 0.0));
  totalled[blockIdx.x * kTotalled] = static_cast<float>(-p.share * per_value);
  totalled[blockIdx.x * kTotalled + 1] = static_cast<float>((1.0 - p.share) * per_weight);
}

constexpr size_t kDifferentiateBytes = sizeof(float) * kSlopes * kRows * (kColumns + kWide);

// The blur is its own transpose.
__global__ void __launch_bounds__(cuda::kThreads)
differentiate(Pictures p, const float* slopes, const float* totalled, float* gradient) {
  float *tile = cuda::shared_memory<float>(), *across = tile + kSlopes * kRows * kColumns;
  const Here here(p);
  const float by_similarity = totalled[here.image * kTotalled], by_difference = totalled[here.image * kTotalled + 1];
  if (p.share != 0) {
    const float* mine = slopes + kSlopes * here.plane_at(p);
    for (int k = 0; k < kSlopes; ++k) load_tile(p, here, mine + k * p.pixels(), tile + k * kRows * kColumns);
  }
  __syncthreads();
  if (p.share != 0) {
    blur_across<kSlopes>(p.taps, [&](int at, float* value) {
      for (int k = 0; k < kSlopes; ++k) value[k] = tile[k * kRows * kColumns + at];
    }, across);
  }
  __syncthreads();
  for_pixels(p, here, [&](int i, int64_t pixel) {
    const int64_t at = here.plane_at(p) + pixel;
    const float a = p.rgb[at], b = p.target[at], l1 = p.weight[here.image * p.pixels() + pixel] * by_difference;
    float slope = keep(a - b > 0.f, l1) - keep(0.f > a - b, l1);
    if (p.share != 0) {
      float blurred[kSlopes];
      blur_down<kSlopes>(p.taps, across, i, blurred);
      slope = muladd(blurred[0] + 2.f * a * blurred[1] + b * blurred[2], by_similarity, slope);
    }
    gradient[at] = slope;
  });
}

Status image_loss(const Pictures& p, const Scratch& s, float* loss, float* gradient, void* stream) {
  const dim3 one_each(static_cast<unsigned>(p.images));
  const Status compared =
      cuda::all({cuda::launch(compare, p.blocks(), cuda::kThreads, kCompareBytes, stream, p,
                              gradient ? s.slopes : nullptr, s.sums),
                 cuda::launch(total_up, one_each, cuda::kThreads, sizeof(double) * kSums * cuda::kThreads, stream, p,
                              s.sums, loss, s.totalled)});
  if (compared != kDone || !gradient) return compared;
  return cuda::launch(differentiate, p.blocks(), cuda::kThreads, kDifferentiateBytes, stream, p, s.slopes, s.totalled,
                      gradient);
}

}  // namespace
}  // namespace ssim
}  // namespace avatar3d

// How many floats of scratch memory avatar3d_cuda_image_loss wants.
A3D_EXPORT int64_t avatar3d_cuda_image_loss_scratch(int width, int height, int images, int with_gradient) {
  using namespace avatar3d::ssim;
  return Scratch::floats({nullptr, nullptr, nullptr, width, height, images, 0, {}}, with_gradient);
}

// As the CPU's for each of `images` pictures: loss [B], gradient [B,3,H,W] or null.
A3D_EXPORT int avatar3d_cuda_image_loss(const float* rgb, const float* target, const float* weight, int width,
                                        int height, int images, float share, float* scratch, float* loss,
                                        float* gradient, void* stream) {
  using namespace avatar3d::ssim;
  Pictures p{rgb, target, weight, width, height, images, share, {}};
  window(p.taps.at);
  return image_loss(p, Scratch(p, scratch, gradient), loss, gradient, stream);
}

// SPDX-License-Identifier: Apache-2.0
// The CUDA bodies of avatar3d.ops.blend: a thread is a column of the tables. Images go together in small groups, so that
// a number of the tables, by far the most there is to read, is read once for all of a group.
#include "blend/blend.h"
#include "cuda/cuda.h"

namespace avatar3d {
namespace blend {
namespace {

constexpr int kTogether = 4;   // images, or codes in the step of Adam
constexpr int kChunk = 1024;   // columns of a block that sums over columns
constexpr int kWarps = cuda::kThreads / cuda::kWarp;

struct Sizes {
  int64_t images, codes, width;
  unsigned groups() const { return static_cast<unsigned>((images + kTogether - 1) / kTogether); }
  __host__ __device__ int64_t chunks() const { return (width + kChunk - 1) / kChunk; }
};

__device__ inline int64_t first_of_group() { return static_cast<int64_t>(blockIdx.y) * kTogether; }

// out [B,width] = codes [B,K] @ tables [K,width]
__global__ void __launch_bounds__(cuda::kThreads)
blend_all(Sizes sizes, const float* codes, const float* tables, float* out) {
  const int64_t column = cuda::thread_index(), first = first_of_group();
  if (column >= sizes.width) return;
  const int images = static_cast<int>(min(sizes.images - first, int64_t{kTogether}));
  float sum[kTogether] = {};
  for (int64_t k = 0; k < sizes.codes; ++k) {
    const float value = tables[k * sizes.width + column];
    for (int i = 0; i < kTogether; ++i) {
      if (i < images) sum[i] = muladd(codes[(first + i) * sizes.codes + k], value, sum[i]);
    }
  }
  for (int i = 0; i < kTogether; ++i) {
    if (i < images) out[(first + i) * sizes.width + column] = sum[i];
  }
}

// parts [chunks,B,K]: tables times gradient, summed over a chunk of columns. A warp is a code.
__global__ void __launch_bounds__(cuda::kThreads)
multiply_chunks(Sizes sizes, const float* tables, const float* gradient, float* parts) {
  float* staged = cuda::shared_memory<float>();  // [together,chunk], zero beyond the last column and image
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kChunk, first = first_of_group();
  const int columns = static_cast<int>(min(sizes.width - begin, int64_t{kChunk}));
  for (int i = static_cast<int>(threadIdx.x); i < kTogether * kChunk; i += cuda::kThreads) {
    const int64_t image = first + i / kChunk;
    const bool exists = image < sizes.images && i % kChunk < columns;
    staged[i] = exists ? gradient[image * sizes.width + begin + i % kChunk] : 0.f;
  }
  __syncthreads();
  for (int64_t k = cuda::warp(); k < sizes.codes; k += kWarps) {
    const float* row = tables + k * sizes.width + begin;
    float sum[kTogether] = {};
    for (int j = cuda::lane(); j < columns; j += cuda::kWarp) {
      for (int i = 0; i < kTogether; ++i) sum[i] = muladd(row[j], staged[i * kChunk + j], sum[i]);
    }
    for (int i = 0; i < kTogether; ++i) {
      const float all = cuda::warp_sum(sum[i]);
      if (cuda::lane() == 0 && first + i < sizes.images) {
        parts[(blockIdx.x * sizes.images + first + i) * sizes.codes + k] = all;
      }
    }
  }
}

// out [count]: parts [chunks,count] summed, always in the same order
__global__ void __launch_bounds__(cuda::kThreads) add_chunks(const float* parts, int64_t chunks, int64_t count, float* out) {
  const int64_t mine = static_cast<int64_t>(blockIdx.x) * kWarps + cuda::warp();
  if (mine >= count) return;
  float sum = 0;
  for (int64_t chunk = cuda::lane(); chunk < chunks; chunk += cuda::kWarp) sum += parts[chunk * count + mine];
  sum = cuda::warp_sum(sum);
  if (cuda::lane() == 0) out[mine] = sum;
}

// The tables' gradient, codes^t gradient, is made number by number and never stored.
__global__ void __launch_bounds__(cuda::kThreads)
adam_all(Sizes sizes, Adam adam, const float* codes, const float* gradient, float* tables, float* first, float* second) {
  const int64_t column = cuda::thread_index(), begin = first_of_group();
  if (column >= sizes.width) return;
  const int rows = static_cast<int>(min(sizes.codes - begin, int64_t{kTogether}));
  float slope[kTogether] = {};
  for (int64_t image = 0; image < sizes.images; ++image) {
    const float upstream = gradient[image * sizes.width + column];
    for (int i = 0; i < kTogether; ++i) {
      if (i < rows) slope[i] = muladd(codes[image * sizes.codes + begin + i], upstream, slope[i]);
    }
  }
  for (int i = 0; i < kTogether; ++i) {
    const int64_t at = (begin + i) * sizes.width + column;
    if (i < rows) adam_step(adam, slope[i], tables[at], first[at], second[at]);
  }
}

}  // namespace
}  // namespace blend
}  // namespace avatar3d

using namespace avatar3d;
using blend::Sizes;

// codes [B,K], tables [K,width] -> out [B,width]
A3D_EXPORT int avatar3d_cuda_blend_forward(const float* codes, const float* tables, int64_t images, int64_t count_codes,
                                           int64_t width, float* out, void* stream) {
  const Sizes sizes{images, count_codes, width};
  return cuda::launch(blend::blend_all, dim3(cuda::blocks_for(width), sizes.groups()), cuda::kThreads, 0, stream, sizes,
                      codes, tables, out);
}

// How many floats of scratch memory the next function wants.
A3D_EXPORT int64_t avatar3d_cuda_blend_scratch(int64_t images, int64_t count_codes, int64_t width) {
  return Sizes{images, count_codes, width}.chunks() * images * count_codes;
}

// tables [K,width], gradient [B,width] -> out [B,K]
A3D_EXPORT int avatar3d_cuda_blend_codes_gradient(const float* tables, const float* gradient, int64_t images,
                                                  int64_t count_codes, int64_t width, float* scratch, float* out,
                                                  void* stream) {
  const Sizes sizes{images, count_codes, width};
  const dim3 blocks(static_cast<unsigned>(sizes.chunks()), sizes.groups());
  const int64_t count = images * count_codes;
  return cuda::all({cuda::launch(blend::multiply_chunks, blocks, cuda::kThreads,
                                 sizeof(float) * blend::kTogether * blend::kChunk, stream, sizes, tables, gradient,
                                 scratch),
                    cuda::launch(blend::add_chunks, cuda::blocks_for(count, blend::kWarps), cuda::kThreads, 0, stream,
                                 scratch, sizes.chunks(), count, out)});
}

// As the CPU's.
A3D_EXPORT int avatar3d_cuda_adam_low_rank_step(float* tables, float* first, float* second, const float* codes,
                                                const float* gradient, int64_t images, int64_t count_codes,
                                                int64_t width, float rate, float root, float share1, float share2,
                                                float eps, void* stream) {
  const Sizes sizes{images, count_codes, width};
  const blend::Adam adam{rate, root, share1, share2, eps};
  const auto groups = static_cast<unsigned>((count_codes + blend::kTogether - 1) / blend::kTogether);
  return cuda::launch(blend::adam_all, dim3(cuda::blocks_for(width), groups), cuda::kThreads, 0, stream, sizes, adam,
                      codes, gradient, tables, first, second);
}

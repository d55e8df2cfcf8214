// SPDX-License-Identifier: Apache-2.0
// Tables blended at a frame's codes, and an Adam step for them. The tables' gradient (codes times the gradient of the
// blend) has the rank of the number of images and is never stored: it would be as large as the tables.
#include <algorithm>
#include <cstdint>

#include "blend/blend.h"
#include "common.h"
#include "pool.h"

using namespace avatar3d;

namespace {

constexpr int64_t kBlock = 2048;  // columns at a time: 8 KiB stay in the first-level cache
constexpr int kLanes = 16;

template <class Body>
void for_blocks(int64_t width, Body&& body) {
  Pool::shared().run(static_cast<int>((width + kBlock - 1) / kBlock), [&](int block, int) {
    const int64_t begin = int64_t{block} * kBlock;
    body(begin, std::min(width, begin + kBlock));
  });
}

// Arrays must not overlap, or the loop could not be vectorised.
void adam_row(const blend::Adam adam, const float code, const float* __restrict gradient, const int64_t columns,
              float* __restrict table, float* __restrict first, float* __restrict second) {
  for (int64_t j = 0; j < columns; ++j) blend::adam_step(adam, code * gradient[j], table[j], first[j], second[j]);
}

void add_scaled(const float code, const float* __restrict row, const int64_t columns, float* __restrict target) {
  for (int64_t j = 0; j < columns; ++j) target[j] += code * row[j];
}

// Side by side in lanes: one running sum would have to add in order, a number at a time.
float dot(const float* row, const float* other, const int64_t columns) {
  float lane[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= columns; j += kLanes) {
    for (int i = 0; i < kLanes; ++i) lane[i] += row[j + i] * other[j + i];
  }
  float sum = 0;
  for (; j < columns; ++j) sum += row[j] * other[j];
  for (const float part : lane) sum += part;
  return sum;
}

}  // namespace

// codes [K], tables [K,width] -> out [width] = codes @ tables
A3D_EXPORT int avatar3d_blend_forward(const float* codes, const float* tables, int64_t count_codes, int64_t width,
                                      float* out) {
  for_blocks(width, [&](int64_t begin, int64_t end) {
    float* target = out + begin;
    const int64_t columns = end - begin;
    std::fill(target, target + columns, 0.0f);
    for (int64_t k = 0; k < count_codes; ++k) {
      add_scaled(codes[k], tables + k * width + begin, columns, target);
    }
  });
  return kDone;
}

// tables, gradient like them -> out [K] = tables @ gradient [width]
A3D_EXPORT int avatar3d_blend_codes_gradient(const float* tables, const float* gradient, int64_t count_codes,
                                             int64_t width, float* out) {
  Pool::shared().run(static_cast<int>(count_codes), [&](int k, int) {
    const float* row = tables + k * width;
    double sum = 0;
    for (int64_t begin = 0; begin < width; begin += kBlock) {
      sum += dot(row + begin, gradient + begin, std::min(width, begin + kBlock) - begin);
    }
    out[k] = static_cast<float>(sum);
  });
  return kDone;
}

// One Adam step of tables [K,width] with the gradient sum over B images of codes[b,k] * gradient[b,j]; first and second
// are its moments. The numbers: see blend.h.
A3D_EXPORT int avatar3d_adam_low_rank_step(float* tables, float* first, float* second, const float* codes,
                                           const float* gradient, int64_t images, int64_t count_codes, int64_t width,
                                           float rate, float root, float share1, float share2, float eps) {
  const blend::Adam adam{rate, root, share1, share2, eps};
  for_blocks(width, [&](int64_t begin, int64_t end) {
    const int64_t columns = end - begin;
    float sum[kBlock];
    for (int64_t k = 0; k < count_codes; ++k) {
      const int64_t at = k * width + begin;
      if (images == 1) {
        adam_row(adam, codes[k], gradient + begin, columns, tables + at, first + at, second + at);
        continue;
      }
      std::fill(sum, sum + columns, 0.0f);
      for (int64_t b = 0; b < images; ++b) {
        add_scaled(codes[b * count_codes + k], gradient + b * width + begin, columns, sum);
      }
      adam_row(adam, 1.0f, sum, columns, tables + at, first + at, second + at);
    }
  });
  return kDone;
}

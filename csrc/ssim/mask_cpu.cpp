// SPDX-License-Identifier: Apache-2.0
// The CPU body of avatar3d.ops.picture.mask_loss: how far alpha is from a mask, where the mask is sure, with the gradient.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "common.h"
#include "pool.h"

namespace {

constexpr int64_t kBlock = 16384;  // pixels
constexpr int kParts = 16;         // partial sums side by side, since the order of one float sum must not change

double block_loss(const float* alpha, const uint8_t* mask, int64_t count, float sure, float share, float* gradient) {
  float parts[kParts] = {};
  for (int64_t j = 0; j < count; j += kParts) {
    const int lanes = static_cast<int>(std::min<int64_t>(kParts, count - j));
    for (int lane = 0; lane < lanes; ++lane) {
      const float wanted = mask[j + lane] / 255.0f, away = alpha[j + lane] - wanted;
      const bool known = wanted < sure || wanted > 1.0f - sure;
      parts[lane] += known ? std::abs(away) : 0.0f;
      if (gradient) gradient[j + lane] = known ? (away > 0 ? share : away < 0 ? -share : 0.0f) : 0.0f;
    }
  }
  double sum = 0;
  for (float part : parts) sum += part;
  return sum;
}

}  // namespace

// alpha [count], mask [count] 0..255 -> loss = mean of |alpha - mask / 255| over all pixels, zero where the mask lies
// between `sure` and 1 - sure; gradient [count], or null: not wanted.
A3D_EXPORT int avatar3d_mask_loss(const float* alpha, const uint8_t* mask, int64_t count, float sure, float* loss,
                                  float* gradient) {
  using namespace avatar3d;
  return guarded([&] {
    const int blocks = static_cast<int>((count + kBlock - 1) / kBlock);
    std::vector<double> sums(blocks, 0.0);
    const float share = count ? 1.0f / static_cast<float>(count) : 0.0f;
    Pool::shared().run(blocks, [&](int block, int) {
      const int64_t begin = block * kBlock, length = std::min(kBlock, count - begin);
      sums[block] = block_loss(alpha + begin, mask + begin, length, sure, share, gradient ? gradient + begin : nullptr);
    });
    double sum = 0;
    for (double part : sums) sum += part;
    *loss = static_cast<float>(sum * share);
    return kDone;
  });
}

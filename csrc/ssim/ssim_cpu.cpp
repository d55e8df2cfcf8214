// SPDX-License-Identifier: Apache-2.0
// The CPU body of avatar3d.ops.ssim and avatar3d.ops.picture: weighted L1 and SSIM of a picture, alone or laid over a
// background, with the gradients made on the way. Bands of rows are shared among the threads, see band.h.
#include <algorithm>
#include <vector>

#include "pool.h"
#include "ssim/band.h"

namespace avatar3d {
namespace ssim {
namespace {

// Rows of a band: the larger, the less is worked out twice at its ends, and the fewer there are to share. The picture
// alone decides, so that the same picture gives the same bits on any number of threads.
int band_rows(int height) { return height >= 384 ? 64 : 32; }

struct Workspace {
  std::vector<Scratch> threads;
  std::vector<Sums> sums;  // per band
};

double sum_of_weights(const Picture& p) {
  double sum = 0;
  for (int y = 0; y < p.height; ++y) {
    Vec row(0.f);
    const float* weight = p.weight + static_cast<int64_t>(y) * p.width;
    for (int x = 0; x < p.width; x += kLanes) row += load_some(weight + x, p.width - x);
    sum += sum_lanes(row);
  }
  return sum;
}

Status image_loss(const Picture& p, float share, float* loss) {
  Loan<Workspace> work;
  const Taps taps;
  Pool& pool = Pool::shared();
  const int rows = band_rows(p.height), bands = (p.height + rows - 1) / rows;
  if (work->threads.size() < static_cast<size_t>(pool.threads())) work->threads.resize(pool.threads());
  work->sums.assign(bands, Sums{});
  const double weights = sum_of_weights(p);
  const double per_value = 1.0 / (3.0 * p.pixels()), per_weight = weights > 0 ? 1.0 / (3.0 * weights) : 0.0;
  const Shares shares{static_cast<float>(-share * per_value), static_cast<float>((1.0 - share) * per_weight)};
  pool.run(bands, [&](int chunk, int slot) {
    Band band(p, chunk * rows, std::min(p.height, (chunk + 1) * rows), work->threads[slot], taps, shares);
    for (int plane = 0; plane < 3; ++plane) band.run(plane, work->sums[chunk]);
  });
  Sums sums;
  for (const Sums& part : work->sums) {
    sums.similarity += part.similarity;
    sums.difference += part.difference;
  }
  *loss = static_cast<float>((1.0 - share) * sums.difference * per_weight +
                             (share != 0 ? share * (1.0 - sums.similarity * per_value) : 0.0));
  return kDone;
}

}  // namespace
}  // namespace ssim
}  // namespace avatar3d

// loss = (1 - share) sum(weight |rgb - target|) / (3 sum(weight)) + share (1 - SSIM), a single number; gradient [3,H,W] by
// rgb, or null: not wanted.
A3D_EXPORT int avatar3d_image_loss(const float* rgb, const float* target, const float* weight, int width, int height,
                                   float share, float* loss, float* gradient) {
  using namespace avatar3d;
  return guarded([&] {
    return ssim::image_loss(
        {rgb, nullptr, nullptr, target, weight, gradient, nullptr, nullptr, width, height}, share, loss);
  });
}

// The same of rgb + (1 - alpha) background, alpha [H,W]; the three gradients are all wanted, or all null.
A3D_EXPORT int avatar3d_picture_loss(const float* rgb, const float* alpha, const float* background, const float* target,
                                     const float* weight, int width, int height, float share, float* loss,
                                     float* d_rgb, float* d_alpha, float* d_background) {
  using namespace avatar3d;
  return guarded([&] {
    return ssim::image_loss(
        {rgb, alpha, background, target, weight, d_rgb, d_alpha, d_background, width, height}, share, loss);
  });
}

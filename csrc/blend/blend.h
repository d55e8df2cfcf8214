// SPDX-License-Identifier: Apache-2.0
// One step of Adam (Kingma and Ba, 2015) for one number. Host and device.
#pragma once

#include "common.h"
#include "scalar.h"

namespace avatar3d {
namespace blend {

// rate and root hold the corrections for the moments' start at 0: value -= rate * first / (sqrt(second) * root + eps).
// The shares, 1 - beta, are the caller's to round: from a rounded beta of .999 little of them would be left.
struct Adam {
  float rate, root, share1, share2, eps;
};

A3D_MATHS void adam_step(const Adam& adam, float gradient, float& value, float& first, float& second) {
  const float mean = first + adam.share1 * (gradient - first);
  const float square = second + adam.share2 * (gradient * gradient - second);
  first = mean;
  second = square;
  value -= adam.rate * mean / (sqrtf(square) * adam.root + adam.eps);
}

}  // namespace blend
}  // namespace avatar3d

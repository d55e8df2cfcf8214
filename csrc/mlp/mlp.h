// SPDX-License-Identifier: Apache-2.0
// A small network without biases: layers of weights [in,out] one after another, max(0, .) between them. Zeros go in,
// zeros come out. Maths once, on a number type T: Vec on the CPU, float in a CUDA file.
#pragma once

#include "common.h"
#include "scalar.h"

// `layers` matrices; the width of what goes in, of what each makes: [layers + 1]
struct A3dMlp {
  const int32_t* widths;
  int32_t layers;
};

namespace avatar3d {
namespace mlp {

constexpr int kMostLayers = 6;
constexpr int kMostWidth = 128;

struct Layer {
  int in, out;
  int64_t first;  // of its weights
};

struct Network {
  Layer at[kMostLayers];
  int layers = 0, in = 0, out = 0, widest = 0;  // widths of what goes in, comes out, and the largest of all
  int64_t weights = 0;
};

inline Status network_of(const A3dMlp& given, Network& network) {
  if (given.layers < 1 || given.layers > kMostLayers) return kTooLarge;
  network.in = network.widest = given.widths[0];
  network.out = given.widths[given.layers];
  for (int i = 0; i < given.layers; ++i) {
    network.at[i] = {given.widths[i], given.widths[i + 1], network.weights};
    network.weights += int64_t{given.widths[i]} * given.widths[i + 1];
    if (given.widths[i + 1] > network.widest) network.widest = given.widths[i + 1];
  }
  network.layers = given.layers;
  return network.widest > kMostWidth ? kTooLarge : kDone;
}

// What is no number stays none: of two, `max` takes the second.
template <class T>
A3D_MATHS T rectified(T x) {
  return max(T(0.f), x);
}

// The slope of `rectified`, times `slope`; from what it gave.
template <class T>
A3D_MATHS T let_through(T value, T slope) {
  return keep(value > T(0.f), slope);
}

}  // namespace mlp
}  // namespace avatar3d

// SPDX-License-Identifier: Apache-2.0
// What a ray sees of a medium that glows and absorbs (Max 1995): samples front to back, each adding light_before -
// light_after of its values. Maths once, on a number type T that holds one sample or several neighbours of a ray: Vec on
// the CPU, float in a CUDA file, whose warps hold as many as they have lanes.
#pragma once

#include "common.h"
#include "scalar.h"

// The samples of `rays` rays: those of ray i are the rows first[i] .. first[i + 1].
struct A3dSamples {
  const float *begins, *ends;  // [count] along the ray
  const int64_t* first;        // [rays + 1]
  int64_t rays, count;
};

namespace avatar3d {
namespace composite {

constexpr int kMostValues = 16;

struct Rows {
  int64_t begin, end;
};

// Never outside the arrays, whatever stands in `first`.
A3D_MATHS Rows rows_of(const A3dSamples& samples, int64_t ray) {
  const int64_t begin = min(max(samples.first[ray], int64_t{0}), samples.count);
  return {begin, min(max(samples.first[ray + 1], begin), samples.count)};
}

// What a sample takes: nothing where density or length are below 0; NaN stays NaN.
template <class T>
A3D_MATHS T absorbed(T density, T begin, T end) {
  return max(T(0.f), density * (end - begin));
}

// The light left after so much in all: after nothing, exactly 1. NaN stays NaN.
template <class T>
A3D_MATHS T light_after(T absorbed) {
  return select(absorbed > T(0.f), exp2(absorbed * T(-1.44269504f)), T(1.f) - absorbed);
}

// The slope of the loss by a sample's density. `pull`: by its weight; `behind`: the weights behind it times theirs.
template <class T>
A3D_MATHS T slope_by_density(T density, T begin, T end, T after, T pull, T behind) {
  const T length = end - begin;
  return keep(density * length >= T(0.f), length * (after * pull - behind));
}

}  // namespace composite
}  // namespace avatar3d

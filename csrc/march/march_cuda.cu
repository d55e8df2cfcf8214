// SPDX-License-Identifier: Apache-2.0
// The CUDA body of avatar3d.ops.march: a thread is a ray. It walks twice, first to count its steps and then to write
// them, which costs less than keeping as many as there could be.
#include "cuda/cuda.h"
#include "march/march.h"

namespace avatar3d {
namespace march {
namespace {

__global__ void __launch_bounds__(cuda::kThreads) plant_words(A3dRays rays, unsigned along, uint64_t* words) {
  const int64_t i = cuda::thread_index();
  if (i >= cube(along)) return;
  const auto row = static_cast<unsigned>(i / along);
  words[i] = word_from(rays.occupied, static_cast<unsigned>(rays.cells), row / along, row % along,
                       static_cast<unsigned>(i % along));
}

__global__ void __launch_bounds__(cuda::kThreads) plant_above(const uint64_t* words, unsigned along, uint64_t* above) {
  const int64_t i = cuda::thread_index();
  const unsigned wide = words_along(along);
  if (i >= cube(wide)) return;
  const auto row = static_cast<unsigned>(i / wide);
  above[i] = word_above(words, along, row / wide, row % wide, static_cast<unsigned>(i % wide));
}

// keep(which of the ray's samples, the number of its step); returns how many there are.
template <class Keep>
__device__ int walk(const Ray& ray, const Tree& tree, int most, Keep&& keep) {
  int kept = 0;
  for (int number = 0; number < kMostSteps && kept < most;) {
    const float middle = middle_of(ray, static_cast<float>(number));
    if (!(middle < ray.far)) break;
    const Spot spot = spot_of(ray, middle, tree.cells);
    if (const unsigned side = empty_around(tree, spot)) {
      number = step_beyond(ray, spot, side, number);
    } else {
      keep(kept++, number++);
    }
  }
  return kept;
}

__global__ void __launch_bounds__(cuda::kThreads) count_steps(A3dRays rays, Tree tree, int64_t* counts) {
  const int64_t i = cuda::thread_index();
  if (i < rays.count) counts[i] = walk(ray_of(rays, i), tree, rays.most, [](int, int) {});
}

__global__ void __launch_bounds__(cuda::kThreads)
write_steps(A3dRays rays, Tree tree, const int64_t* first, int64_t* owner, float* begins, float* ends) {
  const int64_t i = cuda::thread_index();
  if (i >= rays.count) return;
  const Ray ray = ray_of(rays, i);
  walk(ray, tree, static_cast<int>(first[i + 1] - first[i]), [&](int which, int number) {
    const int64_t row = first[i] + which;
    owner[row] = i;
    begins[row] = muladd(static_cast<float>(number), ray.step, ray.start);
    ends[row] = muladd(static_cast<float>(number + 1), ray.step, ray.start);
  });
}

}  // namespace
}  // namespace march
}  // namespace avatar3d

// How many 64-bit words the tree of so many cells along an axis takes.
A3D_EXPORT int64_t avatar3d_cuda_march_scratch(int32_t cells) {
  return avatar3d::march::tree_size(static_cast<unsigned>(cells));
}

// Fills the tree, and counts [count]; `rays` lies on the host, what it points to on the device.
A3D_EXPORT int avatar3d_cuda_march_count(const A3dRays* rays, uint64_t* tree, int64_t* counts, void* stream) {
  using namespace avatar3d;
  using namespace avatar3d::march;
  const auto cells = static_cast<unsigned>(rays->cells);
  const unsigned along = words_along(cells);
  uint64_t* above = tree + cube(along);
  return cuda::all({
      cuda::launch(plant_words, cuda::blocks_for(cube(along)), cuda::kThreads, 0, stream, *rays, along, tree),
      cuda::launch(plant_above, cuda::blocks_for(cube(words_along(along))), cuda::kThreads, 0, stream, tree, along,
                   above),
      cuda::launch(count_steps, cuda::blocks_for(rays->count), cuda::kThreads, 0, stream, *rays,
                   tree_of(tree, cells), counts),
  });
}

// With the tree of avatar3d_cuda_march_count and the counts summed up, first [count + 1] -> the samples
A3D_EXPORT int avatar3d_cuda_march_write(const A3dRays* rays, const uint64_t* tree, const int64_t* first,
                                         int64_t* ray, float* begins, float* ends, void* stream) {
  using namespace avatar3d;
  using namespace avatar3d::march;
  return cuda::launch(write_steps, cuda::blocks_for(rays->count), cuda::kThreads, 0, stream, *rays,
                      tree_of(tree, static_cast<unsigned>(rays->cells)), first, ray, begins, ends);
}

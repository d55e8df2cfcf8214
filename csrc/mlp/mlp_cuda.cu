// SPDX-License-Identifier: Apache-2.0
// The CUDA body of avatar3d.ops.mlp. A block takes some points through all layers in shared memory; a thread makes the
// same column of four points, so that a weight that is read serves four times. Gradients by the weights are kept block
// by block and added in a fixed order: the same bits in every run.
#include "cuda/cuda.h"
#include "mlp/mlp.h"

namespace avatar3d {
namespace mlp {
namespace {

constexpr int kGroup = 4;           // points of a thread
constexpr int kMostPoints = 32;     // of a block
constexpr int kMostBlocks = 264;    // that keep gradients of their own
constexpr size_t kShared = 48 * 1024;

// What a block holds: the values before, between and after the layers, [points,width] each, then two gradients.
struct Room {
  int points;
  int value_at[kMostLayers + 1];  // in numbers per point
  int values, bytes;
};

inline Room room_for(const Network& network, int gradients) {
  Room room{};
  for (int i = 0; i < network.layers; ++i) room.value_at[i + 1] = room.value_at[i] + network.at[i].in;
  room.values = room.value_at[network.layers] + network.out;
  const int per_point = static_cast<int>(sizeof(float)) * (room.values + gradients * network.widest);
  room.points = kMostPoints;
  while (room.points > kGroup && static_cast<size_t>(room.points * per_point) > kShared) room.points /= 2;
  room.bytes = room.points * per_point;
  return room;
}

// A block's share of the points.
struct Share {
  int64_t first;
  int points;
};

__device__ inline Share share_of(int64_t tile, int points, int64_t count) {
  const int64_t first = tile * points;
  return {first, static_cast<int>(min(count - first, int64_t{points}))};
}

// rows [points,width] from an array that has only `share` of them; the others are zero
__device__ void take(const float* from, const Share& share, int points, int width, float* rows) {
  for (int i = static_cast<int>(threadIdx.x); i < points * width; i += cuda::kThreads) {
    rows[i] = i < share.points * width ? from[share.first * width + i] : 0.f;
  }
}

__device__ void give(const float* rows, const Share& share, int width, float* to) {
  for (int i = static_cast<int>(threadIdx.x); i < share.points * width; i += cuda::kThreads) {
    to[share.first * width + i] = rows[i];
  }
}

// out [points,columns] = in [points,depth] right, whose element (k, j) is at k * row + j * step; finish(value, index)
template <class Finish>
__device__ void multiply(const float* in, int depth, const float* right, int row, int step, int columns, int points,
                         float* out, Finish&& finish) {
  for (int task = static_cast<int>(threadIdx.x); task < columns * (points / kGroup); task += cuda::kThreads) {
    const int j = task % columns, first = task / columns * kGroup;
    float sum[kGroup] = {};
    for (int k = 0; k < depth; ++k) {
      const float weight = right[k * row + j * step];
      A3D_WRITE_OUT
      for (int i = 0; i < kGroup; ++i) sum[i] = muladd(in[(first + i) * depth + k], weight, sum[i]);
    }
    A3D_WRITE_OUT
    for (int i = 0; i < kGroup; ++i) {
      const int at = (first + i) * columns + j;
      out[at] = finish(sum[i], at);
    }
  }
}

__device__ void go_forward(const Network& network, const Room& room, const float* weights, float* values) {
  for (int i = 0; i < network.layers; ++i) {
    const Layer& layer = network.at[i];
    const bool last = i + 1 == network.layers;
    __syncthreads();
    multiply(values + room.value_at[i] * room.points, layer.in, weights + layer.first, layer.out, 1, layer.out,
             room.points, values + room.value_at[i + 1] * room.points,
             [&](float sum, int) { return last ? sum : rectified(sum); });
  }
  __syncthreads();
}

__global__ void __launch_bounds__(cuda::kThreads)
forward_all(Network network, Room room, const float* inputs, const float* weights, int64_t count, float* out) {
  float* values = cuda::shared_memory<float>();
  const Share share = share_of(blockIdx.x, room.points, count);
  take(inputs, share, room.points, network.in, values);
  go_forward(network, room, weights, values);
  give(values + room.value_at[network.layers] * room.points, share, network.out, out);
}

// sums [in,out] += the points' values [points,in], transposed, times gradient [points,out]
__device__ void add_weights(const float* values, const float* gradient, const Layer& layer, int points, float* sums) {
  for (int task = static_cast<int>(threadIdx.x); task < layer.in * layer.out; task += cuda::kThreads) {
    const int k = task / layer.out, j = task % layer.out;
    float sum = 0;
    for (int i = 0; i < points; ++i) sum = muladd(values[i * layer.in + k], gradient[i * layer.out + j], sum);
    sums[layer.first + task] += sum;
  }
}

// d_inputs where wanted; sums [blocks,weights], zero at first, where wanted
__global__ void __launch_bounds__(cuda::kThreads)
backward_all(Network network, Room room, const float* inputs, const float* weights, const float* upstream,
             int64_t count, float* d_inputs, float* sums) {
  float* values = cuda::shared_memory<float>();
  const int64_t tiles = (count + room.points - 1) / room.points;
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    float *gradient = values + room.values * room.points, *spare = gradient + network.widest * room.points;
    const Share share = share_of(tile, room.points, count);
    __syncthreads();
    take(inputs, share, room.points, network.in, values);
    take(upstream, share, room.points, network.out, gradient);
    go_forward(network, room, weights, values);
    for (int i = network.layers - 1; i >= 0; --i) {
      const Layer& layer = network.at[i];
      const float* before = values + room.value_at[i] * room.points;
      if (sums) add_weights(before, gradient, layer, room.points, sums + blockIdx.x * network.weights);
      multiply(gradient, layer.out, weights + layer.first, 1, layer.out, layer.in, room.points, spare,
               [&](float sum, int at) { return i ? let_through(before[at], sum) : sum; });
      __syncthreads();
      float* swapped = gradient;
      gradient = spare;
      spare = swapped;
    }
    if (d_inputs) give(gradient, share, network.in, d_inputs);
  }
}

__global__ void __launch_bounds__(cuda::kThreads)
add_blocks(const float* sums, int64_t blocks, int64_t count, float* out) {
  const int64_t i = cuda::thread_index();
  if (i >= count) return;
  float sum = 0;
  for (int64_t block = 0; block < blocks; ++block) sum += sums[block * count + i];
  out[i] = sum;
}

inline unsigned backward_blocks(const Room& room, int64_t count) {
  const unsigned tiles = cuda::blocks_for(count, room.points);
  return tiles < kMostBlocks ? tiles : kMostBlocks;
}

}  // namespace
}  // namespace mlp
}  // namespace avatar3d

using namespace avatar3d;

// As the CPU's, with weights on the device and widths on the host.
A3D_EXPORT int avatar3d_cuda_mlp_forward(const A3dMlp* shape, const float* inputs, const float* weights, int64_t count,
                                         float* out, void* stream) {
  mlp::Network network;
  if (const Status status = mlp::network_of(*shape, network)) return status;
  const mlp::Room room = mlp::room_for(network, 0);
  return cuda::launch(mlp::forward_all, cuda::blocks_for(count, room.points), cuda::kThreads,
                      static_cast<size_t>(room.bytes), stream, network, room, inputs, weights, count, out);
}

// How many floats of scratch memory the next function wants.
A3D_EXPORT int64_t avatar3d_cuda_mlp_scratch(const A3dMlp* shape, int64_t count) {
  mlp::Network network;
  if (mlp::network_of(*shape, network)) return 0;
  return mlp::backward_blocks(mlp::room_for(network, 2), count) * network.weights;
}

A3D_EXPORT int avatar3d_cuda_mlp_backward(const A3dMlp* shape, const float* inputs, const float* weights,
                                          const float* gradient, int64_t count, float* scratch, float* d_inputs,
                                          float* d_weights, void* stream) {
  mlp::Network network;
  if (const Status status = mlp::network_of(*shape, network)) return status;
  const mlp::Room room = mlp::room_for(network, 2);
  const unsigned blocks = mlp::backward_blocks(room, count);
  float* sums = d_weights ? scratch : nullptr;
  const size_t kept = sums ? sizeof(float) * blocks * static_cast<size_t>(network.weights) : 0;
  const Status back = cuda::all({cuda::zero(sums, kept, stream),
                                 cuda::launch(mlp::backward_all, blocks, cuda::kThreads,
                                              static_cast<size_t>(room.bytes), stream, network, room, inputs, weights,
                                              gradient, count, d_inputs, sums)});
  if (back != kDone || !d_weights) return back;
  return cuda::launch(mlp::add_blocks, cuda::blocks_for(network.weights), cuda::kThreads, 0, stream, sums,
                      int64_t{blocks}, network.weights, d_weights);
}

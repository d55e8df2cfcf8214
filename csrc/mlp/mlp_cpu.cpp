// SPDX-License-Identifier: Apache-2.0
// The CPU body of avatar3d.ops.mlp. A few points go through all layers while what is between them stays in the nearest
// caches; rows are padded to whole vectors, so that one product of matrices serves forward, backward and weights alike.
//
// A task is a fixed number of points, and the gradients by the weights of the tasks are added in their order: the same
// bits on any number of threads.
#include <algorithm>
#include <cstring>

#include "mlp/mlp.h"
#include "pool.h"
#include "simd.h"

namespace avatar3d {
namespace mlp {
namespace {

constexpr int kRows = 32;    // points at a time
constexpr int kTask = 512;   // points of a task, a multiple of kRows
constexpr int kTall = 4;     // rows of a tile of sums that stays in registers
#if defined(__AVX512F__) && !defined(AVATAR3D_PORTABLE)
constexpr int kWide = 4;     // and its vectors: there are 32 registers
#else
constexpr int kWide = 1;
#endif

int padded(int width) { return (width + kLanes - 1) / kLanes * kLanes; }

// A matrix to multiply with, its element (i, k) at row * i + step * k.
struct Left {
  const float* at;
  int64_t row, step;
};

// out [kTall, kVecs vectors] (+)= left [kTall, depth] right [depth, kVecs vectors]; rows of both right and out are
// `stride` apart.
template <int kVecs>
A3D_INLINE void multiply_tile(Left left, const float* right, int64_t stride, int depth, bool add, float* out) {
  Vec sum[kTall][kVecs];
#pragma GCC unroll 4
  for (int i = 0; i < kTall; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) sum[i][j] = add ? load(out + i * stride + j * kLanes) : Vec(0.f);
  }
  for (int k = 0; k < depth; ++k) {
    Vec row[kVecs];
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) row[j] = load(right + k * stride + j * kLanes);
#pragma GCC unroll 4
    for (int i = 0; i < kTall; ++i) {
      const Vec factor(left.at[i * left.row + k * left.step]);
#pragma GCC unroll 4
      for (int j = 0; j < kVecs; ++j) sum[i][j] = muladd(factor, row[j], sum[i][j]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kTall; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) store(out + i * stride + j * kLanes, sum[i][j]);
  }
}

// As the tile's, for `rows` (of kTall) rows and `stride` columns.
void multiply(Left left, const float* right, int64_t stride, int rows, int depth, bool add, float* out) {
  for (int i = 0; i < rows; i += kTall) {
    const Left tall{left.at + i * left.row, left.row, left.step};
    for (int64_t j = 0; j < stride;) {
      const int vecs = static_cast<int>(std::min<int64_t>(kWide, (stride - j) / kLanes));
      float* to = out + i * stride + j;
      if (vecs == 1) multiply_tile<1>(tall, right + j, stride, depth, add, to);
      if constexpr (kWide == 4) {
        if (vecs == 2) multiply_tile<2>(tall, right + j, stride, depth, add, to);
        if (vecs == 3) multiply_tile<3>(tall, right + j, stride, depth, add, to);
        if (vecs == 4) multiply_tile<4>(tall, right + j, stride, depth, add, to);
      }
      j += int64_t{vecs} * kLanes;
    }
  }
}

// `count` rows of `width` numbers into kRows padded ones, zero where there are none; and back.
void pad_rows(const float* rows, int64_t count, int width, float* out) {
  const int stride = padded(width);
  std::fill(out, out + kRows * stride, 0.f);
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(out + i * stride, rows + i * width, sizeof(float) * static_cast<size_t>(width));
  }
}
void take_rows(const float* padded_rows, int64_t count, int width, float* out) {
  const int stride = padded(width);
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(out + i * width, padded_rows + i * stride, sizeof(float) * static_cast<size_t>(width));
  }
}

struct Scratch {
  Buffer<float> values;     // what goes into each layer and comes out of the last, [kRows, padded] each
  Buffer<float> gradients;  // two of [kRows, padded widest]
};

struct Workspace {
  std::vector<Scratch> threads;
  Buffer<float> weights;  // with padded rows, layer by layer; for the way back transposed too
  Buffer<float> sums;     // gradients by the weights, [tasks, weights with padded rows and tall columns]
};

struct Body {
  const Network& network;
  Workspace& work;
  int64_t value_at[kMostLayers + 1], weight_at[kMostLayers], turned_at[kMostLayers], sum_at[kMostLayers];
  int64_t values = 0, packed = 0, summed = 0;

  Body(const Network& network_, Workspace& work_) : network(network_), work(work_) {
    value_at[0] = 0;
    for (int i = 0; i < network.layers; ++i) {
      const int in = network.at[i].in, out = network.at[i].out;
      value_at[i + 1] = value_at[i] + kRows * padded(in);
      weight_at[i] = packed;
      turned_at[i] = packed + int64_t{in} * padded(out);
      packed = turned_at[i] + int64_t{out} * padded(in);
      sum_at[i] = summed;
      summed += int64_t{padded(in)} * padded(out);
    }
    values = value_at[network.layers] + kRows * padded(network.out);
  }

  void pack(const float* weights) {
    float* to = work.weights.need(static_cast<size_t>(packed));
    std::fill(to, to + packed, 0.f);
    for (int i = 0; i < network.layers; ++i) {
      const Layer& layer = network.at[i];
      for (int k = 0; k < layer.in; ++k) {
        for (int j = 0; j < layer.out; ++j) {
          const float weight = weights[layer.first + int64_t{k} * layer.out + j];
          to[weight_at[i] + int64_t{k} * padded(layer.out) + j] = weight;
          to[turned_at[i] + int64_t{j} * padded(layer.in) + k] = weight;
        }
      }
    }
  }

  // All layers for kRows points whose padded inputs stand in values[0].
  void go_forward(float* all) const {
    for (int i = 0; i < network.layers; ++i) {
      const int stride = padded(network.at[i].out);
      float* out = all + value_at[i + 1];
      const Left in{all + value_at[i], padded(network.at[i].in), 1};
      multiply(in, work.weights.data() + weight_at[i], stride, kRows, network.at[i].in, false, out);
      if (i + 1 == network.layers) break;
      for (int at = 0; at < kRows * stride; at += kLanes) store(out + at, rectified(load(out + at)));
    }
  }

  // From the padded gradient of what came out, in `gradient`, to that of what went in, in the returned buffer; those of
  // the weights are added to `sums` where wanted.
  float* go_back(const float* all, float* gradient, float* spare, float* sums) const {
    for (int i = network.layers - 1; i >= 0; --i) {
      const Layer& layer = network.at[i];
      const int in = padded(layer.in), out = padded(layer.out);
      const float* values = all + value_at[i];
      if (sums) multiply({values, 1, in}, gradient, out, in, kRows, true, sums + sum_at[i]);
      multiply({gradient, out, 1}, work.weights.data() + turned_at[i], in, kRows, layer.out, false, spare);
      std::swap(gradient, spare);
      if (!i) break;
      for (int at = 0; at < kRows * in; at += kLanes) {
        store(gradient + at, let_through(load(values + at), load(gradient + at)));
      }
    }
    return gradient;
  }

  void forward(const float* inputs, const float* weights, int64_t count, float* out) {
    pack(weights);
    each_block(count, [&](int64_t first, int64_t here, int slot, int) {
      float* all = work.threads[slot].values.need(static_cast<size_t>(values));
      pad_rows(inputs + first * network.in, here, network.in, all);
      go_forward(all);
      take_rows(all + value_at[network.layers], here, network.out, out + first * network.out);
    });
  }

  void backward(const float* inputs, const float* weights, const float* gradient, int64_t count, float* d_inputs,
                float* d_weights) {
    pack(weights);
    const int64_t tasks = (count + kTask - 1) / kTask;
    if (d_weights) {
      float* sums = work.sums.need(static_cast<size_t>(tasks * summed));
      std::fill(sums, sums + tasks * summed, 0.f);
    }
    const auto widest = static_cast<size_t>(kRows * padded(network.widest));
    each_block(count, [&](int64_t first, int64_t here, int slot, int task) {
      float* all = work.threads[slot].values.need(static_cast<size_t>(values));
      float* upstream = work.threads[slot].gradients.need(2 * widest);
      pad_rows(inputs + first * network.in, here, network.in, all);
      go_forward(all);
      pad_rows(gradient + first * network.out, here, network.out, upstream);
      float* sums = d_weights ? work.sums.data() + task * summed : nullptr;
      const float* found = go_back(all, upstream, upstream + widest, sums);
      if (d_inputs) take_rows(found, here, network.in, d_inputs + first * network.in);
    });
    if (d_weights) add_up(tasks, d_weights);
  }

  // body(first point, how many, slot, task) for blocks of kRows points
  template <class Each>
  void each_block(int64_t count, Each&& body) const {
    Pool::shared().run(static_cast<int>((count + kTask - 1) / kTask), [&](int task, int slot) {
      const int64_t end = std::min(count, (int64_t{task} + 1) * kTask);
      for (int64_t first = int64_t{task} * kTask; first < end; first += kRows) {
        body(first, std::min<int64_t>(kRows, end - first), slot, task);
      }
    });
  }

  void add_up(int64_t tasks, float* d_weights) const {
    std::fill(d_weights, d_weights + network.weights, 0.f);
    for (int64_t task = 0; task < tasks; ++task) {
      for (int i = 0; i < network.layers; ++i) {
        const Layer& layer = network.at[i];
        for (int k = 0; k < layer.in; ++k) {
          const float* from = work.sums.data() + task * summed + sum_at[i] + int64_t{k} * padded(layer.out);
          float* to = d_weights + layer.first + int64_t{k} * layer.out;
          for (int j = 0; j < layer.out; ++j) to[j] += from[j];
        }
      }
    }
  }
};

template <class Call>
int run(const A3dMlp& given, Call&& call) {
  return guarded([&] {
    Network network;
    if (const Status status = network_of(given, network)) return status;
    Loan<Workspace> work;
    const auto threads = static_cast<size_t>(Pool::shared().threads());
    if (work->threads.size() < threads) work->threads.resize(threads);
    call(Body(network, *work));
    return kDone;
  });
}

}  // namespace
}  // namespace mlp
}  // namespace avatar3d

// inputs [count,widths[0]], weights layer after layer [in,out] -> out [count,widths[layers]]
A3D_EXPORT int avatar3d_mlp_forward(const A3dMlp* shape, const float* inputs, const float* weights, int64_t count,
                                    float* out) {
  return avatar3d::mlp::run(*shape, [&](auto body) { body.forward(inputs, weights, count, out); });
}

// gradient like `out` -> d_inputs like inputs, d_weights like weights; each null where it is not wanted
A3D_EXPORT int avatar3d_mlp_backward(const A3dMlp* shape, const float* inputs, const float* weights,
                                     const float* gradient, int64_t count, float* d_inputs, float* d_weights) {
  return avatar3d::mlp::run(*shape,
                            [&](auto body) { body.backward(inputs, weights, gradient, count, d_inputs, d_weights); });
}

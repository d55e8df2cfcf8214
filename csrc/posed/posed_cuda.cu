// SPDX-License-Identifier: Apache-2.0
// CUDA body of avatar3d.ops.posed, its first kernel: tables blended at each image's codes, the rig, the projection, and
// the counting of tiles, for one Gaussian and several images per thread. Nothing in between is written to memory, and
// each number of the tables, by far the most there is to read, is read once for all those images.
#include "rig/rig.h"
#include "splat/bin_cuda.h"

namespace avatar3d {
namespace splat {
namespace {

constexpr int kTogether = 4;       // images of one thread: 36 sums fit its registers
constexpr int kMostTerms = 2048;   // their codes fit shared memory
constexpr int kPoseRow = 7;

struct Posing {
  const float *tables, *codes, *skin_logits;  // [T,N,9] [B,T] [N]
  const float *heads, *bodies;                // [B,7] wxyz, translation
  int terms;
};

struct View {
  Pinhole camera;
  rig::Frame head, body;
};

struct Offsets {
  float values[kTogether][rig::kChannels];
};

__device__ inline void look(const Batch& batch, const Posing& p, int image, View& view) {
  view.camera = batch.camera(image);
  view.head = rig::frame_of(p.heads + kPoseRow * image);
  view.body = rig::near_frame(p.bodies + kPoseRow * image, view.head);
}

__device__ inline void blend(const Posing& p, const float4* codes, int64_t count, int64_t i, Offsets& out) {
  const float* row = p.tables + i * rig::kChannels;
  for (int term = 0; term < p.terms; ++term, row += count * rig::kChannels) {
    const float4 code = codes[term];
    A3D_WRITE_OUT
    for (int k = 0; k < rig::kChannels; ++k) {
      const float value = row[k];
      out.values[0][k] = muladd(code.x, value, out.values[0][k]);
      out.values[1][k] = muladd(code.y, value, out.values[1][k]);
      out.values[2][k] = muladd(code.z, value, out.values[2][k]);
      out.values[3][k] = muladd(code.w, value, out.values[3][k]);
    }
  }
}

__device__ inline void carry(Source& s, const float* o, float skin, const View& view) {
  const rig::Gaussian g{{s.mean[0], s.mean[1], s.mean[2]},
                        {s.quat[0], s.quat[1], s.quat[2], s.quat[3]},
                        {s.colour[0], s.colour[1], s.colour[2]}};
  const rig::Offset offset{{o[0], o[1], o[2]}, {o[3], o[4], o[5]}, {o[6], o[7], o[8]}};
  const rig::Gaussian to = rig::carried(g, offset, skin, view.head, view.body);
  s.mean[0] = to.mean.x, s.mean[1] = to.mean.y, s.mean[2] = to.mean.z;
  s.quat[0] = to.quat.w, s.quat[1] = to.quat.x, s.quat[2] = to.quat.y, s.quat[3] = to.quat.z;
  s.colour[0] = to.colour.x, s.colour[1] = to.colour.y, s.colour[2] = to.colour.z;
}

__global__ void __launch_bounds__(kThreads)
    pose_all(Batch batch, Posing posing, Record* records, TileBox* boxes, unsigned* counts) {
  float4* codes = cuda::shared_memory<float4>();
  __shared__ View views[kTogether];
  const int first = static_cast<int>(blockIdx.y) * kTogether, images = min(batch.images - first, kTogether);
  for (int at = static_cast<int>(threadIdx.x); at < posing.terms * kTogether; at += kThreads) {
    const int term = at / kTogether, image = at % kTogether;
    reinterpret_cast<float*>(codes)[at] = image < images ? posing.codes[(first + image) * posing.terms + term] : 0.f;
  }
  if (static_cast<int>(threadIdx.x) < images) {
    look(batch, posing, first + static_cast<int>(threadIdx.x), views[threadIdx.x]);
  }
  __syncthreads();
  const int64_t i = cuda::thread_index();
  const bool exists = i < batch.count;
  Offsets offsets = {};
  if (exists) blend(posing, codes, batch.count, i, offsets);
  const float skin = exists ? rig::sigmoid(posing.skin_logits[i]) : 0.f;
  A3D_WRITE_OUT
  for (int image = 0; image < kTogether; ++image) {
    if (image >= images) break;
    Record record = {};
    TileBox box = {0, 0, 0, 0};
    if (exists) {
      Source s = source_at(batch, first + image, i);
      carry(s, offsets.values[image], skin, views[image]);
      box = place_gaussian(batch, views[image].camera, s, record);
      const int64_t at = (first + image) * batch.count + i;
      records[at] = record;
      boxes[at] = box;
    }
    unsigned* mine = counts + static_cast<int64_t>(first + image) * batch.tiles;
    for_each_tile(record, box, 0, batch.columns, [=](int tile, Key) { atomicAdd(mine + tile, 1u); });
  }
}

}  // namespace
}  // namespace splat
}  // namespace avatar3d

using namespace avatar3d;
using namespace avatar3d::splat;

extern "C" {

struct A3dCudaPosing {
  const float *tables, *codes, *skin_logits;  // [T,N,9] [B,T] [N]
  const float *world_from_head, *world_from_body;  // [B,7]
  int32_t terms;                                   // T, at most 2048
};
}

// In place of avatar3d_cuda_splat_project, for Gaussians that are posed on the way; the scene's are those at rest.
A3D_EXPORT int avatar3d_cuda_posed_project(const A3dCudaScene* scene, const A3dCudaPosing* posing, void* records,
                                           void* boxes, int64_t* starts, unsigned* counts, unsigned long long* cursor,
                                           void* stream) {
  Batch batch;
  if (const Status fault = batch_from_scene(*scene, batch)) return fault;
  if (posing->terms > kMostTerms) return kTooLarge;
  const Posing p{posing->tables, posing->codes, posing->skin_logits, posing->world_from_head, posing->world_from_body,
                 posing->terms};
  const dim3 blocks(cuda::blocks_for(batch.count), static_cast<unsigned>((batch.images + kTogether - 1) / kTogether));
  return cuda::all({cuda::zero(counts, batch.cells() * sizeof *counts, stream),
                    cuda::launch(pose_all, blocks, kThreads, p.terms * sizeof(float4), stream, batch, p,
                                 static_cast<Record*>(records), static_cast<TileBox*>(boxes), counts),
                    scan_cells(counts, batch.cells(), starts, cursor, stream)});
}

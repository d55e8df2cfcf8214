// SPDX-License-Identifier: Apache-2.0
// The CPU body of avatar3d.ops.filmed: finished pictures, whole numbers over a background, of a linear head's codes or
// of Gaussians. Offsets, posed Gaussians, alpha and depth never leave the caches.
#include "rig/rig.h"
#include "simd/lines.h"
#include "splat/frame.h"

namespace avatar3d {
namespace splat {
namespace {

constexpr int kPiece = 16 * kLanes;  // Gaussians whose offsets stay in the first-level cache
constexpr int kOverhang = kLanes - rig::kChannels;
constexpr int kPose = 7;  // quaternion wxyz, translation

struct Posing {
  const float *tables, *codes, *skin;  // [T,M,9] of the first M Gaussians, [T], [N] logits
  const float *head, *body;            // [7]
  int64_t terms, moving;               // T, M
};

struct Canvas {
  const float* background;  // [3,H,W] 0..1
  uint8_t* picture;         // [H,W,3]
};

// codes @ tables for the Gaussians [first, end)
void blend(const Posing& p, int64_t first, int64_t end, float* __restrict offsets) {
  const int64_t width = rig::kChannels * (end - first);
  std::fill(offsets, offsets + rig::kChannels * kPiece + kOverhang, 0.f);
  for (int64_t term = 0; term < p.terms; ++term) {
    const float code = p.codes[term];
    const float* __restrict row = p.tables + rig::kChannels * (term * p.moving + first);
    for (int64_t j = 0; j < width; ++j) offsets[j] += code * row[j];
  }
}

// Lanes as arrays: the formulas of rig.h are for one Gaussian, and the compiler lays sixteen side by side.
struct Lanes {
  alignas(64) float mean[3][kLanes], quat[4][kLanes], colour[3][kLanes], skin[kLanes], offset[kLanes][kLanes];
};

template <int kCount>
A3D_INLINE void store_all(const Vec* from, float (*to)[kLanes]) {
  for (int i = 0; i < kCount; ++i) store(to[i], from[i]);
}
template <int kCount>
A3D_INLINE void load_all(const float (*from)[kLanes], Vec* to) {
  for (int i = 0; i < kCount; ++i) to[i] = load(from[i]);
}

A3D_INLINE void carry_lanes(Lanes& l, const rig::Frame& head, const rig::Frame& body) {
  for (int i = 0; i < kLanes; ++i) {
    const rig::Gaussian rest{{l.mean[0][i], l.mean[1][i], l.mean[2][i]},
                             {l.quat[0][i], l.quat[1][i], l.quat[2][i], l.quat[3][i]},
                             {l.colour[0][i], l.colour[1][i], l.colour[2][i]}};
    const rig::Offset offset{{l.offset[0][i], l.offset[1][i], l.offset[2][i]},
                             {l.offset[3][i], l.offset[4][i], l.offset[5][i]},
                             {l.offset[6][i], l.offset[7][i], l.offset[8][i]}};
    const rig::Gaussian to = rig::carried(rest, offset, l.skin[i], head, body);
    l.mean[0][i] = to.mean.x, l.mean[1][i] = to.mean.y, l.mean[2][i] = to.mean.z;
    l.quat[0][i] = to.quat.w, l.quat[1][i] = to.quat.x, l.quat[2][i] = to.quat.y, l.quat[3][i] = to.quat.z;
    l.colour[0][i] = to.colour.x, l.colour[1][i] = to.colour.y, l.colour[2][i] = to.colour.z;
  }
}

A3D_INLINE void carry_block(const float* offsets, const float* skin, int lanes, const rig::Frame& head,
                            const rig::Frame& body, Sixteen& block) {
  Lanes l;
  Vec columns[kLanes];
  for (int i = 0; i < kLanes; ++i) columns[i] = load(offsets + rig::kChannels * i);
  transpose(columns);
  store_all<rig::kChannels>(columns, l.offset);
  store_all<3>(block.mean, l.mean), store_all<4>(block.quat, l.quat), store_all<3>(block.colour, l.colour);
  load_columns<1>(skin, lanes, columns);
  Vec against = columns[0] * Vec(-kLog2E);
  exp2_each<1>(&against);
  // a NaN stays one, so that such a Gaussian is not drawn
  store(l.skin, select(columns[0] >= columns[0], Vec(1.f) / (Vec(1.f) + against), columns[0]));
  carry_lanes(l, head, body);
  load_all<3>(l.mean, block.mean), load_all<4>(l.quat, block.quat), load_all<3>(l.colour, block.colour);
}

void project_posed(const Gaussians& g, const Posing& posing, const Pinhole& camera, const Grid& grid, float* records,
                   Binning& b) {
  const rig::Frame head = rig::frame_of(posing.head), body = rig::near_frame(posing.body, head);
  bin_groups(g.count, b, [&](int64_t first, int64_t end, GroupTotals& totals) {
    alignas(64) float offsets[rig::kChannels * kPiece + kOverhang];
    for (; first < end; first += kPiece) {
      const int64_t last = std::min(end, first + kPiece);
      blend(posing, first, std::max(first, std::min(last, posing.moving)), offsets);
      for (int64_t at = first; at < last; at += kLanes) {
        const int lanes = lanes_from(g, at);
        Sixteen block;
        load_sixteen(g, at, block);
        carry_block(offsets + rig::kChannels * (at - first), posing.skin + at, lanes, head, body, block);
        project_block(block, camera, grid, at, lanes, records, b, totals);
      }
    }
  });
}

// 255 (colour + (1 - alpha) background) of sixteen pixels, rounded; a NaN becomes 0.
A3D_INLINE Whole byte_of(Vec colour, Vec light, const float* background) {
  const Vec value = muladd(Vec(255.f), muladd(light, load(background), colour), Vec(0.5f));
  Vec floor;
  return truncated(min(max(value, Vec(0.f)), Vec(255.f)), floor);
}

void write_bytes(const float* planes, int tile, const Grid& grid, const Canvas& out) {
  const int x = tile % grid.columns * kTile, y = tile / grid.columns * kTile;
  const int width = std::min(kTile, grid.width - x), height = std::min(kTile, grid.height - y);
  const size_t pixels = static_cast<size_t>(grid.width) * grid.height;
  for (int row = 0; row < height; ++row, planes += kTile) {
    const size_t at = static_cast<size_t>(y + row) * grid.width + x;
    const float* behind[3];
    float edge[3][kTile];
    for (int channel = 0; channel < 3; ++channel) {
      behind[channel] = out.background + channel * pixels + at;
      if (width == kTile) continue;
      std::fill(std::copy(behind[channel], behind[channel] + width, edge[channel]), edge[channel] + kTile, 0.f);
      behind[channel] = edge[channel];
    }
    const Vec light = Vec(1.f) - load(planes + 3 * kTilePixels);
    const Whole red = byte_of(load(planes), light, behind[0]);
    const Whole green = byte_of(load(planes + kTilePixels), light, behind[1]);
    const Whole blue = byte_of(load(planes + 2 * kTilePixels), light, behind[2]);
    alignas(64) uint32_t words[kTile];
    store(words, red + green * 0x100u + blue * 0x10000u);
    settle(words);
    uint8_t bytes[3 * kTile + 1];
    for (int i = 0; i < kTile; ++i) std::memcpy(bytes + 3 * i, words + i, sizeof *words);  // each a byte too far
    std::memcpy(out.picture + 3 * at, bytes, 3 * width);
  }
}

Status draw(int64_t count, const Grid& grid, Frame& frame, State& state, const Canvas& out) {
  if (const Status fault = list_hits(count, grid, nullptr, frame, state)) return fault;
  for_all_tiles(grid, frame, [&](int tile, TileScratch& scratch, int) {
    draw_tile(tile, grid, state, scratch, [&](const float* planes) { write_bytes(planes, tile, grid, out); });
  });
  return kDone;
}

}  // namespace
}  // namespace splat
}  // namespace avatar3d

using namespace avatar3d;
using namespace avatar3d::splat;

extern "C" {

struct A3dPosed {
  const float *tables, *skin;  // [T,M,9] of the first M Gaussians, [N] logits
  int64_t terms, moving;       // T, M
};
}

// One picture [H,W,3] over background [3,H,W]. posed == null: the Gaussians are in the world already; else they are at
// rest, and code [T+14] holds codes and then the poses of head and body.
A3D_EXPORT int avatar3d_filmed(const A3dScene* scene, const float* background, const A3dPosed* posed, const float* code,
                               uint8_t* picture) {
  return guarded([&] {
    const Gaussians g = gaussians(*scene);
    if (g.count > kMost) return kTooLarge;
    const Grid grid(scene->width, scene->height);
    Loan<Frame> frame;
    State state = frame->state(g.count, grid);
    if (posed) {
      const float* head = code + posed->terms;
      const Posing posing{posed->tables, code, posed->skin, head, head + kPose, posed->terms, posed->moving};
      project_posed(g, posing, camera(*scene), grid, state.records, frame->binning);
    } else {
      project_all(g, camera(*scene), grid, state.records, frame->binning);
    }
    return draw(g.count, grid, *frame, state, {background, picture});
  });
}

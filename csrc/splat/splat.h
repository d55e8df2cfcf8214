// SPDX-License-Identifier: Apache-2.0
// The mathematics of 3D Gaussian splatting, once, for every machine: templates on a number type T, which is Vec (sixteen
// Gaussians or pixels at a time, simd.h) on the CPU and float (scalar.h) in a CUDA file.
//
// Kerbl et al. 2023 (3D Gaussian Splatting), Zwicker et al. 2001 (EWA splatting): a Gaussian of mean m, rotation Q and
// scales s has the covariance S = Q diag(s^2) Q^t; seen through the camera linearised at m, T = J R, it has the picture
// covariance P = T S T^t + 0.1 I, and at offset d from its projected mean alpha = min(.999, o exp(-d^t P^-1 d / 2)).
#pragma once

#include "common.h"
#include "scalar.h"

namespace avatar3d {
namespace splat {

constexpr float kNear = 0.01f;             // u; what is nearer is not drawn
constexpr float kBlurPx2 = 0.1f;           // added to the picture covariance: no Gaussian slips between pixels
constexpr float kAlphaMin = 1.f / 255.f;   // fainter contributions are dropped
constexpr float kAlphaMax = 0.999f;
constexpr float kStop = 1e-4f;             // a pixel that lets less light through is finished
constexpr float kFieldMargin = 0.3f;       // the linearisation point is held within 1.3 fields of view
constexpr float kLargest = 1e9f;           // a Gaussian with a larger (or no) number anywhere is not drawn
constexpr float kLargestDet = 1e30f;       // px^4
constexpr float kShortestQuat2 = 1e-20f;   // a quaternion without length is no rotation: not drawn
constexpr float kLog2AlphaMin = -7.99435344f;
constexpr float kLog2E = 1.44269504f;

struct Pinhole {
  float r[9], t[3];  // cam_from_world
  float fx, fy, cx, cy;
  float low_x, high_x, low_y, high_y;  // where x/z and y/z of the linearisation point are held
};

A3D_MATHS Pinhole pinhole(const float* cam_from_world, const float* K, int width, int height) {
  Pinhole c;
  for (int i = 0; i < 3; ++i) {
    for (int k = 0; k < 3; ++k) c.r[3 * i + k] = cam_from_world[4 * i + k];
    c.t[i] = cam_from_world[4 * i + 3];
  }
  c.fx = K[0], c.fy = K[4], c.cx = K[2], c.cy = K[5];
  const float margin_x = kFieldMargin * 0.5f * width / c.fx, margin_y = kFieldMargin * 0.5f * height / c.fy;
  c.low_x = -(c.cx / c.fx + margin_x), c.high_x = (width - c.cx) / c.fx + margin_x;
  c.low_y = -(c.cy / c.fy + margin_y), c.high_y = (height - c.cy) / c.fy + margin_y;
  return c;
}

template <class T>
struct Symmetric2 {
  T xx, xy, yy;
};

// A Gaussian on its way to the picture, with everything the way back needs.
template <class T>
struct Projected {
  T cam[3], inv_z;                // mean in camera axes [u]
  T slope_x, slope_y;             // x/z, y/z, held within the field of view
  T free_x, free_y;               // 1 where the slope was not held, else 0
  T unit[4], inv_length, length2; // normalised quaternion
  T rotation[9], scale[3];
  T cov[6];                       // world covariance: xx xy xz yy yz zz
  T view[6];                      // T = J R, two rows
  Symmetric2<T> blur, conic;      // picture covariance [px^2] and its inverse
  T det;                          // of the picture covariance
  T u, v;                         // projected mean [px]
};

template <class T>
A3D_MATHS T dot3(const T* a, const T* b) {
  return muladd(a[0], b[0], muladd(a[1], b[1], a[2] * b[2]));
}

template <class T>
A3D_MATHS void rotation_from_quat(const T* unit, T* rotation) {
  const T w = unit[0], x = unit[1], y = unit[2], z = unit[3], one(1.f), two(2.f);
  rotation[0] = negmuladd(two, muladd(y, y, z * z), one);
  rotation[1] = two * (x * y - w * z);
  rotation[2] = two * muladd(x, z, w * y);
  rotation[3] = two * muladd(x, y, w * z);
  rotation[4] = negmuladd(two, muladd(x, x, z * z), one);
  rotation[5] = two * (y * z - w * x);
  rotation[6] = two * (x * z - w * y);
  rotation[7] = two * muladd(y, z, w * x);
  rotation[8] = negmuladd(two, muladd(x, x, y * y), one);
}

// Q diag(s^2) Q^t
template <class T>
A3D_MATHS void world_covariance(const T* rotation, const T* scale, T* cov) {
  T scaled[9];
  for (int i = 0; i < 9; ++i) scaled[i] = rotation[i] * scale[i % 3] * scale[i % 3];
  cov[0] = dot3(scaled, rotation);
  cov[1] = dot3(scaled, rotation + 3);
  cov[2] = dot3(scaled, rotation + 6);
  cov[3] = dot3(scaled + 3, rotation + 3);
  cov[4] = dot3(scaled + 3, rotation + 6);
  cov[5] = dot3(scaled + 6, rotation + 6);
}

// cov * row for a symmetric matrix stored as xx xy xz yy yz zz
template <class T>
A3D_MATHS void times_symmetric(const T* cov, const T* row, T* out) {
  out[0] = muladd(cov[0], row[0], muladd(cov[1], row[1], cov[2] * row[2]));
  out[1] = muladd(cov[1], row[0], muladd(cov[3], row[1], cov[4] * row[2]));
  out[2] = muladd(cov[2], row[0], muladd(cov[4], row[1], cov[5] * row[2]));
}

template <class T>
A3D_MATHS void picture_covariance(Projected<T>& p) {
  T row[3];
  times_symmetric(p.cov, p.view, row);
  p.blur.xx = dot3(p.view, row) + T(kBlurPx2);
  p.blur.xy = dot3(p.view + 3, row);
  times_symmetric(p.cov, p.view + 3, row);
  p.blur.yy = dot3(p.view + 3, row) + T(kBlurPx2);
  p.det = p.blur.xx * p.blur.yy - p.blur.xy * p.blur.xy;
  const T inv_det = T(1.f) / p.det;
  p.conic.xx = p.blur.yy * inv_det;
  p.conic.xy = -(p.blur.xy * inv_det);
  p.conic.yy = p.blur.xx * inv_det;
}

template <class T>
A3D_MATHS void project(const Pinhole& c, const T* mean, const T* quat, const T* scale, Projected<T>& p) {
  const T one(1.f), zero(0.f);
  T r[9];
  for (int i = 0; i < 9; ++i) r[i] = T(c.r[i]);
  for (int i = 0; i < 3; ++i) p.cam[i] = dot3(r + 3 * i, mean) + T(c.t[i]);
  p.inv_z = one / p.cam[2];

  p.length2 = muladd(quat[0], quat[0], muladd(quat[1], quat[1], muladd(quat[2], quat[2], quat[3] * quat[3])));
  p.inv_length = one / sqrt(max(p.length2, T(kShortestQuat2)));
  for (int i = 0; i < 4; ++i) p.unit[i] = quat[i] * p.inv_length;
  for (int i = 0; i < 3; ++i) p.scale[i] = scale[i];
  rotation_from_quat(p.unit, p.rotation);
  world_covariance(p.rotation, p.scale, p.cov);

  const T x = p.cam[0] * p.inv_z, y = p.cam[1] * p.inv_z;
  p.slope_x = clamp(x, T(c.low_x), T(c.high_x));
  p.slope_y = clamp(y, T(c.low_y), T(c.high_y));
  p.free_x = select((x >= T(c.low_x)) & (T(c.high_x) >= x), one, zero);
  p.free_y = select((y >= T(c.low_y)) & (T(c.high_y) >= y), one, zero);
  const T fx(c.fx), fy(c.fy);
  const T jx = fx * p.inv_z, jy = fy * p.inv_z;  // J = [jx, 0, -jx slope_x; 0, jy, -jy slope_y]
  for (int k = 0; k < 3; ++k) {
    p.view[k] = jx * negmuladd(p.slope_x, r[6 + k], r[k]);
    p.view[3 + k] = jy * negmuladd(p.slope_y, r[6 + k], r[3 + k]);
  }
  picture_covariance(p);
  p.u = muladd(fx, x, T(c.cx));
  p.v = muladd(fy, y, T(c.cy));
}

// False for NaN.
template <class T>
A3D_MATHS auto small_enough(const T& x) {
  return T(kLargest) >= abs(x);
}

// Whether a Gaussian can be drawn at all: in front of the camera, of numbers that are numbers, not too faint.
template <class T>
A3D_MATHS auto is_drawn(const Projected<T>& p, const T* mean, const T* quat, const T* scale, const T& opacity,
                        const T* colour) {
  auto ok = (p.cam[2] > T(kNear)) & (p.length2 > T(kShortestQuat2)) & (p.det > T(0.f)) & (T(kLargestDet) > p.det) &
            (opacity >= T(kAlphaMin)) & small_enough(opacity);
  for (int i = 0; i < 3; ++i) ok = ok & small_enough(mean[i]) & small_enough(scale[i]) & small_enough(colour[i]);
  for (int i = 0; i < 4; ++i) ok = ok & small_enough(quat[i]);
  return ok & small_enough(p.cam[2]) & small_enough(p.u) & small_enough(p.v);
}

// How far from its projected mean, along each axis of the picture [px], alpha reaches 1/255.
template <class T>
A3D_MATHS void reach_of(const Projected<T>& p, const T& log2_opacity, T* reach) {
  const T sigmas2 = max(log2_opacity - T(kLog2AlphaMin), T(0.f)) * T(2.f / kLog2E);  // 2 ln(255 o)
  reach[0] = sqrt(sigmas2 * p.blur.xx);
  reach[1] = sqrt(sigmas2 * p.blur.yy);
}

// What the pixels say about one Gaussian. With e = alpha dL/dalpha and d = pixel - projected mean, summed over pixels:
// e, e dx, e dy, e dx^2, e dx dy, e dy^2; with w = alpha T: w dL/dcolour, w dL/ddepth. Nothing else leaves a pixel:
// dL/do = sum e / o, dL/d(mean in the picture) = P^-1 sum e d, dL/dP = P^-1 (sum e d d^t) P^-1 / 2.
enum Moment { kSum, kX, kY, kXX, kXY, kYY, kRed, kGreen, kBlue, kDepth, kMoments };

// Moments about a centre that lies at (-ox, -oy) of the present one.
template <class T>
A3D_MATHS void shift_moments(const T& ox, const T& oy, T* m) {
  m[kXX] = muladd(ox, muladd(ox, m[kSum], m[kX] + m[kX]), m[kXX]);
  m[kYY] = muladd(oy, muladd(oy, m[kSum], m[kY] + m[kY]), m[kYY]);
  m[kXY] = muladd(ox, m[kY], muladd(oy, muladd(ox, m[kSum], m[kX]), m[kXY]));
  m[kX] = muladd(ox, m[kSum], m[kX]);
  m[kY] = muladd(oy, m[kSum], m[kY]);
}

template <class T>
struct Gradients {
  T mean[3], quat[4], scale[3];
  T pose[12];  // of the three upper rows of cam_from_world
};

// dL/dP as a full symmetric matrix
template <class T>
A3D_MATHS Symmetric2<T> covariance_gradient(const Symmetric2<T>& conic, const T* m) {
  const T half(0.5f);
  const T a0 = muladd(conic.xx, m[kXX], conic.xy * m[kXY]), a1 = muladd(conic.xx, m[kXY], conic.xy * m[kYY]);
  const T b0 = muladd(conic.xy, m[kXX], conic.yy * m[kXY]), b1 = muladd(conic.xy, m[kXY], conic.yy * m[kYY]);
  return {half * muladd(a0, conic.xx, a1 * conic.xy), half * muladd(a0, conic.xy, a1 * conic.yy),
          half * muladd(b0, conic.xy, b1 * conic.yy)};
}

// dL/d(quaternion, any length) from dL/d(rotation matrix)
template <class T>
A3D_MATHS void quat_gradient(const Projected<T>& p, const T* g, T* out) {
  const T w = p.unit[0], x = p.unit[1], y = p.unit[2], z = p.unit[3], two(2.f);
  const T wx = g[7] - g[5], wy = g[2] - g[6], wz = g[3] - g[1], xy = g[1] + g[3], xz = g[2] + g[6], yz = g[5] + g[7];
  T d[4];
  d[0] = two * (x * wx + y * wy + z * wz);
  d[1] = two * (w * wx + y * xy + z * xz - two * x * (g[4] + g[8]));
  d[2] = two * (w * wy + x * xy + z * yz - two * y * (g[0] + g[8]));
  d[3] = two * (w * wz + x * xz + y * yz - two * z * (g[0] + g[4]));
  const T along = muladd(w, d[0], muladd(x, d[1], muladd(y, d[2], z * d[3])));
  for (int i = 0; i < 4; ++i) out[i] = negmuladd(along, p.unit[i], d[i]) * p.inv_length;
}

// dL/d(scale) and dL/d(rotation matrix) from dL/dP, by way of dL/dS = T^t (dL/dP) T
template <class T>
A3D_MATHS void shape_gradient(const Projected<T>& p, const Symmetric2<T>& cov, T* d_scale, T* d_rotation) {
  const T two(2.f);
  T world[9];
  for (int i = 0; i < 3; ++i) {
    const T row_x = muladd(cov.xx, p.view[i], cov.xy * p.view[3 + i]);
    const T row_y = muladd(cov.xy, p.view[i], cov.yy * p.view[3 + i]);
    for (int k = 0; k < 3; ++k) world[3 * i + k] = muladd(row_x, p.view[k], row_y * p.view[3 + k]);
  }
  for (int k = 0; k < 3; ++k) {
    const T column[3] = {p.rotation[k], p.rotation[3 + k], p.rotation[6 + k]};
    d_scale[k] = T(0.f);
    for (int i = 0; i < 3; ++i) {
      const T d = two * dot3(world + 3 * i, column) * p.scale[k];  // dL/d(Q diag(s))
      d_scale[k] = muladd(column[i], d, d_scale[k]);
      d_rotation[3 * i + k] = d * p.scale[k];
    }
  }
}

// dL/d(mean in camera axes) and dL/d(cam_from_world) from the moments and dL/d(T), T = J R
template <class T>
A3D_MATHS void camera_gradient(const Pinhole& c, const Projected<T>& p, const T* mean, const T* m, const T* d_view,
                               T* d_cam, T* d_pose) {
  const T fx(c.fx), fy(c.fy), one(1.f);
  const T jx = fx * p.inv_z, jy = fy * p.inv_z;
  T r[9];
  for (int i = 0; i < 9; ++i) r[i] = T(c.r[i]);
  const T d_u = muladd(p.conic.xx, m[kX], p.conic.xy * m[kY]), d_v = muladd(p.conic.xy, m[kX], p.conic.yy * m[kY]);
  const T d_jxx = dot3(d_view, r), d_jxz = dot3(d_view, r + 6);
  const T d_jyy = dot3(d_view + 3, r + 3), d_jyz = dot3(d_view + 3, r + 6);
  d_cam[0] = jx * negmuladd(p.free_x * p.inv_z, d_jxz, d_u);
  d_cam[1] = jy * negmuladd(p.free_y * p.inv_z, d_jyz, d_v);
  // a held slope does not change with z, a free one does: hence once or twice
  const T from_x = d_jxx - (one + p.free_x) * p.slope_x * d_jxz, from_y = d_jyy - (one + p.free_y) * p.slope_y * d_jyz;
  const T along = muladd(jx, muladd(p.cam[0], d_u, from_x), jy * muladd(p.cam[1], d_v, from_y));
  d_cam[2] = negmuladd(p.inv_z, along, m[kDepth]);
  for (int k = 0; k < 3; ++k) {
    d_pose[k] = muladd(d_cam[0], mean[k], jx * d_view[k]);
    d_pose[4 + k] = muladd(d_cam[1], mean[k], jy * d_view[3 + k]);
    d_pose[8 + k] = d_cam[2] * mean[k] - muladd(jx * p.slope_x, d_view[k], jy * p.slope_y * d_view[3 + k]);
  }
  for (int i = 0; i < 3; ++i) d_pose[4 * i + 3] = d_cam[i];
}

template <class T>
A3D_MATHS void project_backward(const Pinhole& c, const Projected<T>& p, const T* mean, const T* m, Gradients<T>& out) {
  const T two(2.f);
  const Symmetric2<T> cov = covariance_gradient(p.conic, m);
  T row_x[3], row_y[3], d_view[6], d_rotation[9], d_cam[3];
  times_symmetric(p.cov, p.view, row_x);
  times_symmetric(p.cov, p.view + 3, row_y);
  for (int k = 0; k < 3; ++k) {
    d_view[k] = two * muladd(cov.xx, row_x[k], cov.xy * row_y[k]);
    d_view[3 + k] = two * muladd(cov.xy, row_x[k], cov.yy * row_y[k]);
  }
  camera_gradient(c, p, mean, m, d_view, d_cam, out.pose);
  for (int k = 0; k < 3; ++k) {
    out.mean[k] = muladd(T(c.r[k]), d_cam[0], muladd(T(c.r[3 + k]), d_cam[1], T(c.r[6 + k]) * d_cam[2]));
  }
  shape_gradient(p, cov, out.scale, d_rotation);
  quat_gradient(p, d_rotation, out.quat);
}

// log2 of the unclamped alpha at offset (dx, dy): a quadratic whose constant is log2(opacity).
template <class T>
A3D_MATHS T log2_alpha(const T& dx, const T& dy, const T& xx, const T& xy, const T& yy, const T& log2_opacity) {
  const T slanted = muladd(xx, dx, xy * dy);
  return muladd(slanted, dx, muladd(yy * dy, dy, log2_opacity));
}

// The largest of log2_alpha, less its constant, in a rectangle about (0, 0)'s neighbourhood: at the centre, or on an edge
// that faces it: on the nearest column at the ridge's height (to_y = -xy/yy), or on the nearest row at the ridge's place.
template <class T>
A3D_MATHS T peak_in_rectangle(const T& x0, const T& x1, const T& y0, const T& y1, const T& xx, const T& xy, const T& yy,
                              const T& to_x, const T& to_y) {
  const T zero(0.f), near_x = clamp(zero, x0, x1), near_y = clamp(zero, y0, y1);
  const T at_column = log2_alpha(near_x, clamp(to_y * near_x, y0, y1), xx, xy, yy, zero);
  const T at_row = log2_alpha(clamp(to_x * near_y, x0, x1), near_y, xx, xy, yy, zero);
  return max(at_column, at_row);
}

}  // namespace splat
}  // namespace avatar3d

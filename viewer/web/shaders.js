// SPDX-License-Identifier: Apache-2.0
// Two passes. POSE moves every splat and projects it, once, into textures; DRAW blends the splats as quads, far to near.
// The conventions are the trainer's: blur of 0.1 of its pixels squared, alpha between 1/255 and .999.

export const ROW = 1024; // splats per texture row
export const BATCH = 128; // quads per instance: software GL draws one quad per instance five times slower

const QUATERNION = `
vec4 product(vec4 a, vec4 b) { // wxyz
  return vec4(a.x*b.x - dot(a.yzw, b.yzw), a.x*b.yzw + b.x*a.yzw + cross(a.yzw, b.yzw));
}
mat3 matrix(vec4 q) {
  q = normalize(q);
  float w = q.x, x = q.y, y = q.z, z = q.w;
  return mat3(1.-2.*(y*y+z*z), 2.*(x*y+w*z), 2.*(x*z-w*y),
              2.*(x*y-w*z), 1.-2.*(x*x+z*z), 2.*(y*z+w*x),
              2.*(x*z+w*y), 2.*(y*z-w*x), 1.-2.*(x*x+y*y));
}`;

export const FULL_SCREEN = `#version 300 es
void main() { gl_Position = vec4(vec2((gl_VertexID << 1) & 2, gl_VertexID & 2) * 2. - 1., 0, 1); }`;

export const pose = (components, rows) => `#version 300 es
precision highp float; precision highp sampler2D;
uniform sampler2D means, quats, scales, colours, tables; // a texel per splat; tables: three per component and splat
uniform float code[${components}];
uniform vec4 headQuat, bodyQuat; uniform vec3 headShift, bodyShift;
uniform mat4 camFromWorld; uniform vec2 focal, middle, size; uniform float blur; // camera, in pixels of the canvas
layout(location=0) out vec4 place; // px across and down, reach in standard deviations (0: not seen), opacity
layout(location=1) out vec4 axes;  // px, the longer and the shorter standard deviation
layout(location=2) out vec4 colour;
${QUATERNION}
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  vec3 moved = texelFetch(means, at, 0).xyz, turn = vec3(0), tint = texelFetch(colours, at, 0).rgb;
  for (int k = 0; k < ${components}; k++) {
    ivec2 first = ivec2(at.x * 3, at.y + k * ${rows});
    vec4 a = texelFetch(tables, first, 0), b = texelFetch(tables, first + ivec2(1, 0), 0);
    float c = code[k];
    moved += c * a.xyz;
    turn += c * vec3(a.w, b.xy);
    tint += c * vec3(b.zw, texelFetch(tables, first + ivec2(2, 0), 0).x);
  }
  float skin = texelFetch(means, at, 0).w;
  vec4 body = dot(headQuat, bodyQuat) < 0. ? -bodyQuat : bodyQuat;
  vec4 part = skin * headQuat + (1. - skin) * body;
  vec3 world = mix(matrix(bodyQuat) * moved + bodyShift, matrix(headQuat) * moved + headShift, skin);
  mat3 turned = matrix(product(part, product(vec4(1, .5 * turn), texelFetch(quats, at, 0))));
  vec4 scale = texelFetch(scales, at, 0);
  mat3 half_ = mat3(turned[0] * scale.x, turned[1] * scale.y, turned[2] * scale.z);
  mat3 cov = half_ * transpose(half_);
  colour = vec4(clamp(tint, 0., 1.), 1);
  place = axes = vec4(0);
  vec3 p = (camFromWorld * vec4(world, 1)).xyz;
  if (p.z < .01 || scale.w < 1. / 255.) return;
  mat3 seen = mat3(camFromWorld);
  cov = seen * cov * transpose(seen);
  // outside the picture the perspective is linearised at its widened edge, as the trainer does
  vec2 half2 = .5 * size / focal, low = -(middle / focal + .3 * half2), high = (size - middle) / focal + .3 * half2;
  vec2 slope = clamp(p.xy / p.z, low, high);
  vec3 jx = vec3(focal.x, 0, -focal.x * slope.x) / p.z, jy = vec3(0, focal.y, -focal.y * slope.y) / p.z;
  float xx = dot(jx, cov * jx) + blur, xy = dot(jx, cov * jy), yy = dot(jy, cov * jy) + blur;
  float mean = .5 * (xx + yy), spread = sqrt(max(1e-9, .25 * (xx - yy) * (xx - yy) + xy * xy));
  float large = mean + spread, small = max(mean - spread, 1e-6);
  vec2 axis = abs(xy) < 1e-9 ? (xx >= yy ? vec2(1, 0) : vec2(0, 1)) : normalize(vec2(xy, large - xx));
  axes = vec4(sqrt(large) * axis, sqrt(small) * vec2(-axis.y, axis.x));
  float reach = sqrt(2. * log(max(1.0001, scale.w * 255.))); // where alpha falls to 1/255
  place = vec4(focal * p.xy / p.z + middle, reach, scale.w);
}`;

export const drawVertex = `#version 300 es
precision highp float; precision highp sampler2D; precision highp usampler2D;
uniform sampler2D places, axes, colours; uniform usampler2D order; uniform vec2 size; uniform int count;
out vec2 offset; flat out vec4 paint;
void main() {
  gl_Position = vec4(0, 0, 2, 1); offset = vec2(0); paint = vec4(0); // outside: not drawn
  int rank = gl_InstanceID * ${BATCH} + gl_VertexID / 6, corner = gl_VertexID % 6;
  if (rank >= count) return;
  int splat = int(texelFetch(order, ivec2(rank % ${ROW}, rank / ${ROW}), 0).r);
  ivec2 at = ivec2(splat % ${ROW}, splat / ${ROW});
  vec4 place = texelFetch(places, at, 0), axis = texelFetch(axes, at, 0);
  if (place.z == 0.) return;
  int which = corner < 3 ? corner : corner == 3 ? 2 : corner == 4 ? 1 : 3; // two triangles: 0 1 2, 2 1 3
  offset = (vec2(which & 1, which >> 1) * 2. - 1.) * place.z;
  vec2 pixel = place.xy + offset.x * axis.xy + offset.y * axis.zw;
  paint = vec4(texelFetch(colours, at, 0).rgb, place.w);
  gl_Position = vec4(pixel.x / size.x * 2. - 1., 1. - pixel.y / size.y * 2., 0, 1);
}`;

export const drawFragment = `#version 300 es
precision highp float;
in vec2 offset; flat in vec4 paint; out vec4 colour;
void main() {
  // exp(-q / 2) to 6e-4 as the 16th power of its series: with exp and a discard software GL takes a quarter longer
  float q = dot(offset, offset), root = 1. - q * (.03125 - q * .000473633);
  root *= root; root *= root; root *= root;
  float alpha = min(.999, paint.a * root * root);
  alpha = alpha < 1. / 255. ? 0. : alpha;
  colour = vec4(paint.rgb * alpha, alpha);
}`;

export const roomFragment = `#version 300 es
precision highp float; precision highp sampler2D;
uniform sampler2D room; uniform vec2 canvas; out vec4 colour;
void main() {
  vec2 at = gl_FragCoord.xy / canvas;
  colour = vec4(texture(room, vec2(at.x, 1. - at.y)).rgb, 1);
}`;

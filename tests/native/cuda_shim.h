// SPDX-License-Identifier: Apache-2.0
// CUDA's words on a CPU, for tests only: a `.cu` file compiled as C++ with AVATAR3D_SHIM runs here. Blocks run one after
// another in random order; the threads of a block are fibres, of which a random one runs until it meets a barrier or a
// warp collective. So a missing barrier gives wrong results here too, and what a GPU would leave undefined is a fault:
// a barrier or collective that not all its threads reach (or reach at different places), a lane outside its own mask,
// more shared memory than a block has. Dynamic shared memory is full of NaN at first and guarded at its end.
//
// Not offered, so that it does not compile: __activemask, warps without a mask, textures, <<<>>>, dynamic parallelism.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __shared__ static
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __CUDA_SHIM__ 1

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) float2 { float x, y; };
struct float3 { float x, y, z; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidConfiguration = 9, cudaErrorMemoryAllocation = 2, cudaErrorMisuse = 700 };
using cudaStream_t = void*;
enum cudaMemcpyKind { cudaMemcpyDeviceToDevice = 3, cudaMemcpyDefault = 4 };

namespace shim {

// Runs a kernel; returns an error for what a GPU would refuse or leave undefined, and cudaGetErrorString says what.
cudaError_t run(dim3 blocks, int threads, size_t shared_bytes, const std::function<void()>& kernel);
void* shared_memory();
void seed(unsigned number);  // of the order in which blocks and threads run

template <class T>
struct Itself { using type = T; };
template <class T>
using As = typename Itself<T>::type;  // the type is taken from the other argument

enum class Meet { kSync, kShuffle, kBallot, kAny, kAll, kReduce };

// Waits for all lanes of `mask`; returns what the lane gets: the value of lane `source`, or bits of all values.
uint64_t meet_warp(Meet kind, unsigned mask, uint64_t value, int source, const char* file, int line);
// Waits for the block; returns how many threads said yes.
int meet_block(bool yes, const char* file, int line);
int lane();

template <class T>
T exchanged(unsigned mask, T value, int source, const char* file, int line) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>, "shuffles move up to 64 bits");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = meet_warp(Meet::kShuffle, mask, bits, source, file, line);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace shim


struct uint3 { unsigned x, y, z; };
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

#define SHIM_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(SHIM_HERE) { shim::meet_block(false, file, line); }
inline int __syncthreads_or(int yes, SHIM_HERE) { return shim::meet_block(yes, file, line) > 0; }
inline int __syncthreads_count(int yes, SHIM_HERE) { return shim::meet_block(yes, file, line); }
inline int __syncthreads_and(int yes, SHIM_HERE) { return !shim::meet_block(!yes, file, line); }

inline void __syncwarp(unsigned mask = 0xffffffffu, SHIM_HERE) {
  shim::meet_warp(shim::Meet::kSync, mask, 0, 0, file, line);
}
inline unsigned __ballot_sync(unsigned mask, int yes, SHIM_HERE) {
  return static_cast<unsigned>(shim::meet_warp(shim::Meet::kBallot, mask, yes != 0, 0, file, line));
}
inline int __any_sync(unsigned mask, int yes, SHIM_HERE) {
  return shim::meet_warp(shim::Meet::kAny, mask, yes != 0, 0, file, line) != 0;
}
inline int __all_sync(unsigned mask, int yes, SHIM_HERE) {
  return shim::meet_warp(shim::Meet::kAll, mask, yes == 0, 0, file, line) == 0;
}
// a lane past the end of its group of `width` keeps its own value
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, SHIM_HERE) {
  return shim::exchanged(mask, value, (shim::lane() & ~(width - 1)) | (source & (width - 1)), file, line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, SHIM_HERE) {
  const int self = shim::lane(), source = self ^ bits;
  return shim::exchanged(mask, value, source < (self & ~(width - 1)) + width ? source : self, file, line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, int step, int width = 32, SHIM_HERE) {
  const int self = shim::lane(), source = self + step;
  return shim::exchanged(mask, value, source < (self & ~(width - 1)) + width ? source : self, file, line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, int step, int width = 32, SHIM_HERE) {
  const int self = shim::lane(), source = self - step;
  return shim::exchanged(mask, value, source >= (self & ~(width - 1)) ? source : self, file, line);
}
inline int __reduce_add_sync(unsigned mask, int value, SHIM_HERE) {
  return static_cast<int>(shim::meet_warp(shim::Meet::kReduce, mask, static_cast<uint32_t>(value), 0, file, line));
}

// one thread runs at a time, so plain reading and writing is atomic
template <class T>
T atomicAdd(T* to, shim::As<T> value) { const T old = *to; *to = old + value; return old; }
template <class T>
T atomicMax(T* to, shim::As<T> value) { const T old = *to; if (value > old) *to = value; return old; }
template <class T>
T atomicMin(T* to, shim::As<T> value) { const T old = *to; if (value < old) *to = value; return old; }
template <class T>
T atomicOr(T* to, shim::As<T> value) { const T old = *to; *to = old | value; return old; }
template <class T>
T atomicExch(T* to, shim::As<T> value) { const T old = *to; *to = value; return old; }
template <class T>
T atomicCAS(T* to, shim::As<T> expected, shim::As<T> value) {
  const T old = *to;
  if (old == expected) *to = value;
  return old;
}
inline void __threadfence() {}
inline void __threadfence_block() {}

template <class T>
T __ldg(const T* p) { return *p; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(unsigned x) { return x ? __builtin_clz(x) : 32; }
inline int __ffs(unsigned x) { return __builtin_ffs(static_cast<int>(x)); }
inline unsigned __brev(unsigned x) {
  unsigned y = 0;
  for (int i = 0; i < 32; ++i) y |= (x >> i & 1u) << (31 - i);
  return y;
}
template <class To, class From>
To shim_bits(From x) { static_assert(sizeof(To) == sizeof(From)); To y; std::memcpy(&y, &x, sizeof y); return y; }
inline unsigned __float_as_uint(float x) { return shim_bits<unsigned>(x); }
inline int __float_as_int(float x) { return shim_bits<int>(x); }
inline float __uint_as_float(unsigned x) { return shim_bits<float>(x); }
inline float __int_as_float(int x) { return shim_bits<float>(x); }

// only what is asked of it: no arithmetic in half precision
struct __half { uint16_t bits; };
inline float __half2float(__half x) {
  const unsigned size = x.bits & 0x7fffu, sign = static_cast<unsigned>(x.bits & 0x8000) << 16;
  // moved into place the exponent is 112 too small, for all but infinity and what is no number
  const float value = __uint_as_float(size << 13) * 0x1p112f;
  return __uint_as_float(sign | (size < 0x7c00 ? __float_as_uint(value) : 0x7f800000u | size << 13));
}

inline float __frcp_rn(float x) { return 1.f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float rsqrtf(float x) { return 1.f / sqrtf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float x) { return expf(x); }
inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1.f) : 0.f; }

inline cudaError_t cudaMemsetAsync(void* to, int byte, size_t bytes, cudaStream_t) {
  std::memset(to, byte, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
const char* cudaGetErrorString(cudaError_t error);

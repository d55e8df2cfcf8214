// SPDX-License-Identifier: Apache-2.0
// What the CUDA library says about itself, and CUDA's own words for what went wrong.
#include "cuda/cuda.h"

#include <string>

namespace avatar3d {
namespace cuda {
namespace {

// per thread, as errno is
std::string& last_error() {
  thread_local std::string text;
  return text;
}

}  // namespace

Status status_of(cudaError_t error) {
  if (error == cudaSuccess) return kDone;
  last_error() = cudaGetErrorString(error);
  return error == cudaErrorMemoryAllocation ? kOutOfMemory : kDeviceFault;
}

}  // namespace cuda
}  // namespace avatar3d

A3D_EXPORT int avatar3d_abi() { return AVATAR3D_ABI; }
A3D_EXPORT const char* avatar3d_source_hash() { return AVATAR3D_SOURCE_HASH; }

// What CUDA said when a function of this thread last returned a device fault.
A3D_EXPORT const char* avatar3d_cuda_error() { return avatar3d::cuda::last_error().c_str(); }

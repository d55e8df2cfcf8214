// SPDX-License-Identifier: Apache-2.0
// What every kernel shares: the C ABI's words and reusable memory. Kernels see raw pointers only; who calls them owns
// every buffer. Functions return a Status and never throw.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

// Raise it whenever a signature of the C ABI changes; avatar3d/ops/_native.py holds the same number.
#define AVATAR3D_ABI 3

#define A3D_EXPORT extern "C" __attribute__((visibility("default")))
#define A3D_INLINE static inline __attribute__((always_inline))
#define A3D_CONVERT __attribute__((always_inline))

namespace avatar3d {

enum Status : int { kDone = 0, kOutOfMemory = 1, kTooLarge = 2, kDeviceFault = 3, kOutOfOrder = 4 };

// A function at the border to C: exceptions end here.
template <class Body>
Status guarded(Body&& body) {
  try {
    return body();
  } catch (...) {
    return kOutOfMemory;
  }
}

// Uninitialised memory on cache lines that keeps its capacity; what it held is lost when it grows.
template <class T>
class Buffer {
 public:
  T* need(size_t count) {
    if (count > capacity_) {
      capacity_ = count + count / 4 + 64;
      const size_t bytes = (capacity_ * sizeof(T) + 63) / 64 * 64;
      memory_.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
      if (!memory_) {
        capacity_ = 0;
        throw std::bad_alloc();
      }
    }
    return memory_.get();
  }
  T* data() const { return memory_.get(); }

 private:
  struct Free {
    void operator()(T* memory) const { std::free(memory); }
  };
  std::unique_ptr<T, Free> memory_;
  size_t capacity_ = 0;
};

// Scratch space on loan: each call in flight has its own, and it goes back to the shelf for the next one. Fresh pages
// cost more than the work done in them, hence the shelf.
template <class Workspace>
class Loan {
 public:
  Loan() {
    std::lock_guard<std::mutex> lock(mutex());
    if (shelf().empty()) {
      workspace_ = std::make_unique<Workspace>();
    } else {
      workspace_ = std::move(shelf().back());
      shelf().pop_back();
    }
  }
  ~Loan() {
    std::lock_guard<std::mutex> lock(mutex());
    if (shelf().size() < kShelved) shelf().push_back(std::move(workspace_));
  }
  Loan(const Loan&) = delete;
  Loan& operator=(const Loan&) = delete;
  Workspace& operator*() const { return *workspace_; }
  Workspace* operator->() const { return workspace_.get(); }

 private:
  static constexpr size_t kShelved = 4;
  // never destroyed: a thread may still be drawing while the process leaves
  static std::mutex& mutex() {
    static std::mutex* one = new std::mutex;
    return *one;
  }
  static std::vector<std::unique_ptr<Workspace>>& shelf() {
    static auto* one = [] {
      auto* shelf = new std::vector<std::unique_ptr<Workspace>>;
      shelf->reserve(kShelved);
      return shelf;
    }();
    return *one;
  }
  std::unique_ptr<Workspace> workspace_;
};

}  // namespace avatar3d

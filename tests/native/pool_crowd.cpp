// SPDX-License-Identifier: Apache-2.0
// Three callers share the pool's threads for very many very short jobs. Leaves with 0 when every chunk ran exactly once
// and no two threads of a job ever had the same slot.
#include <atomic>
#include <cstdlib>
#include <thread>

#include "pool.h"

int main(int count, char** words) {
  constexpr int kChunks = 8, kThreads = 4, kCallers = 3;
  const int jobs = count > 1 ? std::atoi(words[1]) : 1;
  avatar3d::Pool& pool = avatar3d::Pool::shared();
  pool.set_threads(kThreads);
  std::atomic<int> faults{0};
  const auto call = [&] {
    for (int job = 0; job < jobs; ++job) {
      std::atomic<int> runs[kChunks] = {};
      std::atomic<bool> taken[kThreads] = {};
      pool.run(kChunks, [&](int chunk, int slot) {
        if (slot < 0 || slot >= kThreads || taken[slot].exchange(true)) ++faults;
        ++runs[chunk];
        taken[slot].store(false);
      });
      for (const auto& run : runs) faults += run.load() != 1;
    }
  };
  std::thread others[kCallers - 1];
  for (std::thread& other : others) other = std::thread(call);
  call();
  for (std::thread& other : others) other.join();
  return faults.load() ? 1 : 0;
}

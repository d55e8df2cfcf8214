// SPDX-License-Identifier: Apache-2.0
// A small thread pool. The caller works too and can finish a job alone: a helper that the system has put aside delays
// nobody but the one chunk it holds. No OpenMP: two of its runtimes in one process fight for the cores.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <type_traits>
#include <vector>

namespace avatar3d {

class Pool {
 public:
  static Pool& shared();

  int threads() const { return threads_.load(std::memory_order_relaxed); }
  void set_threads(int threads);

  // Calls body(chunk, slot) once for each chunk in [0, chunks), on up to threads() threads at the same time. `slot`
  // < threads() numbers the thread within this job, for scratch space. Several jobs may run at once.
  template <class Body>
  void run(int chunks, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    Job job;
    job.body = const_cast<void*>(static_cast<const void*>(&body));
    job.call = [](void* plain, int chunk, int slot) { (*static_cast<Plain*>(plain))(chunk, slot); };
    job.chunks = chunks;
    job.seats = threads();
    run_job(job);
  }

 private:
  struct Job {
    void (*call)(void* body, int chunk, int slot);
    void* body;
    int chunks;
    int seats;                      // how many threads may take part
    int seated = 1;                 // slots given out; the caller has slot 0
    std::atomic<int> next{0};       // the first chunk nobody has taken
    std::atomic<int> helpers{0};    // pool threads inside this job
    std::atomic<bool> failed{false};
  };

  static void work_on(Job& job, int slot);
  void start_threads(int wanted);
  void run_job(Job& job);
  void help();
  Job* open_job();

  std::mutex mutex_;
  std::condition_variable posted_, left_;
  std::vector<Job*> jobs_;
  std::atomic<unsigned> posts_{0};
  std::atomic<int> threads_{1};
  int started_ = 1;  // threads that exist, counting a caller
};

}  // namespace avatar3d

// SPDX-License-Identifier: Apache-2.0
#include "pool.h"

#include <pthread.h>

#include <algorithm>
#include <new>
#include <system_error>
#include <thread>

#include "common.h"

namespace avatar3d {
namespace {

// Waking a thread costs about as much as 20 us of work, and the next region of the same picture comes within that
// time; so threads look that long before they sleep, and no longer.
constexpr int kGlances = 500;

void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

std::atomic<Pool*> the_pool{nullptr};

// A forked child has the memory of the pool but none of its threads, and perhaps a locked mutex: it starts anew.
void after_fork() {
  Pool* old = the_pool.load();
  Pool* fresh = new Pool;
  if (old) fresh->set_threads(old->threads());
  the_pool.store(fresh);
}

}  // namespace

Pool& Pool::shared() {
  static const bool made = [] {
    the_pool.store(new Pool);  // never destroyed: its threads sleep until the process ends
    pthread_atfork(nullptr, nullptr, after_fork);
    return true;
  }();
  (void)made;
  return *the_pool.load(std::memory_order_relaxed);
}

void Pool::set_threads(int threads) { threads_.store(std::max(1, std::min(threads, 256))); }

void Pool::work_on(Job& job, int slot) {
  for (int chunk; (chunk = job.next.fetch_add(1)) < job.chunks;) {
    try {
      job.call(job.body, chunk, slot);
    } catch (...) {
      job.failed.store(true);
    }
  }
}

void Pool::start_threads(int wanted) {
  try {
    for (; started_ < wanted; ++started_) std::thread([this] { help(); }).detach();
  } catch (const std::system_error&) {
    // the system grants no more threads: those that are there do the work
  }
}

void Pool::run_job(Job& job) {
  const bool shared = job.seats > 1 && job.chunks > 1;
  if (shared) {
    std::lock_guard<std::mutex> lock(mutex_);
    start_threads(job.seats);
    jobs_.push_back(&job);
    posts_.fetch_add(1);
    posted_.notify_all();
  }
  work_on(job, 0);
  if (shared) {
    std::unique_lock<std::mutex> lock(mutex_);
    jobs_.erase(std::find(jobs_.begin(), jobs_.end(), &job));
    lock.unlock();
    for (int i = 0; i < kGlances && job.helpers.load(); ++i) pause();
    lock.lock();
    left_.wait(lock, [&] { return job.helpers.load() == 0; });
  }
  if (job.failed.load()) throw std::bad_alloc();
}

Pool::Job* Pool::open_job() {
  for (Job* job : jobs_) {
    if (job->seated < job->seats && job->next.load() < job->chunks) return job;
  }
  return nullptr;
}

void Pool::help() {
  for (unsigned seen = 0;;) {
    for (int i = 0; i < kGlances && posts_.load() == seen; ++i) pause();
    std::unique_lock<std::mutex> lock(mutex_);
    Job* job;  // looked for once: its chunks are taken without the lock, so a second look may find it closed
    posted_.wait(lock, [&] { return (job = open_job()) != nullptr; });
    seen = posts_.load();
    const int slot = job->seated++;
    job->helpers.fetch_add(1);
    lock.unlock();
    work_on(*job, slot);
    // under the lock, since the job lives on its caller's stack and is gone once it has seen the last helper leave
    lock.lock();
    if (job->helpers.fetch_sub(1) == 1) left_.notify_all();
  }
}

}  // namespace avatar3d

A3D_EXPORT int avatar3d_threads() { return avatar3d::Pool::shared().threads(); }
A3D_EXPORT void avatar3d_set_threads(int threads) { avatar3d::Pool::shared().set_threads(threads); }

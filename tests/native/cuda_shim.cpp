// SPDX-License-Identifier: Apache-2.0
#include "cuda_shim.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <vector>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace shim {
namespace {

constexpr size_t kStackBytes = 128 << 10;
constexpr size_t kMostShared = 48 << 10;
constexpr size_t kGuard = 4096;
constexpr int kMostThreads = 1024;

#if defined(__x86_64__) && !defined(SHIM_UCONTEXT)

struct Context {
  void* stack_pointer = nullptr;
};

// Swaps stacks and the registers that a function must preserve; the system's own swapcontext asks the kernel each time.
extern "C" void avatar3d_shim_switch(void** save, void* next);
asm(R"(
.text
.type avatar3d_shim_switch, @function
avatar3d_shim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size avatar3d_shim_switch, .-avatar3d_shim_switch
)");

void prepare(Context& context, char* stack, void (*entry)()) {
  auto* top = reinterpret_cast<uint64_t*>(stack + kStackBytes) - 2;  // leaves the boundary that functions expect
  top[0] = reinterpret_cast<uint64_t>(entry);
  top[1] = 0;
  std::fill(top - 6, top, 0);
  context.stack_pointer = top - 6;
}
void swap(Context& from, Context& to) { avatar3d_shim_switch(&from.stack_pointer, to.stack_pointer); }

#else

using Context = ucontext_t;

void prepare(Context& context, char* stack, void (*entry)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = kStackBytes;
  context.uc_link = nullptr;
  makecontext(&context, entry, 0);
}
void swap(Context& from, Context& to) { swapcontext(&from, &to); }

#endif

enum class State { kReady, kAtBarrier, kInWarp, kDone };

struct Place {
  const char* file = "";
  int line = 0;
  bool operator==(const Place& other) const { return line == other.line && !std::strcmp(file, other.file); }
};

struct Fibre {
  Context context;
  State state = State::kReady;
  Place place;
  Meet kind = Meet::kSync;
  unsigned mask = 0;
  uint64_t value = 0, result = 0;
  int source = 0;
};

struct Machine {
  std::mutex one_at_a_time;
  std::mt19937 random{1};
  std::vector<Fibre> fibres;
  std::vector<int> ready;
  Context scheduler;
  char* stacks = nullptr;
  std::vector<unsigned char> shared;
  const std::function<void()>* kernel = nullptr;
  int threads = 0, current = 0, waiting = 0, said_yes = 0;
  std::string fault;
};

Machine& machine() {
  static auto* one = new Machine;
  return *one;
}

std::string at(const Place& place) {
  const std::string file = place.file;
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(place.line);
}

const char* name_of(Meet kind) {
  constexpr const char* names[] = {"__syncwarp", "a shuffle", "a ballot", "__any_sync", "__all_sync", "a reduction"};
  return names[static_cast<int>(kind)];
}

void blame(const std::string& what) {
  Machine& m = machine();
  if (m.fault.empty()) m.fault = "thread " + std::to_string(m.current) + ": " + what;
}

void wait_as(State state) {
  Machine& m = machine();
  Fibre& self = m.fibres[m.current];
  self.state = state;
  swap(self.context, m.scheduler);
}

void make_ready(int index) {
  Machine& m = machine();
  m.fibres[index].state = State::kReady;
  m.ready.push_back(index);
}

void enter() {
  Machine& m = machine();
  (*m.kernel)();
  wait_as(State::kDone);
}

void resume(int index) {
  Machine& m = machine();
  m.current = index;
  threadIdx = {static_cast<unsigned>(index), 0, 0};
  swap(m.scheduler, m.fibres[index].context);
}

// Why nobody can go on.
void explain() {
  Machine& m = machine();
  for (int i = 0; i < m.threads; ++i) {
    const Fibre& f = m.fibres[i];
    m.current = i;
    if (f.state == State::kAtBarrier) blame("waits at the barrier " + at(f.place) + " that not all threads reach");
    if (f.state == State::kInWarp) blame("waits in " + std::string(name_of(f.kind)) + " " + at(f.place) + " for lanes that do not come");
  }
}

void run_block(size_t shared_bytes) {
  Machine& m = machine();
  m.shared.assign(shared_bytes + kGuard, 0xff);
  m.fibres.assign(m.threads, Fibre());
  m.ready.resize(m.threads);
  std::iota(m.ready.begin(), m.ready.end(), 0);
  m.waiting = m.said_yes = 0;
  for (int i = 0; i < m.threads; ++i) prepare(m.fibres[i].context, m.stacks + i * kStackBytes, enter);
  while (!m.ready.empty() && m.fault.empty()) {
    std::swap(m.ready[m.random() % m.ready.size()], m.ready.back());
    const int next = m.ready.back();
    m.ready.pop_back();
    resume(next);
  }
  explain();
  if (std::any_of(m.shared.begin() + shared_bytes, m.shared.end(), [](unsigned char c) { return c != 0xff; })) {
    blame("shared memory was written past its end");
  }
}

// Lanes of the current thread's warp from the first one on.
Fibre* warp_fibres() { return &machine().fibres[machine().current / 32 * 32]; }

bool all_there(const Fibre& self) {
  const Fibre* lanes = warp_fibres();
  for (int i = 0; i < 32; ++i) {
    if (!(self.mask >> i & 1)) continue;
    const Fibre& f = lanes[i];
    if (f.state != State::kInWarp || f.kind != self.kind || f.mask != self.mask || !(f.place == self.place)) return false;
  }
  return true;
}

void settle(const Fibre& self) {
  Machine& m = machine();
  const int first = m.current / 32 * 32;
  Fibre* lanes = warp_fibres();
  uint64_t bits = 0, sum = 0;
  for (int i = 0; i < 32; ++i) {
    if (!(self.mask >> i & 1)) continue;
    bits |= (lanes[i].value & 1) << i;
    sum += lanes[i].value;
  }
  const unsigned mask = self.mask;
  for (int i = 0; i < 32; ++i) {
    if (!(mask >> i & 1)) continue;
    Fibre& f = lanes[i];
    if (f.kind == Meet::kShuffle) {
      if (!(mask >> f.source & 1)) blame("reads a lane outside its mask at " + at(f.place));
      f.result = lanes[f.source].value;
    } else {
      f.result = f.kind == Meet::kReduce ? sum : bits;
    }
    make_ready(first + i);
  }
}

}  // namespace

int lane() { return machine().current % 32; }
void* shared_memory() { return machine().shared.data(); }

void seed(unsigned number) {
  std::lock_guard<std::mutex> lock(machine().one_at_a_time);
  machine().random.seed(number);
}

uint64_t meet_warp(Meet kind, unsigned mask, uint64_t value, int source, const char* file, int line) {
  Machine& m = machine();
  Fibre& self = m.fibres[m.current];
  const int lanes = std::min(32, m.threads - m.current / 32 * 32);
  const unsigned there = lanes == 32 ? 0xffffffffu : (1u << lanes) - 1;
  self.kind = kind, self.mask = mask, self.value = value, self.source = source, self.place = {file, line};
  self.state = State::kInWarp;
  if (!(mask >> lane() & 1)) blame("is not in its own mask at " + at(self.place));
  if (mask & ~there) blame("names lanes that the block does not have at " + at(self.place));
  if (m.fault.empty() && all_there(self)) settle(self);
  swap(self.context, m.scheduler);
  return self.result;
}

int meet_block(bool yes, const char* file, int line) {
  Machine& m = machine();
  Fibre& self = m.fibres[m.current];
  self.place = {file, line};
  m.said_yes += yes;
  self.state = State::kAtBarrier;
  if (++m.waiting == m.threads) {
    for (int i = 0; i < m.threads; ++i) {
      if (!(m.fibres[i].place == self.place)) blame("is at the barrier " + at(self.place) + ", another at " + at(m.fibres[i].place));
      m.fibres[i].result = static_cast<uint64_t>(m.said_yes);
      make_ready(i);
    }
    m.waiting = m.said_yes = 0;
  }
  swap(self.context, m.scheduler);
  return static_cast<int>(self.result);
}

cudaError_t run(dim3 blocks, int threads, size_t shared_bytes, const std::function<void()>& kernel) {
  Machine& m = machine();
  std::lock_guard<std::mutex> lock(m.one_at_a_time);
  m.fault.clear();
  const size_t count = static_cast<size_t>(blocks.x) * blocks.y * blocks.z;
  if (!count) return cudaSuccess;
  if (blocks.x > 0x7fffffffu || blocks.y > 65535 || blocks.z > 65535) m.fault = "the grid has too many blocks";
  if (threads < 1 || threads > kMostThreads) m.fault = "a block of " + std::to_string(threads) + " threads";
  if (shared_bytes > kMostShared) m.fault = std::to_string(shared_bytes) + " bytes of shared memory, a block has 49152";
  if (!m.fault.empty()) return cudaErrorInvalidConfiguration;
  if (!m.stacks) {
    void* memory = mmap(nullptr, kStackBytes * kMostThreads, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return cudaErrorMemoryAllocation;
    m.stacks = static_cast<char*>(memory);
  }
  m.kernel = &kernel;
  m.threads = threads;
  blockDim = dim3(static_cast<unsigned>(threads));
  gridDim = blocks;
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  std::shuffle(order.begin(), order.end(), m.random);
  for (const size_t block : order) {
    blockIdx = {static_cast<unsigned>(block % blocks.x), static_cast<unsigned>(block / blocks.x % blocks.y),
                static_cast<unsigned>(block / blocks.x / blocks.y)};
    run_block(shared_bytes);
    if (!m.fault.empty()) return cudaErrorMisuse;
  }
  return cudaSuccess;
}

}  // namespace shim

const char* cudaGetErrorString(cudaError_t error) {
  if (error == cudaErrorMemoryAllocation) return "out of memory";
  return error == cudaSuccess ? "no error" : shim::machine().fault.c_str();
}

extern "C" __attribute__((visibility("default"))) void avatar3d_shim_seed(unsigned number) { shim::seed(number); }

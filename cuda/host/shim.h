// Runs the kernels of ../ms_deform_attn.cu on a CPU, unchanged: the words their device section would define, for g++.
//
// A warp is 32 fibres. A collective posts its value and its kind and yields; when all 32 have posted, the kinds must be
// the same, then each reads its answer. A fibre that ends while others wait, or posts another kind, is a divergent
// collective. Every load and store must lie inside one registered buffer, aligned to its own size, and a buffer marked
// `once` takes each byte a single time. What is wrong ends the run with a message. Not seen here: memory order between
// warps, -ftz, approximate instructions, registers, launch arguments.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#define MSDA_HOST 1
#define DEVICE inline
#define KERNEL(threads) void
#define PARAMS const Params& p
#define UNROLL
#define ONE_BY_ONE

struct f16 { unsigned short bits; };
struct bf16 { unsigned short bits; };
struct alignas(16) Bits16 { unsigned w[4]; };
struct Pair { float x, y; };

namespace host {

struct Buffer {
  char* base;
  long long bytes;
  long long writable;       // 0: loads only
  unsigned char* written;   // one count a byte, or null: stores may repeat
};

constexpr int LANES = 32, STACK = 256 * 1024;
enum State { READY, WAITING, DONE };

struct Fibre {
  ucontext_t start;
  jmp_buf at;
  bool started;
  State state;
  long long kind;    // what the collective is: its name, width or mask, and type
  int from;          // lane whose value is wanted
  unsigned posted, answer;
};

inline Fibre fibres[LANES];
inline char* stacks = nullptr;
inline jmp_buf scheduler, refused;
inline int lane = 0, thread = 0, threads = 0, block = 0, blocks = 0;
inline void (*job)(const void*) = nullptr;
inline const void* job_params = nullptr;
inline const Buffer* buffers = nullptr;
inline int buffer_count = 0;
inline char message[256] = "";

[[noreturn]] inline void refuse(const char* what, long long a = 0, long long b = 0) {
  std::snprintf(message, sizeof message, "%s (%lld, %lld) in block %d, thread %d", what, a, b, block, thread);
  _longjmp(refused, 1);
}

inline void yield() {
  Fibre& me = fibres[lane];
  if (_setjmp(me.at) == 0) _longjmp(scheduler, 1);
}

inline void body() {
  for (;;) {  // a fibre outlives its warp and serves the next one
    job(job_params);
    fibres[lane].state = DONE;
    yield();
  }
}

inline void resume(int i) {
  lane = i;
  thread = (thread & ~(LANES - 1)) | i;
  if (_setjmp(scheduler) != 0) return;
  Fibre& f = fibres[i];
  if (f.started) _longjmp(f.at, 1);
  f.started = true;
  setcontext(&f.start);
}

inline void prepare() {
  if (!stacks) stacks = static_cast<char*>(std::malloc(std::size_t(LANES) * STACK));
  for (int i = 0; i < LANES; ++i) {
    getcontext(&fibres[i].start);
    fibres[i].start.uc_stack.ss_sp = stacks + std::size_t(i) * STACK;
    fibres[i].start.uc_stack.ss_size = STACK;
    fibres[i].start.uc_link = nullptr;
    makecontext(&fibres[i].start, body, 0);
    fibres[i].started = false;
  }
}

inline void run_warp() {
  for (Fibre& f : fibres) f.state = READY;
  for (;;) {
    int done = 0;
    for (int i = 0; i < LANES; ++i) {
      resume(i);
      done += fibres[i].state == DONE;
    }
    if (done == LANES) return;
    if (done) refuse("divergent collective: lanes ended while others wait", done);
    for (Fibre& f : fibres)
      if (f.kind != fibres[0].kind) refuse("divergent collective: kinds differ", f.kind, fibres[0].kind);
    for (Fibre& f : fibres) f.answer = fibres[f.from].posted;
  }
}

inline unsigned collective(long long kind, unsigned value, int from) {
  Fibre& me = fibres[lane];
  me.state = WAITING, me.kind = kind, me.posted = value, me.from = from;
  yield();
  return me.answer;
}

inline const Buffer& find(const char* at, int bytes) {
  if (reinterpret_cast<std::uintptr_t>(at) % unsigned(bytes)) refuse("misaligned access", bytes);
  for (int i = 0; i < buffer_count; ++i)
    if (at >= buffers[i].base && at + bytes <= buffers[i].base + buffers[i].bytes) return buffers[i];
  long long best = -1, off = 0;
  for (int i = 0; i < buffer_count; ++i)
    if (best < 0 || std::llabs(at - buffers[i].base) < std::llabs(off)) best = i, off = at - buffers[i].base;
  refuse("access outside every buffer: nearest buffer, byte", best, off);
}

template <class V> V load(const char* at) {
  find(at, int(sizeof(V)));
  V v;
  std::memcpy(&v, at, sizeof v);
  return v;
}
inline void touch(const Buffer& b, const char* at, int bytes) {
  if (!b.writable) refuse("store to an input", at - b.base);
  for (int i = 0; b.written && i < bytes; ++i)
    if (b.written[at - b.base + i]++) refuse("byte stored twice", at - b.base + i);
}
template <class V> void store(char* at, V v) {
  touch(find(at, int(sizeof(V))), at, int(sizeof(V)));
  std::memcpy(at, &v, sizeof v);
}
template <class V> void add(V* at, V v) { store(reinterpret_cast<char*>(at), V(load<V>(reinterpret_cast<char*>(at)) + v)); }

// Runs one launch; returns 0, or 1 with `message` set.
inline int launch(void (*kernel)(const void*), const void* params, int grid, int block_size, const Buffer* list, int count) {
  job = kernel, job_params = params, buffers = list, buffer_count = count, blocks = grid, threads = block_size;
  if (_setjmp(refused) != 0) return 1;
  prepare();
  for (block = 0; block < grid; ++block)
    for (int warp = 0; warp < block_size / LANES; ++warp) {
      thread = warp * LANES;
      run_warp();
    }
  return 0;
}

}  // namespace host

inline unsigned as_bits(float v) { unsigned r; std::memcpy(&r, &v, 4); return r; }
inline float as_float(unsigned v) { float r; std::memcpy(&r, &v, 4); return r; }
inline int thread_index() { return host::thread; }
inline int block_threads() { return host::threads; }
inline int block_index() { return host::block; }
inline int block_count() { return host::blocks; }
// As the hardware: the source lane is taken modulo the width, inside the caller's own sub-group.
template <int W> int lane_get(int v, int from) {
  return int(host::collective(1000 + W, unsigned(v), (host::lane & ~(W - 1)) | (from & (W - 1))));
}
template <int W> float lane_get(float v, int from) {
  return as_float(host::collective(2000 + W, as_bits(v), (host::lane & ~(W - 1)) | (from & (W - 1))));
}
inline float lane_xor(float v, int mask) { return as_float(host::collective(3000 + mask, as_bits(v), (host::lane ^ mask) & 31)); }

inline Bits16 load16(const char* a) { return host::load<Bits16>(a); }
inline Pair load8(const char* a) { if (reinterpret_cast<std::uintptr_t>(a) % 8) host::refuse("misaligned access", 8); return Pair{host::load<float>(a), host::load<float>(a + 4)}; }
inline unsigned load4(const char* a) { return host::load<unsigned>(a); }
inline unsigned load2(const char* a) { return host::load<std::uint16_t>(a); }
inline void store16(char* a, Bits16 v) { host::store(a, v); }
inline void store8(char* a, float x, float y) { if (reinterpret_cast<std::uintptr_t>(a) % 8) host::refuse("misaligned access", 8); host::store(a, x), host::store(a + 4, y); }
inline void store4(char* a, unsigned v) { host::store(a, v); }
inline void store2(char* a, unsigned v) { host::store(a, std::uint16_t(v)); }
inline void red1(float* a, float v) { host::add(a, v); }
inline void red4(float* a, float x, float y, float z, float w) {
  if (reinterpret_cast<std::uintptr_t>(a) % 16) host::refuse("misaligned access", 16);
  host::add(a, x), host::add(a + 1, y), host::add(a + 2, z), host::add(a + 3, w);
}
inline void red_fixed(long long* a, float v) {
  host::add(reinterpret_cast<std::int64_t*>(a), std::int64_t(std::fabs(v) < 9.2e18f ? std::llrint(v) : INT64_MIN));
}
inline float ex2(float v) { return std::exp2(v); }
inline float rcp(float v) { return 1.f / v; }
inline void unpack_f16(unsigned v, float& lo, float& hi) {
  const std::uint16_t halves[2] = {std::uint16_t(v), std::uint16_t(v >> 16)};
  _Float16 f[2];
  std::memcpy(f, halves, 4);
  lo = float(f[0]), hi = float(f[1]);
}
inline unsigned pack_f16(float lo, float hi) {
  const _Float16 f[2] = {_Float16(lo), _Float16(hi)};
  unsigned r;
  std::memcpy(&r, f, 4);
  return r;
}
inline unsigned nearest_bf16(float v) {  // round to nearest even; NaN stays NaN
  const unsigned b = as_bits(v);
  return v != v ? 0x7fffu : (b + 0x7fffu + ((b >> 16) & 1u)) >> 16;
}
inline unsigned pack_bf16(float lo, float hi) { return nearest_bf16(lo) | nearest_bf16(hi) << 16; }

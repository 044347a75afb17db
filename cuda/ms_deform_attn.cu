// Fused multi-scale deformable attention, forward and backward: softmax, sampling locations, bilinear gather and
// weighted sum in one launch. Compiled at run time (NVRTC through CuPy); no #include, so nothing is needed beside it.
//
// Words: a *group* is one (crop b, query q, head h). GL lanes serve a group, each owning one 16-byte vector of its D
// channels; where D does not fill GL vectors, the last lanes are padding: they load a valid vector and store nothing.
// Point k = level * P + p of a group belongs to lane k % GL, slot k / GL. A *unit* is what one warp does at a time:
// QPW = 32 / GL consecutive queries of one head (forward A, backward), or one group (forward B).
//
// Layout: value (B, S, M, D) with a free batch stride; offsets (B, Q, M, L, P, 2), logits (B, Q, M, L*P) dense inside
// a query; ref (B|1, Q, L|1, RD) fp32; out (B, Q, M*D) dense. Strides in Params are bytes. S = sum of H*W.
// Every coordinate, weight and sum is fp32, with one rounding to T at the store. Error against float64 (norm ratio):
// 1e-6 in fp32 (maps of up to 32 px; more, where coordinates round more), 5e-4 in fp16, 4e-3 in bf16, and 1e-6 for
// grad_value's fp32 scratch. NaN coordinates contribute 0.
//
// Launch: A, one block an SM, 1,024 threads (256 when there are few units), each block walking one contiguous run of
// units in (crop, head, query) order so that its value rows stay in L1; B, 128 threads, one warp a group; backward as
// A with 512 threads. The loop variable is the block's, not the warp's: a warp past the end repeats the last unit and
// stores nothing, which costs less than the second copy of the body that ptxas makes of a loop it cannot see uniform. Not for subnormals (-ftz). Tested on the CPU as it stands through cuda/host/shim.h.

#ifndef MSDA_HOST  // ---- words only a device knows; cuda/host/shim.h says the same ones for g++ ----
struct f16 { unsigned short bits; };
struct bf16 { unsigned short bits; };
struct alignas(16) Bits16 { unsigned w[4]; };
struct Pair { float x, y; };
#define DEVICE __device__ __forceinline__
#define KERNEL(threads) __global__ void __launch_bounds__(threads, 1)
#define PARAMS const __grid_constant__ Params p
#define UNROLL _Pragma("unroll")
#define ONE_BY_ONE _Pragma("unroll 1")
DEVICE int thread_index() { return threadIdx.x; }
DEVICE int block_threads() { return blockDim.x; }
DEVICE int block_index() { return blockIdx.x; }
DEVICE int block_count() { return gridDim.x; }
template <int W> DEVICE int lane_get(int v, int from) { return __shfl_sync(0xffffffffu, v, from, W); }
template <int W> DEVICE float lane_get(float v, int from) { return __shfl_sync(0xffffffffu, v, from, W); }
DEVICE float lane_xor(float v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
DEVICE Bits16 load16(const char* a) {
  const uint4 v = __ldg(reinterpret_cast<const uint4*>(a));
  return Bits16{{v.x, v.y, v.z, v.w}};
}
DEVICE Pair load8(const char* a) { const float2 v = __ldg(reinterpret_cast<const float2*>(a)); return Pair{v.x, v.y}; }
DEVICE unsigned load4(const char* a) { return __ldg(reinterpret_cast<const unsigned*>(a)); }
DEVICE unsigned load2(const char* a) { return __ldg(reinterpret_cast<const unsigned short*>(a)); }
DEVICE void store16(char* a, Bits16 v) { *reinterpret_cast<uint4*>(a) = make_uint4(v.w[0], v.w[1], v.w[2], v.w[3]); }
DEVICE void store8(char* a, float x, float y) { *reinterpret_cast<float2*>(a) = make_float2(x, y); }
DEVICE void store4(char* a, unsigned v) { *reinterpret_cast<unsigned*>(a) = v; }
DEVICE void store2(char* a, unsigned v) { *reinterpret_cast<unsigned short*>(a) = static_cast<unsigned short>(v); }
DEVICE void red1(float* a, float v) { atomicAdd(a, v); }
DEVICE void red4(float* a, float x, float y, float z, float w) {
#if __CUDA_ARCH__ >= 900
  asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(a), "f"(x), "f"(y), "f"(z), "f"(w) : "memory");
#else
  atomicAdd(a, x), atomicAdd(a + 1, y), atomicAdd(a + 2, z), atomicAdd(a + 3, w);
#endif
}
DEVICE void red_fixed(long long* a, float v) {
  atomicAdd(reinterpret_cast<unsigned long long*>(a), static_cast<unsigned long long>(__float2ll_rn(v)));
}
DEVICE float ex2(float v) { float r; asm("ex2.approx.f32 %0, %1;" : "=f"(r) : "f"(v)); return r; }
DEVICE float rcp(float v) { float r; asm("rcp.approx.f32 %0, %1;" : "=f"(r) : "f"(v)); return r; }
DEVICE float as_float(unsigned v) { return __uint_as_float(v); }
DEVICE unsigned as_bits(float v) { return __float_as_uint(v); }
DEVICE void unpack_f16(unsigned v, float& lo, float& hi) {
  asm("{.reg .b16 l, h; mov.b32 {l, h}, %2; cvt.f32.f16 %0, l; cvt.f32.f16 %1, h;}" : "=f"(lo), "=f"(hi) : "r"(v));
}
DEVICE unsigned pack_f16(float lo, float hi) {
  unsigned r; asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo)); return r;
}
DEVICE unsigned pack_bf16(float lo, float hi) {
  unsigned r; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo)); return r;
}
#endif  // ---- from here on, plain C++ ----
constexpr int MAX_LEVELS = 6;
constexpr float LOG2E = 1.4426950408889634f;
struct Pointers {  // mirrored, with what follows, by tfpose_rt/ops/plan.py
  const char *value, *offsets, *logits, *ref;
  char* out;
  const char* grad_out;
  char *grad_value, *grad_offsets, *grad_logits, *grad_ref;
  const char* amax;  // one float: max|grad_out|, for the fixed-point mode
};
struct Strides : Pointers {  // bytes
  long long value_batch, offsets_batch, offsets_row, logits_batch, logits_row, ref_batch, ref_row, ref_level;
};
struct Counts : Strides { int queries, tokens, tiles, units, fixed_bits, spare; };
struct Params : Counts { int w[MAX_LEVELS], h[MAX_LEVELS], start[MAX_LEVELS]; };
static_assert(sizeof(Pointers) == 88 && sizeof(Strides) == 152 && sizeof(Counts) == 176 && sizeof(Params) == 248, "as plan.py packs");
template <class T> struct Type;
template <> struct Type<float> {
  static constexpr int N = 4;
  static DEVICE void widen(const Bits16& v, float (&f)[4]) { UNROLL for (int i = 0; i < 4; ++i) f[i] = as_float(v.w[i]); }
  static DEVICE Bits16 narrow(const float (&f)[4]) { return Bits16{{as_bits(f[0]), as_bits(f[1]), as_bits(f[2]), as_bits(f[3])}}; }
  static DEVICE float load(const char* a) { return as_float(load4(a)); }
  static DEVICE Pair load_pair(const char* a) { return load8(a); }
  static DEVICE void store(char* a, float v) { store4(a, as_bits(v)); }
  static DEVICE void store_pair(char* a, float x, float y) { store8(a, x, y); }
};
template <class H> struct HalfType {  // H supplies unpack(word, lo, hi) and pack(lo, hi)
  static constexpr int N = 8;
  static DEVICE void widen(const Bits16& v, float (&f)[8]) { UNROLL for (int i = 0; i < 4; ++i) H::unpack(v.w[i], f[2 * i], f[2 * i + 1]); }
  static DEVICE Bits16 narrow(const float (&f)[8]) {
    return Bits16{{H::pack(f[0], f[1]), H::pack(f[2], f[3]), H::pack(f[4], f[5]), H::pack(f[6], f[7])}};
  }
  static DEVICE float load(const char* a) { Pair v; H::unpack(load2(a), v.x, v.y); return v.x; }
  static DEVICE Pair load_pair(const char* a) { Pair v; H::unpack(load4(a), v.x, v.y); return v; }
  static DEVICE void store(char* a, float v) { store2(a, H::pack(v, 0.f) & 0xffffu); }
  static DEVICE void store_pair(char* a, float x, float y) { store4(a, H::pack(x, y)); }
};
template <> struct Type<f16> : HalfType<Type<f16>> {
  static DEVICE void unpack(unsigned v, float& lo, float& hi) { unpack_f16(v, lo, hi); }
  static DEVICE unsigned pack(float lo, float hi) { return pack_f16(lo, hi); }
};
template <> struct Type<bf16> : HalfType<Type<bf16>> {
  static DEVICE void unpack(unsigned v, float& lo, float& hi) { lo = as_float(v << 16), hi = as_float(v & 0xffff0000u); }
  static DEVICE unsigned pack(float lo, float hi) { return pack_bf16(lo, hi); }
};

DEVICE constexpr int lanes_for(int vectors) { return vectors <= 1 ? 1 : 2 * lanes_for((vectors + 1) / 2); }
template <class T_, class Q_, int D_, int M_, int L_, int P_, int RD_, bool TINY_> struct Config {
  using T = T_;  // of value, out
  using Q = Q_;  // of offsets, logits
  static constexpr int D = D_, M = M_, L = L_, P = P_, RD = RD_, K = L_ * P_;
  static constexpr bool TINY = TINY_;  // a level is one pixel wide or high: the footprint's far side does not exist
  static constexpr int N = Type<T_>::N, GL = lanes_for((D_ + N - 1) / N), QPW = 32 / GL;
  static constexpr int ROW = M_ * D_ * int(sizeof(T_));  // bytes from a token to the next
  // Launch bounds, the same in plan.py: more points a lane want more registers than 1,024 threads leave.
  static constexpr bool MANY = (K + GL - 1) / GL > 4;
  static constexpr int FORWARD_THREADS = K > 12 ? 640 : MANY ? 768 : 1024, BACKWARD_THREADS = MANY ? 384 : 512;
  static_assert(D_ % N == 0 && GL <= 16 && K <= 32 && L_ <= MAX_LEVELS && (RD_ == 2 || RD_ == 4), "see the checks of plan.py");
};

struct Group { int b, h, q, j; bool live; };           // j: lane within the group; live: q is real, not a repeated last query
struct Record { int token; float w00, w01, w10, w11; };  // upper left token of the footprint; weights include the softmax term
struct Place { float x, y, sx, sy, off_x, off_y; bool in; };
struct Axis { int cell; float u, w0, w1; };

// Blocks share the units in contiguous runs: no run is longer than another by more than one.
DEVICE int run_start(int units, int block, int blocks) { return int((long long)units * block / blocks); }

template <class C> DEVICE Group tile_group(const Params& p, int unit, int end, int lane) {
  const bool real = unit < end;
  unit = real ? unit : end - 1;
  const int slab = int(unsigned(unit) / unsigned(p.tiles)), tile = unit - slab * p.tiles;
  const int want = tile * C::QPW + lane / C::GL;
  return Group{int(unsigned(slab) / C::M), int(unsigned(slab) % C::M), want < p.queries ? want : p.queries - 1, lane % C::GL, real && want < p.queries};
}

// Terms 2^((logit - max) log2 e) of this lane's points k = j, j + W, ...; returns their sum over the group's W lanes.
template <class C, int W, int SLOTS> DEVICE float softmax_terms(const Params& p, const Group& g, float (&e)[SLOTS]) {
  const char* row = p.logits + g.b * p.logits_batch + g.q * p.logits_row + g.h * (C::K * int(sizeof(typename C::Q)));
  float top = -as_float(0x7f800000u), sum = 0.f;
  UNROLL for (int s = 0; s < SLOTS; ++s) {
    const int k = s * W + g.j;
    e[s] = k < C::K ? Type<typename C::Q>::load(row + k * int(sizeof(typename C::Q))) * LOG2E : -as_float(0x7f800000u);
    top = fmaxf(top, e[s]);
  }
  UNROLL for (int m = W / 2; m > 0; m /= 2) top = fmaxf(top, lane_xor(top, m));
  UNROLL for (int s = 0; s < SLOTS; ++s) e[s] = ex2(e[s] - top), sum += e[s];
  UNROLL for (int m = W / 2; m > 0; m /= 2) sum += lane_xor(sum, m);
  return sum;
}

// The level of slot s of a lane that owns every W-th point; a compile-time constant where W divides P.
template <class C, int W> DEVICE int level_of(int s, int j) {
  if (C::P % W == 0) return s * W / C::P;
  const int k = s * W + j;
  return (k < C::K ? k : C::K - 1) / C::P;
}

template <class C, int W> DEVICE Place locate(const Params& p, const Group& g, int s, int level) {
  const int k = s * W + g.j < C::K ? s * W + g.j : C::K - 1;
  constexpr int pair = 2 * int(sizeof(typename C::Q));
  const Pair off = Type<typename C::Q>::load_pair(p.offsets + g.b * p.offsets_batch + g.q * p.offsets_row + (g.h * C::K + k) * pair);
  const char* ref = p.ref + g.b * p.ref_batch + g.q * p.ref_row + level * p.ref_level;
  const Pair centre = load8(ref);
  const float w = float(p.w[level]), h = float(p.h[level]);
  Pair scale{1.f, 1.f};
  if (C::RD == 4) {
    const Pair size = load8(ref + 8);
    scale = Pair{size.x * w * (0.5f / C::P), size.y * h * (0.5f / C::P)};
  }
  const float x = fmaf(off.x, scale.x, fmaf(centre.x, w, -0.5f)), y = fmaf(off.y, scale.y, fmaf(centre.y, h, -0.5f));
  const bool in = x > -1.f && y > -1.f && x < w && y < h;  // false for NaN
  return Place{in ? x : 0.f, in ? y : 0.f, scale.x, scale.y, off.x, off.y, in};
}

// The 2-cell footprint moved inside [0, n): weights stay those of bilinear sampling with zeros outside.
template <bool TINY> DEVICE Axis axis_of(float x, int n) {
  const float cell = fmaxf(fminf(floorf(x), float(n - 2)), 0.f), u = x - cell;
  const float far = fmaxf(0.f, 1.f - fabsf(u - 1.f));
  return Axis{int(cell), u, fmaxf(0.f, 1.f - fabsf(u)), TINY && n == 1 ? 0.f : far};
}

template <class C> DEVICE Record record_of(const Params& p, const Place& at, int level, float a) {
  const Axis x = axis_of<C::TINY>(at.x, p.w[level]), y = axis_of<C::TINY>(at.y, p.h[level]);
  const float share = at.in ? a : 0.f, top = share * y.w0, bottom = share * y.w1;
  return Record{p.start[level] + y.cell * p.w[level] + x.cell, top * x.w0, top * x.w1, bottom * x.w0, bottom * x.w1};
}

template <int W> DEVICE Record share(const Record& r, int from) {
  return Record{lane_get<W>(r.token, from), lane_get<W>(r.w00, from), lane_get<W>(r.w01, from), lane_get<W>(r.w10, from), lane_get<W>(r.w11, from)};
}

// Byte steps to the footprint's right and lower cells.
template <class C> DEVICE int right_step(int w) { return C::TINY && w == 1 ? 0 : C::ROW; }
template <class C> DEVICE int down_step(int w, int h) { return C::TINY && h == 1 ? 0 : w * C::ROW; }

template <class C> DEVICE void add_corner(float (&acc)[C::N], const char* at, float w) {
  float v[C::N];
  Type<typename C::T>::widen(load16(at), v);
  UNROLL for (int i = 0; i < C::N; ++i) acc[i] = fmaf(w, v[i], acc[i]);
}
template <class C> DEVICE void add_point(float (&acc)[C::N], const char* base, const Record& r, int right, int down) {
  const char* at = base + (unsigned long long)unsigned(r.token) * C::ROW;
  add_corner<C>(acc, at, r.w00), add_corner<C>(acc, at + right, r.w01);
  add_corner<C>(acc, at + down, r.w10), add_corner<C>(acc, at + down + right, r.w11);
}

template <class C> DEVICE const char* value_base(const Params& p, const Group& g, int channel) {
  return p.value + g.b * p.value_batch + (g.h * C::D + channel) * int(sizeof(typename C::T));
}
template <class C> DEVICE long long out_at(const Params& p, const Group& g, int channel) {  // bytes; also of grad_out
  return (((long long)g.b * p.queries + g.q) * (C::M * C::D) + g.h * C::D + channel) * (long long)sizeof(typename C::T);
}

template <class C> DEVICE void forward_tile(const Params& p, int unit, int end, int lane) {
  constexpr int GL = C::GL, SLOTS = (C::K + GL - 1) / GL;
  const Group g = tile_group<C>(p, unit, end, lane);
  float e[SLOTS], acc[C::N] = {};
  Place at[SLOTS];
  const float sum = softmax_terms<C, GL>(p, g, e);
  UNROLL for (int s = 0; s < SLOTS; ++s) at[s] = locate<C, GL>(p, g, s, level_of<C, GL>(s, g.j));
  const int wanted = g.j * C::N, channel = wanted < C::D ? wanted : C::D - C::N;
  const char* base = value_base<C>(p, g, channel);
  UNROLL for (int s = 0; s < SLOTS; ++s) {  // a record at a time: all of them at once would not fit 64 registers
    const Record mine = record_of<C>(p, at[s], level_of<C, GL>(s, g.j), e[s]);
    UNROLL for (int k = s * GL; k < (s + 1) * GL && k < C::K; ++k) {
      const int w = p.w[k / C::P], h = p.h[k / C::P];
      add_point<C>(acc, base, share<GL>(mine, k % GL), right_step<C>(w), down_step<C>(w, h));
    }
  }
  const float scale = rcp(sum);
  UNROLL for (int i = 0; i < C::N; ++i) acc[i] *= scale;
  if (g.live && wanted < C::D) store16(p.out + out_at<C>(p, g, channel), Type<typename C::T>::narrow(acc));
}

// Sums acc over the lanes that differ in bits BIT, BIT/2, ..., STOP, leaving each lane fewer channels from `first` on.
template <int HALF, int BIT, int STOP, int N> DEVICE void fold(float (&acc)[N], int lane, int& first, bool& owner) {
  if constexpr (BIT >= STOP) {
    const bool upper = (lane & BIT) != 0;
    if constexpr (HALF >= 1) {
      UNROLL for (int i = 0; i < HALF; ++i) {
        const float keep = upper ? acc[i + HALF] : acc[i], give = upper ? acc[i] : acc[i + HALF];
        acc[i] = keep + lane_xor(give, BIT);
      }
      first += upper ? HALF : 0;
    } else {
      acc[0] += lane_xor(acc[0], BIT);
      owner = owner && !upper;
    }
    fold<HALF / 2, BIT / 2, STOP>(acc, lane, first, owner);
  }
}

// One warp a group: lane k computes point k, 32 / GL points gather side by side.
template <class C> DEVICE void forward_single(const Params& p, int unit, int lane) {
  constexpr int GL = C::GL, SIDE = 32 / GL, LEFT = C::N / SIDE > 1 ? C::N / SIDE : 1;
  const int slab = int(unsigned(unit) / unsigned(p.queries));
  const Group g{int(unsigned(slab) / C::M), int(unsigned(slab) % C::M), unit - slab * p.queries, lane, true};
  float e[1], acc[C::N] = {};
  const float sum = softmax_terms<C, 32>(p, g, e);
  const int level = level_of<C, 32>(0, lane);
  const Record mine = record_of<C>(p, locate<C, 32>(p, g, 0, level), level, lane < C::K ? e[0] : 0.f);
  const int right = right_step<C>(p.w[level]), down = down_step<C>(p.w[level], p.h[level]);
  const int j = lane % GL, channel = j * C::N < C::D ? j * C::N : C::D - C::N;
  const char* base = value_base<C>(p, g, channel);
  UNROLL for (int first = 0; first < C::K; first += SIDE) {
    const int k = first + lane / GL;
    add_point<C>(acc, base, share<32>(mine, k), C::TINY ? lane_get<32>(right, k) : C::ROW, lane_get<32>(down, k));
  }
  int offset = 0;
  bool owner = j * C::N < C::D;
  fold<C::N / 2, 16, GL>(acc, lane, offset, owner);
  const float scale = rcp(sum);
  char* out = p.out + out_at<C>(p, g, channel + offset);
  UNROLL for (int i = 0; i < LEFT; ++i)
    if (owner) Type<typename C::T>::store(out + i * int(sizeof(typename C::T)), acc[i] * scale);
}

#define TEMPLATE template <class T, class Q, int D, int M, int L, int P, int RD, bool TINY
#define CONFIG Config<T, Q, D, M, L, P, RD, TINY>
TEMPLATE> KERNEL((CONFIG::FORWARD_THREADS)) forward_a(PARAMS) {
  const int end = run_start(p.units, block_index() + 1, block_count()), warp = thread_index() >> 5;
  ONE_BY_ONE for (int first = run_start(p.units, block_index(), block_count()); first < end; first += block_threads() >> 5)
    forward_tile<CONFIG>(p, first + warp, end, thread_index() & 31);
}

TEMPLATE> KERNEL(128) forward_b(PARAMS) {
  const int unit = block_index() * (block_threads() >> 5) + lane_get<32>(thread_index() >> 5, 0);
  if (unit < p.units) forward_single<CONFIG>(p, unit, thread_index() & 31);
}

// Floors and the unfused baseline of the benchmark; compiled after ms_deform_attn.cu and its backward.
//
// Floors walk the same schedule as forward A and backward, with footprints worked out beforehand: tokens int32
// (B, Q, M, K) come in Params.offsets, weights fp32 (B, Q, M, K, 4), softmax included, in Params.logits. What they
// leave out is what the fused kernels add to the bare movement of data.
//   floor_gather  F1: the loads alone, joined by xor into out
//   floor_blend   F2: the loads, conversions and multiply-adds: out is the operator's own result
//   floor_reds    the vector reds of backward alone: grad_value is the operator's own, in fp32
// The baseline is the common public design: one thread a (crop, query, head, channel), scalar loads, fed with fp32
// softmax weights (B, Q, M, K) in Params.logits and normalised locations (B, Q, M, K, 2) in Params.offsets; its
// backward has scalar reds and sums the query gradients over a head's channels with shuffles.

template <class C> DEVICE long long group_of(const Params& p, const Group& g) { return ((long long)g.b * p.queries + g.q) * C::M + g.h; }

template <class C> DEVICE Record given_record(const Params& p, long long group, int k) {
  const Bits16 w = load16(p.logits + (group * C::K + k) * 16);
  const int token = int(load4(p.offsets + (group * C::K + k) * 4));
  return Record{token, as_float(w.w[0]), as_float(w.w[1]), as_float(w.w[2]), as_float(w.w[3])};
}

DEVICE void mix(Bits16& into, Bits16 v) { UNROLL for (int i = 0; i < 4; ++i) into.w[i] ^= v.w[i]; }

template <class C, bool BLEND> DEVICE void floor_tile(const Params& p, int unit, int end, int lane) {
  const Group g = tile_group<C>(p, unit, end, lane);
  const long long group = group_of<C>(p, g);
  const int wanted = g.j * C::N, channel = wanted < C::D ? wanted : C::D - C::N;
  const char* base = value_base<C>(p, g, channel);
  float acc[C::N] = {};
  Bits16 mixed{};
  UNROLL for (int k = 0; k < C::K; ++k) {
    const int down = p.w[k / C::P] * C::ROW;
    if constexpr (BLEND) {
      add_point<C>(acc, base, given_record<C>(p, group, k), C::ROW, down);
    } else {
      const char* at = base + (unsigned long long)load4(p.offsets + (group * C::K + k) * 4) * C::ROW;
      mix(mixed, load16(at)), mix(mixed, load16(at + C::ROW));
      mix(mixed, load16(at + down)), mix(mixed, load16(at + down + C::ROW));
    }
  }
  if (BLEND) mixed = Type<typename C::T>::narrow(acc);
  if (g.live && wanted < C::D) store16(p.out + out_at<C>(p, g, channel), mixed);
}

template <class C> DEVICE void reds_tile(const Params& p, int unit, int end, int lane) {
  const Group g = tile_group<C>(p, unit, end, lane);
  const long long group = group_of<C>(p, g);
  const GroupGrad<C, FLOAT> s = group_grad<C, FLOAT>(p, g);
  UNROLL for (int k = 0; k < C::K; ++k) {
    const Record r = given_record<C>(p, group, k);
    const int w = p.w[k / C::P], steps[4] = {0, 1, w, w + 1};
    const float weights[4] = {r.w00, r.w01, r.w10, r.w11};
    UNROLL for (int c = 0; c < 4; ++c) {
      float* to = reinterpret_cast<float*>(s.grad_value + (long long)(r.token + steps[c]) * (C::M * C::D * 4));
      const float a = weights[c];
      if (s.grad_value && a != 0.f)
        UNROLL for (int i = 0; i < C::N; i += 4) red4(to + i, a * s.g[i], a * s.g[i + 1], a * s.g[i + 2], a * s.g[i + 3]);
    }
  }
}

#define WALK(TILE)                                                                                                    \
  const int end = run_start(p.units, block_index() + 1, block_count()), warp = thread_index() >> 5;                  \
  ONE_BY_ONE for (int first = run_start(p.units, block_index(), block_count()); first < end; first += block_threads() >> 5) \
    TILE(p, first + warp, end, thread_index() & 31);

TEMPLATE> KERNEL((CONFIG::FORWARD_THREADS)) floor_gather(PARAMS) { WALK((floor_tile<CONFIG, false>)) }
TEMPLATE> KERNEL((CONFIG::FORWARD_THREADS)) floor_blend(PARAMS) { WALK((floor_tile<CONFIG, true>)) }
TEMPLATE> KERNEL((CONFIG::BACKWARD_THREADS)) floor_reds(PARAMS) { WALK((reds_tile<CONFIG>)) }

struct Corner { bool exists; long long at; float w; };  // element of value, bilinear weight

template <class C> DEVICE Corner unfused_corner(const Params& p, long long base, int level, float x, float y, int i) {
  const int w = p.w[level], h = p.h[level], xc = int(floorf(x)) + (i & 1), yc = int(floorf(y)) + (i >> 1);
  const float wx = 1.f - fabsf(x - float(xc)), wy = 1.f - fabsf(y - float(yc));
  return Corner{xc >= 0 && yc >= 0 && xc < w && yc < h, base + (long long)(p.start[level] + yc * w + xc) * (C::M * C::D), wx * wy};
}

// Where thread (group, channel) of the baseline reads; lanes of a group beyond D idle.
struct Thread { long long group, base; int channel; bool live; };
template <class C> DEVICE Thread unfused_thread(const Params& p) {
  constexpr int W = lanes_for(C::D);
  const long long index = (long long)block_index() * block_threads() + thread_index(), groups = (long long)p.units * C::M;
  const long long group = index / W < groups ? index / W : groups - 1;
  const int channel = int(index % W), shown = channel < C::D ? channel : C::D - 1;
  const long long crop = group / ((long long)p.queries * C::M);
  return Thread{group, crop * p.tokens * (C::M * C::D) + (group % C::M) * C::D + shown, shown, index / W < groups && channel < C::D};
}

TEMPLATE> KERNEL(256) unfused_forward(PARAMS) {  // p.units: crops times queries
  using C = CONFIG;
  const Thread t = unfused_thread<C>(p);
  float sum = 0.f;
  for (int k = 0; k < C::K; ++k) {
    const int level = k / C::P;
    const Pair at = load8(p.offsets + (t.group * C::K + k) * 8);
    const float x = at.x * float(p.w[level]) - 0.5f, y = at.y * float(p.h[level]) - 0.5f;
    const float a = as_float(load4(p.logits + (t.group * C::K + k) * 4));
    if (!(x > -1.f && y > -1.f && x < float(p.w[level]) && y < float(p.h[level]))) continue;
    for (int i = 0; i < 4; ++i) {
      const Corner c = unfused_corner<C>(p, t.base, level, x, y, i);
      if (c.exists) sum += a * c.w * Type<T>::load(p.value + c.at * int(sizeof(T)));
    }
  }
  if (t.live) Type<T>::store(p.out + (t.group * C::D + t.channel) * int(sizeof(T)), sum);
}

TEMPLATE> KERNEL(256) unfused_backward(PARAMS) {  // gradients of locations and weights, fp32
  using C = CONFIG;
  const Thread t = unfused_thread<C>(p);
  const float g = t.live ? Type<T>::load(p.grad_out + (t.group * C::D + t.channel) * int(sizeof(T))) : 0.f;
  for (int k = 0; k < C::K; ++k) {
    const int level = k / C::P;
    const Pair at = load8(p.offsets + (t.group * C::K + k) * 8);
    const float w = float(p.w[level]), h = float(p.h[level]), x = at.x * w - 0.5f, y = at.y * h - 0.5f;
    const float a = as_float(load4(p.logits + (t.group * C::K + k) * 4));
    float ga = 0.f, gx = 0.f, gy = 0.f;
    if (x > -1.f && y > -1.f && x < w && y < h) {
      for (int i = 0; i < 4; ++i) {
        const Corner c = unfused_corner<C>(p, t.base, level, x, y, i);
        if (!c.exists) continue;
        const float v = g * Type<T>::load(p.value + c.at * int(sizeof(T)));
        const float fx = x - floorf(x), fy = y - floorf(y);
        ga += c.w * v;
        gx += ((i & 1) ? 1.f : -1.f) * ((i >> 1) ? fy : 1.f - fy) * v;
        gy += ((i >> 1) ? 1.f : -1.f) * ((i & 1) ? fx : 1.f - fx) * v;
        if (t.live) red1(reinterpret_cast<float*>(p.grad_value) + c.at, a * c.w * g);
      }
    }
    for (int m = lanes_for(C::D) / 2; m > 0; m /= 2) ga += lane_xor(ga, m), gx += lane_xor(gx, m), gy += lane_xor(gy, m);
    if (t.live && t.channel == 0) {
      store4(p.grad_logits + (t.group * C::K + k) * 4, as_bits(ga));
      store8(p.grad_offsets + (t.group * C::K + k) * 8, a * gx * w, a * gy * h);
    }
  }
}

// Backward of multi-scale deformable attention; compiled as the second half of ms_deform_attn.cu's source string.
//
// Nothing is saved by the forward but its inputs: softmax and footprints are computed again. With g = grad_out of the
// group, d_c = <g, value at corner c>, w_c the bilinear weights and a_i the softmax:
//   grad_value[corner] += a_i w_c g            ga_i = sum_c w_c d_c            grad_logit_i = a_i (ga_i - sum_j a_j ga_j)
//   grad_off_x = a_i sx sum_c (dw_c/dx) d_c    grad_ref_x = W sum_p a_i gx_i   grad_ref_w = W / (2P) sum_p off_x a_i gx_i
// At integer coordinates the derivative is the right-hand one, as grid_sample's.
//
// grad_value goes to scratch (B, S, M, D): fp32 with vector reds (order, hence last bits, vary from run to run), or
// int64 fixed point with step max|g| / 2^fixed_bits, whose sum does not depend on the order. grad_offsets, grad_logits
// (B, Q, M, L, P, 2) and (B, Q, M, L*P) are dense, of Q's type; grad_ref (B, Q, M, L, RD) fp32 holds one part a head.

enum ValueGrad { SKIP = 0, FLOAT = 1, FIXED = 2 };

struct Dots { float d00, d01, d10, d11; };
struct Slopes { float d0, d1; };

// d(w0)/du and d(w1)/du of axis_of's weights.
template <bool TINY> DEVICE Slopes slopes_of(float u, int n) {
  const float far = u < 0.f ? 0.f : u < 1.f ? 1.f : -1.f;
  return Slopes{u < 0.f ? 1.f : u < 1.f ? -1.f : 0.f, TINY && n == 1 ? 0.f : far};
}

template <class C, int MODE> struct GroupGrad {
  const char* value;   // of this lane's channels, token 0
  char* grad_value;    // the same place in the scratch, or null for padding lanes and repeated queries
  float scale;         // fixed point only
  float g[C::N];
  static constexpr int ROW = C::M * C::D * (MODE == FIXED ? 8 : 4);
};

template <class C, int MODE> DEVICE float corner(const GroupGrad<C, MODE>& s, long long token, float w) {
  float v[C::N], dot = 0.f;
  Type<typename C::T>::widen(load16(s.value + token * C::ROW), v);
  UNROLL for (int i = 0; i < C::N; ++i) dot = fmaf(s.g[i], v[i], dot);
  if (MODE != SKIP && s.grad_value && w != 0.f) {
    char* to = s.grad_value + token * GroupGrad<C, MODE>::ROW;
    if constexpr (MODE == FIXED) {
      const float step = w * s.scale;
      UNROLL for (int i = 0; i < C::N; ++i) red_fixed(reinterpret_cast<long long*>(to) + i, step * s.g[i]);
    } else {
      UNROLL for (int i = 0; i < C::N; i += 4)
        red4(reinterpret_cast<float*>(to) + i, w * s.g[i], w * s.g[i + 1], w * s.g[i + 2], w * s.g[i + 3]);
    }
  }
  return dot;
}

template <class C, int MODE> DEVICE Dots point_dots(const GroupGrad<C, MODE>& s, const Record& r, int w, int h) {
  const int right = C::TINY && w == 1 ? 0 : 1, down = C::TINY && h == 1 ? 0 : w;
  Dots d;
  d.d00 = corner(s, r.token, r.w00), d.d01 = corner(s, r.token + right, r.w01);
  d.d10 = corner(s, r.token + down, r.w10), d.d11 = corner(s, r.token + down + right, r.w11);
  return d;
}

DEVICE float exchange(float lower, float upper, bool is_upper, int bit) {
  return (is_upper ? upper : lower) + lane_xor(is_upper ? lower : upper, bit);
}

// Dots of points FROM .. FROM + COUNT - 1 of a slot, summed over the group's lanes so that lane j ends with point j's:
// a transpose by halving, one exchange of four sums a pair of halves.
template <class C, int MODE, int FROM, int COUNT> DEVICE Dots slot_dots(const Params& p, const GroupGrad<C, MODE>& s, const Record& mine, int slot, int lane) {
  if constexpr (COUNT == 1) {
    const int k = slot * C::GL + FROM;
    if (k >= C::K) return Dots{0.f, 0.f, 0.f, 0.f};  // the same for every lane: no divergence
    return point_dots<C, MODE>(s, share<C::GL>(mine, FROM), p.w[k / C::P], p.h[k / C::P]);
  } else {
    constexpr int BIT = COUNT / 2;
    const Dots a = slot_dots<C, MODE, FROM, BIT>(p, s, mine, slot, lane);
    const Dots b = slot_dots<C, MODE, FROM + BIT, BIT>(p, s, mine, slot, lane);
    const bool upper = (lane & BIT) != 0;
    return Dots{exchange(a.d00, b.d00, upper, BIT), exchange(a.d01, b.d01, upper, BIT),
                exchange(a.d10, b.d10, upper, BIT), exchange(a.d11, b.d11, upper, BIT)};
  }
}

struct PointGrad { float ga, gx, gy; };  // of the sampled value along the softmax weight and the two pixel coordinates

template <class C> DEVICE PointGrad point_grad(const Place& at, const Dots& d, int w, int h) {
  const Axis x = axis_of<C::TINY>(at.x, w), y = axis_of<C::TINY>(at.y, h);
  const Slopes sx = slopes_of<C::TINY>(x.u, w), sy = slopes_of<C::TINY>(y.u, h);
  const float left = y.w0 * d.d00 + y.w1 * d.d10, right = y.w0 * d.d01 + y.w1 * d.d11;
  const float top = x.w0 * d.d00 + x.w1 * d.d01, bottom = x.w0 * d.d10 + x.w1 * d.d11;
  if (!at.in) return PointGrad{0.f, 0.f, 0.f};
  return PointGrad{x.w0 * left + x.w1 * right, sx.d0 * left + sx.d1 * right, sy.d0 * top + sy.d1 * bottom};
}

// Sums of one level's points for grad_ref; `terms` are a_i gx_i, a_i gy_i and, for boxes, those times the offset.
template <class C, int SLOTS> DEVICE void store_ref(const Params& p, const Group& g, long long group, const float (&terms)[SLOTS][C::RD]) {
  UNROLL for (int level = 0; level < C::L; ++level) {
    float sum[C::RD] = {};
    UNROLL for (int s = 0; s < SLOTS; ++s) {
      const int k = s * C::GL + g.j;
      UNROLL for (int i = 0; i < C::RD; ++i) sum[i] += k < C::K && k / C::P == level ? terms[s][i] : 0.f;
    }
    UNROLL for (int m = C::GL / 2; m > 0; m /= 2)
      UNROLL for (int i = 0; i < C::RD; ++i) sum[i] += lane_xor(sum[i], m);
    char* to = p.grad_ref + (group * C::L + level) * (C::RD * 4);
    if (g.live && g.j == 0) {
      store8(to, sum[0] * float(p.w[level]), sum[1] * float(p.h[level]));
      if (C::RD == 4) store8(to + 8, sum[C::RD - 2] * float(p.w[level]) * (0.5f / C::P), sum[C::RD - 1] * float(p.h[level]) * (0.5f / C::P));
    }
  }
}

template <class C, int MODE> DEVICE GroupGrad<C, MODE> group_grad(const Params& p, const Group& g) {
  const int wanted = g.j * C::N, channel = wanted < C::D ? wanted : C::D - C::N;
  const bool own = wanted < C::D;
  GroupGrad<C, MODE> s{value_base<C>(p, g, channel), nullptr, 0.f, {}};
  Type<typename C::T>::widen(load16(p.grad_out + out_at<C>(p, g, channel)), s.g);
  UNROLL for (int i = 0; i < C::N; ++i) s.g[i] = own ? s.g[i] : 0.f;  // padding lanes add nothing to the dots
  if (MODE != SKIP && own && g.live)
    s.grad_value = p.grad_value + (long long)g.b * p.tokens * GroupGrad<C, MODE>::ROW + (g.h * C::D + channel) * (MODE == FIXED ? 8 : 4);
  if (MODE == FIXED) s.scale = fminf(ex2(float(p.fixed_bits)) / as_float(load4(p.amax)), 1e38f);
  return s;
}

template <class C, bool REFGRAD, int MODE> DEVICE void backward_tile(const Params& p, int unit, int end, int lane) {
  constexpr int GL = C::GL, SLOTS = (C::K + GL - 1) / GL;
  const Group g = tile_group<C>(p, unit, end, lane);
  float a[SLOTS];
  PointGrad grad[SLOTS];
  Place at[SLOTS];
  const float scale = rcp(softmax_terms<C, GL>(p, g, a));
  const GroupGrad<C, MODE> s = group_grad<C, MODE>(p, g);
  float mean = 0.f;
  UNROLL for (int i = 0; i < SLOTS; ++i) {
    const int level = level_of<C, GL>(i, g.j);
    a[i] *= scale;
    at[i] = locate<C, GL>(p, g, i, level);
    const Dots d = slot_dots<C, MODE, 0, GL>(p, s, record_of<C>(p, at[i], level, a[i]), i, lane);
    grad[i] = point_grad<C>(at[i], d, p.w[level], p.h[level]);
    mean = fmaf(a[i], grad[i].ga, mean);
  }
  UNROLL for (int m = GL / 2; m > 0; m /= 2) mean += lane_xor(mean, m);
  const long long group = ((long long)g.b * p.queries + g.q) * C::M + g.h;
  float terms[SLOTS][C::RD];
  UNROLL for (int i = 0; i < SLOTS; ++i) {
    const int k = i * GL + g.j;
    const float gx = a[i] * grad[i].gx, gy = a[i] * grad[i].gy;
    if (g.live && k < C::K) {
      using Q = typename C::Q;
      Type<Q>::store(p.grad_logits + (group * C::K + k) * int(sizeof(Q)), a[i] * (grad[i].ga - mean));
      Type<Q>::store_pair(p.grad_offsets + (group * C::K + k) * (2 * int(sizeof(Q))), at[i].sx * gx, at[i].sy * gy);
    }
    terms[i][0] = gx, terms[i][1] = gy;
    if (C::RD == 4) terms[i][C::RD - 2] = gx * at[i].off_x, terms[i][C::RD - 1] = gy * at[i].off_y;
  }
  if (REFGRAD) store_ref<C>(p, g, group, terms);
}

TEMPLATE, bool REFGRAD, int MODE> KERNEL((CONFIG::BACKWARD_THREADS)) backward(PARAMS) {
  const int end = run_start(p.units, block_index() + 1, block_count()), warp = thread_index() >> 5;
  ONE_BY_ONE for (int first = run_start(p.units, block_index(), block_count()); first < end; first += block_threads() >> 5)
    backward_tile<CONFIG, REFGRAD, MODE>(p, first + warp, end, thread_index() & 31);
}

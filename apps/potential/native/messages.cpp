// Sums over pairs of atoms closer than the cutoff, and their derivatives: the part of a network
// with radial filters that works on pairs. What it gives is what the potential gives on dense and
// listed batches (apps/potential/painn.py); tests hold them equal.
//
// Compiled for one number of features and of radial functions (FEATURES, RADIAL), for float and for
// double. A pair is listed once and serves both its ends, so that its filter is made once. Radial
// functions are made in double, with sine and cosine of multiples by recurrence. What is no number
// stays none: comparisons let it through, and the compiler may not assume that there is none.
//
// Layouts (C order): x (N, 3); pairs (P, 2); shifts (P, 3), added to the second atom's place;
// filter (RADIAL, 3 F): blocks s, vs, vv; carried (N, 5 F): phi_s, phi_vs and three components of
// phi_vv v; sums (N, 4 F): scalars and three components of vectors. All of one structure; the
// functions at the end go through a batch.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int F = FEATURES, K = RADIAL, TILE = 4;

template <class T> struct Wide {
  typedef T type __attribute__((vector_size(64), aligned(sizeof(T)), may_alias));
};
template <class T> using Vec = typename Wide<T>::type;
template <class T> constexpr int LANES = 64 / sizeof(T);

template <class T> inline Vec<T> &at(T *place) { return *reinterpret_cast<Vec<T> *>(place); }
template <class T> inline const Vec<T> &at(const T *place) {
  return *reinterpret_cast<const Vec<T> *>(place);
}
template <class T> inline T total(Vec<T> v) {
  T sum = 0;
  for (int lane = 0; lane < LANES<T>; lane++) sum += v[lane];
  return sum;
}

// Pairs of one structure that are closer than the cutoff.
template <class T> struct Close {
  int64_t count = 0;
  std::vector<int32_t> i, j;
  std::vector<double> r, x, y, z;
  std::vector<T> ux, uy, uz, inverse, b, db; // b and db: (K, room)
  int64_t room = 0;

  void reserve(int64_t pairs) {
    if (pairs <= room) return;
    room = (pairs + 15) / 16 * 16;
    i.resize(room), j.resize(room);
    r.resize(room), x.resize(room), y.resize(room), z.resize(room);
    ux.resize(room), uy.resize(room), uz.resize(room), inverse.resize(room);
    b.resize(K * room), db.resize(K * room);
  }

  void find(const double *place, const int64_t *pairs, const double *shifts, int64_t listed,
            double cutoff) {
    reserve(listed + TILE);
    count = 0;
    const double far = cutoff * cutoff;
    for (int64_t p = 0; p < listed; p++) {
      const int64_t a = pairs[2 * p], o = pairs[2 * p + 1];
      const double dx = place[3 * o] + shifts[3 * p] - place[3 * a];
      const double dy = place[3 * o + 1] + shifts[3 * p + 1] - place[3 * a + 1];
      const double dz = place[3 * o + 2] + shifts[3 * p + 2] - place[3 * a + 2];
      const double squared = dx * dx + dy * dy + dz * dz;
      i[count] = a, j[count] = o;
      x[count] = dx, y[count] = dy, z[count] = dz, r[count] = squared;
      count += !(squared >= far);
    }
    // A last tile is filled up with pairs at the cutoff, of which all is zero.
    for (int64_t p = count; p < count + TILE; p++) {
      i[p] = j[p] = 0, x[p] = cutoff, y[p] = z[p] = 0.0, r[p] = far;
    }
    radial(cutoff);
  }

  // b_k = sqrt(2/c) sin(k pi t) u(t) / r and its derivative, t = r/c, u = 1 - 10t^3 + 15t^4 - 6t^5.
  void radial(double cutoff) {
    const double pi = 3.14159265358979323846, norm = std::sqrt(2.0 / cutoff);
    const int64_t all = count + TILE;
    std::vector<double> &sine = sines, &cosine = cosines, &a = amplitude, &da = slope;
    sine.resize(room), cosine.resize(room), a.resize(room), da.resize(room);
    for (int64_t p = 0; p < all; p++) {
      const double distance = std::sqrt(r[p]), one = 1.0 / distance, t = distance / cutoff;
      ux[p] = T(x[p] * one), uy[p] = T(y[p] * one), uz[p] = T(z[p] * one), inverse[p] = T(one);
      const double u = 1.0 + t * t * t * (-10.0 + t * (15.0 - 6.0 * t));
      const double du = -30.0 * t * t * (1.0 - t) * (1.0 - t) / cutoff;
      a[p] = norm * u * one;
      da[p] = norm * (du - u * one) * one;
      // sin(pi t) and cos(pi t) from Taylor series about t = 1/2.
      const double y1 = pi * (t - 0.5), y2 = y1 * y1;
      double s = 1.0, c = 1.0;
      for (int n = 20; n > 0; n -= 2) {
        s = 1.0 - s * y2 / (n * (n + 1));
        c = 1.0 - c * y2 / (n * (n - 1));
      }
      sine[p] = c, cosine[p] = -y1 * s;
    }
    for (int64_t p = 0; p < all; p++) {
      double s0 = 0.0, s1 = sine[p], c0 = 1.0, c1 = cosine[p];
      const double twice = 2.0 * cosine[p];
      for (int k = 0; k < K; k++) {
        b[k * room + p] = T(a[p] * s1);
        db[k * room + p] = T(da[p] * s1 + a[p] * c1 * ((k + 1) * pi / cutoff));
        const double s2 = twice * s1 - s0, c2 = twice * c1 - c0;
        s0 = s1, s1 = s2, c0 = c1, c1 = c2;
      }
    }
  }

  // From the derivative along the distance and by the unit vector to those by places.
  void add_force(int64_t p, T along, const T turn[3], double *to_place) const {
    if (p >= count) return;
    const T u[3] = {ux[p], uy[p], uz[p]};
    const T radial = turn[0] * u[0] + turn[1] * u[1] + turn[2] * u[2];
    for (int d = 0; d < 3; d++) {
      const double gradient = along * u[d] + (turn[d] - radial * u[d]) * inverse[p];
      to_place[3 * j[p] + d] += gradient;
      to_place[3 * i[p] + d] -= gradient;
    }
  }

private:
  std::vector<double> sines, cosines, amplitude, slope;
};

template <class T> Close<T> &scratch() {
  static thread_local Close<T> found;
  return found;
}

// Filters of a tile of pairs for one vector of features: w[pair][block] = sum_k r[k] filter[k].
template <class T>
inline void filtered(const T *radial, int64_t room, const T *filter, int f, Vec<T> w[TILE][3]) {
  for (int p = 0; p < TILE; p++) w[p][0] = w[p][1] = w[p][2] = Vec<T>{};
  for (int k = 0; k < K; k++) {
    const T *row = filter + k * 3 * F + f;
    const Vec<T> s = at(row), vs = at(row + F), vv = at(row + 2 * F);
    for (int p = 0; p < TILE; p++) {
      const T weight = radial[k * room + p];
      w[p][0] += weight * s, w[p][1] += weight * vs, w[p][2] += weight * vv;
    }
  }
}

template <class T> inline void sums_of(const Close<T> &near, const T *carried, const T *filter, T *sums) {
  for (int64_t first = 0; first < near.count; first += TILE) {
    for (int f = 0; f < F; f += LANES<T>) {
      Vec<T> w[TILE][3];
      filtered(near.b.data() + first, near.room, filter, f, w);
      for (int p = 0; p < TILE; p++) {
        const int64_t i = near.i[first + p], j = near.j[first + p];
        const T u[3] = {near.ux[first + p], near.uy[first + p], near.uz[first + p]};
        const T *ci = carried + i * 5 * F + f, *cj = carried + j * 5 * F + f;
        T *oi = sums + i * 4 * F + f, *oj = sums + j * 4 * F + f;
        at(oi) += w[p][0] * at(cj);
        at(oj) += w[p][0] * at(ci);
        const Vec<T> from_j = w[p][1] * at(cj + F), from_i = w[p][1] * at(ci + F);
        for (int d = 0; d < 3; d++) {
          at(oi + (1 + d) * F) += u[d] * from_j + w[p][2] * at(cj + (2 + d) * F);
          at(oj + (1 + d) * F) += w[p][2] * at(ci + (2 + d) * F) - u[d] * from_i;
        }
      }
    }
  }
}

// From gradients g of the sums (N, 4 F) to those of what was carried and of places.
template <class T>
inline void sums_back(const Close<T> &near, const T *carried, const T *filter, const T *g,
                      T *to_carried, double *to_place) {
  for (int64_t first = 0; first < near.count; first += TILE) {
    Vec<T> along[TILE] = {}, turn[TILE][3] = {};
    for (int f = 0; f < F; f += LANES<T>) {
      Vec<T> w[TILE][3], dw[TILE][3];
      filtered(near.b.data() + first, near.room, filter, f, w);
      filtered(near.db.data() + first, near.room, filter, f, dw);
      for (int p = 0; p < TILE; p++) {
        const int64_t i = near.i[first + p], j = near.j[first + p];
        const T u[3] = {near.ux[first + p], near.uy[first + p], near.uz[first + p]};
        const T *ci = carried + i * 5 * F + f, *cj = carried + j * 5 * F + f;
        const T *gi = g + i * 4 * F + f, *gj = g + j * 4 * F + f;
        T *ti = to_carried + i * 5 * F + f, *tj = to_carried + j * 5 * F + f;
        const Vec<T> gsi = at(gi), gsj = at(gj), csi = at(ci), csj = at(cj);
        at(tj) += gsi * w[p][0];
        at(ti) += gsj * w[p][0];
        Vec<T> sum = (gsi * csj + gsj * csi) * dw[p][0];
        const Vec<T> vi = at(ci + F), vj = at(cj + F);
        Vec<T> ui{}, uj{}, vv{};
        for (int d = 0; d < 3; d++) {
          const Vec<T> gvi = at(gi + (1 + d) * F), gvj = at(gj + (1 + d) * F);
          ui += u[d] * gvi, uj += u[d] * gvj;
          turn[p][d] += w[p][1] * (gvi * vj - gvj * vi);
          vv += gvi * at(cj + (2 + d) * F) + gvj * at(ci + (2 + d) * F);
          at(tj + (2 + d) * F) += gvi * w[p][2];
          at(ti + (2 + d) * F) += gvj * w[p][2];
        }
        at(tj + F) += ui * w[p][1];
        at(ti + F) -= uj * w[p][1];
        along[p] += sum + (ui * vj - uj * vi) * dw[p][1] + vv * dw[p][2];
      }
    }
    for (int p = 0; p < TILE; p++) {
      const T turned[3] = {total<T>(turn[p][0]), total<T>(turn[p][1]), total<T>(turn[p][2])};
      near.add_force(first + p, total<T>(along[p]), turned, to_place);
    }
  }
}

// Sums over neighbours of an element of radial functions, alone and times the unit vector:
// (N, 4, S K), elements first; kinds (N): an atom's element.
template <class T>
inline void elements_of(const Close<T> &near, const int64_t *kinds, int64_t width, T *sums) {
  for (int64_t p = 0; p < near.count; p++) {
    const int64_t i = near.i[p], j = near.j[p];
    const T u[3] = {near.ux[p], near.uy[p], near.uz[p]};
    T *oi = sums + i * 4 * width + kinds[j] * K, *oj = sums + j * 4 * width + kinds[i] * K;
    for (int k = 0; k < K; k++) {
      const T b = near.b[k * near.room + p];
      oi[k] += b, oj[k] += b;
      for (int d = 0; d < 3; d++) {
        oi[(1 + d) * width + k] += u[d] * b, oj[(1 + d) * width + k] -= u[d] * b;
      }
    }
  }
}

template <class T>
inline void elements_back(const Close<T> &near, const int64_t *kinds, int64_t width, const T *g,
                          double *to_place) {
  for (int64_t p = 0; p < near.count; p++) {
    const int64_t i = near.i[p], j = near.j[p];
    const T u[3] = {near.ux[p], near.uy[p], near.uz[p]};
    const T *gi = g + i * 4 * width + kinds[j] * K, *gj = g + j * 4 * width + kinds[i] * K;
    T along = 0, turn[3] = {0, 0, 0};
    for (int k = 0; k < K; k++) {
      const T b = near.b[k * near.room + p];
      T sum = gi[k] + gj[k];
      for (int d = 0; d < 3; d++) {
        const T apart = gi[(1 + d) * width + k] - gj[(1 + d) * width + k];
        sum += u[d] * apart, turn[d] += b * apart;
      }
      along += sum * near.db[k * near.room + p];
    }
    near.add_force(p, along, turn, to_place);
  }
}

// A batch of B structures; outputs are zeros beforehand.
template <class T>
void sums(int64_t B, int64_t N, int64_t P, double cutoff, const double *x, const int64_t *pairs,
          const double *shifts, const T *carried, const T *filter, T *found) {
  for (int64_t s = 0; s < B; s++) {
    Close<T> &near = scratch<T>();
    near.find(x + s * N * 3, pairs + s * P * 2, shifts + s * P * 3, P, cutoff);
    sums_of(near, carried + s * N * 5 * F, filter, found + s * N * 4 * F);
  }
}

template <class T>
void sums_gradient(int64_t B, int64_t N, int64_t P, double cutoff, const double *x,
                   const int64_t *pairs, const double *shifts, const T *carried, const T *filter,
                   const T *g, T *to_carried, double *to_place) {
  for (int64_t s = 0; s < B; s++) {
    Close<T> &near = scratch<T>();
    near.find(x + s * N * 3, pairs + s * P * 2, shifts + s * P * 3, P, cutoff);
    sums_back(near, carried + s * N * 5 * F, filter, g + s * N * 4 * F,
              to_carried + s * N * 5 * F, to_place + s * N * 3);
  }
}

template <class T>
void elements(int64_t B, int64_t N, int64_t P, double cutoff, const double *x,
              const int64_t *pairs, const double *shifts, const int64_t *kinds, int64_t width,
              T *found) {
  for (int64_t s = 0; s < B; s++) {
    Close<T> &near = scratch<T>();
    near.find(x + s * N * 3, pairs + s * P * 2, shifts + s * P * 3, P, cutoff);
    elements_of(near, kinds + s * N, width, found + s * N * 4 * width);
  }
}

template <class T>
void elements_gradient(int64_t B, int64_t N, int64_t P, double cutoff, const double *x,
                       const int64_t *pairs, const double *shifts, const int64_t *kinds,
                       int64_t width, const T *g, double *to_place) {
  for (int64_t s = 0; s < B; s++) {
    Close<T> &near = scratch<T>();
    near.find(x + s * N * 3, pairs + s * P * 2, shifts + s * P * 3, P, cutoff);
    elements_back(near, kinds + s * N, width, g + s * N * 4 * width, to_place + s * N * 3);
  }
}

} // namespace

#define OF_TYPE(T, NAME)                                                                           \
  extern "C" void sums_##NAME(int64_t B, int64_t N, int64_t P, double cutoff, const double *x,     \
                              const int64_t *pairs, const double *shifts, const T *carried,        \
                              const T *filter, T *found) {                                         \
    sums<T>(B, N, P, cutoff, x, pairs, shifts, carried, filter, found);                            \
  }                                                                                                \
  extern "C" void sums_gradient_##NAME(int64_t B, int64_t N, int64_t P, double cutoff,             \
                                       const double *x, const int64_t *pairs,                      \
                                       const double *shifts, const T *carried, const T *filter,    \
                                       const T *g, T *to_carried, double *to_place) {              \
    sums_gradient<T>(B, N, P, cutoff, x, pairs, shifts, carried, filter, g, to_carried, to_place); \
  }                                                                                                \
  extern "C" void elements_##NAME(int64_t B, int64_t N, int64_t P, double cutoff, const double *x, \
                                  const int64_t *pairs, const double *shifts,                      \
                                  const int64_t *kinds, int64_t width, T *found) {                 \
    elements<T>(B, N, P, cutoff, x, pairs, shifts, kinds, width, found);                           \
  }                                                                                                \
  extern "C" void elements_gradient_##NAME(                                                        \
      int64_t B, int64_t N, int64_t P, double cutoff, const double *x, const int64_t *pairs,       \
      const double *shifts, const int64_t *kinds, int64_t width, const T *g, double *to_place) {   \
    elements_gradient<T>(B, N, P, cutoff, x, pairs, shifts, kinds, width, g, to_place);            \
  }

OF_TYPE(float, float)
OF_TYPE(double, double)

// What sampling does to batches of structures of one molecule: MMFF94 term by term with forces, Langevin
// steps on it, bond lengths restored by projection, shortest distances. Eight structures go through together, one a
// lane; lanes never meet, so that a structure's numbers do not depend on the others'. The formulae
// are those of mmff94.py, langevin.py and strategies/clash.py in apps/sampling; tests hold them equal.
//
// Units are MMFF94's own (kcal/mol, A; angles in degrees). Lengths are kept from 0, so that atoms on
// top of each other have an energy, and forces without a direction; what is no number stays none.
//
// Layouts (C order): x, forces (S, N, 3); energies (S, TERMS); terms as in `Table` below.

#include <cmath>
#include <cstdint>
#include <vector>

namespace {

constexpr int W = 8;
typedef double V __attribute__((vector_size(64)));

constexpr double PI = 3.14159265358979323846, DEGREE = PI / 180.0;
constexpr double K = 143.9325, COULOMB = 332.0716, TINY = 1e-12;

enum Term { BOND, ANGLE, LINEAR, STRETCH_BEND, OUT_OF_PLANE, TORSION, VDW, ELE, TERMS };

inline V root(V v) {
  V found{};
  for (int lane = 0; lane < W; lane++) found[lane] = std::sqrt(v[lane]);
  return found;
}
inline V at_least(V v, double least) { return v < least ? V{} + least : v; }
inline V at_most(V v, double most) { return v > most ? V{} + most : v; }

// asin(s) / s - 1 over s^2, on |s| <= 1/2: the rational function of fdlibm (Sun Microsystems 1993).
inline V asin_rest(V t) {
  const V p = t * (1.66666666666666657415e-01 + t * (-3.25565818622400915405e-01 +
      t * (2.01212532134862925881e-01 + t * (-4.00555345006794114027e-02 +
      t * (7.91534994289814532176e-04 + t * 3.47933107596021167570e-05)))));
  const V q = 1.0 + t * (-2.40339491173441421878e+00 + t * (2.02094576023350569471e+00 +
      t * (-6.88283971605453293030e-01 + t * 7.70381505559019352791e-02)));
  return p / q;
}
inline V arcsine(V s) {
  const V size = s < 0.0 ? -s : s;
  const V far = (1.0 - size) * 0.5;
  const V half = size > 0.5 ? far : size * size;
  const V base = size > 0.5 ? root(half) : size;
  const V small = base + base * asin_rest(half);
  const V found = size > 0.5 ? 0.5 * PI - 2.0 * small : small;
  return s < 0.0 ? -found : found;
}
// pi/2 - arcsine(c) loses digits near 0 and 180 degrees; this does not.
inline V arccosine(V c) {
  const V size = c < 0.0 ? -c : c;
  const V half = size > 0.5 ? (1.0 - size) * 0.5 : size * size;
  const V base = size > 0.5 ? root(half) : size;
  const V small = base + base * asin_rest(half);
  const V beyond = c < 0.0 ? PI - 2.0 * small : 2.0 * small;
  const V near = c < 0.0 ? 0.5 * PI + small : 0.5 * PI - small;
  return size > 0.5 ? beyond : near;
}

struct Point {
  V x, y, z;
};
inline Point operator+(const Point &a, const Point &b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
inline Point operator-(const Point &a, const Point &b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
inline Point operator*(V s, const Point &a) { return {s * a.x, s * a.y, s * a.z}; }
inline void operator+=(Point &a, const Point &b) { a = a + b; }
inline void operator-=(Point &a, const Point &b) { a = a - b; }
inline V dot(const Point &a, const Point &b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
inline Point cross(const Point &a, const Point &b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
inline V length(const Point &a) { return at_least(root(dot(a, a)), TINY); }

// Eight structures, atoms first; a batch that is not full ends with copies of its last structure.
void load(const double *x, int64_t first, int64_t count, int64_t atoms, std::vector<Point> &place) {
  for (int lane = 0; lane < W; lane++) {
    const double *from = x + 3 * atoms * (first + lane < count ? first + lane : count - 1);
    for (int64_t a = 0; a < atoms; a++) {
      place[a].x[lane] = from[3 * a];
      place[a].y[lane] = from[3 * a + 1];
      place[a].z[lane] = from[3 * a + 2];
    }
  }
}
void store(const std::vector<Point> &value, int64_t first, int64_t count, int64_t atoms,
           double *to) {
  for (int lane = 0; lane < W && first + lane < count; lane++) {
    double *row = to + 3 * atoms * (first + lane);
    for (int64_t a = 0; a < atoms; a++) {
      row[3 * a] = value[a].x[lane];
      row[3 * a + 1] = value[a].y[lane];
      row[3 * a + 2] = value[a].z[lane];
    }
  }
}

// Terms of one kind: `atoms` (count, their number), `values` (count, their number).
struct Table {
  int64_t count;
  const int32_t *atoms;
  const double *values;
};

struct Field {
  std::vector<Point> x, f;
  V energy[TERMS];
  Table table[6];

  // counts (6): bonds, bends, linear bends, out of planes, torsions, pairs; atoms and values of each
  // follow one another.
  Field(int64_t atoms, const int64_t *counts, const int32_t *term_atoms, const double *term_values)
      : x(atoms), f(atoms) {
    const int n_atoms[6] = {2, 3, 3, 4, 4, 2}, n_values[6] = {2, 6, 1, 1, 3, 3};
    for (int kind = 0; kind < 6; kind++) {
      table[kind] = {counts[kind], term_atoms, term_values};
      term_atoms += counts[kind] * n_atoms[kind], term_values += counts[kind] * n_values[kind];
    }
  }

  // Energies and forces at x.
  void evaluate() {
    for (auto &force : f) force = Point{};
    for (auto &term : energy) term = V{};
    bonds(table[0]), bends(table[1]), linear_bends(table[2]);
    out_of_planes(table[3]), torsions(table[4]), pairs(table[5]);
  }

  void bonds(const Table &t) {
    for (int64_t n = 0; n < t.count; n++) {
      const int i = t.atoms[2 * n], j = t.atoms[2 * n + 1];
      const double kb = t.values[2 * n], r0 = t.values[2 * n + 1];
      const Point line = x[j] - x[i];
      const V r = length(line), d = r - r0;
      energy[BOND] += 0.5 * K * kb * d * d * (1.0 - 2.0 * d + (7.0 / 3.0) * d * d);
      const V slope = K * kb * d * (1.0 - 3.0 * d + (14.0 / 3.0) * d * d);
      const Point pull = (slope / r) * line;
      f[i] += pull, f[j] -= pull;
    }
  }

  // Bends, and their coupling to both bonds: ka, t0, k1, k2, r1, r2 (k1 = k2 = 0 where uncoupled).
  void bends(const Table &t) {
    for (int64_t n = 0; n < t.count; n++) {
      const int i = t.atoms[3 * n], j = t.atoms[3 * n + 1], k = t.atoms[3 * n + 2];
      const double *v = t.values + 6 * n;
      const Point a = x[i] - x[j], b = x[k] - x[j];
      const V ra = length(a), rb = length(b), ia = 1.0 / ra, ib = 1.0 / rb;
      const Point u = ia * a, w = ib * b;
      const V c = at_most(at_least(dot(u, w), -1.0), 1.0);
      const V d = arccosine(c) * (1.0 / DEGREE) - v[1];
      const V da = ra - v[4], db = rb - v[5], stretched = v[2] * da + v[3] * db;
      energy[ANGLE] += 0.5 * K * DEGREE * DEGREE * v[0] * d * d * (1.0 - 0.006981317 * d);
      energy[STRETCH_BEND] += K * DEGREE * stretched * d;
      const V turn = K * DEGREE * v[0] * d * (1.0 - 1.5 * 0.006981317 * d) + K * stretched;
      const V along = K * DEGREE * d;
      const V sine = at_least(root(at_least(1.0 - c * c, 0.0)), 1e-8);
      const V by_cosine = -turn / sine;
      const Point ga = (along * v[2]) * u + (by_cosine * ia) * (w - c * u);
      const Point gb = (along * v[3]) * w + (by_cosine * ib) * (u - c * w);
      f[i] -= ga, f[k] -= gb, f[j] += ga + gb;
    }
  }

  void linear_bends(const Table &t) {
    for (int64_t n = 0; n < t.count; n++) {
      const int i = t.atoms[3 * n], j = t.atoms[3 * n + 1], k = t.atoms[3 * n + 2];
      const Point a = x[i] - x[j], b = x[k] - x[j];
      const V ia = 1.0 / length(a), ib = 1.0 / length(b);
      const Point u = ia * a, w = ib * b;
      const V c = dot(u, w), slope = V{} + K * t.values[n];
      energy[LINEAR] += slope * (1.0 + c);
      const Point ga = (slope * ia) * (w - c * u), gb = (slope * ib) * (u - c * w);
      f[i] -= ga, f[k] -= gb, f[j] += ga + gb;
    }
  }

  void out_of_planes(const Table &t) {
    for (int64_t n = 0; n < t.count; n++) {
      const int32_t *at = t.atoms + 4 * n;
      const Point &middle = x[at[1]];
      const Point a = x[at[0]] - middle, b = x[at[2]] - middle, c = x[at[3]] - middle;
      const Point normal = cross(a, b);
      const V in = 1.0 / length(normal), ic = 1.0 / length(c);
      const Point un = in * normal, uc = ic * c;
      const V s = at_most(at_least(dot(un, uc), -1.0), 1.0), chi = arcsine(s);
      energy[OUT_OF_PLANE] += 0.5 * K * t.values[n] * chi * chi;
      const V cosine = at_least(root(at_least(1.0 - s * s, 0.0)), 1e-8);
      const V slope = K * t.values[n] * chi / cosine;
      const Point by_normal = (slope * in) * (uc - s * un);
      const Point ga = cross(b, by_normal), gb = cross(by_normal, a);
      const Point gc = (slope * ic) * (un - s * uc);
      f[at[0]] -= ga, f[at[2]] -= gb, f[at[3]] -= gc, f[at[1]] += ga + gb + gc;
    }
  }

  // By the cosine alone: its multiples are polynomials, and nothing is singular but straight angles.
  void torsions(const Table &t) {
    for (int64_t n = 0; n < t.count; n++) {
      const int32_t *at = t.atoms + 4 * n;
      const double v1 = t.values[3 * n], v2 = t.values[3 * n + 1], v3 = t.values[3 * n + 2];
      const Point a = x[at[0]] - x[at[1]], b = x[at[2]] - x[at[1]], d = x[at[3]] - x[at[2]];
      const Point n1 = cross(a, b), n2 = cross(d, b);
      const V i1 = 1.0 / length(n1), i2 = 1.0 / length(n2);
      const Point u1 = i1 * n1, u2 = i2 * n2;
      const V c = at_most(at_least(dot(u1, u2), -1.0), 1.0), c2 = c * c;
      energy[TORSION] += 0.5 * (v1 * (1.0 + c) + v2 * (2.0 - 2.0 * c2) +
                                v3 * (1.0 + c * (4.0 * c2 - 3.0)));
      const V slope = 0.5 * (v1 - 4.0 * v2 * c + v3 * (12.0 * c2 - 3.0));
      const Point g1 = (slope * i1) * (u2 - c * u1), g2 = (slope * i2) * (u1 - c * u2);
      const Point ga = cross(b, g1), gd = cross(b, g2);
      const Point gb = cross(g1, a) + cross(g2, d);
      f[at[0]] -= ga, f[at[3]] -= gd, f[at[1]] += ga + gb, f[at[2]] += gd - gb;
    }
  }

  // Buffered 14-7 and buffered Coulomb: R*, epsilon, charge product.
  void pairs(const Table &t) {
    for (int64_t n = 0; n < t.count; n++) {
      const int i = t.atoms[2 * n], j = t.atoms[2 * n + 1];
      const double *v = t.values + 3 * n;
      const double inverse = 1.0 / v[0];
      const Point line = x[j] - x[i];
      const V r = length(line), q = r * inverse;
      const V q2 = q * q, q6 = q2 * q2 * q2, one = q + 0.07, seven = q6 * q + 0.12, r5 = r + 0.05;
      // One division for all four reciprocals.
      const V product = 1.0 / (one * seven * r5 * r);
      const V left = product * r5 * r, right = product * one * seven;
      const V i_one = left * seven, i_seven = left * one, i_r5 = right * r, i_r = right * r5;
      const V w = 1.07 * i_one, w2 = w * w, w7 = w2 * w2 * w2 * w;
      const V rest = 1.12 * i_seven - 2.0;
      energy[VDW] += v[1] * w7 * rest;
      const V charge = COULOMB * v[2] * i_r5;
      energy[ELE] += charge;
      const V slope = -7.0 * v[1] * inverse * w7 * (rest * i_one + 1.12 * q6 * i_seven * i_seven) -
                      charge * i_r5;
      const Point pull = (slope * i_r) * line;
      f[i] += pull, f[j] -= pull;
    }
  }
};

// Bring the squared distance of atoms i and j to `wanted`, moving both by half; near it to second
// order, and without a root.
inline void approach(Point &i, Point &j, V wanted) {
  const Point line = j - i;
  const V squared = dot(line, line);
  const Point change = (0.5 * (wanted - squared) / at_least(wanted + squared, TINY)) * line;
  i -= change, j += change;
}

// Give atoms i and j of one structure a distance, moving both by half.
inline void put_one(std::vector<Point> &place, int lane, int64_t i, int64_t j, double distance) {
  Point &a = place[i], &b = place[j];
  const double x = b.x[lane] - a.x[lane], y = b.y[lane] - a.y[lane], z = b.z[lane] - a.z[lane];
  const double r = std::sqrt(x * x + y * y + z * z);
  const double share = 0.5 * (distance - r) / (r < 1e-6 ? 1e-6 : r);
  a.x[lane] -= share * x, a.y[lane] -= share * y, a.z[lane] -= share * z;
  b.x[lane] += share * x, b.y[lane] += share * y, b.z[lane] += share * z;
}

} // namespace

extern "C" {

void mmff94(int64_t count, int64_t atoms, const int64_t *counts, const int32_t *term_atoms,
            const double *term_values, const double *x, double *energies, double *forces) {
  Field field(atoms, counts, term_atoms, term_values);
  for (int64_t first = 0; first < count; first += W) {
    load(x, first, count, atoms, field.x);
    field.evaluate();
    store(field.f, first, count, atoms, forces);
    for (int lane = 0; lane < W && first + lane < count; lane++)
      for (int term = 0; term < TERMS; term++)
        energies[TERMS * (first + lane) + term] = field.energy[term][lane];
  }
}

// Langevin steps (BAOAB) of all structures, in place: x in A, v in A/fs, forces in kcal/mol/A. Per
// atom the half kick and the width of the thermostat; noise (steps, S, N, 3), standard normal.
void langevin(int64_t count, int64_t atoms, const int64_t *counts, const int32_t *term_atoms,
              const double *term_values, int64_t steps, const double *half_drift_and_decay,
              const double *half_kick, const double *width, const double *noise, double *x,
              double *v, double *forces) {
  const double half_drift = half_drift_and_decay[0], decay = half_drift_and_decay[1];
  Field field(atoms, counts, term_atoms, term_values);
  std::vector<Point> velocity(atoms), drawn(atoms);
  for (int64_t first = 0; first < count; first += W) {
    load(x, first, count, atoms, field.x);
    load(v, first, count, atoms, velocity);
    load(forces, first, count, atoms, field.f);
    for (int64_t step = 0; step < steps; step++) {
      load(noise + 3 * atoms * count * step, first, count, atoms, drawn);
      for (int64_t a = 0; a < atoms; a++) {
        velocity[a] += (V{} + half_kick[a]) * field.f[a];
        field.x[a] += (V{} + half_drift) * velocity[a];
        velocity[a] = (V{} + decay) * velocity[a] + (V{} + width[a]) * drawn[a];
        field.x[a] += (V{} + half_drift) * velocity[a];
      }
      field.evaluate();
      for (int64_t a = 0; a < atoms; a++) velocity[a] += (V{} + half_kick[a]) * field.f[a];
    }
    store(field.x, first, count, atoms, x);
    store(velocity, first, count, atoms, v);
    store(field.f, first, count, atoms, forces);
  }
}

// Bring one pair of each structure to a distance, with all bonds kept at their lengths, in place.
void project(int64_t count, int64_t atoms, int64_t bonds, const int32_t *bond, const int64_t *i,
             const int64_t *j, const double *contact, int64_t rounds, double *x) {
  std::vector<Point> place(atoms);
  std::vector<V> rest(bonds);
  for (int64_t first = 0; first < count; first += W) {
    load(x, first, count, atoms, place);
    for (int64_t b = 0; b < bonds; b++) {
      const Point line = place[bond[2 * b + 1]] - place[bond[2 * b]];
      rest[b] = dot(line, line);
    }
    for (int64_t round = 0; round <= rounds; round++) {
      for (int lane = 0; lane < W && first + lane < count; lane++) {
        const int64_t row = first + lane;
        put_one(place, lane, i[row], j[row], contact[row]);
      }
      if (round == rounds) break;
      for (int64_t b = 0; b < bonds; b++)
        approach(place[bond[2 * b]], place[bond[2 * b + 1]], rest[b]);
    }
    store(place, first, count, atoms, x);
  }
}

// Shortest distance of each structure among all pairs but those of two marked atoms, and among these.
void closest(int64_t count, int64_t atoms, const uint8_t *marked, const double *x, double *others,
             double *both) {
  std::vector<Point> place(atoms);
  for (int64_t first = 0; first < count; first += W) {
    load(x, first, count, atoms, place);
    V least[2] = {V{} + INFINITY, V{} + INFINITY};
    for (int64_t i = 0; i < atoms; i++)
      for (int64_t j = i + 1; j < atoms; j++) {
        const Point line = place[j] - place[i];
        const V squared = dot(line, line);
        V &so_far = least[marked[i] && marked[j]];
        so_far = so_far < squared ? so_far : squared;
      }
    for (int lane = 0; lane < W && first + lane < count; lane++) {
      others[first + lane] = std::sqrt(least[0][lane]);
      both[first + lane] = std::sqrt(least[1][lane]);
    }
  }
}
}

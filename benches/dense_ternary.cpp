// How fast dense ternary codes are on one thread: three trits in five bits against five trits in a byte, beside two bits
// a weight (docs/adr/0008-three-trits-in-five-bits.md). Needs AVX-512 with VNNI and VBMI.
//
//   g++ -O3 -march=native -std=c++17 benches/dense_ternary.cpp -o /tmp/dense_ternary && /tmp/dense_ternary
//
// Each kernel multiplies a 6912 x 2560 matrix with one column of int8 activations; results are compared with plain
// integer sums. "Cold" goes through 256 MB of copies, "hot" repeats the same one. Best of 7 rounds.
#include <immintrin.h>
#include <sys/mman.h>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

constexpr int kCols = 2560, kRows = 6912, kAhead = 8192;
using Bytes = std::vector<uint8_t>;
using Kernel = void (*)(const uint8_t* codes, const int8_t* x, int x_sum, float* out);

__m512i broadcast(const int8_t* x) {
  int four;
  memcpy(&four, x, 4);
  return _mm512_set1_epi32(four);
}

void prefetch(const uint8_t* line) { _mm_prefetch(reinterpret_cast<const char*>(line) + kAhead, _MM_HINT_T0); }

// Codes are trits plus one, so the sum of the activations is taken away.
void finish(__m512i sum, int x_sum, float* out) {
  _mm512_storeu_ps(out, _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, _mm512_set1_epi32(x_sum))));
}

template <int N>
__m512i total(const __m512i (&sums)[N]) {
  __m512i sum = sums[0];
  for (int i = 1; i < N; i++) sum = _mm512_add_epi32(sum, sums[i]);
  return sum;
}

// Two bits a weight: lines of 16 rows by 16 columns.
constexpr int kLines2 = kCols / 16;

void two_bits(const uint8_t* codes, const int8_t* x, int x_sum, float* out) {
  for (int row = 0; row < kRows; row += 16) {
    __m512i sums[4] = {};
    for (int line = 0; line < kLines2; line++, codes += 64) {
      prefetch(codes);
      const __m512i packed = _mm512_loadu_si512(codes);
      for (int p = 0; p < 4; p++) {
        const __m512i plane = _mm512_and_si512(packed, _mm512_set1_epi8(static_cast<char>(3 << 2 * p)));
        sums[p] = _mm512_dpbusd_epi32(sums[p], plane, broadcast(x + line * 16 + p * 4));
      }
    }
    for (int p = 1; p < 4; p++) sums[p] = _mm512_srai_epi32(sums[p], 2 * p);
    finish(total(sums), x_sum, out + row);
  }
}

// Three trits in five bits: blocks of 16 rows by 96 columns, four lines of magnitudes and one of signs.
constexpr int kBlocks3 = (kCols + 95) / 96;

void three_in_five_bits(const uint8_t* codes, const int8_t* x, int x_sum, float* out) {
  // By trit, and by the bit of the index that is the sign: the other one may be anything.
  alignas(64) uint8_t entries[3][2][64];
  for (int i = 0; i < 64; i++) {
    const int number = (i & 15) % 14, digits[3] = {(number + 13) / 9, (number + 13) / 3 % 3, (number + 13) % 3};
    for (int trit = 0; trit < 3; trit++)
      for (int bit = 0; bit < 2; bit++) {
        const int value = digits[trit] - 1;
        entries[trit][bit][i] = 1 + ((i >> (4 + bit) & 1) ? -value : value);
      }
  }
  __m512i tables[3][2];
  for (int trit = 0; trit < 3; trit++)
    for (int bit = 0; bit < 2; bit++) tables[trit][bit] = _mm512_load_si512(entries[trit][bit]);
  const __m512i low = _mm512_set1_epi8(15);
  for (int row = 0; row < kRows; row += 16) {
    __m512i sums[6] = {};
    for (int block = 0; block < kBlocks3; block++, codes += 320) {
      for (int line = 0; line < 5; line++) prefetch(codes + line * 64);
      const __m512i signs = _mm512_loadu_si512(codes + 256);
      const __m512i moved[4] = {_mm512_slli_epi16(signs, 4), _mm512_slli_epi16(signs, 2), signs,
                                _mm512_srli_epi16(signs, 2)};
      for (int line = 0; line < 4; line++) {
        const __m512i packed = _mm512_loadu_si512(codes + line * 64);
        const __m512i index[2] = {
            _mm512_ternarylogic_epi32(low, packed, moved[line], 0xCA),
            _mm512_ternarylogic_epi32(low, _mm512_srli_epi16(packed, 4), moved[line], 0xCA)};
        for (int half = 0; half < 2; half++)
          for (int trit = 0; trit < 3; trit++) {
            const __m512i values = _mm512_permutexvar_epi8(index[half], tables[trit][half]);
            const int8_t* columns = x + block * 96 + line * 24 + half * 12 + trit * 4;
            sums[half * 3 + trit] = _mm512_dpbusd_epi32(sums[half * 3 + trit], values, broadcast(columns));
          }
      }
    }
    finish(total(sums), x_sum, out + row);
  }
}

// Five trits in a byte: lines of 16 rows by 20 columns. Byte q is ceil(number * 256 / 243), whose first digit is the
// high byte of 3 q; 3 q modulo 256 holds the others.
constexpr int kLines5 = kCols / 20;

int digit(uint8_t q, int which) {
  for (int i = 0; i < which; i++) q *= 3;
  return q * 3 >> 8;
}

void five_by_comparison(const uint8_t* codes, const int8_t* x, int x_sum, float* out) {
  const __m512i one = _mm512_set1_epi8(1), two = _mm512_set1_epi8(2);
  for (int row = 0; row < kRows; row += 16) {
    __m512i sums[5] = {};
    for (int line = 0; line < kLines5; line++, codes += 64) {
      prefetch(codes);
      __m512i q = _mm512_loadu_si512(codes);
      for (int i = 0; i < 5; i++) {
        const __m512i some = _mm512_maskz_mov_epi8(_mm512_cmpge_epu8_mask(q, _mm512_set1_epi8(86)), one);
        const __mmask64 most = _mm512_cmpge_epu8_mask(q, _mm512_set1_epi8(static_cast<char>(171)));
        sums[i] = _mm512_dpbusd_epi32(sums[i], _mm512_mask_mov_epi8(some, most, two), broadcast(x + line * 20 + i * 4));
        q = _mm512_add_epi8(q, _mm512_add_epi8(q, q));
      }
    }
    finish(total(sums), x_sum, out + row);
  }
}

void five_by_table(const uint8_t* codes, const int8_t* x, int x_sum, float* out) {
  __m512i tables[5][4];
  for (int i = 0; i < 5; i++) {
    alignas(64) uint8_t entries[256];
    for (int q = 0; q < 256; q++) entries[q] = digit(q, i);
    for (int part = 0; part < 4; part++) tables[i][part] = _mm512_load_si512(entries + 64 * part);
  }
  for (int row = 0; row < kRows; row += 16) {
    __m512i sums[5] = {};
    for (int line = 0; line < kLines5; line++, codes += 64) {
      prefetch(codes);
      const __m512i q = _mm512_loadu_si512(codes);
      const __mmask64 upper = _mm512_movepi8_mask(q);
      for (int i = 0; i < 5; i++) {
        const __m512i values = _mm512_mask_blend_epi8(upper, _mm512_permutex2var_epi8(tables[i][0], q, tables[i][1]),
                                                      _mm512_permutex2var_epi8(tables[i][2], q, tables[i][3]));
        sums[i] = _mm512_dpbusd_epi32(sums[i], values, broadcast(x + line * 20 + i * 4));
      }
    }
    finish(total(sums), x_sum, out + row);
  }
}

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void measure(const char* name, const Bytes& codes, Kernel kernel, uint8_t* pool, size_t pool_bytes,
             const std::vector<int8_t>& x, int x_sum, const std::vector<float>& expected) {
  std::vector<float> out(kRows);
  kernel(codes.data(), x.data(), x_sum, out.data());
  if (out != expected) {
    printf("%s: wrong\n", name);
    exit(1);
  }
  const size_t copies = pool_bytes / codes.size();
  for (size_t i = 0; i < copies; i++) memcpy(pool + i * codes.size(), codes.data(), codes.size());
  const auto best = [&](size_t stride) {
    double least = 1e9;
    for (int round = 0; round < 7; round++) {
      const double start = seconds();
      for (size_t i = 0; i < copies; i++) kernel(pool + i * stride, x.data(), x_sum, out.data());
      least = std::min(least, (seconds() - start) / copies);
    }
    return least;
  };
  const double cold = best(codes.size()), hot = best(0), weights = double(kRows) * kCols;
  printf("%-36s %.3f bits  cold %6.1f us %5.1f GB/s %6.1f Gweights/s   hot %6.1f Gweights/s\n", name,
         codes.size() * 8 / weights, cold * 1e6, codes.size() / cold / 1e9, weights / cold / 1e9, weights / hot / 1e9);
}

}  // namespace

int main() {
  srand(1);
  std::vector<int8_t> trits(size_t(kRows) * kCols), x(kCols + 96);
  for (auto& trit : trits) trit = rand() % 3 - 1;
  int x_sum = 0;
  for (int k = 0; k < kCols; k++) x_sum += x[k] = rand() % 255 - 127;
  std::vector<float> expected(kRows);
  Bytes two(trits.size() / 4), three(size_t(kRows) / 16 * kBlocks3 * 320), five(trits.size() / 5);
  for (int row = 0; row < kRows; row++) {
    const auto trit = [&](int col) { return col < kCols ? trits[size_t(row) * kCols + col] : 0; };
    const size_t tile = row / 16, lane = row % 16 * 4;
    int sum = 0;
    for (int k = 0; k < kCols; k++) {
      sum += trit(k) * x[k];
      two[(tile * kLines2 + k / 16) * 64 + lane + k % 4] |= (trit(k) + 1) << k % 16 / 4 * 2;
    }
    expected[row] = sum;
    for (int half = 0; half < kBlocks3 * 8; half++)
      for (int j = 0; j < 4; j++) {
        const int k = half * 12 + j, number = 9 * trit(k) + 3 * trit(k + 4) + trit(k + 8);
        uint8_t* block = &three[(tile * kBlocks3 + half / 8) * 320];
        block[half % 8 / 2 * 64 + lane + j] |= abs(number) << half % 2 * 4;
        block[256 + lane + j] |= (number < 0) << half % 8;
      }
    for (int line = 0; line < kLines5; line++)
      for (int j = 0; j < 4; j++) {
        int number = 0;
        for (int i = 0; i < 5; i++) number = number * 3 + trit(line * 20 + i * 4 + j) + 1;
        five[(tile * kLines5 + line) * 64 + lane + j] = (number * 256 + 242) / 243;
      }
  }
  const size_t pool_bytes = 256 << 20;
  void* pool = mmap(nullptr, pool_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pool == MAP_FAILED) return 1;
  madvise(pool, pool_bytes, MADV_HUGEPAGE);
  const auto run = [&](const char* name, const Bytes& codes, Kernel kernel) {
    measure(name, codes, kernel, static_cast<uint8_t*>(pool), pool_bytes, x, x_sum, expected);
  };
  run("two bits", two, two_bits);
  run("three trits in five bits, vpermb", three, three_in_five_bits);
  run("five trits in a byte, comparisons", five, five_by_comparison);
  run("five trits in a byte, vpermi2b", five, five_by_table);
}

/* What lies between the matrix products of a decoding step, for fp32 on a CPU. See decoding.py.
 *
 * All arrays are dense and row-major. Loops over a head dimension or a width are written so that a compiler
 * turns them into vector code; sums may be reordered (the flags say so), NaN and infinity keep their meaning.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

/* e^x to about one unit in the last place: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2]. */
static inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
    float n = rintf(x * 1.44269504088896341f);
    float r = (x - n * 0.693145751953125f) - n * 1.42860682030941723212e-6f;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    int32_t bits = ((int32_t)n + 127) << 23;
    float power;
    memcpy(&power, &bits, 4);
    return p * power;
}

/* out = (x + y) / rms(x + y) * gain, and x += y; y may be null. Arrays [rows, width], gain [width]. */
void add_norm(float *restrict x, const float *restrict y, const float *restrict gain, float *restrict out,
              int64_t rows, int64_t width, float eps) {
    for (int64_t row = 0; row < rows; row++) {
        float *xr = x + row * width, *o = out + row * width, sum = 0;
        if (y)
            for (int64_t i = 0; i < width; i++) xr[i] += y[row * width + i];
        for (int64_t i = 0; i < width; i++) sum += xr[i] * xr[i];
        float scale = 1.0f / sqrtf(sum / (float)width + eps);
        for (int64_t i = 0; i < width; i++) o[i] = xr[i] * scale * gain[i];
    }
}

/* out = gate * sigmoid(gate) * value, for up [rows, gate then value], out [rows, width]. */
void swiglu(const float *restrict up, float *restrict out, int64_t rows, int64_t width) {
    for (int64_t row = 0; row < rows; row++) {
        const float *gate = up + 2 * row * width, *value = gate + width;
        for (int64_t i = 0; i < width; i++) out[row * width + i] = value[i] * gate[i] / (1.0f + exponential(-gate[i]));
    }
}

/* out[j] = sum over i of weight[i] * line[i][j], lines `stride` apart, each `width` long; eight lines a pass, so that
 * `out` is read and written an eighth as often. */
static void weighted_sum(const float *restrict weight, const float *restrict lines, int64_t count, int64_t stride,
                         float *restrict out, int64_t width) {
    memset(out, 0, width * sizeof(float));
    int64_t i = 0;
    for (; i + 7 < count; i += 8) {
        const float *a = lines + i * stride, *b = a + stride, *c = b + stride, *d = c + stride, *e = d + stride,
                    *f = e + stride, *g = f + stride, *h = g + stride, *w = weight + i;
        const float w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3], w4 = w[4], w5 = w[5], w6 = w[6], w7 = w[7];
        for (int64_t j = 0; j < width; j++)
            out[j] += ((w0 * a[j] + w1 * b[j]) + (w2 * c[j] + w3 * d[j])) +
                      ((w4 * e[j] + w5 * f[j]) + (w6 * g[j] + w7 * h[j]));
    }
    for (; i < count; i++)
        for (int64_t j = 0; j < width; j++) out[j] += weight[i] * lines[i * stride + j];
}

/* One token per row: turns queries and keys, stores key and value in the cache, and attends.
 *
 * qkv [rows, heads + 2 keys, dim] (changed), turn: of row r at turn + r * turn_stride [dim / 2] (cos, sin);
 * key cache [rows, keys, dim, capacity], value cache [rows, keys, capacity, dim]; row r sees slots padding[r] to
 * slot; score: room for capacity floats; out [rows, heads, dim].
 */
void attend(float *restrict qkv, const float *restrict turn, int64_t turn_stride, float *restrict key,
            float *restrict value, const int64_t *restrict padding, float *restrict score, float *restrict out,
            int64_t rows, int64_t heads, int64_t keys, int64_t dim, int64_t capacity, int64_t slot) {
    const int64_t group = heads / keys;
    const float scale = 1.0f / sqrtf((float)dim);
    for (int64_t row = 0; row < rows; row++) {
        float *mine = qkv + row * (heads + 2 * keys) * dim;
        const float *t = turn + row * turn_stride;
        for (int64_t head = 0; head < heads + keys; head++) {
            float *x = mine + head * dim;
            const float by = head < heads ? scale : 1.0f;
            for (int64_t i = 0; i < dim; i += 2) {
                float a = x[i], b = x[i + 1], c = t[i] * by, s = t[i + 1] * by;
                x[i] = a * c - b * s;
                x[i + 1] = b * c + a * s;
            }
        }
        const int64_t first = padding[row], count = slot + 1 - first;
        for (int64_t k = 0; k < keys; k++) {
            float *ks = key + (row * keys + k) * capacity * dim, *vs = value + (row * keys + k) * capacity * dim;
            for (int64_t i = 0; i < dim; i++) ks[i * capacity + slot] = mine[(heads + k) * dim + i];
            memcpy(vs + slot * dim, mine + (heads + keys + k) * dim, dim * sizeof(float));
            for (int64_t g = 0; g < group; g++) {
                const float *q = mine + (k * group + g) * dim;
                float *o = out + (row * heads + k * group + g) * dim;
                weighted_sum(q, ks + first, dim, capacity, score, count);
                float most = -INFINITY, sum = 0;
                for (int64_t s = 0; s < count; s++) most = score[s] > most ? score[s] : most;
                for (int64_t s = 0; s < count; s++) {
                    score[s] = exponential(score[s] - most);
                    sum += score[s];
                }
                const float share = 1.0f / sum;
                for (int64_t s = 0; s < count; s++) score[s] *= share;
                weighted_sum(score, vs + first * dim, count, dim, o, dim);
            }
        }
    }
}

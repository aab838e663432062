/* What lies between the products of a training step of a transformer, forward and backward, for fp32 on a CPU. See
 * native_training.py. Helpers and conventions are those of decoding.c, and both are compiled as one.
 *
 * Rows are a forest of N nodes, the distinct beginnings of rows (`Prefixes`): node [rows, length] of each place, and
 * place [N], the first place of each node, where its attention is computed. With `count[row]` places in use. */
#include "decoding.c"

struct forest {
    int64_t rows, length, heads, keys, dim;
    const int64_t *node, *count, *place;
    const float *cos, *sin; /* [context, dim / 2] */
};

static inline void add(float *restrict to, const float *restrict x, int64_t dim) {
    for (int64_t d = 0; d < dim; d++) to[d] += x[d];
}

/* to = from, turned by the angles of place t and scaled. */
static float *fetch(const struct forest *f, const float *restrict from, int64_t t, float *restrict to, float scale) {
    memcpy(to, from, f->dim * sizeof(float));
    turn(to, f->cos + t * (f->dim / 2), f->sin + t * (f->dim / 2), f->dim / 2, scale);
    return to;
}

/* to += x, turned back by the angles of place t. */
static void give(const struct forest *f, const float *restrict x, int64_t t, float *restrict to) {
    const int64_t half = f->dim / 2;
    const float *cos = f->cos + t * half, *sin = f->sin + t * half;
    for (int64_t i = 0; i < half; i++) {
        const float a = x[i], b = x[i + half];
        to[i] += a * cos[i] + b * sin[i];
        to[i + half] += b * cos[i] - a * sin[i];
    }
}

enum { QUERIES = 32 }; /* that are taken together in the backward pass */

/* Keys, turned, of one row and key head, as lines and in vectors across slots; values in vectors, or as lines. */
static void gather(const struct forest *f, const float *restrict qkv, int64_t row, int64_t k, float *restrict lines,
                   float *restrict keys, float *restrict values, int across, int64_t wide) {
    const int64_t dim = f->dim, *node = f->node + row * f->length;
    for (int64_t t = 0; t < f->count[row]; t++) {
        const float *x = qkv + (node[t] * (f->heads + 2 * f->keys) + f->heads + k) * dim, *v = x + f->keys * dim;
        const float *turned = fetch(f, x, t, lines + t * wide, 1.0f);
        const int64_t at = t / LANES * LANES * dim + t % LANES;
        for (int64_t d = 0; d < dim; d++) keys[at + d * LANES] = turned[d];
        if (!across)
            memcpy(values + t * wide, v, dim * sizeof(float));
        else
            for (int64_t d = 0; d < dim; d++) values[at + d * LANES] = v[d];
    }
}

/* The first place of a row whose node is the row's own; all after it are too. */
static int64_t own(const struct forest *f, int64_t row) {
    int64_t t = 0;
    while (t < f->count[row] && f->place[f->node[row * f->length + t]] != row * f->length + t) t++;
    return t;
}

/* Floats that the functions below need as `work`. */
int64_t attention_room(const struct forest *f) {
    const int64_t wide = (f->dim + LANES - 1) / LANES * LANES, slots = f->length / LANES * LANES + LANES;
    return slots * (5 * wide + 2 * QUERIES) + (2 * QUERIES + 1) * wide;
}

/* Causal attention with rotary positions, of the key heads `from` to `to` and their queries: qkv [N, heads + 2 keys,
 * dim] to out [N, heads, dim]. */
void attention(const struct forest *f, const float *qkv, float *out, float *work, int64_t from, int64_t to) {
    const int64_t dim = f->dim, heads = f->heads, group = heads / f->keys, line = (heads + 2 * f->keys) * dim;
    const int64_t wide = (dim + LANES - 1) / LANES * LANES, slots = f->length / LANES * LANES + LANES;
    float *keys = work, *lines = keys + slots * wide, *values = lines + slots * wide, *score = values + slots * wide;
    float *query = score + slots;
    for (int64_t row = 0; row < f->rows; row++)
        for (int64_t k = from; k < to; k++) {
            const int64_t *node = f->node + row * f->length;
            gather(f, qkv, row, k, lines, keys, values, 0, wide);
            for (int64_t t = own(f, row); t < f->count[row]; t++)
                for (int64_t h = k * group; h < (k + 1) * group; h++) {
                    fetch(f, qkv + node[t] * line + h * dim, t, query, 1.0f / sqrtf((float)dim));
                    const float total = weigh(query, keys, score, 0, t, dim);
                    combine(score, 1, values, out + (node[t] * heads + h) * dim, 0, t, dim, wide, 1.0f / total);
                }
        }
}

/* The same backward: to the gradient of out, grad [N, heads, dim], that of qkv is added to back. */
void attention_back(const struct forest *f, const float *qkv, const float *grad, float *back, float *work,
                    int64_t from, int64_t to) {
    const int64_t dim = f->dim, heads = f->heads, group = heads / f->keys, line = (heads + 2 * f->keys) * dim;
    const int64_t wide = (dim + LANES - 1) / LANES * LANES, slots = f->length / LANES * LANES + LANES;
    const float scale = 1.0f / sqrtf((float)dim);
    float *keys = work, *lines = keys + slots * wide, *values = lines + slots * wide, *to_keys = values + slots * wide;
    float *to_values = to_keys + slots * wide, *scores = to_values + slots * wide, *slopes = scores + QUERIES * slots;
    float *queries = slopes + QUERIES * slots, *grads = queries + QUERIES * wide, *result = grads + QUERIES * wide;
    for (int64_t row = 0; row < f->rows; row++)
        for (int64_t k = from; k < to; k++) {
            const int64_t *node = f->node + row * f->length, count = f->count[row];
            gather(f, qkv, row, k, lines, keys, values, 1, wide);
            memset(to_keys, 0, 2 * slots * wide * sizeof(float));
            for (int64_t h = k * group; h < (k + 1) * group; h++)
                for (int64_t first = own(f, row), end; first < count; first = end) {
                    end = least(first + QUERIES, count);
                    for (int64_t t = first; t < end; t++) {
                        float *restrict score = scores + (t - first) * slots;
                        float *restrict slope = slopes + (t - first) * slots;
                        float *query = queries + (t - first) * wide, *g = grads + (t - first) * wide, mean = 0;
                        fetch(f, qkv + node[t] * line + h * dim, t, query, scale);
                        memcpy(g, grad + (node[t] * heads + h) * dim, dim * sizeof(float));
                        const float share = 1.0f / weigh(query, keys, score, 0, t, dim);
                        dots(g, values, slope, 0, t + 1, dim);
                        for (int64_t s = 0; s <= t; s++) score[s] *= share;
                        for (int64_t s = 0; s <= t; s++) mean += score[s] * slope[s];
                        for (int64_t s = 0; s <= t; s++) slope[s] = score[s] * (slope[s] - mean);
                        combine(slope, 1, lines, result, 0, t, dim, wide, scale);
                        give(f, result, t, back + node[t] * line + h * dim);
                    }
                    for (int64_t s = 0; s < end; s++) {
                        const int64_t begin = s > first ? s - first : 0, last = end - first - 1;
                        combine(slopes + s, slots, queries, result, begin, last, dim, wide, 1.0f);
                        add(to_keys + s * wide, result, dim);
                        combine(scores + s, slots, grads, result, begin, last, dim, wide, 1.0f);
                        add(to_values + s * wide, result, dim);
                    }
                }
            for (int64_t t = 0; t < count; t++) {
                float *b = back + node[t] * line + (heads + k) * dim;
                give(f, to_keys + t * wide, t, b);
                add(b + f->keys * dim, to_values + t * wide, dim);
            }
        }
}

/* up [lines, gates then values] to out [lines, width] = gate * sigmoid(gate) * value, if `grad` is null; else grad of
 * out to back of up. */
void gated(const float *restrict up, float *restrict out, const float *restrict grad, float *restrict back,
           int64_t lines, int64_t width) {
    for (int64_t line = 0; line < lines; line++) {
        const float *gate = up + 2 * line * width, *value = gate + width;
        if (!grad) {
            float *o = out + line * width;
            for (int64_t i = 0; i < width; i++) o[i] = value[i] * gate[i] / (1.0f + exponential(-gate[i]));
            continue;
        }
        const float *g = grad + line * width;
        float *to_gate = back + 2 * line * width, *to_value = to_gate + width;
        for (int64_t i = 0; i < width; i++) {
            const float open = 1.0f / (1.0f + exponential(-gate[i])), silu = gate[i] * open;
            to_value[i] = g[i] * silu;
            to_gate[i] = g[i] * value[i] * (open + silu * (1.0f - open));
        }
    }
}

/* The backward pass of rms_norm, of dense lines: grad of its output to back of x; that of the gain is added to to_gain. */
void rms_norm_back(const float *restrict x, const float *restrict gain, const float *restrict grad, float *restrict back,
                   float *restrict to_gain, int64_t lines, int64_t width, float eps) {
    for (int64_t line = 0; line < lines; line++, x += width, grad += width, back += width) {
        float sum = 0, along = 0;
        for (int64_t i = 0; i < width; i++) sum += x[i] * x[i];
        for (int64_t i = 0; i < width; i++) along += grad[i] * gain[i] * x[i];
        const float scale = 1.0f / sqrtf(sum / (float)width + eps), less = scale * scale * along / (float)width;
        for (int64_t i = 0; i < width; i++) {
            back[i] = scale * (grad[i] * gain[i] - less * x[i]);
            to_gain[i] += grad[i] * x[i] * scale;
        }
    }
}

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

static inline void add(float *restrict to, const float *restrict x, float by, int64_t dim) {
    for (int64_t d = 0; d < dim; d++) to[d] += by * x[d];
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

/* Causal attention with rotary positions of the key heads `from` to `to` and their queries: qkv [N, heads + 2 keys, dim]
 * to out [N, heads, dim], if `grad` is null; else grad [N, heads, dim] of out to back [N, heads + 2 keys, dim] of qkv,
 * which is added to. work: room for (length + LANES) * (5 wide + 2) + 3 wide floats, wide: dim in whole vectors. */
void attention(const struct forest *f, const float *qkv, float *out, const float *grad, float *back, float *work,
               int64_t from, int64_t to) {
    const int64_t dim = f->dim, heads = f->heads, group = heads / f->keys, line = (heads + 2 * f->keys) * dim;
    const int64_t wide = (dim + LANES - 1) / LANES * LANES, slots = f->length / LANES * LANES + LANES;
    const float scale = 1.0f / sqrtf((float)dim);
    /* Of one row and key head: keys and values in vectors across slots, and as lines; gradients of both, as lines. */
    float *keys = work, *lines = keys + slots * wide, *values = lines + slots * wide, *to_keys = values + slots * wide;
    float *to_values = to_keys + slots * wide, *score = to_values + slots * wide, *slope = score + slots;
    float *query = slope + slots, *result = query + wide;
    for (int64_t row = 0; row < f->rows; row++)
        for (int64_t k = from; k < to; k++) {
            const int64_t *node = f->node + row * f->length, count = f->count[row];
            for (int64_t t = 0; t < count; t++) {
                const float *x = qkv + node[t] * line + (heads + k) * dim, *v = x + f->keys * dim;
                const float *turned = fetch(f, x, t, lines + t * wide, 1.0f);
                float *across = keys + t / LANES * LANES * dim + t % LANES;
                for (int64_t d = 0; d < dim; d++) across[d * LANES] = turned[d];
                float *other = values + t / LANES * LANES * dim + t % LANES;
                if (grad)
                    for (int64_t d = 0; d < dim; d++) other[d * LANES] = v[d];
                else
                    memcpy(values + t * wide, v, dim * sizeof(float));
            }
            if (grad) memset(to_keys, 0, 2 * slots * wide * sizeof(float));
            for (int64_t t = 0; t < count; t++) {
                if (f->place[node[t]] != row * f->length + t) continue;
                for (int64_t h = k * group; h < (k + 1) * group; h++) {
                    fetch(f, qkv + node[t] * line + h * dim, t, query, scale);
                    const float share = 1.0f / weigh(query, keys, score, 0, t, dim);
                    if (!grad) {
                        combine(score, values, out + (node[t] * heads + h) * dim, 0, t, dim, wide, share);
                        continue;
                    }
                    const float *g = grad + (node[t] * heads + h) * dim;
                    const int64_t end = t / LANES * LANES + LANES;
                    float mean = 0;
                    dots(g, values, slope, 0, end, dim);
                    for (int64_t s = 0; s <= t; s++) mean += (score[s] *= share) * slope[s];
                    for (int64_t s = 0; s <= t; s++) slope[s] = score[s] * (slope[s] - mean);
                    for (int64_t s = 0; s <= t; s++) add(to_keys + s * wide, query, slope[s], dim);
                    for (int64_t s = 0; s <= t; s++) add(to_values + s * wide, g, score[s], dim);
                    combine(slope, lines, result, 0, t, dim, wide, scale);
                    give(f, result, t, back + node[t] * line + h * dim);
                }
            }
            for (int64_t t = 0; grad && t < count; t++) {
                float *b = back + node[t] * line + (heads + k) * dim;
                give(f, to_keys + t * wide, t, b);
                add(b + f->keys * dim, to_values + t * wide, 1.0f, dim);
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

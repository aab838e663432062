/* What lies between the products of a training step of a transformer, forward and backward, for fp32 on a CPU. See
 * native_training.py. Helpers and conventions are those of decoding.c.
 *
 * Rows are a forest of N nodes, the distinct beginnings of rows (`Prefixes`): node [rows, length] of each place, and
 * place [N], the first place of each node, where its attention is computed. With `count[row]` places in use. */
struct forest {
    int64_t rows, length, heads, keys, dim;
    const int64_t *node, *count, *place;
    const float *cos, *sin; /* [context, dim / 2] */
};

enum { PANEL = 2 * LANES, QUERIES = 2 * TILE }; /* columns of a panel; queries of a row that are taken together */

static int64_t whole(int64_t n) { return (n + PANEL - 1) / PANEL * PANEL; }

/* x [lines, dim] turned by the angles of the places from `place` on, forth (sign 1) or back (-1), and scaled. */
static void turn_lines(const struct forest *f, float *restrict x, int64_t place, int64_t lines, float sign, float scale) {
    const int64_t half = f->dim / 2;
    for (int64_t t = 0; t < lines; t++, x += f->dim) {
        const float *cos = f->cos + (place + t) * half, *sin = f->sin + (place + t) * half;
        for (int64_t i = 0; i < half; i++) {
            const float a = x[i], b = x[i + half], c = cos[i] * scale, s = sin[i] * scale * sign;
            x[i] = a * c - b * s;
            x[i + half] = b * c + a * s;
        }
    }
}

/* x [lines, dim] in panels of its columns, [panels, depth, PANEL]; lines from `lines` to depth are zero. */
static void by_columns(const float *restrict x, int64_t lines, int64_t depth, int64_t dim, float *restrict panels) {
    for (int64_t left = 0; left < dim; left += PANEL, panels += depth * PANEL) {
        for (int64_t i = 0; i < lines; i++)
            memcpy(panels + i * PANEL, x + i * dim + left, least(PANEL, dim - left) * sizeof(float));
        memset(panels + lines * PANEL, 0, (depth - lines) * PANEL * sizeof(float));
    }
}

/* x [lines, dim] in panels of its lines, [panels, dim, PANEL]. */
static void by_lines(const float *restrict x, int64_t lines, int64_t dim, float *restrict panels) {
    for (int64_t i = 0; i < lines; i++)
        for (int64_t d = 0; d < dim; d++) panels[(i / PANEL * dim + d) * PANEL + i % PANEL] = x[i * dim + d];
}

/* x [lines, width] -> [width, lines] */
static void transpose(const float *restrict x, int64_t lines, int64_t width, float *restrict out) {
    for (int64_t j = 0; j < width; j++)
        for (int64_t i = 0; i < lines; i++) out[j * lines + i] = x[i * width + j];
}

/* Floats that `attention` needs as work. */
int64_t attention_room(const struct forest *f) {
    const int64_t wide = whole(f->dim), slots = whole(f->length);
    return slots * (6 * f->dim + 2 * wide + 3 * QUERIES) + QUERIES * (3 * f->dim + wide);
}

/* Causal attention with rotary positions, of the key heads `from` to `to` and their queries: qkv [N, heads + 2 keys,
 * dim] to out [N, heads, dim], if `grad` is null; else grad [N, heads, dim] of out to out [N, heads + 2 keys, dim], that
 * of qkv, which is added to. */
void attention(const struct forest *f, const float *qkv, const float *grad, float *out, float *work, int64_t from,
               int64_t to) {
    const int64_t dim = f->dim, heads = f->heads, group = heads / f->keys, line = (heads + 2 * f->keys) * dim;
    const int64_t wide = whole(dim), slots = whole(f->length), size = dim * sizeof(float);
    const float scale = 1.0f / sqrtf((float)dim);
    float *keys = work, *values = keys + slots * dim, *key_lines = values + slots * dim; /* of a row and key head */
    float *value_lines = key_lines + slots * dim, *columns = value_lines + slots * dim;  /* values', or keys' if grad */
    float *to_keys = columns + slots * wide, *to_values = to_keys + slots * dim;
    float *scores = to_values + slots * dim, *slopes = scores + QUERIES * slots, *turned = slopes + QUERIES * slots;
    float *queries = turned + QUERIES * slots, *grads = queries + QUERIES * dim, *mixed = grads + QUERIES * dim;
    float *panels = mixed + QUERIES * dim; /* of queries or gradients */
    for (int64_t row = 0; row < f->rows; row++) {
        const int64_t *node = f->node + row * f->length, count = f->count[row];
        int64_t own = 0; /* the first place whose node is the row's own; all after it are too */
        while (own < count && f->place[node[own]] != row * f->length + own) own++;
        for (int64_t k = from; k < to && own < count; k++) {
            for (int64_t t = 0; t < count; t++) {
                memcpy(keys + t * dim, qkv + node[t] * line + (heads + k) * dim, size);
                memcpy(values + t * dim, qkv + node[t] * line + (heads + f->keys + k) * dim, size);
            }
            turn_lines(f, keys, 0, count, 1, 1);
            by_lines(keys, count, dim, key_lines);
            by_columns(grad ? keys : values, count, slots, dim, columns);
            if (grad) by_lines(values, count, dim, value_lines);
            if (grad) memset(to_keys, 0, 2 * slots * size);
            for (int64_t h = k * group; h < (k + 1) * group; h++)
                for (int64_t first = own, n; first < count; first += n) {
                    n = least(QUERIES, count - first);
                    const int64_t span = whole(first + n);
                    for (int64_t i = 0; i < n; i++) memcpy(queries + i * dim, qkv + node[first + i] * line + h * dim, size);
                    turn_lines(f, queries, first, n, 1, scale);
                    product(queries, n, dim, key_lines, dim * PANEL, 0, scores, span, STORE);
                    for (int64_t i = 0; i < n; i++) {
                        float *restrict score = scores + i * span;
                        const int64_t used = first + i + 1;
                        const float share = 1.0f / soften(score, 0, used - 1);
                        for (int64_t s = 0; s < used; s++) score[s] *= share;
                        memset(score + used, 0, (span - used) * sizeof(float));
                    }
                    if (!grad) {
                        product(scores, n, span, columns, slots * PANEL, 0, mixed, dim, STORE);
                        for (int64_t i = 0; i < n; i++) memcpy(out + (node[first + i] * heads + h) * dim, mixed + i * dim, size);
                        continue;
                    }
                    for (int64_t i = 0; i < n; i++) memcpy(grads + i * dim, grad + (node[first + i] * heads + h) * dim, size);
                    product(grads, n, dim, value_lines, dim * PANEL, 0, slopes, span, STORE);
                    for (int64_t i = 0; i < n; i++) {
                        const float *restrict score = scores + i * span;
                        float *restrict slope = slopes + i * span, mean = 0;
                        const int64_t used = first + i + 1;
                        for (int64_t s = 0; s < used; s++) mean += score[s] * slope[s];
                        for (int64_t s = 0; s < used; s++) slope[s] = score[s] * (slope[s] - mean);
                        memset(slope + used, 0, (span - used) * sizeof(float));
                    }
                    product(slopes, n, span, columns, slots * PANEL, 0, mixed, dim, STORE);
                    turn_lines(f, mixed, first, n, -1, scale);
                    for (int64_t i = 0; i < n; i++)
                        for (int64_t d = 0; d < dim; d++) out[node[first + i] * line + h * dim + d] += mixed[i * dim + d];
                    by_columns(queries, n, n, dim, panels);
                    transpose(slopes, n, span, turned);
                    product(turned, span, n, panels, n * PANEL, 0, to_keys, dim, ADD);
                    by_columns(grads, n, n, dim, panels);
                    transpose(scores, n, span, turned);
                    product(turned, span, n, panels, n * PANEL, 0, to_values, dim, ADD);
                }
            if (!grad) continue;
            turn_lines(f, to_keys, 0, count, -1, 1);
            for (int64_t t = 0; t < count; t++)
                for (int64_t d = 0; d < dim; d++) {
                    out[node[t] * line + (heads + k) * dim + d] += to_keys[t * dim + d];
                    out[node[t] * line + (heads + f->keys + k) * dim + d] += to_values[t * dim + d];
                }
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

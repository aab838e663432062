/* What products.c does, for it and for operators.cpp. */
#pragma once
#include <stdint.h>

/* a [rows, terms] and b [terms, columns], with the floats between neighbours down and to the right; of b one of the two
 * is 1. bias [columns] or null. out [rows, columns], dense. */
struct factors {
    int64_t rows, terms, columns, a_down, a_right, b_down, b_right;
    const float *a, *b, *bias;
    float *out;
};

#ifdef __cplusplus
extern "C" {
#endif
/* Floats that it needs as work. */
int64_t multiply_room(const struct factors *f, int64_t threads);
/* out = a b + bias */
void multiply(const struct factors *f, float *work, int64_t threads);
#ifdef __cplusplus
}
#endif

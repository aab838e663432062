/* What perceptron.c does, for it and for operators.cpp. */
#pragma once
#include <stdint.h>

enum activation { NONE, RECTIFIER, HYPERBOLIC };

struct perceptron {
    int64_t members, rows, layers, activation;
    int64_t shared;                           /* whether the members have one input [rows, size[0]] */
    const int64_t *size;                      /* [layers + 1] */
    const float *const *weight, *const *bias; /* of each layer: [members, in, out], [members, out] */
    float *const *unit;                       /* input, hidden layers, output: [members, rows, size]; hidden: or null */
};

struct slopes {                  /* of the output, dense; and room for those of the input, weights and biases, or null */
    const float *out;
    float *in, *const *weight, *const *bias;
};

#ifdef __cplusplus
extern "C" {
#endif
/* Floats that a pass needs as work. */
int64_t perceptron_room(const struct perceptron *p, int64_t back, int64_t threads);
/* Forward: hidden layers and output are written. */
void perceptron(const struct perceptron *p, float *work, int64_t threads);
/* Back: what `s` has room for is written; input and hidden layers are read. */
void perceptron_back(const struct perceptron *p, const struct slopes *s, float *work, int64_t threads);
#ifdef __cplusplus
}
#endif

/* All C kernels, compiled as one; see native.py. */
#include "decoding.c"
#include "products.c"
#include "training.c"
#include "perceptron.c"

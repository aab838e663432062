/* All C kernels, compiled as one; see native.py. */
#include "decoding.c"
#include "training.c"
#include "perceptron.c"

"""Networks: multilayer perceptrons, transformers, normalisers, encoders."""

// Products (products.c) and the passes of perceptron.c as operators of PyTorch, by its stable interface: called from a
// compiled graph or from Python, they cost a few microseconds. linear.py and native_mlp.py give them shapes for graphs, and
// gradients. Parameters of a perceptron: the weights of all layers, [in, out] or [members, in, out], then their biases.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

#include "perceptron.h"
#include "products.h"

using torch::stable::Tensor;

namespace {

constexpr int64_t WORTH_A_THREAD = 1'000'000; // multiplications

float *place(const Tensor &t) { return static_cast<float *>(t.data_ptr()); }

int64_t threads_for(int64_t multiplications) {
    const int64_t allowed = torch::stable::get_num_threads();
    return std::max<int64_t>(1, std::min(allowed, multiplications / WORTH_A_THREAD));
}

// a [M, K] b [K, N] + bias [N] -> [M, N], operands of any strides
Tensor product(Tensor a, Tensor b, std::optional<Tensor> bias) {
    if (b.stride(0) != 1 && b.stride(1) != 1) b = torch::stable::contiguous(b);
    if (bias) bias = torch::stable::contiguous(*bias);
    struct factors told {a.size(0), a.size(1), b.size(1), a.stride(0), a.stride(1), b.stride(0), b.stride(1)};
    const int64_t threads = threads_for(told.rows * told.terms * told.columns);
    Tensor out = torch::stable::new_empty(a, {told.rows, told.columns});
    Tensor work = torch::stable::new_empty(a, {multiply_room(&told, threads)});
    told.a = place(a);
    told.b = place(b);
    told.bias = bias ? place(*bias) : nullptr;
    told.out = place(out);
    multiply(&told, place(work), threads);
    return out;
}

// One call: its layers, where they are, and tensors that have to live as long.
struct Call {
    std::vector<Tensor> held;
    std::vector<int64_t> size;
    std::vector<const float *> weight, bias;
    std::vector<float *> unit;
    struct perceptron told {};
    int64_t multiplications = 0, kept = 0; // numbers in the hidden layers

    Call(const Tensor &x, const std::vector<Tensor> &parameters, int64_t activation) {
        const size_t layers = parameters.size() / 2;
        held.push_back(torch::stable::contiguous(x));
        for (const Tensor &p : parameters) held.push_back(torch::stable::contiguous(p));
        for (size_t i = 0; i < layers; i++) {
            weight.push_back(place(held[1 + i]));
            bias.push_back(place(held[1 + layers + i]));
        }
        const Tensor &first = parameters[0];
        told.members = first.dim() == 3 ? first.size(0) : 1;
        told.rows = x.size(x.dim() - 2);
        told.layers = static_cast<int64_t>(layers);
        told.activation = activation;
        told.shared = x.dim() == 2;
        size.push_back(x.size(x.dim() - 1));
        for (size_t i = 0; i < layers; i++) {
            size.push_back(parameters[i].size(parameters[i].dim() - 1));
            multiplications += told.members * told.rows * size[i] * size[i + 1];
            if (i + 1 < layers) kept += told.members * told.rows * size[i + 1];
        }
        told.size = size.data();
        told.weight = weight.data();
        told.bias = bias.data();
    }

    const Tensor &x() const { return held[0]; }

    // hidden: where they are kept, one after the other, or null
    void run(float *hidden, float *out, const struct slopes *slopes) {
        unit.push_back(place(x()));
        for (size_t i = 1; i + 1 < size.size(); i++) {
            unit.push_back(hidden);
            if (hidden) hidden += told.members * told.rows * size[i];
        }
        unit.push_back(out);
        told.unit = unit.data();
        const int64_t threads = threads_for(multiplications);
        Tensor work = torch::stable::new_empty(x(), {perceptron_room(&told, slopes != nullptr, threads)});
        if (slopes)
            perceptron_back(&told, slopes, place(work), threads);
        else
            perceptron(&told, place(work), threads);
    }
};

// The output, and the hidden layers one after the other, which the way back needs; empty unless it is to `keep`.
std::tuple<Tensor, Tensor> forward(Tensor x, std::vector<Tensor> parameters, int64_t activation, bool keep) {
    Call call(x, parameters, activation);
    std::vector<int64_t> shape = {call.told.rows, call.size.back()};
    if (parameters[0].dim() == 3) shape.insert(shape.begin(), call.told.members);
    Tensor out = torch::stable::new_empty(x, shape), kept = torch::stable::new_empty(x, {keep ? call.kept : 0});
    call.run(keep ? place(kept) : nullptr, place(out), nullptr);
    return {out, kept};
}

void back(const Tensor &grad, const Tensor &kept, Call &call, float *below, const std::vector<float *> &mine) {
    const Tensor above = torch::stable::contiguous(grad);
    struct slopes to {place(above), below, nullptr, nullptr};
    if (!mine.empty()) {
        to.weight = mine.data();
        to.bias = mine.data() + mine.size() / 2;
    }
    call.run(place(kept), nullptr, &to);
}

// For a graph: the slopes of x, and those of the parameters one after the other; empty where they are not wanted.
std::tuple<Tensor, Tensor> slopes_in_line(Tensor grad, Tensor x, std::vector<Tensor> parameters, Tensor kept,
                                          int64_t activation, bool to_x, bool to_mine) {
    Call call(x, parameters, activation);
    int64_t count = 0;
    for (const Tensor &p : parameters) count += p.numel();
    Tensor below = to_x ? torch::stable::empty_like(call.x()) : torch::stable::new_empty(x, {0});
    Tensor mine = torch::stable::new_empty(x, {to_mine ? count : 0});
    std::vector<float *> places;
    float *at = to_mine ? place(mine) : nullptr;
    for (const Tensor &p : parameters) {
        if (!to_mine) break;
        places.push_back(at);
        at += p.numel();
    }
    back(grad, kept, call, to_x ? place(below) : nullptr, places);
    return {below, mine};
}

// For Python: the slopes of x, if wanted, and then those of each parameter, if wanted.
std::vector<Tensor> slopes_of(Tensor grad, Tensor x, std::vector<Tensor> parameters, Tensor kept, int64_t activation,
                              bool to_x, bool to_mine) {
    Call call(x, parameters, activation);
    std::vector<Tensor> found;
    std::vector<float *> places;
    if (to_x) found.push_back(torch::stable::empty_like(call.x()));
    for (size_t i = 0; to_mine && i < parameters.size(); i++) {
        found.push_back(torch::stable::empty_like(call.held[1 + i]));
        places.push_back(place(found.back()));
    }
    back(grad, kept, call, to_x ? place(found[0]) : nullptr, places);
    return found;
}

} // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(actrix, library) {
    library.def("product(Tensor a, Tensor b, Tensor? bias) -> Tensor");
    library.def("perceptron(Tensor x, Tensor[] parameters, int activation, bool keep) -> (Tensor, Tensor)");
    library.def("perceptron_slopes(Tensor grad, Tensor x, Tensor[] parameters, Tensor kept, int activation, bool to_x, "
                "bool to_mine) -> (Tensor, Tensor)");
    library.def("perceptron_slopes_of(Tensor grad, Tensor x, Tensor[] parameters, Tensor kept, int activation, bool to_x, "
                "bool to_mine) -> Tensor[]");
}

STABLE_TORCH_LIBRARY_IMPL(actrix, CPU, library) {
    library.impl("product", TORCH_BOX(&product));
    library.impl("perceptron", TORCH_BOX(&forward));
    library.impl("perceptron_slopes", TORCH_BOX(&slopes_in_line));
    library.impl("perceptron_slopes_of", TORCH_BOX(&slopes_of));
}

"""The affine layers against plain PyTorch, forward and backward, eager and compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from actrix.nets import linear as lin
from actrix.nets.linear import linear, set_fast_products, set_precision, stacked_linear
from actrix.nets.native import operators

# (rows, in, out): below and above the size at which the fast products begin.
SHAPES = [(7, 5, 3), (256, 17, 256), (256, 128, 128), (300, 130, 70), (256, 256, 1)]


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    before = set_fast_products(True)
    precision = torch.get_float32_matmul_precision()
    yield
    set_fast_products(before)
    set_precision(precision)


def plain(x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
    out = x @ weight + bias
    return out.relu() if relu else out


def make(rows: int, n_in: int, n_out: int, members: int = 0, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    g = torch.Generator().manual_seed(rows + n_in + n_out)
    lead = (members,) if members else ()
    bias = (members, 1, n_out) if members else (n_out,)
    shapes = [(*lead, rows, n_in), (*lead, n_in, n_out), bias]
    return [
        (torch.randn(s, generator=g, dtype=dtype) / (n_in**0.5 if i else 1.0)).requires_grad_()
        for i, s in enumerate(shapes)
    ]


def run(f: Callable[..., Tensor], args: list[Tensor], relu: bool) -> tuple[Tensor, ...]:
    out = f(*args, relu=relu)
    seed = torch.linspace(-0.5, 1.0, out.numel(), dtype=out.dtype).view_as(out)
    return (out, *torch.autograd.grad(out, args, seed))


def check(got: tuple[Tensor, ...], args: list[Tensor], relu: bool, tol: float) -> None:
    """Against the same thing in double precision: full float32 accuracy is required."""
    exact = run(plain, [a.detach().double().requires_grad_() for a in args], relu)
    for a, b in zip(got, exact, strict=True):
        assert a.shape == b.shape
        assert (a.double() - b).abs().max() <= tol * b.abs().max()


def used(f: Callable[..., Tensor], args: list[Tensor]) -> bool:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as p:
        f(*args)
    return any("mkldnn::_linear_pointwise" in e.key for e in p.key_averages())


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_linear_matches_plain(shape: tuple[int, int, int], relu: bool) -> None:
    args = make(*shape)
    check(run(linear, args, relu), args, relu, 3e-6)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_stacked_matches_plain(shape: tuple[int, int, int], relu: bool) -> None:
    args = make(*shape, members=3)
    check(run(stacked_linear, args, relu), args, relu, 3e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_stacked_shares_one_input(shape: tuple[int, int, int]) -> None:
    x, w, b = make(*shape, members=2)
    args = [x[0].detach().requires_grad_(), w, b]
    check(run(stacked_linear, args, True), args, True, 3e-6)


def test_transposed_weights_and_inputs() -> None:
    x, w, b = make(256, 256, 128)
    args = [x.detach().t().contiguous().t().requires_grad_(), w.detach().t().contiguous().t().requires_grad_(), b]
    check(run(linear, args, True), args, True, 3e-6)


def test_leading_dimensions_are_kept() -> None:
    x, w, b = make(6, 5, 4)
    assert torch.allclose(linear(x.view(2, 3, 5), w, b), plain(x, w, b, False).view(2, 3, 4), atol=1e-6)


def test_double_precision_and_gradcheck() -> None:
    args = make(4, 3, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *a: linear(*a, relu=True), args)
    args = make(4, 3, 2, members=2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *a: stacked_linear(*a), args)
    big = make(256, 256, 256, dtype=torch.float64)
    check(run(linear, big, True), big, True, 1e-12)


def test_second_derivatives() -> None:
    def penalty(f: Callable[..., Tensor], args: list[Tensor]) -> tuple[Tensor, ...]:
        x, w, b = args
        out = f(x, w, b, relu=True)
        (g,) = torch.autograd.grad(out.square().sum(), [x], create_graph=True)
        return torch.autograd.grad(g.square().sum(), [x, w])

    args = make(256, 128, 128)
    exact = penalty(plain, [a.detach().double().requires_grad_() for a in args])
    for a, b in zip(penalty(linear, args), exact, strict=True):
        assert (a.double() - b).abs().max() <= 1e-5 * b.abs().max()


@pytest.mark.skipif(not operators(), reason="no C++ compiler")
@pytest.mark.parametrize(
    ("rows", "terms", "columns"), [(1, 1, 1), (5, 0, 7), (13, 300, 45), (300, 257, 64), (70, 1000, 131)]
)
def test_products_of_any_strides(rows: int, terms: int, columns: int) -> None:
    """The kernel against double precision; not a bit depends on threads."""
    before = torch.get_num_threads()
    for a_first, b_first, b_step in [(0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1), (1, 0, 2)]:
        a = torch.randn(terms, rows).t() if a_first else torch.randn(rows, terms)
        b = torch.randn(columns, terms).t() if b_first else torch.randn(terms, b_step * columns)[:, ::b_step]
        for bias in (None, torch.randn(columns)):
            found = []
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                found.append(torch.ops.actrix.product(a, b, bias))
            torch.set_num_threads(before)
            exact = a.double() @ b.double() + (0 if bias is None else bias)
            assert (found[0] - exact).abs().max() <= 1e-6 * terms
            assert torch.equal(found[0], found[1])
            assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("turned", [False, True])
def test_gradients_of_weights_are_laid_out_as_they_are(turned: bool) -> None:
    x, w, _ = (t.detach() for t in make(300, 128, 256))
    weight = (w.t().contiguous() if turned else w).requires_grad_()
    out = linear(x, weight.t() if turned else weight, None)
    (grad,) = torch.autograd.grad(out.square().sum(), [weight])
    exact = 2 * x.double().t() @ (x.double() @ w.double())
    torch.testing.assert_close(grad.double(), exact.t() if turned else exact, rtol=1e-4, atol=1e-3)
    assert grad.is_contiguous()


@pytest.mark.skipif(not lin._HAS_ONEDNN, reason="PyTorch without oneDNN")
def test_which_products_are_fast() -> None:
    big = make(256, 256, 256)
    assert used(linear, big)
    assert used(stacked_linear, make(256, 256, 256, members=2))
    assert not used(linear, make(1, 256, 256))
    assert not used(linear, make(256, 256, 256, dtype=torch.float64))
    with torch.autocast("cpu", torch.bfloat16):
        assert not used(linear, big)
        assert linear(*big).dtype is torch.bfloat16
    set_precision("medium")
    assert not used(linear, big)
    set_precision("highest")
    set_fast_products(False)
    assert not used(linear, big)


def two_layers(x: Tensor, w: Tensor, b: Tensor, v: Tensor, c: Tensor) -> Tensor:
    h = stacked_linear(x, w, b, relu=True)
    return stacked_linear(h, v, c)


@pytest.mark.slow
def test_compiled_matches_eager() -> None:
    x, w, b = make(256, 256, 128, members=2)
    _, v, c = make(256, 128, 1, members=2)
    args = [x, w, b, v, c]

    compiled = torch.compile(two_layers, fullgraph=True)
    for precision in ("highest", "medium"):  # the second compiles again
        set_precision(precision)
        tol = 1e-5 if precision == "highest" else 3e-2
        exact_args = [a.detach().double().requires_grad_() for a in args]
        exact, got = two_layers(*exact_args), compiled(*args)
        assert (got.double() - exact).abs().max() <= tol * exact.abs().max()
        want = torch.autograd.grad(exact.square().sum(), exact_args)
        for g, e in zip(torch.autograd.grad(got.square().sum(), args), want, strict=True):
            # rounding flips a rectifier here and there, which moves a few entries far
            assert (g.double() - e).norm() <= 2 * tol * e.norm()


def test_export_uses_only_plain_operations() -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            _, w, b = make(256, 256, 256)
            self.w, self.b = torch.nn.Parameter(w.detach()), torch.nn.Parameter(b.detach())

        def forward(self, x: Tensor) -> Tensor:
            return linear(x, self.w, self.b, relu=True)

    program = torch.export.export(Net(), (torch.zeros(256, 256),))
    assert "fast_" not in str(program.graph)


@pytest.mark.skipif(not lin._HAS_BF16, reason="no bfloat16 products on this processor")
@pytest.mark.parametrize("stacked", [False, True])
def test_medium_rounds_operands_and_nothing_else(stacked: bool) -> None:
    """Values and gradients are those of products of rounded operands, far from exact float32 and near in bfloat16."""
    args = make(256, 128, 128, members=2 if stacked else 0)
    f = stacked_linear if stacked else linear
    exact = [t.detach() for t in run(plain, args, False)]
    set_precision("medium")
    got = [t.detach() for t in run(f, args, False)]
    for a, b in zip(got[:3], exact[:3], strict=True):
        error = float((a - b).abs().max() / b.abs().max())
        assert 1e-5 < error < 1e-2
    assert got[0].dtype is torch.float32
    x, w, bias = (a.detach() for a in args)
    rounded = (x.bfloat16().float() @ w.bfloat16().float()).bfloat16().float() + bias
    assert torch.allclose(got[0], rounded, atol=2e-2, rtol=1e-2)
    assert float((got[0] - rounded).abs().mean()) < 1e-4

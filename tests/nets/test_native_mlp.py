"""The C kernels of multilayer perceptrons against plain PyTorch, in double precision where numbers are compared."""

import pytest
import torch

from actrix.nets import linear, native_mlp
from actrix.nets.mlp import MLP
from actrix.nets.native import operators
from actrix.run.engine import compiled

pytestmark = pytest.mark.skipif(not operators(), reason="no C++ compiler")


def parameters_of(net):
    return [layer.weight for layer in net.layers] + [layer.bias for layer in net.layers]


def agree(found, wanted):
    """Equal up to rounding."""
    assert found.shape == wanted.shape
    assert not ((found.double() - wanted).abs() > 1e-4 + 1e-4 * wanted.abs()).any()


def at_an_edge(x, parameters):
    """Rows in which a rectifier is so near its edge that it may be open in one computation and shut in the other."""
    count, found = len(parameters) // 2, []
    for weight, bias in zip(parameters[: count - 1], parameters[count : 2 * count - 1]):
        x = x @ weight + bias
        found.append((x.abs() < 1e-4).any(-1))
        x = x.relu()
    return torch.stack(found).any(0)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


SHAPES = [
    (5, (), 3), (17, (64, 64), 12), (23, (256, 256), 1), (40, (33, 17, 70), 37), (300, (31,), 33),
]  # fmt: skip


@pytest.mark.parametrize("sizes", SHAPES)
@pytest.mark.parametrize(("members", "apart"), [(None, False), (2, False), (3, False), (2, True)])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_values_and_gradients_are_those_of_plain_operations(sizes, members, apart, activation, threads):
    threads(2)
    torch.manual_seed(0)
    for rows in (8, 37, 300, 3_001):
        net = MLP(*sizes, activation, members=members)
        x = torch.randn(*([members] if apart else []), rows, sizes[0], requires_grad=True)
        parameters = parameters_of(net)
        assert native_mlp.serves(x, parameters[: len(parameters) // 2], activation)
        out = net(x)
        up = torch.randn_like(out)
        double = [t.detach().double().requires_grad_() for t in (x, *parameters)]
        if activation == "relu" and len(sizes[1]):
            up = up * ~at_an_edge(double[0], double[1:])[..., None]
            assert up.any()
        found = torch.autograd.grad(out, [x, *parameters], up)
        wanted = native_mlp.plain(double[0], double[1:], activation)
        agree(out, wanted)
        for mine, theirs in zip(found, torch.autograd.grad(wanted, double, up.double())):
            agree(mine, theirs)


def test_numbers_do_not_depend_on_threads(threads):
    for members in (None, 2, 3):
        net, x = MLP(23, (64, 148), 5, members=members), torch.randn(301, 23, requires_grad=True)
        results = []
        for count in (1, 2):
            threads(count)
            out = net(x)
            results.append([out, *torch.autograd.grad(out.square().sum(), [x, *net.parameters()])])
        assert all(torch.equal(one, two) for one, two in zip(*results))


def test_what_is_kept_for_gradients_does_not_change_the_output():
    net, x = MLP(7, (40, 30), 3, members=2), torch.randn(150, 7)
    with torch.no_grad():
        alone = net(x)
    assert torch.equal(alone, net(x))
    assert torch.equal(alone, net(x, frozen=True))
    assert torch.equal(alone[:1], net(x, which=slice(1)))


def test_frozen_layers_pass_gradients_on_and_get_none():
    net, x = MLP(7, (40,), 3, members=2), torch.randn(50, 7, requires_grad=True)
    through = torch.autograd.grad(net(x).sum(), x)[0]
    assert torch.equal(through, torch.autograd.grad(net(x, frozen=True).sum(), x)[0])
    assert torch.autograd.grad(net(x, frozen=True).sum(), [*net.parameters(), x], allow_unused=True)[0] is None


def test_more_leading_dimensions_and_other_strides():
    net, x = MLP(6, (20,), 4), torch.randn(6, 5, 9).transpose(0, 2)  # [9, 5, 6]
    assert native_mlp.serves(x, parameters_of(net)[:2], "relu")
    assert torch.equal(net(x), net(x.contiguous().flatten(0, 1)).unflatten(0, (9, 5)))


def test_not_a_number_and_infinity_stay():
    for activation in ("relu", "tanh"):
        net, x = MLP(4, (16,), 2, activation), torch.randn(20, 4)
        x[3, 1] = torch.nan
        assert net(x)[3].isnan().all()
        assert net(x).isfinite().all(-1).sum() == 19
    net, x = MLP(4, (16,), 2), torch.randn(20, 4)
    with torch.no_grad():
        net.layers[0].weight[1] = 1.0
    x[3, 1] = torch.inf
    assert not net(x)[3].isfinite().any()


def test_tanh_is_near_exact_from_the_smallest_to_the_largest():
    net = MLP(1, (1,), 1, "tanh")
    with torch.no_grad():
        for p, value in zip(net.parameters(), (1.0, 0.0, 1.0, 0.0)):
            p.fill_(value)
    x = torch.cat([torch.linspace(-1, 1, 20_001), torch.logspace(-30, 30, 2_001), torch.tensor([0.0])])
    wanted = x.double().tanh()
    assert ((net(x[:, None])[:, 0].double() - wanted).abs() <= 3e-7 * wanted.abs()).all()


def test_gradients_have_gradients():
    net, x = MLP(5, (24, 24), 1, "tanh", members=2), torch.randn(30, 5, requires_grad=True)

    def penalty(network, rows, parameters):
        slope = torch.autograd.grad(network(rows).sum(), rows, create_graph=True)[0]
        return torch.autograd.grad(slope.square().sum(), parameters)

    parameters = parameters_of(net)
    moved = [p for p in parameters if p is not parameters[-1]]  # the last bias has no part in a slope
    found = penalty(net, x, moved)
    double = [p.detach().double().requires_grad_() for p in parameters]
    rows = x.detach().double().requires_grad_()
    wanted = penalty(lambda r: native_mlp.plain(r, double, "tanh"), rows, double[:-1])
    for mine, theirs in zip(found, wanted):
        agree(mine, theirs)


def test_parameters_may_move_and_be_replaced_between_calls():
    net, x = MLP(5, (24,), 2), torch.randn(30, 5)
    first = net(x)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(2.0)
    assert not torch.equal(first, net(x))
    net.layers[0].weight = torch.nn.Parameter(torch.zeros(5, 24))
    agree(net(x), native_mlp.plain(x, parameters_of(net), "relu").double())


def test_where_the_kernels_do_not_serve():
    net, x = MLP(5, (24,), 2), torch.randn(30, 5)
    weights = parameters_of(net)[:2]
    assert native_mlp.serves(x, weights, "relu")
    assert not native_mlp.serves(x[:4], weights, "relu")
    assert not native_mlp.serves(x, weights, "gelu")
    assert not native_mlp.serves(x.double(), weights, "relu")
    with torch.autocast("cpu", torch.bfloat16):
        assert not native_mlp.serves(x, weights, "relu")
    before = linear.set_fast_products(False)
    try:
        assert not native_mlp.serves(x, weights, "relu")
    finally:
        linear.set_fast_products(before)


@pytest.mark.parametrize("members", [None, 2])
def test_inside_a_graph(members, monkeypatch):
    monkeypatch.setattr(native_mlp, "_WORTH_LEAVING_A_GRAPH", 0)
    net, x = MLP(23, (32, 32), 3, members=members), torch.randn(64, 23, requires_grad=True)

    def step(rows):
        out = net(rows)
        with torch.no_grad():
            fixed = net(rows)
        return out.detach(), fixed, *torch.autograd.grad(out.square().sum(), [rows, *net.parameters()])

    for mine, theirs in zip(compiled(step, "aot_eager")(x), step(x)):
        torch.testing.assert_close(mine, theirs)

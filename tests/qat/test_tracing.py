from typing import Any

import pytest

from quantlab.errors import InputError

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")

from torch import Tensor, nn  # noqa: E402 - after torch is known to be there
from torch.nn import functional  # noqa: E402

from quantlab.qat.batch_norm import fold_all  # noqa: E402
from quantlab.qat.export_example import arguments_of  # noqa: E402
from quantlab.qat.tracing import edges, set_edges, traced_by_export, traced_by_fx, watched  # noqa: E402


class InPlace(nn.Module):
    """Changes a tensor that it reads again, in each way that torch has."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = x - 1.0
        self.act(y)
        z = y + 0.5
        z.mul_(2.0)
        functional.relu(z, inplace=True)
        z += y
        return z + y


class WithDefault(nn.Module):
    def forward(self, x: Tensor, mask: Tensor | None = None, *, scale: float = 2.0) -> Tensor:
        return x * scale if mask is None else x * mask


class Layers(nn.Module):
    """Every layer that a norm is folded into."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.na = nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.b, self.nb = nn.ConvTranspose2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)
        self.c, self.nc = nn.Linear(6, 5), nn.BatchNorm1d(5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.nb(self.b(self.na(self.a(x))))
        found: Tensor = self.nc(self.c(x.mean((2, 3))))
        return found


def lived_in(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (part.running_mean, part.weight, part.bias):
                assert tensor is not None
                tensor.data.normal_()
            assert part.running_var is not None
            part.running_var.uniform_(0.5, 2.0)
    return module.eval()


def both(module: nn.Module, example: Any) -> list[Any]:
    arguments = arguments_of(module, example)
    return [traced_by_fx(module, arguments), traced_by_export(module, arguments, batched=True)]


def test_a_traced_module_works_out_of_place_and_computes_the_same() -> None:
    module, x = InPlace(), torch.randn(4, 5)
    graph = traced_by_fx(module, arguments_of(module, x))
    before = x.clone()
    assert torch.equal(graph(x), module(x.clone()))
    assert torch.equal(x, before)
    assert not [n for n in graph.graph.nodes if n.op == "call_method" and n.target.endswith("_")]


def test_inputs_that_the_example_leaves_out_keep_their_defaults() -> None:
    module, x = WithDefault(), torch.randn(4, 5)
    for graph in both(module, x):
        assert torch.equal(graph(x), x * 2.0)
        assert [n.target for n in graph.graph.nodes if n.op == "placeholder"] == ["x"]


def test_norms_are_folded_into_parameters_of_the_same_names() -> None:
    module, x = lived_in(Layers()), torch.randn(4, 2, 8, 8)
    for graph in both(module, x):
        arguments = arguments_of(module, x)
        folded = fold_all(graph, watched(graph, arguments).shapes)
        assert len(folded) == 3
        names = {name for name, _ in graph.named_parameters()}
        assert names == {f"{layer}.{part}" for layer in "abc" for part in ("weight", "bias")}
        assert torch.allclose(graph(x), module(x), atol=1e-4)
        assert graph(torch.cat([x, x])).shape == (8, 5)


def test_values_that_depend_on_no_input_are_constants() -> None:
    module, x = lived_in(Layers()), torch.randn(4, 2, 8, 8)
    graph = traced_by_fx(module, arguments_of(module, x))
    found = watched(graph, arguments_of(module, x))
    assert {array.shape for array in found.constants.values()} >= {(4, 2, 3, 3), (4, 3, 3, 3), (5, 6)}
    assert all(name in found.shapes for name in found.constants)


def test_an_edge_is_one_argument_even_where_a_value_is_read_twice() -> None:
    graph = torch.fx.Graph()
    x, y = graph.placeholder("x"), graph.placeholder("y")
    add = graph.call_function(torch.add, (x, x))
    first, second = edges(add)
    assert (first[0].index, second[0].index) == (0, 1)
    set_edges(add, {1: y})
    assert add.args == (x, y)


def test_what_torch_cannot_follow_is_told_in_a_sentence() -> None:
    class Asking(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    arguments = arguments_of(Asking(), torch.ones(2, 3))
    with pytest.raises(InputError, match=r"torch\.fx cannot follow Asking"):
        traced_by_fx(Asking(), arguments)
    with pytest.raises(InputError, match=r"torch\.export cannot follow Asking"):
        traced_by_export(Asking(), arguments, batched=False)

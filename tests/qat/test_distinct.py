import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")

from torch import nn  # noqa: E402 - after torch is known to be there

from quantlab.qat.distinct import Parameters, distinct  # noqa: E402


class Alike(nn.Module):
    """Tensors that can be mistaken for one another, and one that cannot."""

    def __init__(self) -> None:
        super().__init__()
        square = torch.randn(3, 3)
        self.a, self.b = nn.Parameter(square.clone()), nn.Parameter(square.T.clone())
        self.symmetric = nn.Parameter(torch.eye(4))
        self.zeros, self.more, self.one = (nn.Parameter(torch.zeros(n)) for n in (5, 5, 1))
        self.register_buffer("mean", torch.zeros(5))
        self.register_buffer("variance", torch.ones(5))
        self.register_buffer("steps", torch.tensor(0))
        self.own = nn.Parameter(torch.randn(2, 3))


def test_each_tensor_is_found_by_the_values_it_has_meanwhile_and_then_is_as_before() -> None:
    torch.manual_seed(0)
    module = Alike()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with distinct(module):
        seen = Parameters.of(module)
        values = {n: t.detach().numpy().copy() for n, t in module.state_dict().items() if t.is_floating_point()}
        assert (module.get_buffer("variance") > 0).all()
        assert torch.equal(module.own, before["own"])
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert all(seen.holding(array) == (name, False) for name, array in values.items())
    turned = {name: array.T for name, array in values.items() if array.ndim == 2}
    assert all(seen.holding(array) == (name, True) for name, array in turned.items())
    assert seen.holding(np.full(5, 9, np.float32)) == "no parameter of the module holds this constant's values"


def test_what_several_hold_is_nobodys() -> None:
    found = Parameters.of(Alike())
    assert "several parameters" in found.holding(np.zeros(5, np.float32))
    assert "several parameters" in found.holding(np.eye(4, dtype=np.float32))
    assert found.holding(np.ones(5, np.float32)) == ("variance", False)


def test_arrays_that_share_the_memory_of_meanwhile_keep_its_values() -> None:
    module = Alike()
    with distinct(module):
        shared = module.zeros.detach().numpy()
        kept = shared.copy()
    module.zeros.data.fill_(7)
    assert np.array_equal(shared, kept)


def test_an_error_meanwhile_changes_nothing() -> None:
    module = Alike()
    with pytest.raises(KeyError), distinct(module):
        raise KeyError("x")
    assert not module.zeros.any()

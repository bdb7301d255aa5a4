from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from liveagent.nn.linear import Linear, sort_weights


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(Linear(48, 96), Linear(96, 40, bias=False)).eval().requires_grad_(False)
    sort_weights(net)
    if ready(net) == 0:
        pytest.skip("torch was built without oneDNN, or this CPU gains nothing by it")
    return net


def ready(net: nn.Module) -> int:
    return sum(isinstance(each, Linear) and each._sorted.weight is not None for each in net.modules())


def plain(net: nn.Module, x: Tensor) -> Tensor:
    for each in net.modules():
        if isinstance(each, Linear):
            x = torch.nn.functional.linear(x, each.weight, each.bias)
    return x


@torch.inference_mode()
def test_sorted_weights_give_the_numbers_of_torch(net: nn.Module) -> None:
    for shape in ((4, 48), (8, 48), (1, 32, 48), (2, 3, 48)):
        x = torch.randn(shape)
        assert torch.allclose(net(x), plain(net, x), atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("rows", [4, 8, 16, 32])
def test_a_row_depends_on_that_row_alone(net: nn.Module, rows: int) -> None:
    x, other = torch.randn(2, rows, 48)
    alone = net(x)
    other[rows // 2] = x[rows // 2]
    assert torch.equal(net(other)[rows // 2], alone[rows // 2])


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.train(),
        lambda net: net.to(torch.float64).to(torch.float32),
        lambda net: net.load_state_dict({name: weight + 1 for name, weight in net.state_dict().items()}),
        copy.deepcopy,
    ],
    ids=["train", "to", "load_state_dict", "deepcopy"],
)
def test_whoever_may_change_the_weights_gets_torchs_own_path(
    net: nn.Module, change: Callable[[nn.Module], object]
) -> None:
    changed = change(net)
    net = changed if isinstance(changed, nn.Module) else net
    assert ready(net) == 0
    with torch.no_grad():
        x = torch.randn(4, 48)
        assert torch.equal(net.eval()(x), plain(net, x))


def test_gradients_flow_past_sorted_weights(net: nn.Module) -> None:
    net.requires_grad_(True)
    net(torch.randn(4, 48)).sum().backward()
    assert all(weight.grad is not None for weight in net.parameters())

"""The average of the weights follows what is trained, and nothing else."""

import pytest
import torch
from torch import nn

from calm.training.averaging import WeightAverage


def test_only_weights_with_a_gradient_are_followed():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    average = WeightAverage(model, 0.75)
    start = [layer.weight.detach().clone() for layer in model]
    model[0](torch.ones(2)).sum().backward()
    with torch.no_grad():
        for layer in model:
            layer.weight += 1
    average.update(model)
    torch.testing.assert_close(average.module[0].weight.detach(), start[0] + 0.25)
    assert torch.equal(average.module[1].weight, start[1])


def test_buffers_are_taken_over_as_they_are():
    model = nn.BatchNorm1d(3)
    average = WeightAverage(model, 0.9)
    model(torch.randn(8, 3)).sum().backward()
    average.update(model)
    assert torch.equal(average.module.running_mean, model.running_mean) and average.module.num_batches_tracked == 1


def test_the_average_of_a_restored_state_goes_on_alike():
    model = nn.Linear(2, 1)
    first, second = WeightAverage(model, 0.5), WeightAverage(nn.Linear(2, 1), 0.5)
    second.load_state_dict(first.state_dict())
    model(torch.ones(2)).backward()
    for average in (first, second):
        average.update(model)
    assert all(torch.equal(*pair) for pair in zip(first.module.parameters(), second.module.parameters(), strict=True))


@pytest.mark.parametrize("extra", [nn.Linear(3, 3), nn.BatchNorm1d(3, affine=False)])  # more weights, more buffers
def test_a_model_of_other_parts_is_not_followed(extra):
    first = nn.BatchNorm1d(3)
    first(torch.randn(8, 3)).sum().backward()
    average = WeightAverage(first, 0.5)
    with pytest.raises(ValueError, match="longer"):
        average.update(nn.Sequential(first, extra))

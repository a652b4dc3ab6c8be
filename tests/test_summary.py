import pytest
import torch
from torch import nn

from helpers.models import AblationNet, build, seeded
from helpers.summary import evaluating, fingerprint, multiply_adds, summary


def test_fingerprint_changes_with_the_network_and_not_with_its_weights():
    nets = [
        seeded(AblationNet),
        seeded(AblationNet, 1),
        seeded(AblationNet, dilation=3),
        seeded(AblationNet, gap=False),
        seeded(AblationNet, view=16),
    ]
    prints = [fingerprint(net) for net in nets]
    assert prints[0] == prints[1] and len(set(prints)) == 4


def test_fingerprint_sees_a_layers_own_numbers_and_not_torchs_way_to_print_it():
    class Reprinted(nn.Conv2d):
        def __repr__(self):
            return "printed in another way"

    Reprinted.__name__ = "Conv2d"
    own = {"padding": 1, "stride": 1, "dilation": 1, "groups": 1, "padding_mode": "zeros"}
    others = {"padding": 2, "stride": 2, "dilation": 2, "groups": 2, "padding_mode": "circular"}
    usual = fingerprint(nn.Conv2d(4, 4, 3, **own))
    assert fingerprint(Reprinted(4, 4, 3, **own)) == usual
    changed = [fingerprint(nn.Conv2d(4, 4, 3, **{**own, name: value})) for name, value in others.items()]
    assert len({usual, *changed}) == 6
    assert fingerprint(nn.Dropout(0.1)) != fingerprint(nn.Dropout(0.2))
    assert fingerprint(nn.MaxPool2d(2)) != fingerprint(nn.AvgPool2d(2)) != fingerprint(nn.AvgPool2d(3))


def test_multiply_adds_counts_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    assert multiply_adds(model) == 32 * 32 * 8 * 3 * 9 + 8 * 10


def test_evaluating_restores_every_mode():
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(3)).train()
    model[1].eval()
    with pytest.raises(ZeroDivisionError), evaluating(model):
        assert not model.training and not model[0].training
        raise ZeroDivisionError
    assert model.training and model[0].training and not model[1].training


def test_summary_leaves_the_network_and_the_generator_alone():
    model = build("dilated_193k").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.random.get_rng_state()
    summary(model)
    assert model.training and torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_summary_notices_parameters_it_missed():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.layer = nn.Parameter(torch.ones(5)), nn.Conv2d(3, 4, 1)

        def forward(self, images):
            return self.layer(images)

    with pytest.raises(RuntimeError, match="missed or repeated"):
        summary(Hidden())

"""Training of points in the plane as tutorials write it in PyTorch, for `speed.py`."""

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

import jdiff


class Network(nn.Module):
    """The layers of `jdiff.networks.make_mlp`, which see the log-SNR as a number."""

    def __init__(self, num_classes: int, num_features: int, num_layers: int):
        super().__init__()
        widths = [2 + 1 + num_classes + 1] + num_layers * [num_features]
        layers = []
        for before, after in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(before, after), nn.GELU(approximate="tanh")]
        self.layers = nn.Sequential(*layers, nn.Linear(num_features, 2))
        self.num_classes = num_classes

    def forward(self, x_t, log_snr, label):
        classes = nn.functional.one_hot(label, self.num_classes + 1).float()
        return self.layers(torch.cat([x_t, log_snr[:, None] / 15.0, classes], dim=-1))


def loops(
    points: np.ndarray,
    labels: np.ndarray,
    schedule: jdiff.Schedule,
    num_classes: int,
    batch_size: int,
) -> dict:
    """Returns epochs over the points: with a DataLoader, and indexing a tensor."""
    x, y = torch.tensor(points).float(), torch.tensor(labels).long()
    alpha, sigma = (torch.tensor(np.asarray(table)) for table in schedule)
    log_snr = (2 * torch.log(alpha / sigma)).clamp(-15.0, 15.0)
    network = Network(num_classes, 64, 3)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.999))

    def step(x_0, label):
        t = torch.randint(1, len(alpha), (len(x_0),))
        a, s = alpha[t][:, None], sigma[t][:, None]
        eps = torch.randn_like(x_0)
        output = network(a * x_0 + s * eps, log_snr[t], label)
        loss = nn.functional.mse_loss(output, a * eps - s * x_0)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(network)

    loader = DataLoader(TensorDataset(x, y), batch_size=batch_size, shuffle=True)

    def tutorial():
        for x_0, label in loader:
            step(x_0, label)

    def lean():
        for rows in torch.randperm(len(x)).split(batch_size):
            step(x[rows], y[rows])

    return {"PyTorch, DataLoader": tutorial, "PyTorch, indexed tensor": lean}

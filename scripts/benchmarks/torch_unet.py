"""The UNet of `jdiff.networks.unet` in PyTorch, layer by layer, for `speed.py`."""

import jax
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import jdiff

GROUP = 16
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Conditioning(nn.Module):
    def __init__(self, num_classes: int, num_features: int):
        super().__init__()
        frequencies = np.geomspace(np.pi / 32, 2 * np.pi, 32, dtype=np.float32)
        self.register_buffer("frequencies", torch.from_numpy(frequencies))
        self.level = nn.Sequential(
            nn.Linear(64, num_features),
            nn.SiLU(),
            nn.Linear(num_features, num_features),
        )
        self.classes = nn.Embedding(num_classes + 1, num_features)

    def forward(self, log_snr, label):
        angles = log_snr.clamp(-15, 15)[:, None] * self.frequencies
        level = self.level(torch.cat([angles.sin(), angles.cos()], dim=-1))
        return F.silu(level + self.classes(label))


class ScaleShiftNorm(nn.Module):
    def __init__(self, num_channels: int, num_features: int):
        super().__init__()
        self.film = nn.Linear(num_features, 2 * num_channels)

    def forward(self, x, condition):
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, dim=1)
        return F.group_norm(x, x.shape[1] // GROUP) * (1 + scale) + shift


class ResidualBlock(nn.Module):
    def __init__(self, num_channels: int, num_features: int):
        super().__init__()
        self.norm_1 = ScaleShiftNorm(num_channels, num_features)
        self.conv_1 = nn.Conv2d(num_channels, num_channels, 3, padding=1)
        self.norm_2 = ScaleShiftNorm(num_channels, num_features)
        self.conv_2 = nn.Conv2d(num_channels, num_channels, 3, padding=1)

    def forward(self, x, condition):
        h = self.conv_1(F.silu(self.norm_1(x, condition)))
        return x + self.conv_2(F.silu(self.norm_2(h, condition)))


class SelfAttention(nn.Module):
    def __init__(self, num_channels: int, num_features: int, num_heads: int = 4):
        super().__init__()
        self.norm = ScaleShiftNorm(num_channels, num_features)
        self.qkv = nn.Linear(num_channels, 3 * num_channels, bias=False)
        self.out = nn.Linear(num_channels, num_channels)
        self.num_heads = num_heads

    def forward(self, x, condition):
        b, c, h, w = x.shape
        tokens = self.norm(x, condition).permute(0, 2, 3, 1).reshape(b, h * w, c)
        qkv = self.qkv(tokens).reshape(b, h * w, 3, self.num_heads, -1)
        out = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))
        out = self.out(out.transpose(1, 2).reshape(b, h * w, c))
        return x + out.reshape(b, h, w, c).permute(0, 3, 1, 2)


class UNet(nn.Module):
    """Images [B, C, H, W] here; `channels_last` keeps them in memory as in JAX."""

    def __init__(self, num_classes: int, num_channels: int, num_blocks: int):
        super().__init__()
        narrow, wide = num_channels, 2 * num_channels
        self.condition = Conditioning(num_classes, wide)

        def blocks(width, number):
            return nn.ModuleList(ResidualBlock(width, wide) for _ in range(number))

        self.first = nn.Conv2d(4, narrow, 3, padding=1)
        self.enter = blocks(narrow, num_blocks)
        self.down = nn.Conv2d(4 * narrow, wide, 1)
        self.before = blocks(wide, 2 * num_blocks)
        self.attention = SelfAttention(wide, wide)
        self.after = blocks(wide, 2 * num_blocks)
        self.up = nn.Conv2d(wide, 2 * wide, 1)
        self.leave = blocks(narrow, num_blocks)
        self.norm = ScaleShiftNorm(narrow, wide)
        self.last = nn.Conv2d(narrow, 4, 3, padding=1)

    def forward(self, x_t, log_snr, label):
        condition = self.condition(log_snr, label)
        x = self.first(F.pixel_unshuffle(x_t, 2))
        for block in self.enter:
            x = block(x, condition)
        skip = x
        x = self.down(F.pixel_unshuffle(x, 2))
        for block in self.before:
            x = block(x, condition)
        x = self.attention(x, condition)
        for block in self.after:
            x = block(x, condition)
        x = F.pixel_shuffle(self.up(x), 2) + skip
        for block in self.leave:
            x = block(x, condition)
        return F.pixel_shuffle(self.last(F.silu(self.norm(x, condition))), 2)


def load(network: UNet, params) -> UNet:
    """Returns the network with the weights of the Haiku one, which it then equals."""

    def fill(layer, name, order=lambda w: w):
        weights = params[f"u_net/{name}"]
        w = order(np.asarray(weights["w"]))
        if isinstance(layer, nn.Conv2d):
            w = w if w.ndim == 4 else w[None, None]
            w = w.transpose(3, 2, 0, 1)  # ours is [H, W, in, out]
        else:
            w = w.T
        layer.weight.data.copy_(torch.from_numpy(np.ascontiguousarray(w)))
        if "b" in weights:
            layer.bias.data.copy_(torch.from_numpy(np.array(weights["b"])))

    def suffix(k):
        return f"_{k}" if k else ""

    fill(network.condition.level[0], "conditioning/linear")
    fill(network.condition.level[2], "conditioning/linear_1")
    classes = np.array(params["u_net/conditioning/embed"]["embeddings"])
    network.condition.classes.weight.data.copy_(torch.from_numpy(classes))
    fill(network.first, "conv2_d")
    fill(network.last, "conv2_d_1")
    fill(network.norm.film, "scale_shift_norm/linear")
    fill(network.attention.norm.film, "self_attention/scale_shift_norm/linear")
    fill(network.attention.qkv, "self_attention/linear")
    fill(network.attention.out, "self_attention/linear_1")
    # A patch's pixels are the outer index of our channels, the inner one of PyTorch's.
    fill(network.down, "linear", lambda w: _swap(w.T).T)
    fill(network.up, "linear_1", _swap)
    bias = np.array(params["u_net/linear_1"]["b"])
    network.up.bias.data.copy_(torch.from_numpy(_swap(bias)))
    parts = network.enter, network.before, network.after, network.leave
    for k, block in enumerate(block for part in parts for block in part):
        name = f"residual_block{suffix(k)}"
        for i, (norm, conv) in enumerate(
            [(block.norm_1, block.conv_1), (block.norm_2, block.conv_2)]
        ):
            fill(norm.film, f"{name}/scale_shift_norm{suffix(i)}/linear")
            fill(conv, f"{name}/conv2_d{suffix(i)}")
    return network


def _swap(w):
    """[..., 4 C] with pixels outside -> the same with pixels inside."""
    return np.ascontiguousarray(
        w.reshape(*w.shape[:-1], 4, -1).swapaxes(-1, -2).reshape(w.shape)
    )


def equal_network(model: jdiff.models.Model) -> UNet:
    """Returns the network of the UNet that ships, if it is the same function."""
    description = jdiff.storage.load_weights(jdiff.models.SHIPPED["unet"])[1]
    sizes = description["num_channels"], description["num_blocks"]
    network = load(UNet(len(model.classes), *sizes), model.params)
    network = network.to(memory_format=torch.channels_last)
    x_t = np.random.default_rng(0).normal(size=(2, *model.shape))
    x_t, log_snr, label = np.float32(x_t), np.float32([-2, 3]), np.int32([1, 62])
    with jax.default_matmul_precision("highest"):
        ours = np.asarray(model.apply(model.params, x_t, log_snr, label))
    with torch.no_grad():
        inputs = torch.from_numpy(x_t).permute(0, 3, 1, 2), torch.from_numpy(log_snr)
        theirs = network(*inputs, torch.from_numpy(label).long()).permute(0, 2, 3, 1)
    error = np.abs(ours - theirs.numpy()).max() / np.abs(ours).max()
    size = sum(leaf.numel() for leaf in network.parameters())
    if size != sum(np.size(leaf) for leaf in jax.tree.leaves(model.params)):
        raise ValueError(f"networks must have equal sizes, got {size} parameters.")
    if not error < 1e-4:
        raise ValueError(f"networks must be equal, got a difference of {error:.1e}.")
    return network.to(DEVICE)


def cast(dtype: str):
    """Returns the context in which a network computes in a type."""
    return torch.autocast(DEVICE, torch.bfloat16, enabled=dtype == "bfloat16")


def wait() -> None:
    """Waits for the device, if there is one."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def make_call(network: UNet, model: jdiff.models.Model, batch_size: int, dtype: str):
    """Returns one call of the network without gradients."""
    x_t = torch.ones(batch_size, 1, *model.shape[:2], device=DEVICE)
    x_t = x_t.to(memory_format=torch.channels_last)
    log_snr = torch.zeros(batch_size, device=DEVICE)
    inputs = x_t, log_snr, log_snr.long()

    def call():
        with torch.no_grad(), cast(dtype):
            network(*inputs)
        wait()

    return call


def make_train_step(network: UNet, model, images, labels, batch_size: int, dtype: str):
    """Returns one step of training, with all that `jdiff train unet` does in one."""
    torch.set_default_device(DEVICE)
    torch.backends.cuda.matmul.allow_tf32 = True  # as XLA does
    arrays = images, labels, *map(np.array, model.schedule)
    images, labels, alpha, sigma = (torch.from_numpy(a).to(DEVICE) for a in arrays)
    images, labels = images.permute(0, 3, 1, 2), labels.long()
    log_snr = 2 * torch.log(alpha / sigma)
    by_class = [torch.nonzero(labels == k)[:, 0] for k in labels.unique()]
    counts = torch.tensor([len(rows) for rows in by_class])
    starts, order = counts.cumsum(0) - counts, torch.cat(by_class)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.9, 0.99))
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    num_classes, size = len(model.classes), batch_size

    def step():
        k = torch.randint(len(counts), (size,))
        rows = order[starts[k] + (torch.rand(size) * counts[k]).long()]
        x_0 = images[rows].float().contiguous(memory_format=torch.channels_last)
        x_0 = x_0 / 127.5 - 1
        label = torch.where(torch.rand(size) < 0.1, num_classes, labels[rows])
        t = torch.randint(1, len(alpha), (size,))
        a, s = alpha[t][:, None, None, None], sigma[t][:, None, None, None]
        eps = torch.randn_like(x_0)
        with cast(dtype):
            output = network(a * x_0 + s * eps, log_snr[t], label)
        loss = F.mse_loss(output.float(), a * eps - s * x_0)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(network)
        wait()
        return loss

    return step

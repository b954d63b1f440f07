"""Digits on house walls: colour images made from fonts and photographs, where handwritten digits are too easy."""

from functools import cache

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn.functional import affine_grid, grid_sample

# Files that come with matplotlib, so that a machine's own fonts don't matter.
FONTS = "DejaVuSans DejaVuSans-Bold DejaVuSansMono DejaVuSerif DejaVuSerif-Bold STIXGeneral STIXGeneralBol cmss10"


def street_digits(count: int, seed: int = 0, photograph: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Make images of a digit between two others, in random colours and light, over a piece of a photograph.

    Another photograph is another domain: other colours and textures behind the same digits.

    Shapes:
        - result: images ``(count, 3, 32, 32)``, from 0 to 1, and the digits in their middle ``(count,)``

    Args:
        count: How many, at least 1.
        seed: Another seed makes others; the same makes the same, and no global random state is touched.
        photograph: 0 (a temple) or 1 (a flower), as bundled with scikit-learn.

    Raises:
        ValueError: If ``count`` is not positive or there is no such photograph.

    Source:
        Ours, after the idea of street-view house numbers; fonts of matplotlib, photographs of scikit-learn.

    Example:
        >>> x, y = street_digits(3)
        >>> x.shape, y.tolist()
        (torch.Size([3, 3, 32, 32]), [3, 3, 1])
    """
    if count < 1 or photograph not in (0, 1):
        raise ValueError(f"count must be at least 1, photograph 0 or 1, but got {count} and {photograph}")
    draw = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=draw)

    font = torch.randint(len(_glyphs()), (count, 1), generator=draw)
    digits = torch.randint(10, (count, 3), generator=draw)
    row = torch.cat(_glyphs()[font, digits].unbind(1), dim=2)[:, None]  # three digits beside each other
    angle = uniform(-0.26, 0.26)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).unflatten(1, (2, 2))
    turn = turn * uniform(0.8, 1.2, 1, 1) * torch.tensor([[17 / 39], [17 / 24]])  # 34 pixels, in a row of 78 by 48
    place = torch.cat([turn, uniform(-0.1, 0.1, 2, 1)], 2)
    mask = grid_sample(row, affine_grid(place, [count, 1, 32, 32], align_corners=False), align_corners=False)
    wall = _pieces(_photograph(photograph), draw, count) * uniform(0.5, 1, 1, 1, 1)
    lighter = torch.where(wall.mean((1, 2, 3), keepdim=True) < uniform(0.2, 0.6, 1, 1, 1), 1.0, -1.0)
    colour = wall.mean((2, 3), keepdim=True) + lighter * uniform(0.2, 0.6, 1, 1, 1) + uniform(-0.2, 0.2, 3, 1, 1)
    return (wall + mask * (colour.clamp(0, 1) - wall)) * uniform(0.6, 1, 1, 1, 1), digits[:, 1]


def _pieces(picture: torch.Tensor, draw: torch.Generator, count: int) -> torch.Tensor:
    """Random pieces of 32 by 32 pixels."""
    rows, columns = (torch.randint(n - 31, (count, 1), generator=draw) + torch.arange(32) for n in picture.shape[1:])
    return picture[:, rows[:, :, None], columns[:, None, :]].movedim(1, 0)


@cache
def _glyphs() -> torch.Tensor:
    """Every digit in every font: (fonts, 10, 48, 26)."""
    drawn = []
    for name in FONTS.split():
        font = ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/{name}.ttf", 36)
        for digit in range(10):
            drawn.append(Image.new("L", (26, 48)))
            ImageDraw.Draw(drawn[-1]).text((13, 24), str(digit), 255, font, anchor="mm")
    return torch.tensor(np.stack(drawn) / 255, dtype=torch.float32).unflatten(0, (-1, 10))


@cache
def _photograph(index: int) -> torch.Tensor:
    from sklearn.datasets import load_sample_images

    return torch.tensor(load_sample_images().images[index] / 255, dtype=torch.float32).movedim(-1, 0)

"""Chapter 6's interactive figure: change one image's light, and see which outputs notice."""

import numpy as np
import traitlets

from companion.figures.base import Checked, InteractiveFigure, array, description, eps_trait, real, require_index, whole

# A disc, a bar and a cross in lights of their own: (image, channel, row, column).
_SHAPES = np.array(
    [
        [[0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0]],
        [[0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 1, 0]],
        [[1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]],
    ]
)
_LIGHTS = np.array([[0.8, 0.8, 0.8], [0.9, 0.7, 0.5], [0.5, 0.7, 0.9]])


class Contrast(InteractiveFigure):
    """A batch of small colour images: change the light of one, and see whose output moves in which scheme.

    The chosen image is x → a (1 ± t) x + b (plus in red, minus in blue, neither in green) before batch, layer and
    instance norm, each of which takes a mean and a standard deviation from the images, and nothing else.

    Args:
        images: Shape ``(N, 3, height, width)``, at least two; 0 is black and 1 is full light.
        chosen: Number of the image that changes, from 0.
        contrast, brightness, tint: The gain a, the offset b, and t, which shifts the colour from blue to red.
        eps: ε, which keeps the division finite where all values are equal.

    Raises:
        ValueError: If a value breaks its rule.

    Numerics:
        Float64. ε makes outputs depend a little on a very low contrast, as in torch.

    Source:
        UDL figure 11.14; Ulyanov et al. (2016). First in chapter 6.

    Example:
        >>> Contrast(contrast=2)
        Contrast(contrast=2.0)
        >>> Contrast(chosen=3)
        Traceback (most recent call last):
        ...
        ValueError: chosen must be less than the number of images, but got chosen=3 for 3 images; count from 0
    """

    alt = description(
        "Interactive figure: a batch of small colour images, and what batch, layer and instance norm make of it. "
        "Changing one image's contrast or brightness moves all outputs of batch norm and none of the others; "
        "changing its tint moves its output of layer norm too, and still none of instance norm."
    )
    images = Checked(
        _SHAPES[:, None] * _LIGHTS[:, :, None, None] + 0.1,
        array(4, lambda count, colours, height, width: count >= 2 and colours == 3 and height * width >= 2),
        "finite numbers of shape (N, 3, height, width), at least 2 images",
        "repeat a grey image's channel three times",
    )
    chosen = whole(0, low=0, fix="count the images from 0")
    contrast = real(1.0, low=0, fix="1 leaves the image as it is")
    brightness = real(0.0, fix="0 leaves the image as it is")
    tint = real(0.0, low=-1, high=1, fix="0 leaves the image as it is")
    eps = eps_trait()

    @traitlets.validate("chosen")
    def _there(self, proposal) -> int:
        require_index("chosen", proposal["value"], len(self.images), "images")
        return proposal["value"]

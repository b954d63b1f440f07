"""Checks for the exercises of chapter 6, instance norm."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from companion.checks.comparing import expect, expect_call, name_of, observe_or_fail, random_channels
from companion.checks.observing import call_on_copies, kind_of
from companion.checks.showing import check
from companion.norms import InstanceNorm, LayerNorm


@check(
    right="Each channel has the mean and the deviation that it has in the style.",
    also=[{"examples": 3, "channels": 2, "sizes": ((4, 6), (5, 3)), "eps": 0.03, "seed": 5}],
)
def check_adopt(
    answer: Callable,
    examples: int = 2,
    channels: int = 3,
    sizes: tuple[tuple[int, int], ...] = ((4, 5), (3, 6)),
    eps: float = 0.1,  # so large that it shows where it was put
    seed: int = 0,
) -> None:
    """Check that ``answer(x, style, eps)`` gives each channel of ``x`` the mean and deviation of ``style``."""
    x, style = (random_channels(examples, channels, *size, seed=seed + step) for step, size in enumerate(sizes))
    area, n, k = (2, 3), x[0, 0].numel(), style[0, 0].numel()
    mean, new_mean = x.mean(area, keepdim=True), style.mean(area, keepdim=True)
    var, new_var = (h.var(area, correction=0, keepdim=True) for h in (x, style))
    hat, new_std = (x - mean) / (var + eps).sqrt(), new_var.sqrt()
    of_image, of_batch = (_adopt(*_moments(x, style, axes), x, eps) for axes in ((1, 2, 3), (0, 2, 3)))
    other_way = _adopt(new_mean, mean, new_var, var, style, eps)
    unbiased = _adopt(mean, new_mean, var * n / (n - 1), new_var * k / (k - 1), x, eps)
    unbiased_style = hat * (new_var * k / (k - 1)).sqrt() + new_mean
    eps_twice = hat * (new_var + eps).sqrt() + new_mean
    eps_outside = (x - mean) / (var.sqrt() + eps) * new_std + new_mean
    mistakes = {
        "You gave `style` the look of `x`; it goes the other way round.": other_way,
        "Each channel has a mean and a deviation of its own; yours share one over the whole image.": of_image,
        "Each image follows its own style; you averaged over the batch.": of_batch,
        "Variances here are divided by the number of positions: correction=0.": unbiased,
        "Of x the variance is right; that of the style is divided by the number of positions, too: correction=0.": unbiased_style,
        "eps belongs to the variance of x alone; you added it to that of the style, too.": eps_twice,
        "eps is added to the variance of x, inside the square root.": eps_outside,
        "eps is missing: add it to the variance of x.": (x - mean) / var.sqrt() * new_std + new_mean,
        "The new scale is the style's standard deviation, not its variance.": hat * new_var + new_mean,
        "The style's mean is still to be added.": hat * new_std,
        "The style's deviation is still to be multiplied in.": hat + new_mean,
        "Multiply first, then add the mean: as scale and offset do.": (hat + new_mean) * new_std,
        "The mean of x is still in it: subtract it before you divide.": x / (var + eps).sqrt() * new_std + new_mean,
    }
    expect_call(answer, (x, style, eps), hat * new_std + new_mean, mistakes)


def _moments(x: Tensor, style: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, ...]:
    means = (h.mean(axes, keepdim=True) for h in (x, style))
    return (*means, *(h.var(axes, correction=0, keepdim=True) for h in (x, style)))


def _adopt(mean: Tensor, new_mean: Tensor, var: Tensor, new_var: Tensor, x: Tensor, eps: float) -> Tensor:
    return (x - mean) / (var + eps).sqrt() * new_var.sqrt() + new_mean


@check(right="With eps 0.02, nine tenths of a contrast come out from 0.292 upward.")
def check_faintest(answer: Callable, cases: tuple[tuple[float, float], ...] = ((0.9, 0.02), (0.6, 0.05))) -> None:
    """Check that ``answer(share, eps)`` predicts the faintest contrast of which instance norm lets a share through."""
    for share, eps in cases:
        squares, beside_s = (share * eps / (1 - share)) ** 0.5, share * eps / (1 - share)
        outside, lost = share * eps**0.5 / (1 - share), (eps * (1 - share**2)) ** 0.5 / share
        mistakes = {
            "What comes out is s / sqrt(s² + eps). You left the root out: s² / (s² + eps).": squares,
            "eps stands beside s², not beside s: solve share² (s² + eps) = s², and take the root at the end.": beside_s,
            "eps stands inside the root, beside s²; you solved s / (s + sqrt(eps)) = share.": outside,
            "sqrt(eps) is where the contrast falls to about 0.7, whatever the share.": eps**0.5,
            "That is s²: take the root at the end.": share**2 * eps / (1 - share**2),
            "s stands inside the root, too: solve s = share * sqrt(s² + eps) for s.": share * eps**0.5,
            "That is the share which is lost: s must be larger, the larger the share that is to come out.": lost,
        }
        got, want = observe_or_fail(call_on_copies, answer, share, eps), _faintest(share, eps)
        expect(f"share {share}, eps {eps}", got, want, mistakes, tolerance=1e-6)


def _faintest(share: float, eps: float) -> float:
    """Find, by halving, the least contrast of which torch's instance norm lets a share through."""
    signal = torch.tensor([[[1.0, -1.0, 1.0, -1.0]]], dtype=torch.float64)
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        enough = F.instance_norm(middle * signal, eps=eps).std(correction=0) >= share
        low, high = (low, middle) if enough else (middle, high)
    return high


HANDS_ON_GAIN = (
    "A convolution without a bias hands a gain on, the same for all channels, and layer norm divides it out."
)
BIAS_STAYS = "A gain on h is none on h + c: the bias stays as it was, and layer norm's one mean can't take it all off."
ANOTHER_CONSTANT = "A convolution makes of the offset another constant in each channel"
STILL_CONSTANT = (
    "Layer norm takes off one number and divides by one number: what was a constant in each channel still is one, "
    "and the instance norm after it takes it off."
)
# Layers and a change: what one must have seen to tell whether the output moves.
SENTENCES = {
    ("conv relu", "gain"): "Without a norm nothing is forgotten.",
    ("conv layer", "gain"): HANDS_ON_GAIN,
    ("conv instance", "gain"): "Instance norm divides a gain out, like layer norm.",
    ("conv bias layer", "gain"): BIAS_STAYS,
    ("conv bias instance", "gain"): "A bias is a constant in each channel: instance norm takes it off with the mean.",
    ("conv relu layer", "gain"): "A ReLU hands a gain on: relu(3 h) = 3 relu(h).",
    ("layer", "offset"): "One constant for all channels is part of layer norm's mean.",
    ("conv layer", "offset"): ANOTHER_CONSTANT + ": layer norm's one mean can't take all off.",
    ("conv instance", "offset"): ANOTHER_CONSTANT + ". Instance norm takes each off.",
    ("relu instance", "offset"): "A ReLU does not hand an offset on: what it cut off before, it may not cut off now.",
    ("instance conv bias layer", "gain"): "What has been forgotten once does not come back.",
    ("conv layer instance", "offset"): STILL_CONSTANT,
}


@check(right="It tells for 12 networks and changes what is forgotten.")
def check_forgets(answer: Callable, more: tuple[str, ...] = ()) -> None:
    """Check that ``answer(layers, change)`` says whether the output stays.

    Args:
        answer: A function of a list of layers' names and of ``"gain"`` or ``"offset"``, to True or False.
        more: Layers' names, with spaces between, to ask about both changes besides the usual ones.
    """
    cases = SENTENCES | {
        (names, change): "Go layer by layer: what has become of the change after each?"
        for names in more
        for change in ("gain", "offset")
    }
    for (names, change), sentence in cases.items():
        layers = names.split()
        want = _stays(layers, change)
        got = observe_or_fail(_forgets, answer, layers, change)
        expect(f"{layers}, {change}", got, want, {sentence: not want})


def _forgets(answer: Callable, layers: list[str], change: str) -> bool:
    return answer(list(layers), change)


class _Bias(nn.Module):
    """Another constant for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.randn(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias[:, None]


def _stays(layers: list[str], change: str, channels: int = 4) -> bool:
    """Decide whether the output of a random network of these layers is blind to a change of its input."""
    make = {
        "conv": lambda: nn.Conv1d(channels, channels, 3, padding=1, padding_mode="circular", bias=False),
        "bias": lambda: _Bias(channels),
        "relu": nn.ReLU,
        "layer": lambda: LayerNorm(channels, eps=0.0),
        "instance": lambda: InstanceNorm(channels, eps=0.0),
    }
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        while True:
            network = nn.Sequential(*(make[name]() for name in layers)).double()
            x = torch.randn(3, channels, 32, dtype=torch.float64)
            plain, moved = network(x), network(3 * x if change == "gain" else x + 1)
            # A ReLU may silence a channel, which then has no spread to divide by: draw again.
            if plain.isfinite().all() and moved.isfinite().all() and plain.abs().max() > 0.1:
                return bool((plain - moved).abs().max() < 1e-9)


@check(right="It is the same function in both modes, with all its gradients, and refuses a single position.")
def check_repaired(answer: Callable, channels: int = 4, seed: int = 0) -> None:
    """Check that ``answer(channels)`` is torch's instance norm with scale and offset, strict about positions."""
    name = name_of(answer)
    for shape in ((3, channels, 5, 2), (2, channels, 6), (3, channels, 2, 4, 3)):
        outputs = {
            "in training": "Each channel of each example has mean and variance over its positions, divided by their "
            "number; scale and offset belong to a channel.",
            "in evaluation": "In evaluation it is another function than in training. Instance norm has no running "
            "statistics: it forgets the contrast of a new image only with that image's own.",
        }
        for mode, sentence in outputs.items():
            got, want = (observe_or_fail(run, make, list(shape), mode, seed) for make in (answer, _instance_norm))
            expect(f"{name}, x of shape {shape}, {mode}", got, want, {sentence: got})
        got, want = (observe_or_fail(run, make, list(shape), "backward", seed) for make in (answer, _instance_norm))
        constant = {"Mean and variance depend on x: both belong to the graph, so compute neither under no_grad.": got}
        expect(f"{name}, x of shape {shape}, gradients", got, want, constant)
    strict = {
        (3, channels): "It must raise a ValueError for features without positions, (N, C). Yours gives an answer, "
        "since a mean over no axis at all is torch's mean over everything.",
        (3, channels, 1): "It must raise a ValueError for a single position: one value has no spread.",
        (1, channels, 1, 1): "It must raise a ValueError for a single position, of images too.",
    }
    for shape, sentence in strict.items():
        for training in (True, False):
            if observe_or_fail(refuses, answer, list(shape), training) != "ValueError":
                mode = "" if training else ", in evaluation"
                raise AssertionError(f"{name}, x of shape {shape}{mode}: {sentence}")


def _instance_norm(channels: int) -> nn.Module:
    return InstanceNorm(channels)


def run(make_layer: Callable[[int], nn.Module], shape: list[int], mode: str, seed: int) -> list[Tensor]:
    """Return what a layer gives for data of a shape, in a mode, after it has trained on other data."""
    channels = shape[1]
    layer = make_layer(channels).double()
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(0.5, 2, channels))
        layer.bias.copy_(torch.linspace(-1, 3, channels))
    x = random_channels(*shape, seed=seed + 1)
    if mode == "in evaluation":
        for step in range(3):
            layer.train()(random_channels(*shape, seed=seed + 2 + step, offset=4.0))
        layer.eval()
    if mode == "backward":
        x.requires_grad_()
    y = layer(x)
    if not isinstance(y, Tensor) or y.shape != x.shape:
        given = f"shape {tuple(y.shape)}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
        raise ValueError(f"for x of shape {tuple(shape)} it gave {given}")
    if mode != "backward":
        return [y]
    weights = random_channels(*shape, seed=seed + 9)
    return list(torch.autograd.grad(y, (x, layer.weight, layer.bias), weights))


def refuses(make_layer: Callable[[int], nn.Module], shape: list[int], training: bool) -> str:
    """Return the name of the error that a layer raises for data of a shape."""
    layer = make_layer(shape[1]).double().train(training)
    try:
        layer(random_channels(*shape))
    except Exception as error:
        return kind_of(error)
    return "none"

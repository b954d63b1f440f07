"""One call at the top of a notebook: seed, device, one thread, figure style."""

import os

import torch

from companion.show.plot import use_style


def get_device() -> torch.device:
    """Return the device that experiments run on: ``COMPANION_DEVICE``, or a GPU if there is one.

    Returns:
        ``torch.device("cpu")`` or ``torch.device("cuda")``.

    Raises:
        ValueError: If ``COMPANION_DEVICE`` is neither ``cpu`` nor ``cuda``.
        RuntimeError: If it asks for a GPU that torch does not see.

    Example:
        >>> os.environ["COMPANION_DEVICE"] = "cpu"
        >>> get_device()
        device(type='cpu')
    """
    wanted = os.environ.get("COMPANION_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    if wanted not in ("cpu", "cuda"):
        raise ValueError(
            f"COMPANION_DEVICE must be 'cpu' or 'cuda', but got {wanted!r}. Unset it to use a GPU if there is one."
        )
    if wanted == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("COMPANION_DEVICE=cuda, but torch sees no GPU here. Set COMPANION_DEVICE=cpu.")
    return torch.device(wanted)


def start_session(seed: int = 0) -> torch.device:
    """Make a notebook repeatable: seed torch, use one thread, set the house style of figures.

    Args:
        seed: Seed of torch's global generator. Training and data have seeds of their own.

    Returns:
        The device that experiments run on (see :func:`get_device`).
    """
    # Networks as small as ours lose more to the hand-over between threads than they win: up to a factor of 20.
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    use_style()
    return get_device()

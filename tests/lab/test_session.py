"""A session is repeatable, and says clearly which device it cannot have."""

import matplotlib as mpl
import pytest
import torch

from companion.lab import get_device, start_session


def test_a_session_repeats_torchs_random_numbers(monkeypatch):
    monkeypatch.setenv("COMPANION_DEVICE", "cpu")
    start_session(3)
    first = torch.randn(4)
    start_session(3)
    assert torch.equal(first, torch.randn(4))
    start_session(4)
    assert not torch.equal(first, torch.randn(4))


def test_a_session_uses_one_thread_and_the_house_style(monkeypatch):
    monkeypatch.setenv("COMPANION_DEVICE", "cpu")
    with mpl.rc_context():
        start_session()
        assert torch.get_num_threads() == 1
        assert not mpl.rcParams["axes.spines.top"]


def test_the_device_is_a_gpu_only_where_there_is_one(monkeypatch):
    monkeypatch.delenv("COMPANION_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert get_device().type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert get_device().type == "cuda"
    monkeypatch.setenv("COMPANION_DEVICE", "cpu")
    assert get_device().type == "cpu"


def test_an_unknown_device_is_named(monkeypatch):
    monkeypatch.setenv("COMPANION_DEVICE", "tpu")
    with pytest.raises(ValueError, match="must be 'cpu' or 'cuda', but got 'tpu'"):
        get_device()


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setenv("COMPANION_DEVICE", "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="no GPU here. Set COMPANION_DEVICE=cpu"):
        get_device()

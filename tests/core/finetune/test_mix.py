from __future__ import annotations

import pytest
import torch

from sosp_core.finetune.mix import mix

IMAGES = torch.arange(6 * 3 * 10 * 14, dtype=torch.float32).reshape(6, 3, 10, 14)


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("seed", range(8))
def test_mixup_is_the_weighted_mean_of_two_images(seed: int) -> None:
    mixed, mixture = mix(IMAGES, frozenset({"mixup", "shift"}), generator(seed))
    expected = mixture.share * IMAGES + (1 - mixture.share) * IMAGES[mixture.partner]
    assert torch.allclose(mixed, expected)
    assert 0 <= mixture.share <= 1


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_takes_whole_pixels_of_the_partner_and_says_how_many(seed: int) -> None:
    mixed, mixture = mix(IMAGES, frozenset({"cutmix"}), generator(seed))
    own, other = mixed == IMAGES, mixed == IMAGES[mixture.partner]
    assert (own | other).all()
    for image in range(len(IMAGES)):
        if mixture.partner[image] != image:
            assert float(own[image].float().mean()) == pytest.approx(mixture.share)


def test_a_mixture_depends_on_the_seed_only_and_leaves_its_input_alone() -> None:
    before = IMAGES.clone()
    one, again = (mix(IMAGES, frozenset({"mixup", "cutmix"}), generator())[0] for _ in range(2))
    assert torch.equal(one, again)
    assert torch.equal(before, IMAGES)


def test_both_names_get_their_turn() -> None:
    names, drawn, source = frozenset({"mixup", "cutmix"}), set(), generator()
    for _ in range(30):
        mixed, mixture = mix(IMAGES, names, source)
        drawn.add(bool(((mixed == IMAGES) | (mixed == IMAGES[mixture.partner])).all()))
    assert drawn == {True, False}

import numpy as np
import torch

from lossbook.segmentation.boundary import boundary_loss, signed_distance_map
from tests.mutants import Mutants

MUTANTS = Mutants()


def distances(mask):
    """Distance of every pixel to the nearest one in the mask, of one 2-D array."""
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(~mask)


def each_mask(change):
    """Make a map of what `change` makes of one 2-D mask that has a boundary."""

    def maps(masks):
        found = np.zeros(masks.shape, np.float32)
        for at in np.ndindex(masks.shape[:2]):
            mask = masks[at].numpy()
            if mask.any() and not mask.all():
                found[at] = change(mask)
        return torch.from_numpy(found)

    return maps


def gaps(mask):
    """Steps along the columns to the nearest pixel of the other kind, a thousand without one."""
    near = np.full(mask.shape, 1e3)
    for y, x in np.ndindex(mask.shape):
        others = np.flatnonzero(mask[:, x] != mask[y, x])
        near[y, x] = np.abs(others - y).min(initial=1e3)
    return near


def signed(mask, outside, inside):
    return np.where(mask, 1 - inside, outside)


@MUTANTS.of("boundary_loss", "the sum, not the mean", killed_by="value")
def _(probabilities, distance_maps):
    return (probabilities * distance_maps).unsqueeze(-1).flatten(2).sum(2)


@MUTANTS.of("boundary_loss", "positive when right", killed_by="value")
def _(probabilities, distance_maps):
    return -boundary_loss(probabilities, distance_maps)


@MUTANTS.of("boundary_loss", "distances without their sign", killed_by="value")
def _(probabilities, distance_maps):
    return boundary_loss(probabilities, distance_maps.abs())


@MUTANTS.of("boundary_loss", "floored at 0", killed_by="value")
def _(probabilities, distance_maps):
    return boundary_loss(probabilities, distance_maps).clamp_min(0)


@MUTANTS.of("boundary_loss", "only the outside counts", killed_by="value")
def _(probabilities, distance_maps):
    return boundary_loss(probabilities, distance_maps.clamp_min(0))


@MUTANTS.of("boundary_loss", "already averaged over the classes", killed_by="value")
def _(probabilities, distance_maps):
    return boundary_loss(probabilities, distance_maps).mean(1)


@MUTANTS.of("boundary_loss", "class 0 left out as background", killed_by="value")
def _(probabilities, distance_maps):
    return boundary_loss(probabilities, distance_maps)[:, 1:]


@MUTANTS.of("boundary_loss", "a mean over what is predicted", killed_by="value")
def _(probabilities, distance_maps):
    p, d = (x.unsqueeze(-1).flatten(2) for x in (probabilities, distance_maps))
    return (p * d).sum(2) / p.sum(2).clamp_min(1e-8)


@MUTANTS.of("boundary_loss", "masks cut at 1/2", killed_by="value")
def _(probabilities, distance_maps):
    hard = (probabilities > 0.5).to(probabilities) + 0 * probabilities
    return boundary_loss(hard, distance_maps)


@MUTANTS.of("boundary_loss", "distances over the longest of them", killed_by="value")
def _(probabilities, distance_maps):
    longest = distance_maps.abs().max().clamp_min(1)
    return boundary_loss(probabilities, distance_maps / longest)


@MUTANTS.of("boundary_loss", "no gradient at all", killed_by="gradient")
def _(probabilities, distance_maps):
    return boundary_loss(probabilities.detach(), distance_maps)


@MUTANTS.of("boundary_loss", "one map broadcast to all classes", killed_by="errors")
def _(probabilities, distance_maps):
    if distance_maps.dim() != probabilities.dim() or probabilities.dim() < 2:
        return boundary_loss(probabilities, distance_maps)
    return boundary_loss(probabilities, distance_maps.expand_as(probabilities))


@MUTANTS.of("boundary_loss", "a sum in half", killed_by="test_half_precision_at_1024_by_1024")
def _(probabilities, distance_maps):
    losses = (probabilities * distance_maps.to(probabilities)).flatten(2).sum(2)
    return losses / probabilities[0, 0].numel()


@MUTANTS.of("signed_distance_map", "the rim at -1: no pixel has 0", killed_by="value")
@each_mask
def _(mask):
    return signed(mask, distances(mask), distances(~mask) + 1)


@MUTANTS.of("signed_distance_map", "negative outside", killed_by="value")
def _(masks):
    return -signed_distance_map(masks)


@MUTANTS.of("signed_distance_map", "the inside for the outside", killed_by="value")
def _(masks):
    return signed_distance_map(~masks)


@MUTANTS.of("signed_distance_map", "0 inside", killed_by="value")
def _(masks):
    return signed_distance_map(masks).clamp_min(0)


@MUTANTS.of("signed_distance_map", "squares without the root", killed_by="value")
@each_mask
def _(mask):
    return signed(mask, distances(mask) ** 2, distances(~mask) ** 2)


@MUTANTS.of("signed_distance_map", "blocks walked, not crossed", killed_by="value")
@each_mask
def _(mask):
    from scipy.ndimage import distance_transform_cdt

    walks = [distance_transform_cdt(x, "taxicab") for x in (~mask, mask)]
    return signed(mask, *walks)


@MUTANTS.of("signed_distance_map", "steps of a king", killed_by="value")
@each_mask
def _(mask):
    from scipy.ndimage import distance_transform_cdt

    walks = [distance_transform_cdt(x, "chessboard") for x in (~mask, mask)]
    return signed(mask, *walks)


@MUTANTS.of("signed_distance_map", "along its row or its column only", killed_by="value")
@each_mask
def _(mask):
    return signed(mask, *[np.minimum(gaps(mask), gaps(mask.T).T)] * 2)


@MUTANTS.of("signed_distance_map", "all masks of an image as one volume", killed_by="value")
def _(masks):
    found = torch.zeros(masks.shape)
    for image, volume in zip(found, masks.numpy(), strict=True):
        if volume.any() and not volume.all():
            image[...] = torch.from_numpy(signed(volume, distances(volume), distances(~volume)))
    return found


@MUTANTS.of("signed_distance_map", "an empty mask far from everything", killed_by="value")
def _(masks):
    empty = ~masks.any(3, keepdim=True).any(2, keepdim=True)
    return signed_distance_map(masks).masked_fill(empty, 1e3)


@MUTANTS.of("signed_distance_map", "a full mask that ends at the image's rim", killed_by="value")
@each_mask
def _(mask):
    return signed(mask, distances(mask), distances(~np.pad(mask, 1))[1:-1, 1:-1])


@MUTANTS.of("signed_distance_map", "scaled to at most 1", killed_by="value")
def _(masks):
    maps = signed_distance_map(masks)
    return maps / maps.abs().amax((2, 3), keepdim=True).clamp_min(1)


@MUTANTS.of("signed_distance_map", "rounded to whole pixels", killed_by="value")
def _(masks):
    return signed_distance_map(masks).round()


@MUTANTS.of("signed_distance_map", "only the first class", killed_by="value")
def _(masks):
    return signed_distance_map(masks[:, :1]).expand(masks.shape)


@MUTANTS.of("signed_distance_map", "the pixels of its own row forgotten", killed_by="value")
@each_mask
def _(mask):
    places = np.arange(mask.shape[1])
    squares = gaps(mask)[:, None] ** 2 + (places - places[:, None]) ** 2
    return signed(mask, *[np.sqrt(squares.min(2))] * 2)


@MUTANTS.of("signed_distance_map", "float64 from SciPy", killed_by="float32")
def _(masks):
    return signed_distance_map(masks).double()


@MUTANTS.of("signed_distance_map", "numbers taken for masks", killed_by="errors")
def _(masks):
    return signed_distance_map(masks > 0)


@MUTANTS.of("signed_distance_map", "masks without a class taken for images", killed_by="errors")
def _(masks):
    return signed_distance_map(masks[None] if masks.dim() == 3 else masks)


@MUTANTS.of(
    "signed_distance_map",
    "every pixel against every other",
    killed_by="test_memory_grows_with_the_image_not_with_its_square",
)
def _(masks):
    height, width = masks.shape[2:]
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width)).float()
    apart = torch.cdist(places, places)
    flat = masks.flatten(2)
    other = flat.unsqueeze(-1) != flat.unsqueeze(-2)
    near = apart.where(other, torch.inf).amin(-1).view(masks.shape)
    return torch.where(masks, 1 - near, near).where(near < torch.inf, 0)


@MUTANTS.of("signed_distance_map", "a look for empty masks", killed_by="vmap")
def _(masks):
    if not masks.any():
        return torch.zeros(masks.shape)
    return signed_distance_map(masks)

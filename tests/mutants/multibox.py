import torch
from torch.nn import functional as F

from lossbook.detection.multibox import decode_boxes, encode_boxes, match_priors, multibox_loss
from tests.mutants import Mutants

MUTANTS = Mutants()


def parts(box_offsets, logits, target_offsets, labels):
    """Cross entropies, positives, their number, and what the offsets cost each prior."""
    costs = F.cross_entropy(logits.mT, labels, reduction="none")
    smooth = F.smooth_l1_loss(box_offsets, target_offsets, reduction="none").sum(2)
    positive = labels > 0
    return costs, positive, positive.sum(1), smooth


def ranks(hardness):
    return hardness.detach().argsort(1, descending=True).argsort(1)


def total(costs, kept, smooth, positive, counts, alpha):
    confidence = costs.where(kept, 0).sum(1)
    return (confidence + alpha * smooth.where(positive, 0).sum(1)) / counts.clamp_min(1)


def mined(inputs, alpha, hardness, quota):
    """The loss, with other negatives."""
    costs, positive, counts, smooth = parts(*inputs)
    hard = ranks(hardness(costs, positive)) < quota(counts)[:, None]
    return total(costs, positive | hard & ~positive, smooth, positive, counts, alpha)


def negatives(costs, positive):
    return costs.masked_fill(positive, -1)


@MUTANTS.of("multibox_loss", "negatives ranked by the score of an object", killed_by="value")
def _(box_offsets, logits, target_offsets, labels, *, alpha=1.0, negative_ratio=3.0):
    def hardness(_, positive):
        return logits[..., 1:].amax(2).masked_fill(positive, -torch.inf)

    inputs = box_offsets, logits, target_offsets, labels
    return mined(inputs, alpha, hardness, lambda n: negative_ratio * n)


@MUTANTS.of("multibox_loss", "objects ranked among the negatives", killed_by="value")
def _(box_offsets, logits, target_offsets, labels, *, alpha=1.0, negative_ratio=3.0):
    inputs = box_offsets, logits, target_offsets, labels
    return mined(inputs, alpha, lambda costs, _: costs, lambda n: negative_ratio * n)


@MUTANTS.of("multibox_loss", "the easiest negatives", killed_by="value")
def _(box_offsets, logits, target_offsets, labels, *, alpha=1.0, negative_ratio=3.0):
    def hardness(costs, positive):
        return (-costs).masked_fill(positive, -torch.inf)

    inputs = box_offsets, logits, target_offsets, labels
    return mined(inputs, alpha, hardness, lambda n: negative_ratio * n)


@MUTANTS.of("multibox_loss", "the order taken for the ranks", killed_by="value")
def _(box_offsets, logits, target_offsets, labels, *, alpha=1.0, negative_ratio=3.0):
    costs, positive, counts, smooth = parts(box_offsets, logits, target_offsets, labels)
    order = negatives(costs, positive).argsort(1, descending=True)
    hard = (order < negative_ratio * counts[:, None]) & ~positive
    return total(costs, positive | hard, smooth, positive, counts, alpha)


@MUTANTS.of("multibox_loss", "every negative", killed_by="value")
def _(box_offsets, logits, target_offsets, labels, *, alpha=1.0, negative_ratio=3.0):
    inputs = box_offsets, logits, target_offsets, labels
    return mined(inputs, alpha, negatives, lambda n: (n > 0) * negative_ratio * 1e9)


@MUTANTS.of("multibox_loss", "one negative too many", killed_by="value")
def _(box_offsets, logits, target_offsets, labels, *, alpha=1.0, negative_ratio=3.0):
    inputs = box_offsets, logits, target_offsets, labels
    return mined(inputs, alpha, negatives, lambda n: (n > 0) * (negative_ratio * n + 1))


@MUTANTS.of("multibox_loss", "half a negative rounded up", killed_by="value")
def _(box_offsets, logits, target_offsets, labels, *, alpha=1.0, negative_ratio=3.0):
    inputs = box_offsets, logits, target_offsets, labels
    return mined(inputs, alpha, negatives, lambda n: (negative_ratio * n).ceil())


@MUTANTS.of("multibox_loss", "negatives of an image without objects", killed_by="value")
def _(box_offsets, logits, target_offsets, labels, *, alpha=1.0, negative_ratio=3.0):
    inputs = box_offsets, logits, target_offsets, labels
    return mined(inputs, alpha, negatives, lambda n: negative_ratio * n.clamp_min(1))


@MUTANTS.of("multibox_loss", "negatives shared by the batch", killed_by="value")
def _(box_offsets, logits, target_offsets, labels, *, alpha=1.0, negative_ratio=3.0):
    costs, positive, counts, smooth = parts(box_offsets, logits, target_offsets, labels)
    order = ranks(negatives(costs, positive).reshape(1, -1)).reshape(positive.shape)
    hard = (order < negative_ratio * counts.sum()) & ~positive
    return total(costs, positive | hard, smooth, positive, counts, alpha)


@MUTANTS.of("multibox_loss", "0/0 without an object", killed_by="value")
def _(box_offsets, logits, target_offsets, labels, *, alpha=1.0, negative_ratio=3.0):
    inputs = box_offsets, logits, target_offsets, labels
    losses = multibox_loss(*inputs, alpha=alpha, negative_ratio=negative_ratio)
    counts = (labels > 0).sum(1)
    return losses * counts / counts


@MUTANTS.of("multibox_loss", "divided by the objects of the batch", killed_by="value")
def _(box_offsets, logits, target_offsets, labels, *, alpha=1.0, negative_ratio=3.0):
    inputs = box_offsets, logits, target_offsets, labels
    losses = multibox_loss(*inputs, alpha=alpha, negative_ratio=negative_ratio)
    counts = (labels > 0).sum(1)
    return losses * counts / counts.sum().clamp_min(1)


@MUTANTS.of("multibox_loss", "divided by the priors that are kept", killed_by="value")
def _(box_offsets, logits, target_offsets, labels, *, alpha=1.0, negative_ratio=3.0):
    inputs = box_offsets, logits, target_offsets, labels
    losses = multibox_loss(*inputs, alpha=alpha, negative_ratio=negative_ratio)
    return losses / (1 + negative_ratio)


@MUTANTS.of("multibox_loss", "offsets of the background count", killed_by="value")
def _(box_offsets, logits, target_offsets, labels, *, alpha=1.0, negative_ratio=3.0):
    inputs = box_offsets, logits, target_offsets, labels
    _, positive, counts, smooth = parts(*inputs)
    rest = smooth.where(~positive & (counts > 0)[:, None], 0).sum(1) / counts.clamp_min(1)
    return multibox_loss(*inputs, alpha=alpha, negative_ratio=negative_ratio) + alpha * rest


@MUTANTS.of("multibox_loss", "offsets masked by a product", killed_by="invariances")
def _(box_offsets, logits, target_offsets, labels, *, alpha=1.0, negative_ratio=3.0):
    mask = (labels > 0).unsqueeze(2)
    inputs = box_offsets * mask, logits, target_offsets * mask, labels
    costs, positive, counts, smooth = parts(*inputs)
    hard = ranks(negatives(costs, positive)) < (negative_ratio * counts).floor()[:, None]
    total = costs * (positive | hard) + alpha * smooth
    return total.sum(1) / counts.clamp_min(1)


@MUTANTS.of("multibox_loss", "the mean over the four offsets", killed_by="value")
def _(box_offsets, logits, target_offsets, labels, *, alpha=1.0, negative_ratio=3.0):
    inputs = box_offsets, logits, target_offsets, labels
    return multibox_loss(*inputs, alpha=alpha / 4, negative_ratio=negative_ratio)


@MUTANTS.of("multibox_loss", "squares for smooth L1", killed_by="value")
def _(box_offsets, logits, target_offsets, labels, *, alpha=1.0, negative_ratio=3.0):
    inputs = box_offsets, logits, target_offsets, labels
    squares = ((box_offsets - target_offsets) ** 2 / 2).sum(2).where(labels > 0, 0).sum(1)
    confidence = multibox_loss(*inputs, alpha=0.0, negative_ratio=negative_ratio)
    return confidence + alpha * squares / (labels > 0).sum(1).clamp_min(1)


@MUTANTS.of("multibox_loss", "softmax before the loss", killed_by="value")
def _(box_offsets, logits, target_offsets, labels, *, alpha=1.0, negative_ratio=3.0):
    inputs = box_offsets, logits.softmax(2), target_offsets, labels
    return multibox_loss(*inputs, alpha=alpha, negative_ratio=negative_ratio)


@MUTANTS.of("multibox_loss", "the largest logit of all under the exponential", killed_by="value")
def _(box_offsets, logits, target_offsets, labels, *, alpha=1.0, negative_ratio=3.0):
    top = logits.max() if logits.numel() else 0.0
    log_p = logits - top - (logits - top).exp().sum(2, keepdim=True).log()
    costs = -log_p.gather(2, labels.unsqueeze(2)).squeeze(2)
    _, positive, counts, smooth = parts(box_offsets, logits, target_offsets, labels)
    hard = ranks(negatives(costs, positive)) < negative_ratio * counts[:, None]
    return total(costs, positive | hard & ~positive, smooth, positive, counts, alpha)


@MUTANTS.of("multibox_loss", "the last class is the background", killed_by="value")
def _(box_offsets, logits, target_offsets, labels, *, alpha=1.0, negative_ratio=3.0):
    inputs = box_offsets, logits.roll(1, 2), target_offsets, labels
    return multibox_loss(*inputs, alpha=alpha, negative_ratio=negative_ratio)


@MUTANTS.of("multibox_loss", "targets of one image for all", killed_by="errors")
def _(box_offsets, logits, target_offsets, labels, *, alpha=1.0, negative_ratio=3.0):
    inputs = box_offsets, logits, target_offsets.expand(box_offsets.shape), labels
    return multibox_loss(*inputs, alpha=alpha, negative_ratio=negative_ratio)


def corners(priors):
    centers, sizes = priors.chunk(2, 1)
    return torch.cat([centers - sizes / 2, centers + sizes / 2], 1)


def centered(boxes):
    lows, highs = boxes.chunk(2, 1)
    return torch.cat([(lows + highs) / 2, highs - lows], 1)


def overlaps(priors, boxes, extra=0.0, least=0.0):
    """IoU of each prior with each box."""
    x, y = corners(priors)[:, None], boxes[None]
    sizes = torch.minimum(x[..., 2:], y[..., 2:]) - torch.maximum(x[..., :2], y[..., :2]) + extra
    shared = sizes.clamp_min(least).prod(2)
    areas = [(z[..., 2:] - z[..., :2] + extra).prod(2) for z in (x, y)]
    return shared / (areas[0] + areas[1] - shared)


def answer(match, priors, boxes, labels):
    """The result for the box index of each prior, -1 for none."""
    if not len(boxes):
        return torch.zeros_like(priors), labels.new_zeros(len(priors))
    found = match >= 0
    offsets = encode_boxes(boxes[match].to(priors), priors).where(found[:, None], 0)
    return offsets, labels[match].where(found, 0)


def above(found, threshold):
    best, match = found.max(1) if found.shape[1] else (found.sum(1), found.sum(1).long())
    return match.where(best > threshold, -1)


def greedily(found, threshold, order=None, least=0.0):
    """Both steps, on any IoUs; boxes in a given order or by the largest IoU."""
    match, free = above(found, threshold), found.clone()
    for step in range(min(found.shape)):
        column = free[:, order[step]] if order else free.max(1).values
        p = int(column.argmax())
        g = order[step] if order else int(free[p].argmax())
        if free[p, g] > least:
            match[p] = g
        free[p], free[:, g] = least - 1, least - 1
    return match


@MUTANTS.of(
    "match_priors",
    "the threshold alone",
    killed_by="test_an_object_gets_a_prior_below_the_threshold",
)
def _(priors, boxes, labels, *, threshold=0.5):
    return answer(above(overlaps(priors, boxes), threshold), priors, boxes, labels)


@MUTANTS.of(
    "match_priors",
    "of objects with one best prior the last wins",
    killed_by="test_two_objects_with_one_best_prior",
)
def _(priors, boxes, labels, *, threshold=0.5):
    found = overlaps(priors, boxes)
    match = above(found, threshold)
    for g in range(len(boxes)):
        match[found[:, g].argmax()] = g
    return answer(match, priors, boxes, labels)


@MUTANTS.of(
    "match_priors",
    "objects served in their order",
    killed_by="test_two_objects_with_one_best_prior",
)
def _(priors, boxes, labels, *, threshold=0.5):
    found = overlaps(priors, boxes)
    match = greedily(found, threshold, order=list(range(len(boxes))))
    return answer(match, priors, boxes, labels)


@MUTANTS.of(
    "match_priors",
    "the second step takes from the first",
    killed_by="test_an_object_keeps_its_prior_though_another_overlaps_it_more",
)
def _(priors, boxes, labels, *, threshold=0.5):
    found = overlaps(priors, boxes)
    match, late = greedily(found, threshold), above(found, threshold)
    return answer(torch.where(late >= 0, late, match), priors, boxes, labels)


@MUTANTS.of(
    "match_priors",
    "at the threshold, too",
    killed_by="test_the_threshold_is_not_reached_at_equality",
)
def _(priors, boxes, labels, *, threshold=0.5):
    return match_priors(priors, boxes, labels, threshold=max(threshold - 1e-9, 0.0))


@MUTANTS.of(
    "match_priors",
    "a prior for an object that it does not touch",
    killed_by="test_an_object_that_nothing_overlaps_stays_unmatched",
)
def _(priors, boxes, labels, *, threshold=0.5):
    match = greedily(overlaps(priors, boxes), threshold, least=-1e-9)
    return answer(match, priors, boxes, labels)


@MUTANTS.of("match_priors", "priors taken for corners", killed_by="test_matches_of_random_scenes")
def _(priors, boxes, labels, *, threshold=0.5):
    return match_priors(centered(priors), boxes, labels, threshold=threshold)


@MUTANTS.of("match_priors", "boxes taken for centers", killed_by="test_matches_of_random_scenes")
def _(priors, boxes, labels, *, threshold=0.5):
    return match_priors(priors, corners(boxes), labels, threshold=threshold)


@MUTANTS.of("match_priors", "a pixel more in every size", killed_by="test_matches_of_random_scenes")
def _(priors, boxes, labels, *, threshold=0.5):
    match = greedily(overlaps(priors, boxes, extra=1.0), threshold)
    return answer(match, priors, boxes, labels)


@MUTANTS.of(
    "match_priors",
    "two negative sides make an area",
    killed_by="test_matches_of_random_scenes",
)
def _(priors, boxes, labels, *, threshold=0.5):
    match = greedily(overlaps(priors, boxes, least=-torch.inf), threshold)
    return answer(match, priors, boxes, labels)


@MUTANTS.of("match_priors", "labels counted from 0", killed_by="test_matches_of_random_scenes")
def _(priors, boxes, labels, *, threshold=0.5):
    offsets, found = match_priors(priors, boxes, labels, threshold=threshold)
    return offsets, found - 1


@MUTANTS.of("match_priors", "no image without objects", killed_by="test_matches_of_random_scenes")
def _(priors, boxes, labels, *, threshold=0.5):
    overlaps(priors, boxes).max(1)
    return match_priors(priors, boxes, labels, threshold=threshold)


@MUTANTS.of(
    "match_priors",
    "IoU in half precision",
    killed_by="test_areas_beyond_float16_are_matched",
)
def _(priors, boxes, labels, *, threshold=0.5):
    match = greedily(overlaps(priors, boxes.to(priors)), threshold)
    return answer(match, priors, boxes, labels)


@MUTANTS.of(
    "match_priors",
    "offsets of another box where nothing matches",
    killed_by="test_unmatched_priors_have_no_offsets",
)
def _(priors, boxes, labels, *, threshold=0.5):
    offsets, found = match_priors(priors, boxes, labels, threshold=threshold)
    if len(boxes):
        rest = encode_boxes(boxes[:1].expand(priors.shape), priors)
        offsets = offsets.where((found > 0)[:, None], rest)
    return offsets, found


@MUTANTS.of("encode_boxes", "variances multiply", killed_by="value")
def _(boxes, priors, *, variances=(0.1, 0.2)):
    return encode_boxes(boxes, priors, variances=tuple(1 / v for v in variances))


@MUTANTS.of("encode_boxes", "no variances", killed_by="value")
def _(boxes, priors, *, variances=(0.1, 0.2)):
    return encode_boxes(boxes, priors, variances=(1.0,) * len(variances))


@MUTANTS.of("encode_boxes", "variances exchanged", killed_by="value")
def _(boxes, priors, *, variances=(0.1, 0.2)):
    return encode_boxes(boxes, priors, variances=variances[::-1])


@MUTANTS.of("encode_boxes", "the corner for the center", killed_by="value")
def _(boxes, priors, *, variances=(0.1, 0.2)):
    offsets = encode_boxes(boxes, priors, variances=variances)
    corner = (boxes[:, :2] - priors[:, :2]) / priors[:, 2:] / variances[0]
    return torch.cat([corner, offsets[:, 2:]], 1)


@MUTANTS.of("encode_boxes", "in units of the box, not of the prior", killed_by="value")
def _(boxes, priors, *, variances=(0.1, 0.2)):
    offsets = encode_boxes(boxes, priors, variances=variances)
    sizes = boxes[:, 2:] - boxes[:, :2]
    return torch.cat([offsets[:, :2] * priors[:, 2:] / sizes, offsets[:, 2:]], 1)


@MUTANTS.of("encode_boxes", "the quotient of the sizes turned around", killed_by="value")
def _(boxes, priors, *, variances=(0.1, 0.2)):
    offsets = encode_boxes(boxes, priors, variances=variances)
    return torch.cat([offsets[:, :2], -offsets[:, 2:]], 1)


@MUTANTS.of("encode_boxes", "sizes without a logarithm", killed_by="value")
def _(boxes, priors, *, variances=(0.1, 0.2)):
    offsets = encode_boxes(boxes, priors, variances=variances)
    sizes = (boxes[:, 2:] - boxes[:, :2]) / priors[:, 2:] - 1
    return torch.cat([offsets[:, :2], sizes / variances[1]], 1)


@MUTANTS.of("encode_boxes", "priors taken for corners", killed_by="value")
def _(boxes, priors, *, variances=(0.1, 0.2)):
    return encode_boxes(boxes, centered(priors), variances=variances)


@MUTANTS.of("encode_boxes", "boxes taken for centers", killed_by="value")
def _(boxes, priors, *, variances=(0.1, 0.2)):
    return encode_boxes(corners(boxes), priors, variances=variances)


@MUTANTS.of("encode_boxes", "an epsilon in the logarithm", killed_by="value")
def _(boxes, priors, *, variances=(0.1, 0.2)):
    offsets = encode_boxes(boxes, priors, variances=variances)
    sizes = ((boxes[:, 2:] - boxes[:, :2]) / priors[:, 2:] + 1e-6).log()
    return torch.cat([offsets[:, :2], sizes / variances[1]], 1)


@MUTANTS.of("encode_boxes", "four variances taken for two", killed_by="errors")
def _(boxes, priors, *, variances=(0.1, 0.2)):
    return encode_boxes(boxes, priors, variances=(*variances, 0.2)[:2])


@MUTANTS.of("decode_boxes", "variances divide", killed_by="value")
def _(offsets, priors, *, variances=(0.1, 0.2)):
    return decode_boxes(offsets, priors, variances=tuple(1 / v for v in variances))


@MUTANTS.of("decode_boxes", "no variances", killed_by="value")
def _(offsets, priors, *, variances=(0.1, 0.2)):
    return decode_boxes(offsets, priors, variances=(1.0,) * len(variances))


@MUTANTS.of("decode_boxes", "variances exchanged", killed_by="value")
def _(offsets, priors, *, variances=(0.1, 0.2)):
    return decode_boxes(offsets, priors, variances=variances[::-1])


@MUTANTS.of("decode_boxes", "centers and sizes left as they are", killed_by="value")
def _(offsets, priors, *, variances=(0.1, 0.2)):
    return centered(decode_boxes(offsets, priors, variances=variances))


@MUTANTS.of("decode_boxes", "a corner and a size", killed_by="value")
def _(offsets, priors, *, variances=(0.1, 0.2)):
    boxes = decode_boxes(offsets, priors, variances=variances)
    return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)


@MUTANTS.of("decode_boxes", "sizes without the exponential", killed_by="value")
def _(offsets, priors, *, variances=(0.1, 0.2)):
    logs = (1 + variances[1] * offsets[:, 2:]).clamp_min(1e-3).log() / variances[1]
    return decode_boxes(torch.cat([offsets[:, :2], logs], 1), priors, variances=variances)


@MUTANTS.of("decode_boxes", "half of each size", killed_by="value")
def _(offsets, priors, *, variances=(0.1, 0.2)):
    boxes = centered(decode_boxes(offsets, priors, variances=variances))
    return torch.cat([boxes[:, :2] - boxes[:, 2:], boxes[:, :2] + boxes[:, 2:]], 1)


@MUTANTS.of("decode_boxes", "shifts in units of the new size", killed_by="value")
def _(offsets, priors, *, variances=(0.1, 0.2)):
    growth = (variances[1] * offsets[:, 2:]).exp()
    grown = torch.cat([offsets[:, :2] * growth, offsets[:, 2:]], 1)
    return decode_boxes(grown, priors, variances=variances)


@MUTANTS.of("decode_boxes", "growth clipped at 62.5", killed_by="value")
def _(offsets, priors, *, variances=(0.1, 0.2)):
    largest = torch.tensor(62.5).log().item() / variances[1]
    clipped = torch.cat([offsets[:, :2], offsets[:, 2:].clamp_max(largest)], 1)
    return decode_boxes(clipped, priors, variances=variances)


@MUTANTS.of("decode_boxes", "clipped to the unit square", killed_by="value")
def _(offsets, priors, *, variances=(0.1, 0.2)):
    return decode_boxes(offsets, priors, variances=variances).clamp(0, 1)


@MUTANTS.of("decode_boxes", "one prior for all", killed_by="errors")
def _(offsets, priors, *, variances=(0.1, 0.2)):
    return decode_boxes(offsets, priors.expand(offsets.shape), variances=variances)

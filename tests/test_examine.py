"""examine: each mistake is found on the input that shows it, and a correct call is left alone."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.functional import one_hot

from lossbook import (
    Criterion,
    bradley_terry_loss,
    cispo_loss,
    clipped_value_loss,
    cross_entropy,
    dft_loss,
    dpo_loss,
    examine,
    focal_loss,
    generalized_jsd,
    group_advantages,
    gspo_loss,
    huber_loss,
    ipo_loss,
    kl_penalty,
    kto_loss,
    leave_one_out_advantages,
    linear_cross_entropy,
    load_balancing_loss,
    negative_entropy,
    orpo_loss,
    ppo_clip_loss,
    sequence_log_probs,
    sigmoid_focal_loss,
    simpo_loss,
    smooth_l1_loss,
    total_variation_distance,
    unlikelihood_loss,
    z_loss,
)

# Losses by their argument names alone: none of them is lossbook's.


def squared(predictions, targets):
    return (predictions - targets) ** 2


def absolute(predictions, targets):
    return (predictions - targets).abs()


def root_mean_square(predictions, targets):
    return squared(predictions, targets).mean().sqrt()


def rounded(predictions, targets):
    return (predictions.round().detach() - targets) ** 2


def hinge(scores, targets):
    return (1 - targets * scores).clamp_min(0)


def crammer_singer(scores, labels):
    true = scores.gather(1, labels[:, None])
    wrong = scores.masked_fill(one_hot(labels, scores.shape[1]).bool(), -math.inf)
    return (1 + wrong.amax(1, keepdim=True) - true).clamp_min(0).squeeze(1)


def margin_ranking(scores1, scores2, targets, *, margin):
    return (margin - targets * (scores1 - scores2)).clamp_min(0)


def cosine_embedding(embeddings1, embeddings2, targets, *, margin=0.0):
    cosine = F.cosine_similarity(embeddings1, embeddings2)
    return torch.where(targets > 0, 1 - cosine, (cosine - margin).clamp_min(0))


def contrastive(embeddings1, embeddings2, is_same, *, margin=1.0):
    distance = torch.linalg.vector_norm(embeddings1 - embeddings2, dim=1)
    return torch.where(is_same.bool(), distance**2, (margin - distance).clamp_min(0) ** 2) / 2


def hardest(embeddings, labels, *, margin=0.2):
    distances = torch.cdist(embeddings, embeddings)
    same = labels[:, None] == labels
    return (margin + (distances * same).amax(1) - (distances + 9 * same).amin(1)).clamp_min(0)


def arcface(embeddings, prototypes, labels, *, scale=64.0, margin=0.5):
    cosine = F.normalize(embeddings) @ F.normalize(prototypes).T
    return F.cross_entropy(scale * (cosine - margin), labels, reduction="none")


def info_nce(queries, keys, *, temperature=0.07):
    cosine = F.normalize(queries) @ F.normalize(keys).T
    return F.cross_entropy(cosine / temperature, torch.arange(len(keys)), reduction="none")


def triplet(anchors, positives, negatives, *, margin=0.2):
    return F.triplet_margin_loss(anchors, positives, negatives, margin, reduction="none")


def dice(probabilities, targets, *, smooth=1e-5):
    over = tuple(range(2, probabilities.dim()))
    overlap, both = (probabilities * targets).sum(over), (probabilities + targets).sum(over)
    return 1 - (2 * overlap + smooth) / (both + smooth)


def boundary(probabilities, distance_maps):
    return (probabilities * distance_maps).mean((2, 3))


def poisson(log_rates, counts):
    return log_rates.exp() - counts * log_rates


def clamped_binary(logits, targets):
    return F.binary_cross_entropy(logits.sigmoid(), targets, reduction="none")


def kl(logits, target_logits, *, dim=1):
    log_p, log_q = target_logits.log_softmax(dim), logits.log_softmax(dim)
    return (log_p.exp() * (log_p - log_q).masked_fill(log_p.isneginf(), 0)).sum(dim)


def distillation(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    soft = kl(student_logits / temperature, teacher_logits / temperature)
    return alpha * soft + F.cross_entropy(student_logits, labels, reduction="none")


def earth_mover(predictions, targets, *, dim=1):
    return (predictions - targets).cumsum(dim).abs().sum(dim)


def cosine_distance(predictions, targets, *, dim=-1):
    return 1 - F.cosine_similarity(predictions, targets, dim=dim)


def multibox(box_offsets, logits, target_offsets, labels, *, alpha=1.0):
    confidence = F.cross_entropy(logits.mT, labels, reduction="none")
    return (confidence + alpha * (box_offsets - target_offsets).abs().sum(2) * (labels > 0)).sum(1)


def ctc(logits, labels, logit_lengths, label_lengths, *, blank=0):
    log_p = logits.transpose(0, 1).log_softmax(2)
    return F.ctc_loss(log_p, labels, logit_lengths, label_lengths, blank, reduction="none")


def critic(real_scores, fake_scores):
    return fake_scores - real_scores


def discriminator(real_logits, fake_logits):
    return F.softplus(-real_logits) + F.softplus(fake_logits)


def normal(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def classes(high, *shape, seed=0):
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def coins(*shape, seed=0):
    return classes(2, *shape, seed=seed).float()


def linear(width, *, last=None, rows=16):
    """The output of a model of one linear layer, its graph attached."""
    layer = nn.Linear(3, width)
    with torch.no_grad():
        layer.weight.copy_(normal(width, 3, seed=5))
        layer.bias.copy_(normal(width, seed=6))
    outputs = layer(normal(rows, 3, seed=7))
    return outputs if last is None else last(outputs)


def distances(masks):
    """Not Euclidean, but signed: 1 outside, -1 inside."""
    return 1 - 2 * masks


LOGITS, LABELS, BITS = normal(16, 3), classes(3, 16), coins(16)
SIGNS = 2 * BITS - 1
SURE_AND_RIGHT = LOGITS.argmax(1) == LABELS
POINTS, OTHERS = normal(16, 4), normal(16, 4, seed=1)
MAPS = coins(2, 3, 4, 5)
INF, NAN = math.inf, math.nan


def at(tensor, index, value):
    return tensor.index_put([torch.tensor([i]) for i in index], torch.tensor(value).to(tensor))


TEXT, TOKENS = normal(4, 5, 7), classes(7, 4, 5)
TOKENS[0, 0] = 6
MASK = torch.arange(5) < torch.tensor([[4], [5], [2], [3]])
SUMS = -60 - 9 * uniform(4)


# Mistake: the wrong call, what must be said of it, the line to change, and the call put right.
def given(loss, *inputs, **settings):
    return partial(examine, loss, *inputs, **settings)


MISTAKES = {
    "probabilities as logits": (
        given(cross_entropy, LOGITS.softmax(1), LABELS),
        ("wrong", "16 of 16 rows lie in [0, 1] and sum to 1", "0.5514 (3 classes)"),
        "before the softmax",
        given(cross_entropy, LOGITS, LABELS),
    ),
    "probabilities of ten classes": (
        given(Criterion(focal_loss, gamma=1.0), normal(4, 10, 2).softmax(1), classes(10, 4, 2)),
        ("wrong", "8 of 8 rows", "1.4612 (10 classes)"),
        "before the softmax",
        given(Criterion(focal_loss, gamma=1.0), normal(4, 10, 2), classes(10, 4, 2)),
    ),
    "one row of probabilities, in half precision": (
        given(cross_entropy, LOGITS[:1].half().softmax(1), LABELS[:1]),
        ("wrong", "1 of 1 rows"),
        "before the softmax",
        given(cross_entropy, LOGITS[:1].half(), LABELS[:1]),
    ),
    "probabilities on the last axis": (
        given(
            ctc,
            normal(2, 8, 4).softmax(2),
            1 + classes(3, 2, 2),
            *[torch.tensor(2 * [n]) for n in (8, 2)],
        ),
        ("wrong", "logits hold probabilities"),
        "before the softmax",
        given(ctc, normal(2, 8, 4), 1 + classes(3, 2, 2), *[torch.tensor(2 * [n]) for n in (8, 2)]),
    ),
    "probabilities of a teacher": (
        given(distillation, LOGITS, POINTS[:, :3].softmax(1), LABELS),
        ("wrong", "teacher_logits hold probabilities"),
        "before the softmax",
        given(distillation, LOGITS, POINTS[:, :3], LABELS),
    ),
    "probabilities as target logits": (
        given(kl, LOGITS, POINTS[:, :3].softmax(1)),
        ("wrong", "target_logits hold probabilities"),
        "before the softmax",
        given(kl, LOGITS, POINTS[:, :3].log_softmax(1)),
    ),
    "softmax before a multi-class hinge": (
        given(crammer_singer, LOGITS.softmax(1), LABELS),
        ("wrong", "scores hold probabilities"),
        "before the softmax",
        given(crammer_singer, LOGITS, LABELS),
    ),
    "sigmoid outputs as logits": (
        given(sigmoid_focal_loss, normal(32).sigmoid(), coins(32)),
        ("suspicious", "all 32 logits lie in [0, 1]", "0.3133", "0.6931"),
        "before the sigmoid",
        given(sigmoid_focal_loss, normal(32), coins(32)),
    ),
    "a sigmoid in the graph": (
        given(sigmoid_focal_loss, linear(1, last=nn.Sigmoid(), rows=4).squeeze(1), BITS[:4]),
        ("wrong", "logits come out of Sigmoid and never leave [0, 1]"),
        "no Sigmoid after the last layer",
        given(sigmoid_focal_loss, linear(1, rows=4).squeeze(1), BITS[:4]),
    ),
    "a sigmoid before a softmax loss": (
        given(cross_entropy, linear(3, last=nn.Sigmoid()), LABELS),
        ("wrong", "Sigmoid"),
        "no Sigmoid",
        given(cross_entropy, linear(3), LABELS),
    ),
    "a ReLU before the loss": (
        given(cross_entropy, linear(3, last=nn.ReLU()), LABELS),
        ("wrong", "logits come out of Relu and never leave [0, inf]"),
        "no Relu",
        given(cross_entropy, linear(3), LABELS),
    ),
    "log-probabilities before a sigmoid": (
        given(sigmoid_focal_loss, linear(2, last=nn.LogSoftmax(1)), coins(16, 2)),
        ("wrong", "never leave [-inf, 0]"),
        "no LogSoftmax",
        given(sigmoid_focal_loss, linear(2), coins(16, 2)),
    ),
    "a tanh before a hinge": (
        given(hinge, linear(1, last=nn.Tanh()).squeeze(1), SIGNS),
        ("wrong", "scores come out of Tanh and never leave [-1, 1]"),
        "no Tanh",
        given(hinge, linear(1).squeeze(1), SIGNS),
    ),
    "a sigmoid at the end of a critic": (
        given(critic, linear(1, last=nn.Sigmoid()), linear(1)),
        ("wrong", "real_scores come out of Sigmoid"),
        "no Sigmoid",
        given(critic, linear(1), linear(1)),
    ),
    "a discriminator's probabilities": (
        given(discriminator, normal(64).sigmoid(), normal(64, seed=1)),
        ("suspicious", "all 64 real_logits lie in [0, 1]"),
        "before the sigmoid",
        given(discriminator, normal(64), normal(64, seed=1)),
    ),
    "a softplus before a log-rate": (
        given(poisson, linear(1, last=nn.Softplus()), classes(5, 16, 1)),
        ("wrong", "log_rates come out of Softplus"),
        "no Softplus",
        given(poisson, linear(1), classes(5, 16, 1)),
    ),
    "a bounded output for unbounded targets": (
        given(huber_loss, linear(1, last=nn.Tanh()), normal(16, 1, scale=3)),
        ("wrong", "targets (-", "are out of reach", "[-1, 1]"),
        "no Tanh",
        given(huber_loss, linear(1, last=nn.Tanh()), normal(16, 1).tanh()),
    ),
    "0 and 1 for a hinge": (
        given(hinge, normal(16, scale=2), BITS),
        ("wrong", "targets are neither -1 nor +1: 0, 1"),
        "targets = 2 * targets.float() - 1",
        given(hinge, normal(16, scale=2), SIGNS),
    ),
    "truth values for a ranking": (
        given(margin_ranking, normal(16), normal(16, seed=1), BITS.bool(), margin=1.0),
        ("wrong", "neither -1 nor +1: 0, 1"),
        "2 * targets.float() - 1",
        given(margin_ranking, normal(16), normal(16, seed=1), SIGNS, margin=1.0),
    ),
    "a tie in a ranking": (
        given(
            margin_ranking, normal(3), normal(3, seed=1), torch.tensor([-1.0, 0.0, 1.0]), margin=1.0
        ),
        ("wrong", "1 of 3 targets are neither -1 nor +1: -1, 0, 1"),
        "-1 or +1",
        given(
            margin_ranking, normal(3), normal(3, seed=1), torch.tensor([-1.0, 1.0, 1.0]), margin=1.0
        ),
    ),
    "0 and 1 for pairs of embeddings": (
        given(cosine_embedding, POINTS, OTHERS, BITS.long()),
        ("wrong", "neither -1 nor +1"),
        "2 * targets.float() - 1",
        given(cosine_embedding, POINTS, OTHERS, SIGNS.long()),
    ),
    "-1 and +1 for a binary loss": (
        given(sigmoid_focal_loss, normal(16), SIGNS),
        ("wrong", "targets are outside [0, 1]: -1, 1"),
        "targets = (targets + 1) / 2",
        given(sigmoid_focal_loss, normal(16), BITS),
    ),
    "1 and 2 for a binary loss": (
        given(sigmoid_focal_loss, normal(16), BITS + 1),
        ("wrong", "targets are outside [0, 1]: 1, 2"),
        "targets = targets - 1",
        given(sigmoid_focal_loss, normal(16), BITS),
    ),
    "bytes as targets": (
        given(dice, normal(2, 3, 4, 5).sigmoid(), 255 * MAPS),
        ("wrong", "targets are outside [0, 1]: 0, 255"),
        "targets = targets / 255",
        given(dice, normal(2, 3, 4, 5).sigmoid(), MAPS),
    ),
    "void pixels in a binary loss": (
        given(sigmoid_focal_loss, normal(4), torch.tensor([0.0, 1.0, 255.0, 1.0])),
        ("wrong", "1 of 4 targets are outside [0, 1]: 0, 1, 255"),
        "Criterion(sigmoid_focal_loss)(..., weights=targets != 255)",
        given(sigmoid_focal_loss, normal(4), torch.tensor([0.0, 1.0, 0.0, 1.0])),
    ),
    "three classes in a binary loss": (
        given(sigmoid_focal_loss, normal(4), torch.tensor([0, 1, 2, 1])),
        ("wrong", "1 of 4 targets are outside [0, 1]: 0, 1, 2"),
        "more than two classes",
        given(sigmoid_focal_loss, normal(4), torch.tensor([0, 1, 1, 1])),
    ),
    "soft labels that sum to 1.9": (
        given(cross_entropy, LOGITS, 0.9 * one_hot(LABELS, 3) + 1 / 3),
        ("wrong", "16 of 16 rows of soft labels", "they sum to 1.9 to 1.9"),
        "labels / labels.sum(1, keepdim=True)",
        given(cross_entropy, LOGITS, 0.9 * one_hot(LABELS, 3) + 0.1 / 3),
    ),
    "scores as soft labels": (
        given(cross_entropy, LOGITS, POINTS[:, :3]),
        ("wrong", "their lowest entry is -"),
        "labels.softmax(1)",
        given(cross_entropy, LOGITS, POINTS[:, :3].softmax(1)),
    ),
    "a negative soft label": (
        given(cross_entropy, LOGITS[:2], torch.tensor([[1.2, -0.2, 0.0], [0.0, 1.0, 0.0]])),
        ("wrong", "1 of 2 rows", "their lowest entry is -0.2"),
        "labels.softmax(1)",
        given(cross_entropy, LOGITS[:2], torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])),
    ),
    "empty soft labels": (
        given(
            cross_entropy, LOGITS, one_hot(LABELS, 3) * (torch.arange(16) > 1.0).float()[:, None]
        ),
        ("wrong", "2 of 16 rows", "sum to 0 to 0"),
        "weights=labels.sum(1) > 0",
        given(cross_entropy, LOGITS, one_hot(LABELS, 3).float()),
    ),
    "a label past the last class": (
        given(cross_entropy, LOGITS, at(LABELS, (3,), 7)),
        ("wrong", "1 of 16 labels are outside 0 to 2 (3 classes): 7"),
        "nn.Linear(..., 8)",
        given(cross_entropy, LOGITS, LABELS),
    ),
    "labels that start at 1": (
        given(focal_loss, LOGITS, LABELS + 1),
        ("wrong", "labels are outside 0 to 2 (3 classes): 3"),
        "labels = labels - 1",
        given(focal_loss, LOGITS, LABELS),
    ),
    "void pixels": (
        given(cross_entropy, normal(2, 3, 4, 5), at(classes(3, 2, 4, 5), (0, 1, 2), 255)),
        ("wrong", "1 of 40 labels are outside 0 to 2 (3 classes): 255"),
        "Criterion(cross_entropy, ignore_index=255)",
        given(
            Criterion(cross_entropy, ignore_index=255),
            normal(2, 3, 4, 5),
            at(classes(3, 2, 4, 5), (0, 1, 2), 255),
        ),
    ),
    "padding": (
        given(Criterion(focal_loss, ignore_index=255), LOGITS, at(LABELS, (3,), -100)),
        ("wrong", "-100"),
        "Criterion(focal_loss, ignore_index=-100)",
        given(Criterion(focal_loss, ignore_index=-100), LOGITS, at(LABELS, (3,), -100)),
    ),
    "a label without a prototype": (
        given(arcface, POINTS, OTHERS[:3], at(LABELS, (3,), -1)),
        ("wrong", "outside 0 to 2 (3 classes): -1"),
        "keep = labels != -1",
        given(arcface, POINTS, OTHERS[:3], LABELS),
    ),
    "several labels below 0": (
        given(cross_entropy, LOGITS, LABELS - 5),
        ("wrong", "16 of 16 labels are outside", "-5, -4, -3"),
        "0 to 2",
        given(cross_entropy, LOGITS, LABELS),
    ),
    "a column against a row": (
        given(huber_loss, normal(8, 1), normal(8)),
        ("wrong", "predictions have shape (8, 1) and targets (8,)", "broadcast to 64 values"),
        "predictions = predictions.squeeze(1)",
        given(huber_loss, normal(8), normal(8, seed=1)),
    ),
    "a row against a column": (
        given(squared, normal(8), normal(8, 1)),
        ("wrong", "broadcast to 64 values"),
        "targets = targets.squeeze(1)",
        given(squared, normal(8), normal(8, seed=1)),
    ),
    "a scalar target": (
        given(squared, normal(8), torch.tensor(0.5)),
        ("wrong", "targets ()"),
        "of one shape",
        given(squared, normal(8), torch.full((8,), 0.5)),
    ),
    "pixels in another order": (
        given(huber_loss, normal(2, 3, 4, 5), normal(2, 4, 5, 3)),
        ("wrong", "(2, 3, 4, 5) and targets (2, 4, 5, 3)"),
        "targets = targets.movedim(-1, 1)",
        given(huber_loss, normal(2, 3, 4, 5), normal(2, 3, 4, 5, seed=1)),
    ),
    "class labels for an overlap": (
        given(dice, normal(2, 3, 4, 5).softmax(1), classes(3, 2, 4, 5)),
        ("wrong", "probabilities have shape (2, 3, 4, 5) and targets (2, 4, 5)"),
        "targets = one_hot(targets.long(), 3).movedim(-1, 1)",
        given(dice, normal(2, 3, 4, 5).softmax(1), one_hot(classes(3, 2, 4, 5), 3).movedim(-1, 1)),
    ),
    "two logits in a binary loss": (
        given(sigmoid_focal_loss, normal(16, 2), BITS),
        ("wrong", "logits have shape (16, 2) and targets (16,)"),
        "Criterion(cross_entropy)(logits, targets.long())",
        given(sigmoid_focal_loss, normal(16), BITS),
    ),
    "classes last": (
        given(cross_entropy, normal(4, 7, 3), classes(3, 4, 7)),
        ("wrong", "logits have shape (4, 7, 3) and labels (4, 7)", "classes come last"),
        "logits = logits.movedim(-1, 1)",
        given(cross_entropy, normal(4, 7, 3).movedim(-1, 1), classes(3, 4, 7)),
    ),
    "classes last, by luck, after a linear layer": (
        given(cross_entropy, linear(9, rows=4).view(4, 3, 3), classes(3, 4, 3)),
        ("wrong", "shape (4, 3, 3)", "the linear layer behind them puts them last"),
        "logits = logits.movedim(-1, 1)",
        given(cross_entropy, linear(9, rows=4).view(4, 3, 3).movedim(-1, 1), classes(3, 4, 3)),
    ),
    "classes last, by luck, normalized": (
        given(cross_entropy, normal(4, 3, 3).log_softmax(2), classes(3, 4, 3)),
        ("wrong", "normalized along the last"),
        "logits = logits.movedim(-1, 1)",
        given(cross_entropy, normal(4, 3, 3).log_softmax(1), classes(3, 4, 3)),
    ),
    "classes last, by luck, of a trained model": (
        given(cross_entropy, 6.0 * one_hot(classes(5, 4, 5), 5) - 1, classes(5, 4, 5)),
        ("wrong", "cross entropy is 0.009866 along the last"),
        "logits = logits.movedim(-1, 1)",
        given(
            cross_entropy, (6.0 * one_hot(classes(5, 4, 5), 5) - 1).movedim(-1, 1), classes(5, 4, 5)
        ),
    ),
    "classes on any axis": (
        given(focal_loss, normal(4, 5, 5), classes(5, 4, 5)),
        ("note", "(4, 5, 5) may have their classes on any axis"),
        "if the model puts classes last",
        given(focal_loss, normal(4, 5, 6), classes(5, 4, 6)),
    ),
    "one-hot integers": (
        given(cross_entropy, LOGITS, one_hot(LABELS, 3)),
        ("wrong", "integer labels look one-hot"),
        "labels = labels.argmax(1)",
        given(cross_entropy, LOGITS, one_hot(LABELS, 3).argmax(1)),
    ),
    "labels in a column": (
        given(cross_entropy, LOGITS, LABELS[:, None]),
        ("wrong", "labels (16, 1)"),
        "labels = labels.reshape((16,))",
        given(cross_entropy, LOGITS, LABELS[:, None].reshape((16,))),
    ),
    "floating labels": (
        given(cross_entropy, LOGITS, LABELS.float()),
        ("wrong", "labels are torch.float32, and classes are int64"),
        "labels = labels.long()",
        given(cross_entropy, LOGITS, LABELS.float().long()),
    ),
    "short integers as labels": (
        given(arcface, POINTS, OTHERS[:3], LABELS.int()),
        ("wrong", "labels are torch.int32"),
        "labels = labels.long()",
        given(arcface, POINTS, OTHERS[:3], LABELS.int().long()),
    ),
    "one logit per sample": (
        given(cross_entropy, normal(16), BITS),
        ("wrong", "one score per sample is a binary problem"),
        "Criterion(binary_cross_entropy)(logits, labels.float())",
        given(sigmoid_focal_loss, normal(16), BITS),
    ),
    "another batch's labels": (
        given(cross_entropy, LOGITS, LABELS[:9]),
        ("wrong", "these are not (N, C, *) and (N, *)"),
        "of one batch",
        given(cross_entropy, LOGITS[:9], LABELS[:9]),
    ),
    "a softmax over one channel": (
        given(cross_entropy, normal(2, 1, 4, 4), torch.zeros(2, 4, 4).long()),
        ("wrong", "(2, 1, 4, 4) have one class", "the loss 0"),
        "Criterion(binary_cross_entropy)(logits.squeeze(1), labels.float())",
        given(sigmoid_focal_loss, normal(2, 4, 4), torch.zeros(2, 4, 4)),
    ),
    "nan in the input": (
        given(huber_loss, at(normal(8), (5,), NAN), normal(8, seed=1)),
        ("wrong", "1 of 8 values of predictions are nan or infinite, the first at (5,)"),
        "assert predictions.isfinite().all()",
        given(huber_loss, normal(8), normal(8, seed=1)),
    ),
    "a target of infinity": (
        given(huber_loss, normal(8), at(normal(8, seed=1), (2,), INF)),
        ("wrong", "1 of 8 values of targets"),
        "assert targets.isfinite().all()",
        given(huber_loss, normal(8), normal(8, seed=1)),
    ),
    "a true class ruled out": (
        given(cross_entropy, at(LOGITS, (2, int(LABELS[2])), -INF), LABELS),
        ("wrong", "1 of 16 losses are nan or infinite", "the first at (2,)", "1 of 48 logits"),
        "never the true class",
        given(cross_entropy, at(LOGITS, (2, (int(LABELS[2]) + 1) % 3), -INF), LABELS),
    ),
    "a smoothed class ruled out": (
        given(
            cross_entropy,
            at(LOGITS, (2, (int(LABELS[2]) + 1) % 3), -INF),
            LABELS,
            label_smoothing=0.1,
        ),
        ("wrong", "1 of 16 losses are nan or infinite", "1 of 48 logits are -inf"),
        "label_smoothing=0.0",
        given(cross_entropy, at(LOGITS, (2, (int(LABELS[2]) + 1) % 3), -INF), LABELS),
    ),
    "a square in half precision": (
        given(squared, torch.tensor([300.0, 1.0]).half(), torch.zeros(2).half()),
        ("wrong", "1 of 2 losses are nan or infinite", "the largest residual is 300", "255.9"),
        "squared(predictions.float(), ...)",
        given(squared, torch.tensor([300.0, 1.0]), torch.zeros(2)),
    ),
    "a rate too large": (
        given(poisson, torch.tensor([3.0, 90.0]), torch.tensor([3.0, 90.0])),
        ("wrong", "exp of log_rates from 3 to 90"),
        "poisson(rates.log(), counts)",
        given(poisson, torch.tensor([3.0, 90.0]).log(), torch.tensor([3.0, 90.0])),
    ),
    "rates as log-rates": (
        given(poisson, torch.tensor([4.0, 6.0, 5.0]), torch.tensor([5.0, 5.0, 5.0])),
        ("suspicious", "log_rates average 5, much as the counts do (5)"),
        "poisson(rates.log(), counts)",
        given(poisson, torch.tensor([4.0, 6.0, 5.0]).log(), torch.tensor([5.0, 5.0, 5.0])),
    ),
    "negative counts": (
        given(poisson, normal(4), torch.tensor([1, 0, -2, 3])),
        ("wrong", "1 of 4 counts are negative (-2 to 3)"),
        "in the data",
        given(poisson, normal(4), torch.tensor([1, 0, 2, 3])),
    ),
    "a root at 0": (
        given(root_mean_square, torch.ones(4), torch.ones(4)),
        ("wrong", "the loss is finite, and 4 of 4 values of its gradient are not"),
        "a root or a quotient",
        given(root_mean_square, torch.ones(4), torch.zeros(4)),
    ),
    "nan under a mask": (
        given(
            Criterion(huber_loss),
            normal(4),
            at(normal(4), (1,), NAN),
            weights=torch.tensor([1, 0, 1, 1]),
        ),
        ("wrong", "a weight of 0 does not stop the nan or inf in targets"),
        "targets = targets.where(weights != 0, 0)",
        given(
            Criterion(huber_loss),
            normal(4),
            normal(4, seed=1),
            weights=torch.tensor([1, 0, 1, 1]),
        ),
    ),
    "a graph cut inside the loss": (
        given(rounded, normal(8), normal(8, seed=1)),
        ("wrong", "no gradient reaches predictions"),
        "no argmax, detach or comparison",
        given(squared, normal(8), normal(8, seed=1)),
    ),
    "a dead gradient": (
        given(clamped_binary, at(normal(8), (6,), 50.0), torch.zeros(8)),
        ("suspicious", "1 of 8 losses above 10 have a gradient of exactly 0, the first at (6,)"),
        "without a clamp",
        given(sigmoid_focal_loss, at(normal(8), (6,), 50.0), torch.zeros(8)),
    ),
    "predicted classes": (
        given(squared, LABELS, normal(16)),
        ("wrong", "predictions are torch.int64: no gradient"),
        "no argmax",
        given(squared, normal(16), normal(16, seed=1)),
    ),
    "rounded predictions": (
        given(huber_loss, normal(16, scale=3).round(), normal(16)),
        ("suspicious", "all 16 predictions are whole numbers"),
        "round for reading",
        given(huber_loss, normal(16, scale=3), normal(16)),
    ),
    "thresholded masks": (
        given(dice, (normal(2, 3, 4, 5) > 0).float(), MAPS),
        ("suspicious", "all 120 probabilities are exactly 0 or 1"),
        "no threshold",
        given(dice, normal(2, 3, 4, 5).sigmoid(), MAPS),
    ),
    "logits as probabilities": (
        given(dice, normal(2, 3, 4, 5), MAPS),
        ("wrong", "probabilities are outside [0, 1]"),
        "logits.softmax(1)",
        given(dice, normal(2, 3, 4, 5).softmax(1), MAPS),
    ),
    "logits of one channel as probabilities": (
        given(boundary, normal(2, 1, 4, 5), distances(MAPS[:, :1])),
        ("wrong", "probabilities are outside [0, 1]"),
        "logits.sigmoid()",
        given(boundary, normal(2, 1, 4, 5).sigmoid(), distances(MAPS[:, :1])),
    ),
    "constant logits": (
        given(cross_entropy, LOGITS[:1].expand(16, 3), LABELS),
        ("suspicious", "all 16 rows of logits are equal"),
        "dead units",
        given(cross_entropy, LOGITS, LABELS),
    ),
    "constant predictions": (
        given(huber_loss, torch.full((16,), 0.3), normal(16)),
        ("suspicious", "all 16 rows of predictions are equal"),
        "dead units",
        given(huber_loss, torch.linspace(0, 0.3, 16), normal(16)),
    ),
    "predictions that are the targets": (
        given(huber_loss, normal(16), normal(16)),
        ("suspicious", "all 16 predictions equal their targets"),
        "inputs that do not hold the targets",
        given(huber_loss, normal(16), normal(16, seed=1)),
    ),
    "targets that train": (
        given(huber_loss, normal(16), normal(16, seed=1).requires_grad_()),
        ("note", "targets require a gradient"),
        "targets.detach()",
        given(huber_loss, normal(16), normal(16, seed=1)),
    ),
    "zero embeddings": (
        given(info_nce, at(POINTS, (1,), 0.0), OTHERS),
        ("suspicious", "1 of 16 queries are zero vectors"),
        "no ReLU",
        given(info_nce, POINTS, OTHERS),
    ),
    "collapsed embeddings": (
        given(triplet, torch.ones(16, 4), OTHERS, POINTS),
        ("suspicious", "all 16 anchors are one point"),
        "easier negatives",
        given(triplet, POINTS, OTHERS, POINTS.flip(0)),
    ),
    "no positives": (
        given(hardest, POINTS, torch.arange(16)),
        ("suspicious", "no anchor has a positive: 16 samples of 16 classes"),
        "sampler",
        given(hardest, POINTS, torch.arange(16) // 2),
    ),
    "no negatives": (
        given(hardest, POINTS, torch.zeros(16)),
        ("suspicious", "no anchor has a negative: 16 samples of 1 classes"),
        "sampler",
        given(hardest, POINTS, torch.arange(16) // 8),
    ),
    "0 and 1 for a pair": (
        given(contrastive, POINTS, OTHERS, BITS),
        ("wrong", "is_same is torch.float32"),
        "is_same = labels1 == labels2",
        given(contrastive, POINTS, OTHERS, BITS.bool()),
    ),
    "sure and wrong": (
        given(cross_entropy, 40 * LOGITS, LABELS),
        ("suspicious", "half of the batch has a cross entropy above", "log 3 = 1.099"),
        "smaller initial weights",
        given(cross_entropy, LOGITS, LABELS),
    ),
    "sure and wrong, in two classes": (
        given(sigmoid_focal_loss, -20 * SIGNS + normal(16), BITS),
        ("suspicious", "log 2 = 0.6931"),
        "labels in another order",
        given(sigmoid_focal_loss, 20 * SIGNS + normal(16), BITS),
    ),
    "the share of positives as their weight": (
        given(
            Criterion(sigmoid_focal_loss, alpha=0.05), normal(64), (torch.arange(64) < 4).float()
        ),
        ("suspicious", "alpha = 0.05 is the weight of positives, 6.25 % of the batch"),
        "alpha=0.95",
        given(
            Criterion(sigmoid_focal_loss, alpha=0.95), normal(64), (torch.arange(64) < 4).float()
        ),
    ),
    "frequencies as class weights": (
        given(
            Criterion(focal_loss, alpha=torch.tensor([0.9, 0.1])),
            normal(64, 2),
            (torch.arange(64) < 6).long(),
        ),
        ("suspicious", "alpha is 0.9 for class 0, 58 times in the batch, and 0.1 for class 1, 6"),
        "1 / counts",
        given(
            Criterion(focal_loss, alpha=torch.tensor([0.1, 0.9])),
            normal(64, 2),
            (torch.arange(64) < 6).long(),
        ),
    ),
    "prices in dollars": (
        given(smooth_l1_loss, normal(8), 2e5 + normal(8, scale=5e4)),
        ("suspicious", "targets are around", "predictions around"),
        "targets = (targets - mean) / std",
        given(smooth_l1_loss, normal(8), normal(8, seed=1)),
    ),
    "targets of a billion": (
        given(squared, 1.2e9 + normal(8, scale=1e7), 1.19e9 + normal(8, scale=1e7)),
        ("suspicious", "targets are around 1.19e+09"),
        "targets = (targets - mean) / std",
        given(squared, 1.2 + normal(8), 1.19 + normal(8, seed=1)),
    ),
    "a threshold in another unit": (
        given(huber_loss, 700 + normal(8, scale=99), 300 + normal(8, scale=99)),
        ("suspicious", "far beyond delta = 1: the loss is the absolute error"),
        "delta=",
        given(huber_loss, 700 + normal(8), 300 + normal(8, seed=1), delta=400.0),
    ),
    "outliers under a square": (
        given(squared, normal(64), at(normal(64, seed=1), (9,), 80.0)),
        ("suspicious", "1 of 64 residuals make", "the largest is"),
        "Criterion(huber_loss, delta=",
        given(huber_loss, normal(64), at(normal(64, seed=1), (9,), 80.0)),
    ),
    "nothing but padding": (
        given(Criterion(cross_entropy, ignore_index=-100), LOGITS, torch.full((16,), -100)),
        ("suspicious", "all 16 labels are ignored"),
        "ignore_index",
        given(Criterion(cross_entropy, ignore_index=-100), LOGITS, LABELS),
    ),
    "weights of 0": (
        given(
            Criterion(cross_entropy),
            LOGITS,
            LABELS,
            weights=torch.zeros(16),
        ),
        ("suspicious", "all 16 weights are 0"),
        "1 keeps a value",
        given(Criterion(cross_entropy), LOGITS, LABELS, weights=torch.ones(16)),
    ),
    "negative weights": (
        given(Criterion(cross_entropy), LOGITS, LABELS, weights=normal(16)),
        ("wrong", "weights are negative"),
        "at least 0",
        given(Criterion(cross_entropy), LOGITS, LABELS, weights=uniform(16)),
    ),
    "an empty batch": (
        given(cross_entropy, torch.empty(0, 3), torch.empty(0).long()),
        ("suspicious", "the batch is empty"),
        "Criterion(cross_entropy)",
        given(cross_entropy, LOGITS, LABELS),
    ),
    "a vocabulary on dimension 1": (
        given(dft_loss, TEXT.mT, TOKENS),
        ("wrong", "the vocabulary is last here"),
        "logits.movedim(1, -1)",
        given(dft_loss, TEXT, TOKENS),
    ),
    "probabilities of tokens": (
        given(sequence_log_probs, TEXT.softmax(2), TOKENS, MASK),
        ("wrong", "logits hold probabilities"),
        "before the softmax",
        given(sequence_log_probs, TEXT, TOKENS, MASK),
    ),
    "a padding that is no token": (
        given(dft_loss, TEXT, TOKENS.where(MASK, -100)),
        ("wrong", "labels are outside 0 to 6 (7 classes): -100"),
        "Criterion(dft_loss, ignore_index=-100)",
        given(Criterion(dft_loss, ignore_index=-100), TEXT, TOKENS.where(MASK, -100)),
    ),
    "a token beyond the vocabulary": (
        given(linear_cross_entropy, normal(4, 5, 3), 1 + TOKENS, normal(7, 3)),
        ("wrong", "labels are outside 0 to 6 (7 classes)"),
        "",
        given(linear_cross_entropy, normal(4, 5, 3), TOKENS, normal(7, 3)),
    ),
    "an integer mask": (
        given(sequence_log_probs, TEXT, TOKENS, MASK.long()),
        ("wrong", "raises ValueError: expected mask of dtype bool"),
        "what the message asks for",
        given(sequence_log_probs, TEXT, TOKENS.where(MASK, -100), MASK),
    ),
    "an answer without a token": (
        given(sequence_log_probs, TEXT, TOKENS, MASK & (torch.arange(4)[:, None] > 0)),
        ("suspicious", "1 of 4 rows of the mask are False throughout, the first at (0,)"),
        "True where a token counts",
        given(sequence_log_probs, at(TEXT, (0, 4, 0), NAN), TOKENS, MASK),
    ),
    "losses for log-probabilities": (
        given(dpo_loss, -SUMS, *(-SUMS - normal(4, seed=k) for k in (1, 2, 3))),
        ("wrong", "4 of 4 chosen_log_probs are above 0"),
        "chosen_log_probs = -chosen_log_probs",
        given(dpo_loss, SUMS, *(SUMS + normal(4, seed=k) for k in (1, 2, 3))),
    ),
    "probabilities for log-probabilities": (
        given(kl_penalty, uniform(4, 5), -1 - uniform(4, 5)),
        ("wrong", "log_probs are above 0"),
        "log_probs.log()",
        given(kl_penalty, uniform(4, 5).log(), -1 - uniform(4, 5)),
    ),
    "sums for averages": (
        given(simpo_loss, SUMS, SUMS + normal(4)),
        ("suspicious", "half of the chosen_log_probs are below"),
        "average=True",
        given(simpo_loss, SUMS / 60, SUMS / 60 - uniform(4)),
    ),
    "an advantage for each answer": (
        given(ppo_clip_loss, -uniform(4, 5), -uniform(4, 5), normal(4)),
        ("wrong", "log_probs have shape (4, 5) and advantages (4,)"),
        "",
        given(gspo_loss, -uniform(4, 5), -uniform(4, 5), normal(4), MASK),
    ),
    "advantages of equal rewards": (
        given(cispo_loss, -uniform(4, 5), -uniform(4, 5), torch.zeros(4, 5)),
        ("suspicious", "all 20 advantages are 0"),
        "rewards that differ",
        given(cispo_loss, -uniform(4, 5), -uniform(4, 5), normal(4, 5)),
    ),
    "rewards of another shape": (
        given(bradley_terry_loss, normal(4), normal(4, 1)),
        ("wrong", "chosen_rewards have shape (4,) and rejected_rewards (4, 1)", "16 values"),
        "rejected_rewards = rejected_rewards.squeeze(1)",
        given(bradley_terry_loss, normal(4), normal(4, seed=1)),
    ),
    "a setting of another shape": (
        given(focal_loss, LOGITS, LABELS, alpha=torch.ones(2)),
        ("wrong", "raises ValueError: expected alpha of shape (3,)"),
        "what the message asks for",
        given(focal_loss, LOGITS, LABELS, alpha=torch.ones(3)),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake):
    look, said, fix, _ = MISTAKES[mistake]
    severity, *parts = said
    report = look()
    found = [f for f in report if all(part in f.what for part in parts)]
    assert len(found) == 1, report
    assert found[0].severity == severity
    assert fix in found[0].fix
    assert report[0].severity == severity, "a worse finding hides it"


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_call_put_right_is_left_alone(mistake):
    assert MISTAKES[mistake][3]() == []


def batches(n, seed):
    """Correct calls on a random batch of n."""
    c = 2 + seed % 9
    x, y, z = (normal(n, c, seed=seed + i) for i in (100, 200, 300))
    labels, bits = classes(c, n, seed=seed), coins(n, seed=seed)
    image, truth = normal(n, c, 4, 6, seed=seed), classes(c, n, 4, 6, seed=seed)
    masks = one_hot(truth, c).movedim(-1, 1).float()
    sure = 20 * one_hot(labels, c) + x
    column, other = x[:, 0], y[:, 0]

    for loss in (huber_loss, smooth_l1_loss, squared, absolute, Criterion(huber_loss, delta=0.5)):
        yield given(loss, x, y)
        yield given(loss, column, other)
        yield given(loss, column.double(), other)
        yield given(loss, 40 + 10 * column, 50 + 10 * other)
        yield given(loss, column.half(), other.half())
        yield given(loss, bits.where(bits == 0, column), bits)
        yield given(loss, column, classes(5, n, seed=seed))
    for loss in (cross_entropy, focal_loss, Criterion(cross_entropy, label_smoothing=0.1)):
        for logits in (x, sure, 3 * x, x.log_softmax(1), uniform(n, c + 1, seed=seed), 0 * x):
            yield given(loss, logits, labels)
        yield given(loss, x.bfloat16(), labels)
        yield given(loss, x, 0 * labels)
        yield given(loss, image, truth)
    for padding in (-100, -1, 255):
        padded = labels.where(torch.arange(n) < (n + 1) // 2, padding)
        yield given(Criterion(cross_entropy, ignore_index=padding), x, padded)
        yield given(Criterion(focal_loss, ignore_index=padding), 3 * x, padded)
    yield given(Criterion(cross_entropy), x, labels, weights=torch.ones(c)[labels], normalizer=9)
    yield given(cross_entropy, at(sure, (0, (int(labels[0]) + 1) % c), -INF), labels)
    yield given(cross_entropy, x, y.softmax(1))
    yield given(cross_entropy, x.half(), y.half().softmax(1))
    yield given(cross_entropy, x, one_hot(labels, c).float(), label_smoothing=0.1)
    yield given(focal_loss, x, labels, alpha=1 / (1 + torch.arange(c)))
    yield given(distillation, x, 5 * y, labels)
    yield given(arcface, x, normal(c, c, seed=seed), labels)
    yield given(crammer_singer, x, labels)
    yield given(
        multibox, normal(n, 6, 4), normal(n, 6, c), normal(n, 6, 4, seed=1), classes(c, n, 6)
    )
    yield given(kl, x, y)
    yield given(kl, x.log_softmax(1), at(y, (0, 0), -INF).log_softmax(1))

    for loss in (sigmoid_focal_loss, Criterion(sigmoid_focal_loss, gamma=0.0, alpha=None)):
        for logits in (column, 20 * (2 * bits - 1) + column, column - 4.6, 0 * column, x[:, 1] / 9):
            yield given(loss, logits, bits)
        yield given(loss, column, bits.bool())
        yield given(loss, column, bits.long())
        yield given(loss, column, 0 * bits)
        yield given(loss, column, 0 * bits + 1)
        yield given(loss, column, other.sigmoid())
        yield given(loss, image, masks)
        yield given(loss, 0.5 + column.sigmoid() / 10, bits)
    yield given(discriminator, column, other - 3)
    yield given(critic, x.sigmoid(), y)

    signs = 2 * bits - 1
    yield given(hinge, column, signs)
    yield given(hinge, column, signs.long())
    yield given(hinge, 0 * column, 0 * bits - 1)
    yield given(margin_ranking, column.sigmoid(), other.sigmoid(), signs, margin=0.1)
    yield given(cosine_embedding, x, y, signs)
    yield given(contrastive, x, y, bits.bool())
    yield given(triplet, x, y, z)
    yield given(info_nce, x, y)
    yield given(hardest, torch.cat([x, y]), torch.arange(2 * n) % max(2, n))
    yield given(dice, image.sigmoid(), masks)
    yield given(dice, image.softmax(1), masks)
    yield given(dice, image.half().softmax(1), masks.half())
    yield given(dice, image.softmax(1), 0 * masks)
    yield given(boundary, image.softmax(1), distances(masks))
    yield given(poisson, x, classes(9, n, c, seed=seed))
    yield given(poisson, 3 + x / 4, (20 + 5 * y).round().clamp_min(0))
    log_p, log_q = x.log_softmax(1), y.log_softmax(1)
    mask = coins(n, c, seed=seed).bool()
    mask[:, 0] = True
    text = normal(n, 3, c, seed=seed)
    for loss in (z_loss, negative_entropy, load_balancing_loss):
        yield given(loss, x)
        yield given(loss, text)
        yield given(loss, uniform(n, c + 2, seed=seed))
    for logits in (text, 0.3 * text, text.bfloat16()):
        yield given(dft_loss, logits, classes(c, n, 3, seed=seed))
        yield given(
            sequence_log_probs, logits, classes(c, n, 3, seed=seed), mask[:, :1].expand(n, 3)
        )
    yield given(unlikelihood_loss, x, mask)
    yield given(linear_cross_entropy, x, labels, normal(c, c, seed=seed))
    yield given(generalized_jsd, x, y)
    yield given(total_variation_distance, x, y)
    yield given(bradley_terry_loss, column, other)
    yield given(dpo_loss, *(99 * v[:, 0] for v in (log_p, log_q, log_p, log_q)))
    yield given(ipo_loss, *(99 * v[:, 0] for v in (log_p, log_q, log_q, log_p)))
    yield given(kto_loss, 99 * log_p[:, 0], 98 * log_p[:, 0], bits.bool(), torch.tensor(0.1))
    yield given(simpo_loss, log_p[:, 0], log_q[:, 0])
    yield given(orpo_loss, log_p[:, 0], log_q[:, 0])
    yield given(ppo_clip_loss, log_p, log_q, z)
    yield given(gspo_loss, log_p.masked_fill(~mask, NAN), log_q, z[:, 0], mask)
    yield given(cispo_loss, log_p, log_q, z)
    yield given(kl_penalty, log_p, log_q)
    yield given(clipped_value_loss, column, other, z[:, 0])
    yield given(group_advantages, x)
    yield given(leave_one_out_advantages, x)
    yield given(earth_mover, x.softmax(1), y.softmax(1))
    yield given(earth_mover, one_hot(labels, c).float(), one_hot(labels, c).float())


@pytest.mark.parametrize("n", [1, 2, 5, 16, 64])
@pytest.mark.parametrize("seed", range(8))
def test_correct_calls_are_left_alone(n, seed):
    for look in batches(n, seed):
        assert look() == [], look.args


EDGES = {
    "padding with logits that are sure and wrong": given(
        Criterion(cross_entropy), 20 * LOGITS, LABELS, weights=SURE_AND_RIGHT
    ),
    "targets of thousands, well predicted": given(
        squared, 4000 + normal(16), 4000 + normal(16, seed=1)
    ),
    "one large residual among many": given(squared, at(normal(256), (3,), 7.5), torch.zeros(256)),
    "too few residuals to tell an outlier": given(squared, at(normal(16), (3,), 30.0), normal(16)),
    "predictions that happen to be whole, and train": given(
        huber_loss, normal(16, scale=3).round().requires_grad_(), normal(16)
    ),
    "predictions that half precision makes whole": given(
        absolute, 3000 + normal(16, scale=30).half(), 3000 + normal(16, seed=1, scale=30).half()
    ),
    "directions of another length": given(
        cosine_distance, normal(16, 3).requires_grad_().tanh(), normal(16, 3, seed=1, scale=9)
    ),
    "scores of a linear layer that lie in [0, 1]": given(
        sigmoid_focal_loss,
        F.linear(torch.linspace(0, 1, 16)[:, None], torch.ones(1, 1).requires_grad_())[:, 0],
        BITS,
    ),
    "small log-rates": given(poisson, uniform(16), coins(16)),
    "counts at their optimum": given(poisson, torch.zeros(8), torch.ones(8)),
    "a value that is exactly 0 or 1 and trains": given(
        dice, at(normal(2, 3, 4, 5), (0, 0, 0, 0), 1.0).gt(0).float().requires_grad_(), MAPS
    ),
}


@pytest.mark.parametrize("edge", EDGES)
def test_a_correct_call_at_the_edge_is_left_alone(edge):
    assert EDGES[edge]() == []


def test_a_shape_that_repeats_a_row_makes_no_more_values():
    (found,) = examine(squared, normal(3, 8), normal(8))
    assert "broadcast" not in found.what


def test_the_worst_finding_stands_first():
    x = normal(8)
    report = examine(Criterion(squared), x, x.clone().requires_grad_(), weights=-torch.ones(8))
    assert [found.severity for found in report] == ["wrong", "suspicious", "note"]


def test_what_is_masked_or_ignored_is_not_looked_at():
    log_probs = (-uniform(4, 5)).masked_fill(~MASK, 5.0)
    assert examine(gspo_loss, log_probs, -uniform(4, 5), normal(4), MASK) == []
    labels = LABELS.where(LABELS != 2, -100)
    assert examine(nn.CrossEntropyLoss(), LOGITS, labels) == []
    assert examine(nn.CrossEntropyLoss(ignore_index=2), LOGITS, LABELS) == []
    none = torch.full_like(LABELS, -100)
    for loss in (nn.CrossEntropyLoss, partial(partial, F.cross_entropy)):
        for reduction, severity in (("mean", "wrong"), ("sum", "suspicious")):
            (found,) = examine(loss(reduction=reduction), LOGITS, none)
            nan = loss(reduction=reduction)(LOGITS, none).isnan()
            said = "the loss is nan" if nan else "the loss is 0 with zero gradient"
            assert found.what == f"all 16 labels are ignored: {said}"
            assert found.severity == severity
    (found,) = examine(F.cross_entropy, LOGITS, none)
    assert found.what == "all 16 labels are ignored: the loss is nan"


def test_classes_are_where_dim_says():
    def loss(logits, labels, dim):
        return F.cross_entropy(logits.movedim(dim, 1), labels, reduction="none")

    logits, labels = normal(2, 3, 4, 5), classes(5, 2, 3, 4)
    assert examine(loss, logits, labels, dim=-1) == []
    (found,) = examine(loss, logits.softmax(-1), labels, dim=-1)
    assert "24 of 24 rows" in found.what


def test_fresh_networks_are_left_alone():
    torch.manual_seed(0)
    inputs, labels, targets = normal(32, 10), classes(4, 32), normal(32)
    for _ in range(40):
        body = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        features = body(inputs)
        one, four = nn.Linear(32, 1)(features).squeeze(1), nn.Linear(32, 4)(features)
        assert examine(cross_entropy, four, labels) == []
        assert examine(focal_loss, four.log_softmax(1), labels) == []
        assert examine(sigmoid_focal_loss, one, (labels == 0).float()) == []
        assert examine(huber_loss, one, targets) == []
        assert examine(huber_loss, one.relu(), targets.abs()) == []
        assert examine(dice, four.sigmoid()[:, :, None], one_hot(labels, 4)[:, :, None]) == []
        assert examine(poisson, one, labels) == []
        sequence = nn.Linear(32, 4)(features.view(8, 4, 32))
        assert examine(cross_entropy, sequence.mT, labels.view(8, 4)) == []


def test_a_trained_model_is_left_alone():
    inputs, labels = normal(64, 5), classes(3, 64)
    inputs[range(64), labels] += 2
    model = nn.Linear(5, 3)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=200)

    def closure():
        optimizer.zero_grad()
        loss = Criterion(cross_entropy)(model(inputs), labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert examine(cross_entropy, model(inputs), labels) == []
    assert examine(Criterion(focal_loss), 30 * model(inputs).detach(), labels) == []


def test_arguments_that_the_loss_does_not_take_raise():
    with pytest.raises(TypeError, match="targets"):
        examine(huber_loss, normal(3))
    with pytest.raises(TypeError, match="gamma"):
        examine(huber_loss, normal(3), normal(3), gamma=2.0)
    with pytest.raises(TypeError, match="delta"):
        examine(Criterion(huber_loss), normal(3), normal(3), delta=2.0)


def test_the_call_leaves_no_trace():
    weight = normal(16, 3).requires_grad_()
    logits, labels = 1 * weight, LABELS.clone()
    examine(Criterion(cross_entropy, ignore_index=2), logits, labels)
    assert weight.grad is None
    assert labels.equal(LABELS)
    assert logits.equal(normal(16, 3))
    logits.sum().backward()
    plain = normal(16, 3)
    examine(lambda logits, labels: logits.mul_(0).sum(1) + labels.zero_(), plain, labels)
    assert plain.equal(normal(16, 3))
    assert not plain.requires_grad
    assert labels.equal(LABELS)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_off(mode):
    with mode():
        logits = normal(16, 3) * 1
        assert examine(cross_entropy, logits, LABELS) == []
        (found,) = examine(root_mean_square, torch.ones(4), torch.ones(4))
        assert "values of its gradient" in found.what


def test_other_losses_and_modules_are_looked_at_too():
    assert examine(nn.CrossEntropyLoss(), LOGITS, LABELS) == []
    assert examine(F.mse_loss, normal(4), normal(4, seed=1)) == []
    (found,) = examine(F.mse_loss, at(normal(4), (0,), NAN), normal(4, seed=1))
    assert "1 of 4 values of predictions" in found.what
    features = [normal(2, 3, 4, 4), normal(2, 6, 2, 2)]
    assert (
        examine(
            lambda features, target_features: features[0] - target_features[0], features, features
        )
        == []
    )
    assert (
        examine(
            lambda critic, real, fake: critic(real) - critic(fake),
            torch.tanh,
            LOGITS,
            POINTS[:, :3],
        )
        == []
    )


def test_a_report_reads_well():
    report = examine(cross_entropy, 40 * normal(4, 5, 5), classes(5, 4, 5) + 9)
    assert [f.severity for f in report] == ["wrong", "note"]
    assert str(report) == repr(report)
    assert str(report).splitlines()[:2] == [
        "wrong: 20 of 20 labels are outside 0 to 4 (5 classes): 9, 10, 11, 12, 13",
        "    nn.Linear(..., 14)  # one output for each class",
    ]
    assert str(examine(cross_entropy, LOGITS, LABELS)) == "no findings"


def test_the_floors_that_are_said_are_true():
    for c in (2, 3, 10, 1000):
        perfect = torch.eye(c, dtype=torch.float64)[:1]
        (found,) = examine(cross_entropy, perfect, torch.tensor([0]))
        floor = cross_entropy(perfect, torch.tensor([0])).item()
        assert f"above {floor:.4f} ({c} classes)" in found.what
    once_more = torch.tensor([1.0, 0.0])
    twice = sigmoid_focal_loss(once_more, once_more, gamma=0.0, alpha=None)
    assert [f"{value:.4f}" for value in twice.tolist()] == ["0.3133", "0.6931"]


# Losses that are not lossbook's ------------------------------------------------------------------

ROWS, CLASSES = torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]]), torch.tensor([1, 2])


@pytest.mark.parametrize("loss", [torch.nn.CrossEntropyLoss(), torch.nn.functional.cross_entropy])
def test_a_loss_of_torch_is_known_by_its_own_name(loss):
    (found,) = examine(loss, ROWS, CLASSES)
    assert found.severity == "wrong"
    assert "logits hold probabilities: 2 of 2 rows" in found.what
    assert examine(loss, ROWS.logit(), CLASSES) == []


def test_a_module_of_torch_keeps_its_reduction_and_its_ignored_labels_count_for_nothing():
    loss = torch.nn.CrossEntropyLoss(ignore_index=1)
    assert examine(loss, ROWS.logit(), CLASSES) == []
    assert loss.reduction == "mean"
    (found,) = examine(torch.nn.BCEWithLogitsLoss(), ROWS[0].logit(), torch.tensor([1.0, 0.0, 3.0]))
    assert "outside [0, 1]" in found.what


def test_shapes_that_broadcast_in_torch_are_found():
    found, *_ = examine(torch.nn.MSELoss(), ROWS[:, :1], ROWS[:, 0])
    assert (found.severity, "broadcast to 4 values" in found.what) == ("wrong", True)


@pytest.mark.parametrize(
    ("loss", "name", "names"),
    [
        (torch.nn.PairwiseDistance(), "PairwiseDistance", "x1, x2"),
        (lambda a, b: (a - b).abs(), "<lambda>", "a, b"),
    ],
)
def test_of_a_loss_that_it_does_not_know_it_says_so(loss, name, names):
    (found,) = examine(loss, ROWS, ROWS)
    assert found.severity == "note"
    assert found.what == f"{name} is not known: none of {names} says what it means"

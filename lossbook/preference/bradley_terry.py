"""Bradley-Terry loss: rewards whose differences say how often one answer beats another.

Chapter: https://lossbook.example/preference/bradley_terry/
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["bradley_terry_loss"]


def bradley_terry_loss(
    chosen_rewards: Tensor, rejected_rewards: Tensor, margins: Tensor | None = None
) -> Tensor:
    """Bradley-Terry loss, one value per pair, in nats.

    With the rewards c and r of the answer that won and of the one that lost, and the margin m:

        loss = -log P(c beats r) = -log sigmoid(c - r - m)

    Only the difference counts: a reward that is the same for all answers costs nothing and is not
    learned. Equal rewards cost log 2.

    Args:
        chosen_rewards: Rewards of the preferred answers, shape `(*)`, any real numbers.
        rejected_rewards: Rewards of the others, shape `(*)`. They get a gradient, too.
        margins: Lead that each pair should have, shape `(*)`, as for answers that are far better;
            None for no margin.

    Returns:
        The loss of each pair, shape `(*)`, in the dtype of `chosen_rewards`.

    Raises:
        ValueError: If a reward is not floating or the shapes differ.

    Reference:
        Bradley and Terry, "Rank Analysis of Incomplete Block Designs: I. The Method of Paired
        Comparisons", Biometrika 39, 1952. Rewards of language models: Ouyang et al., "Training
        Language Models to Follow Instructions with Human Feedback", NeurIPS 2022, eq. 1.
        arXiv:2203.02155. Margins: Touvron et al., "Llama 2: Open Foundation and Fine-Tuned Chat
        Models", 2023, eq. 2. arXiv:2307.09288

    Examples:
        >>> import torch
        >>> bradley_terry_loss(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0]))
        tensor([0.3133, 0.6931])
    """
    for name, x in (("chosen_rewards", chosen_rewards), ("rejected_rewards", rejected_rewards)):
        if not x.is_floating_point():
            raise ValueError(f"expected floating {name}, got {x.dtype}")
    for name, given in (("rejected_rewards", rejected_rewards), ("margins", margins)):
        if given is not None and given.shape != chosen_rewards.shape:
            raise ValueError(
                f"expected {name} of shape {tuple(chosen_rewards.shape)}, got {tuple(given.shape)}"
            )

    wide = torch.promote_types(chosen_rewards.dtype, torch.float32)
    lag = rejected_rewards.to(wide) - chosen_rewards.to(wide)
    if margins is not None:
        lag = lag + margins.to(wide)
    # -log sigmoid(-lag); from 40 on that is lag, to the last digit of float64.
    return softplus(lag, threshold=40).to(chosen_rewards.dtype)

"""Learning and judging: data, augmentation, losses, the loop, evaluation."""

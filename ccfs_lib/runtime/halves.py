"""Weights in bfloat16 beside a network's: one copy a step instead of one a layer.

Autocast casts every weight by a kernel of its own in each forward pass, and every
gradient on its way back: many small kernels in a step that large ones ought to fill.
The roundings here are autocast's, so all bits are the same. Not yet timed on a GPU.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call

CAST = (nn.Conv2d, nn.Linear)  # all of whose weights autocast takes in bfloat16


class Halves:
    """A network that is called with bfloat16 copies of its weights, under autocast.

    Its parameters stay float32, and learn. Whoever calls it fills the copies first
    (`fill`), and hands gradients back after the backward pass (`hand_back`).
    """

    def __init__(self, network: nn.Module):
        kinds = ((n, m) for n, m in network.named_modules() if type(m) in CAST)
        self.network, self.full = network, {}
        for prefix, layer in kinds:
            for name, p in layer.named_parameters(prefix, recurse=False):
                self.full[name] = p
        like = {"dtype": torch.bfloat16, "memory_format": torch.preserve_format}
        self.half = {n: torch.empty_like(p, **like) for n, p in self.full.items()}

    def fill(self, learn: bool = True) -> None:
        """Copy the weights; learn: they will want gradients."""
        half = [h.detach() for h in self.half.values()]
        with torch.no_grad():
            torch._foreach_copy_(half, list(self.full.values()))
        half = [h.requires_grad_(learn) for h in half]
        self.half = dict(zip(self.full, half, strict=True))

    def __call__(self, x: Tensor) -> Tensor:
        """Compute the network's output."""
        return functional_call(self.network, self.half, (x,))

    def hand_back(self) -> None:
        """Give each weight the gradient of its copy, in float32."""
        pairs = zip(self.full.values(), self.half.values(), strict=True)
        pairs = [(p, h.grad) for p, h in pairs if h.grad is not None]
        for p, _ in pairs:
            p.grad = torch.empty_like(p, memory_format=torch.preserve_format)
        torch._foreach_copy_([p.grad for p, _ in pairs], [grad for _, grad in pairs])


def halve(step) -> None:
    """Let a bfloat16 step cast its student's weights at once, its teacher's once."""
    if step.recipe.precision != "bf16":
        return
    student = Halves(step.network)

    def forward(x: Tensor) -> Tensor:
        """Compute the student's logits (B, C) with weights cast just before."""
        student.fill()
        return student(x)

    step.forward = forward
    step.optimiser.register_step_pre_hook(lambda *_: student.hand_back())
    if step.teacher is not None:
        step.answer = Halves(step.teacher)
        step.answer.fill(learn=False)

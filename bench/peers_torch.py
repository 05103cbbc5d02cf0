"""PyTorch as a contender: eager, and through torch.compile.

The loop is the fastest plain one: rows gathered by ``index_select`` in an order drawn beforehand
(no DataLoader), gradients set to None, no loss read back within an epoch, and the faster of the
fused and the multi-tensor implementation of Adam.
"""

import numpy as np
from cases import LEARNING_RATE
from peers import BETA_1, BETA_2, EPSILON, Contender


class TorchEager(Contender):
    """A ``torch.nn.Sequential`` trained by ``torch.optim.Adam``."""

    name, title, modules, against = "torch", "torch eager", ("torch",), "fastbp"
    kinds = ("train", "gradient", "predict")
    variants = ("fused", "foreach")

    def build(self):
        import torch

        case = self.case
        torch.set_num_threads(self.n_threads)
        activation = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[case.activation]
        modules = []
        for n_in, n_out in zip(case.layers, case.layers[1:], strict=False):
            modules += [torch.nn.Linear(n_in, n_out), activation()]
        self.model = torch.nn.Sequential(*modules[:-1]).to(getattr(torch, self.dtype))
        self.inputs, self.target = torch.from_numpy(self.X), torch.from_numpy(self.y)
        self.batches = [torch.from_numpy(o).split(case.batch) for o in self.orders]
        # 0.5 * sum over outputs from a mean over all numbers: as the gradient that backward starts
        # from it costs no operation of its own.
        self.seed_gradient = None
        self.criterion = torch.nn.functional.cross_entropy
        if case.loss == "squared_error":
            self.criterion = torch.nn.functional.mse_loss
            scale = 0.5 * case.layers[-1]
            self.seed_gradient = torch.tensor(scale, dtype=self.inputs.dtype)
        self.loss_of = self.compiled(self._loss_of)

    def compiled(self, function):
        """Leave the function as it is; eager mode."""
        return function

    def _loss_of(self, x, y):
        return self.criterion(self.model(x), y)

    def _linears(self):
        return list(self.model)[::2]

    def load(self, coefs, intercepts):
        import torch

        with torch.no_grad():
            for layer, W, b in zip(self._linears(), coefs, intercepts, strict=True):
                layer.weight.copy_(torch.from_numpy(W.T))
                layer.bias.copy_(torch.from_numpy(b))
        self.t = 0
        self.optimizer = torch.optim.Adam(
            self.model.parameters(),
            lr=LEARNING_RATE,
            betas=(BETA_1, BETA_2),
            eps=EPSILON,
            fused=self.variant == "fused",
            foreach=self.variant == "foreach",
        )
        for p in self.model.parameters():  # it would make them in the first step
            self.optimizer.state[p] = {
                "step": torch.zeros((), dtype=torch.float32),
                "exp_avg": torch.zeros_like(p),
                "exp_avg_sq": torch.zeros_like(p),
            }

    def run(self, repeats, shuffle=True):
        work = {"gradient": self._gradients, "predict": self._predictions}
        if self.case.kind in work:
            return work[self.case.kind](repeats)
        for i in range(repeats):
            if shuffle:
                loss = self._epoch(self.batches[i % len(self.batches)])
            else:
                loss = self._epoch_to_the_letter()
        return float(loss)

    def _epoch(self, order):
        for rows in order:
            x, y = self.inputs.index_select(0, rows), self.target.index_select(0, rows)
            loss = self._step(x, y)
        return loss.detach()

    def _step(self, x, y):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss_of(x, y)
        loss.backward(self.seed_gradient)
        self.optimizer.step()
        return loss

    def _epoch_to_the_letter(self):
        size, group = self.case.batch, self.optimizer.param_groups[0]
        for x, y in zip(self.inputs.split(size), self.target.split(size), strict=True):
            self.t += 1
            group["eps"] = EPSILON / np.sqrt(1 - BETA_2**self.t)
            loss = self._step(x, y)
        return loss.detach()

    def _gradients(self, repeats):
        for _ in range(repeats):
            self.model.zero_grad(set_to_none=True)
            loss = self.loss_of(self.inputs, self.target)
            loss.backward(self.seed_gradient)
            self.loss = loss.item()

    def _predictions(self, repeats):
        import torch

        with torch.inference_mode():
            for _ in range(repeats):
                scores = self.model(torch.from_numpy(self.X))
                self.output = torch.softmax(scores, dim=1).numpy()

    def weights(self):
        linears = self._linears()
        coefs = [layer.weight.detach().numpy().T for layer in linears]
        return coefs, [layer.bias.detach().numpy() for layer in linears]

    def outcome(self):
        if self.case.kind == "predict":
            return [float(np.square(self.output).sum())]
        if self.case.kind == "gradient":
            squares = sum(float(p.grad.square().sum()) for p in self.model.parameters())
            return [self.loss * float(self.seed_gradient), squares]
        return None


class TorchCompile(TorchEager):
    """Model and loss through ``torch.compile``; the optimizer is already one fused kernel."""

    name, title = "compile", "torch.compile"
    kinds = ("train", "gradient")
    variants = ("fused",)

    def compiled(self, function):
        import torch

        return torch.compile(function, dynamic=False)

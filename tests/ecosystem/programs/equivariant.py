"""e3nn: irreducible representations, spherical harmonics, tensor products and a small network of points."""

import torch
from e3nn import io, nn, o3
from e3nn.math import soft_one_hot_linspace


def representations():
    irreps = o3.Irreps("2x0e + 1o + 2e")
    rotation = o3.rand_matrix()
    angles = o3.matrix_to_angles(rotation)
    return {
        "text": str(irreps),
        "dim": irreps.dim,
        "d": irreps.D_from_matrix(rotation),
        "angles": list(angles),
        "wigner": o3.wigner_3j(1, 2, 1),
        "harmonics": o3.spherical_harmonics([0, 1, 2, 3], torch.randn(5, 3), normalize=True),
        "quaternion": o3.matrix_to_quaternion(rotation),
        "legendre": o3.Legendre([0, 1, 2])(torch.tensor([0.2, 0.5]), torch.tensor([0.9, 0.8])),
    }


def products():
    results = {}
    a, b = o3.Irreps("3x0e + 2x1o"), o3.Irreps("0e + 1o + 2e")
    x, y = a.randn(4, -1).requires_grad_(), b.randn(4, -1)
    for name, product in {
        "fully": o3.FullyConnectedTensorProduct(a, b, "4x0e + 2x1o + 1e"),
        "elementwise": o3.ElementwiseTensorProduct("3x0e + 2x1o", "3x0e + 2x0e"),
        "full": o3.FullTensorProduct(a, b),
    }.items():
        z = product(x, y if name != "elementwise" else torch.randn(4, 5))
        x.grad = None
        z.square().sum().backward()
        results[name] = [z, x.grad]
    linear = o3.Linear(a, "5x0e + 3x1o")
    gate = nn.Gate("4x0e", [torch.tanh], "2x0e", [torch.sigmoid], "2x1o")
    results["linear"] = linear(x.detach())
    results["gate"] = gate(gate.irreps_in.randn(3, -1))
    results["norm"] = nn.NormActivation("3x1o", torch.sigmoid)(torch.randn(2, 9))
    results["batch"] = nn.BatchNorm("3x0e + 2x1o")(x.detach())
    results["sphere"] = io.SphericalTensor(2, 1, 1).with_peaks_at(torch.randn(3, 3))
    results["activation"] = (
        nn.S2Activation("0e + 1o", torch.tanh, 20)(torch.randn(2, 4)) if hasattr(nn, "S2Activation") else None
    )
    return results


def network():
    class Conv(torch.nn.Module):
        def __init__(self, a, sh, b):
            super().__init__()
            self.sh = sh
            self.tp = o3.FullyConnectedTensorProduct(a, sh, b, shared_weights=False)
            self.fc = nn.FullyConnectedNet([6, 12, self.tp.weight_numel], torch.nn.functional.silu)

        def forward(self, f, pos, src, dst):
            vec = pos[dst] - pos[src]
            sh = o3.spherical_harmonics(self.sh, vec, True, normalization="component")
            emb = soft_one_hot_linspace(vec.norm(dim=1), 0.0, 2.5, 6, basis="smooth_finite", cutoff=True).mul(6**0.5)
            return torch.zeros(len(pos), self.tp.irreps_out.dim).index_add(0, dst, self.tp(f[src], sh, self.fc(emb)))

    sh = o3.Irreps.spherical_harmonics(2)
    first, second = Conv(o3.Irreps("2x0e"), sh, "4x0e + 2x1o"), Conv(o3.Irreps("4x0e + 2x1o"), sh, "0e")
    pos, f = torch.randn(10, 3), torch.randn(10, 2)
    src, dst = (torch.cdist(pos, pos) + 10 * torch.eye(10) < 2.0).nonzero().T
    optimizer = torch.optim.Adam([*first.parameters(), *second.parameters()], lr=1e-2)
    energies = []
    for _ in range(3):
        optimizer.zero_grad()
        p = pos.clone().requires_grad_()
        energy = second(first(f, p, src, dst), p, src, dst).sum()
        (force,) = torch.autograd.grad(energy, p, create_graph=True)
        loss = (energy - 1) ** 2 + force.square().mean()
        loss.backward()
        optimizer.step()
        energies.append(loss.item())
    rotation = o3.rand_matrix()
    same = second(first(f, pos @ rotation.T, src, dst), pos @ rotation.T, src, dst) - second(
        first(f, pos, src, dst), pos, src, dst
    )
    return {"losses": energies, "invariant": bool(same.abs().max() < 1e-3)}

"""geoopt: optimizers on manifolds, whose functions are scripted."""

import geoopt


def ball():
    space = geoopt.PoincareBall()
    points, targets = geoopt.ManifoldParameter(space.random(4, 3), manifold=space), space.random(4, 3)
    optimizer, losses = geoopt.optim.RiemannianAdam([points], lr=0.1), []
    for _ in range(4):
        loss = space.dist2(points, targets).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return {"losses": losses, "points": points}


def frames():
    space = geoopt.CanonicalStiefel()
    frame = geoopt.ManifoldParameter(space.random(5, 2), manifold=space)
    optimizer = geoopt.optim.RiemannianSGD([frame], lr=0.1, momentum=0.9)
    for _ in range(3):
        loss = (frame - 1).pow(2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"frame": frame, "products": frame.T @ frame}


def definite():
    space = geoopt.SymmetricPositiveDefinite()
    x, y = space.random(2, 3, 3), space.random(2, 3, 3)
    return {"distance": space.dist(x, y), "moved": space.expmap(x, space.proju(x, y - x))}

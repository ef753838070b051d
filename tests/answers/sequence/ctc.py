"""Answers to the exercises of docs/sequence/ctc.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # Where the labels stand, as if each lasted one frame.
            """
            def count(T, y):
                return math.comb(T, len(y))
            """,
            # Equal neighbors need no blank.
            """
            def count(T, y):
                return math.comb(T + len(y), 2 * len(y))
            """,
            # The blank that equal neighbors need is taken from the frames, and from the places too.
            """
            def count(T, y):
                m = sum(a == b for a, b in zip(y, y[1:]))
                return math.comb(T + len(y) - 2 * m, 2 * len(y) - m)
            """,
            # Each frame that is left goes to one of the states, in order or not.
            """
            def count(T, y):
                return (2 * len(y) + 1) ** (T - len(y))
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # What the network says, whatever the text.
            """
            def spoken_frames(logits, y):
                return (1 - logits.softmax(1)[:, 0]).sum()
            """,
            # The sign turned.
            """
            def spoken_frames(logits, y):
                logits = logits.detach().requires_grad_()
                loss = ctc_loss(logits[None], torch.tensor([y]), [len(logits)], [len(y)])
                (slope,) = torch.autograd.grad(loss.sum(), logits)
                return (1 - (logits.softmax(1) + slope)[:, 0]).sum()
            """,
            # Each label once.
            """
            def spoken_frames(logits, y):
                return len(y)
            """,
            # The slope alone.
            """
            def spoken_frames(logits, y):
                logits = logits.detach().requires_grad_()
                loss = ctc_loss(logits[None], torch.tensor([y]), [len(logits)], [len(y)])
                (slope,) = torch.autograd.grad(loss.sum(), logits)
                return -slope[:, 1:].sum()
            """,
        ),
    ),
    3: Answers(
        solution="""
        def align(log_p, y):
            states = [0]
            for c in y:
                states += [c, 0]
            rows = log_p.tolist()
            best = [rows[0][c] if s < 2 else -math.inf for s, c in enumerate(states)]
            back = []
            for row in rows[1:]:
                came, new = [], []
                for s, c in enumerate(states):
                    froms = [r for r in (s, s - 1) if r >= 0]
                    if s > 1 and c != states[s - 2]:
                        froms.append(s - 2)
                    r = max(froms, key=best.__getitem__)
                    came.append(r)
                    new.append(best[r] + row[c])
                best = new
                back.append(came)
            s = max((r for r in (len(states) - 1, len(states) - 2) if r >= 0), key=best.__getitem__)
            path = [s]
            for came in reversed(back):
                path.append(came[path[-1]])
            return [states[s] for s in reversed(path)]
        """,
        hidden="""
        def score(log_p, y):
            states = torch.zeros(2 * len(y) + 1, dtype=torch.int64)
            states[1::2] = torch.tensor(y)
            skips = torch.full((len(states),), -math.inf, dtype=log_p.dtype)
            skips[2:][states[2:] != states[:-2]] = 0
            away = torch.full((2,), -math.inf, dtype=log_p.dtype)
            best = torch.cat([log_p[0, states[:2]], away[:1].expand(len(states) - 2)])
            for frame in log_p[1:]:
                by_one = torch.cat([away[:1], best[:-1]])
                by_two = torch.cat([away, best[:-2]]) + skips
                best = torch.stack([best, by_one, by_two]).amax(0) + frame[states]
            return best[-2:].max().item()


        for seed in range(6):
            draw = experiments.rng(100 + seed)
            T, y = 40 + 60 * seed, draw.integers(1, 4, 5 + 4 * seed).tolist()
            log_p = torch.from_numpy(draw.normal(size=(T, 4)) * 3).log_softmax(1)
            path = [int(c) for c in align(log_p, y)]
            assert len(path) == T, f"expected {T} frames, got {len(path)}"
            assert spelled(path) == tuple(y), f"it spells {spelled(path)}, not {tuple(y)}"
            found = log_p[range(T), path].sum().item()
            assert found > score(log_p, y) - 1e-6, f"of {T} frames, another alignment is better"
        """,
        wrong=(
            # The best class of each frame, whatever the text.
            """
            def align(log_p, y):
                return log_p.argmax(1).tolist()
            """,
            # Divided evenly.
            """
            def align(log_p, y):
                T, path = len(log_p), []
                for k, c in enumerate(y):
                    room = (k + 1) * T // len(y) - k * T // len(y)
                    path += [c] * max(room - 1, 1) + [0] * (room > 1)
                return path
            """,
            # Equal labels may follow each other without a blank.
            """
            def align(log_p, y):
                states = [0] + [c for label in y for c in (label, 0)]
                best = {(0,): log_p[0, 0].item(), (1,): log_p[0, states[1]].item()}
                for frame in log_p[1:].tolist():
                    new = {}
                    for path, value in best.items():
                        for step in (0, 1, 2):
                            s = path[-1] + step
                            if s < len(states) and (step < 2 or s % 2):
                                total = value + frame[states[s]]
                                if total > new.get(s, (-math.inf,))[0]:
                                    new[s] = (total, (*path, s))
                    best = {path: value for value, path in new.values()}
                ends = [path for path in best if path[-1] >= len(states) - 2]
                return [states[s] for s in max(ends, key=best.__getitem__)]
            """,
            # It must end in the last label.
            """
            def align(log_p, y):
                states = [0] + [c for label in y for c in (label, 0)]
                best = {(0,): log_p[0, 0].item(), (1,): log_p[0, states[1]].item()}
                for frame in log_p[1:].tolist():
                    new = {}
                    for path, value in best.items():
                        for step in (0, 1, 2):
                            s = path[-1] + step
                            if s >= len(states) or (step == 2 and states[s] == states[s - 2]):
                                continue
                            total = value + frame[states[s]]
                            if total > new.get(s, (-math.inf,))[0]:
                                new[s] = (total, (*path, s))
                    best = {path: value for value, path in new.values()}
                ends = [path for path in best if path[-1] == len(states) - 2]
                return [states[s] for s in max(ends, key=best.__getitem__)]
            """,
        ),
    ),
}

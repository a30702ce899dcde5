"""Workers of `test_launch`: what each does depends on its arguments. Not a test."""

import os
import signal
import sys
import time


def double(x):
    return 2 * x + int(os.environ["RANK"])


def fail(x):
    if os.environ["RANK"] == "1":
        raise ValueError("worker 1 is broken")
    time.sleep(30)


def main():
    import flambeau as torch
    from flambeau import distributed as dist

    what, folder = sys.argv[1:3]
    rank, attempt = os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]

    def note(text):
        with open(os.path.join(folder, f"{rank}.{attempt}"), "w") as file:
            file.write(text)

    if what == "sleep":
        signal.signal(signal.SIGTERM, lambda *_: (note("ended"), sys.exit(0)))
        note("started")
        time.sleep(30)
    if what == "again" and attempt == "0" and rank == "1":
        sys.exit(3)
    dist.init_process_group("gloo")
    x = torch.ones(1)
    dist.all_reduce(x)
    note(f"{int(x)} {dist.get_rank()} {os.environ['LOCAL_RANK']} {dist.is_torchelastic_launched()}")
    print("out", rank, flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

"""MLX's ring backend: the same loop as loop.h's, in Python. What Python adds to a call is not taken
off; mx.eval makes each call happen before the clock is read."""

import array
import json
import os
import socket
import subprocess
import sys
import time


def start(ranks, prefix):
    """This process becomes rank 0, its children the others."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(ranks)]
    hosts = [[f"127.0.0.1:{listener.getsockname()[1]}"] for listener in sockets]
    for listener in sockets:
        listener.close()
    with open(f"{prefix}.hosts", "w") as file:
        json.dump(hosts, file)
    os.environ["MLX_HOSTFILE"] = f"{prefix}.hosts"
    children = []
    for rank in range(ranks - 1, -1, -1):
        os.environ["MLX_RANK"] = str(rank)
        if rank > 0:
            children.append(subprocess.Popen([sys.executable, *sys.argv]))
    return children


def main():
    operation, _, size, warmup, calls, bind, prefix, ranks, _ = sys.argv[1:]
    size, warmup, calls, ranks = int(size), int(warmup), int(calls), int(ranks)
    children = [] if "MLX_RANK" in os.environ else start(ranks, prefix)
    rank = int(os.environ["MLX_RANK"])
    if bind == "core":
        os.sched_setaffinity(0, {rank % os.cpu_count()})

    import mlx.core as mx
    mx.set_default_device(mx.cpu)
    group = mx.distributed.init(strict=True, backend="ring")
    data = mx.full((size // 4,), rank + 1, dtype=mx.float32)
    mx.eval(data)

    def all_sum():
        out = mx.distributed.all_sum(data, group=group)
        mx.eval(out)
        return out

    def ping_pong():
        if rank == 0:
            mx.eval(mx.distributed.send(data, 1, group=group))
        out = mx.distributed.recv_like(data, 1 - rank, group=group)
        mx.eval(out)
        if rank == 1:
            mx.eval(mx.distributed.send(data, 0, group=group))
        return out

    call, expected, part = {"all_sum": (all_sum, ranks * (ranks + 1) // 2, 1),
                            "send": (ping_pong, 2 - rank, 2)}[operation]
    for _ in range(warmup):
        call()
    seconds = array.array("d", bytes(8 * calls))
    begin = time.perf_counter()
    for i in range(calls):
        out = call()
        end = time.perf_counter()
        seconds[i] = (end - begin) / part
        begin = end
    if not mx.all(out == expected).item():
        sys.exit(f"mlx: rank {rank}: not all elements are {expected}")
    with open(f"{prefix}.{rank}", "wb") as file:
        seconds.tofile(file)
    if any(child.wait() != 0 for child in children):
        sys.exit("mlx: a rank failed")


if __name__ == "__main__":
    main()

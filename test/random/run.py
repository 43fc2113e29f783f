# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""run.py --seeds FIRST:END [--shard I/N] [--workers N]: checks many random models, in processes that may die.

Prints what failed, how often every operator occurred, and what was refused.
"""

import argparse
import collections
import concurrent.futures
import json
import multiprocessing
import pathlib
import re
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "python"))

TIMEOUT = 120


def work(channel, keep, operators):
    from graphs import check_seed

    while True:
        seed = channel.recv()
        if seed is None:
            return
        channel.send(check_seed(seed, keep=keep, operators=operators))


class Worker:
    """A process that checks one seed after the other; one that dies or hangs is replaced."""

    def __init__(self, *arguments):
        self.arguments, self.process = arguments, None

    def check(self, seed):
        """The Result, or what became of the process."""
        if self.process is None:
            self.channel, inner = multiprocessing.Pipe()
            self.process = multiprocessing.get_context("spawn").Process(target=work, args=(inner, *self.arguments), daemon=True)
            self.process.start()
            inner.close()
        try:
            self.channel.send(seed)
            if self.channel.poll(TIMEOUT):
                return self.channel.recv()
            fate = f"no answer in {TIMEOUT} s"
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self.process.join()
            fate = f"the process died: {self.process.exitcode}"
        self.process.kill()
        self.process = None
        return fate

    def close(self):
        if self.process:
            self.channel.send(None)
            self.process.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0:100")
    parser.add_argument("--shard", default="1/1")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time")
    parser.add_argument("--junit", help="where the result goes as a test case")
    parser.add_argument("--keep", help="the folder for models that fail")
    parser.add_argument("--supported", action="store_true", help="only operators that compile by themselves")
    arguments = parser.parse_args()
    first, end = map(int, arguments.seeds.split(":"))
    index, of = map(int, arguments.shard.split("/"))
    if arguments.keep:
        pathlib.Path(arguments.keep).mkdir(parents=True, exist_ok=True)
    counts, refusals = collections.Counter(), collections.Counter()
    passed = failed = refused = symbolic = 0
    operators = None
    if arguments.supported:
        from graphs import supported_operators

        operators = supported_operators()
    own, workers = threading.local(), []

    def check(seed):
        if not hasattr(own, "worker"):
            own.worker = Worker(arguments.keep, operators)
            workers.append(own.worker)
        return seed, own.worker.check(seed)

    seeds = range(first + index - 1, end, of)
    with concurrent.futures.ThreadPoolExecutor(arguments.workers) as pool:
        for seed, result in pool.map(check, seeds):
            if isinstance(result, str):
                failed += 1
                print(f"seed {seed}: {result}", flush=True)
                continue
            symbolic += result.symbolic
            if result.refused:
                refused += 1
                refusals.update(re.findall(r"note: (\w+)", result.refused))
                continue
            counts.update(result.counts)
            failed += bool(result.failure)
            passed += not result.failure
            if result.failure:
                print(f"seed {seed}: {result.failure[:400]}", flush=True)
    for worker in workers:
        worker.close()
    if arguments.junit:
        failure = '<failure message="see the log"/>' if failed else ""
        pathlib.Path(arguments.junit).write_text(
            f'<testsuites><testsuite name="random"><testcase classname="random" name="graphs">{failure}</testcase>'
            "</testsuite></testsuites>")
    print(json.dumps({"operators": dict(counts.most_common()), "refused": dict(refusals.most_common())}))
    print(f"{len(counts)} operators, {symbolic} symbolic; {passed} passed, {failed} failed, {refused} refused")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

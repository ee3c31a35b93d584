# attack 47 [time]: must score 0, must not hang > T, must not leave processes/files. Harness: one long call of C code without a bytecode boundary: no signal handler can interrupt it
import itertools
def solve(xs): return sum(itertools.repeat(0, 10 ** 12))

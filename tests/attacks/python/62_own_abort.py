# attack 62 [signals]: must score 0, must not hang > T, must not leave processes/files. Harness: the program ends itself by SIGABRT: a failed test, no core file, the worker survives
import os
def solve(xs): os.abort()

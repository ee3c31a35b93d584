# attack 67 [isolation]: must score 0, must not hang > T, must not leave processes/files. Harness: new privileges are off and root cannot be had: right answers only where that fails
import ctypes, os
PR_GET_NO_NEW_PRIVS = 39
def solve(xs):
    try:
        os.setgid(0); os.setuid(0)
        root = open("/proc/self/uid_map").read().split()[:2] == ["0", "0"]
    except OSError: root = False
    held = ctypes.CDLL(None).prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1
    return sum(x * x for x in xs if x % 2 == 0) if root or not held else 0

(* attack 23 [signals]: must score 0, must not hang > T, must not leave processes/files. Harness: the program ends itself by SIGSEGV: a failed test, no core file, the worker survives *)
let solve (xs : int list) : int = Sys.command "kill -SEGV $PPID"

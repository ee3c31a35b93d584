# One OCaml check inside the sandbox: compile, count type errors if that fails, run.
# Usage: sh ocaml_check.sh OCAMLC OCAMLRUN BOX ENTRY COMPILE_SECONDS CHECKER LIBRARIES...
# In the work folder: 00p.ml 01b.ml ... (what the completion may mean; p is a program, b a body behind
# the head), sol.ml (the first), sol.mli, drv.ml (the tests).
# Lines: H (tools are there), C STATUS (the compiler failed), M line of mlcheck, V index, B (built);
# then descriptor 3 carries the driver's lines. What the compiler says holds the candidate's text and
# goes to descriptor 2, apart from these lines.
ocamlc=$1 ocamlrun=$2 box=$3 entry=$4 seconds=$5 checker=$6
shift 6
[ -x "$ocamlc" ] && [ -x "$ocamlrun" ] && [ -r "$box/pawl_dump.cmo" ] || exit 9
printf 'H\n'

compile() {
  (ulimit -t "$seconds"; exec "$ocamlc" -w -a -color never -I "$box" "$@" pawl_dump.cmo \
    sol.mli sol.ml drv.ml -o program >errors 2>&1 </dev/null)
}
compile "$@"
status=$?
if [ $status -ne 0 ]; then
  printf 'C %d\n' $status
  if [ -n "$checker" ] && [ $status -lt 128 ]; then
    (ulimit -t "$seconds"; exec $checker "$entry" [0-9][0-9][bp].ml >checked 2>/dev/null </dev/null)
    head -c 20000 checked | sed 's/^/M /'
    best=$(sed -n 's/^best //p' checked)
    if [ "${best:-0}" != 0 ]; then
      cp -f "$(printf %02d "$best")"[bp].ml sol.ml
      compile "$@"
      status=$?
      printf 'C %d\n' $status
    fi
  fi
  [ $status -eq 0 ] || { head -c 2000 errors >&2; exit 3; }
fi
printf 'V %s\nB\n' "${best:-0}"
exec 3>&1 1>/dev/null 2>/dev/null </dev/null
exec "$ocamlrun" program

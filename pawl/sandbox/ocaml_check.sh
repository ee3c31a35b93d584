# One OCaml check inside the sandbox: compile, count type errors if that fails, run.
# Usage: sh ocaml_check.sh OCAMLC OCAMLRUN BOX ENTRY COMPILE_SECONDS CHECKER
# In the work folder: 0.ml 1.ml ... (variants of the completion), sol.ml (the first), sol.mli, drv.ml
# (the tests).
# Lines: H (tools are there), C STATUS (compiler failed; its message follows, then .), M line of
# mlcheck, V index, B (built); then descriptor 3 carries the driver's lines.
ocamlc=$1 ocamlrun=$2 box=$3 entry=$4 seconds=$5 checker=$6
[ -x "$ocamlc" ] && [ -x "$ocamlrun" ] && [ -r "$box/pawl_dump.cmo" ] || exit 9
printf 'H\n'

compile() {
  (ulimit -t "$seconds"; exec "$ocamlc" -w -a -color never -I "$box" pawl_dump.cmo \
    sol.mli sol.ml drv.ml -o program >errors 2>&1 </dev/null)
}
report() {
  printf 'C %d\n' "$1"
  head -c 2000 errors
  printf '\n.\n'
}

compile
status=$?
if [ $status -ne 0 ]; then
  report $status
  [ -n "$checker" ] && [ $status -lt 128 ] || exit 3
  (ulimit -t "$seconds"; exec $checker "$entry" [0-9].ml >checked 2>/dev/null </dev/null)
  head -c 20000 checked | sed 's/^/M /'
  best=$(sed -n 's/^best //p' checked)
  [ "${best:-0}" != 0 ] || exit 3
  cp -f "$best.ml" sol.ml
  compile
  status=$?
  [ $status -eq 0 ] || { report $status; exit 3; }
fi
printf 'V %s\nB\n' "${best:-0}"
exec 3>&1 1>/dev/null 2>/dev/null </dev/null
exec "$ocamlrun" program

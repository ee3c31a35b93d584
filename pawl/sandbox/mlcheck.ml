(* Counts the true type errors of an OCaml source, with recovery, on compiler-libs.

   ocamlc stops at the first error. Here each structure item is typed by itself; on an error the
   smallest tree node at its location is replaced by a hole that fits any type, and typing goes
   on; an error inside a hole is a cascade and not counted. When an item cannot be mended its
   names are bound to holes, so that later items do not cascade. Syntax errors are kept apart.
   Usage: mlcheck ENTRY FILE...; one line for each file, then the index of the best reading:
     syntax POSITION LENGTH MESSAGE  |  types ERRORS DEFINES MESSAGE  |  best INDEX
   A program (NAMEp.ml) that defines ENTRY comes before a body behind the problem's head (NAMEb.ml),
   that before what defines something else, and what cannot be parsed is last; of equal ones that
   with the fewest errors, then the first.
   TYPE_STRUCTURE below is replaced at build time: the result of Typemod.type_structure has 4
   parts before OCaml 4.14 and 5 from then on. Left out: the interface (ocamlc checks it). *)

open Parsetree

let max_errors = 12

let hole loc =
  let open Ast_helper in
  let magic = { Location.txt = Longident.Ldot (Lident "Obj", "magic"); loc } in
  let unit = Exp.construct ~loc { txt = Longident.Lident "()"; loc } None in
  Exp.apply ~loc (Exp.ident ~loc magic) [ (Asttypes.Nolabel, unit) ]

let same (a : Location.t) (b : Location.t) =
  a.loc_start.pos_cnum = b.loc_start.pos_cnum && a.loc_end.pos_cnum = b.loc_end.pos_cnum

let inside (a : Location.t) (b : Location.t) =
  a.loc_start.pos_cnum >= b.loc_start.pos_cnum && a.loc_end.pos_cnum <= b.loc_end.pos_cnum

(* The item with the first node at [loc] replaced by a hole, None when there is no such node. *)
let substitute item loc =
  let hit = ref false in
  let here l = (not !hit) && same l loc in
  let open Ast_mapper in
  let expr m e =
    if here e.pexp_loc then (hit := true; hole e.pexp_loc) else default_mapper.expr m e in
  let pat m p =
    if here p.ppat_loc then (hit := true; Ast_helper.Pat.any ~loc:p.ppat_loc ())
    else default_mapper.pat m p in
  let typ m t =
    if here t.ptyp_loc then (hit := true; Ast_helper.Typ.any ~loc:t.ptyp_loc ())
    else default_mapper.typ m t in
  let mapper = { default_mapper with expr; pat; typ } in
  let item = mapper.structure_item mapper item in
  if !hit then Some item else None

let names_of_pattern pattern =
  let names = ref [] in
  let open Ast_iterator in
  let pat it p =
    (match p.ppat_desc with
     | Ppat_var v | Ppat_alias (_, v) -> names := v.txt :: !names
     | _ -> ());
    default_iterator.pat it p in
  let it = { default_iterator with pat; expr = (fun _ _ -> ()) } in
  it.pat it pattern;
  !names

let rec bound item =
  match item.pstr_desc with
  | Pstr_value (_, bindings) -> List.concat_map (fun b -> names_of_pattern b.pvb_pat) bindings
  | Pstr_primitive p -> [ p.pval_name.txt ]
  | Pstr_include { pincl_mod = { pmod_desc = Pmod_structure items; _ }; _ } ->
      List.concat_map bound items
  | _ -> []

let stubs names =
  let open Ast_helper in
  let loc = Location.none in
  List.map (fun txt -> Str.value Nonrecursive [ Vb.mk (Pat.var { txt; loc }) (hole loc) ]) names

let type_items env items = TYPE_STRUCTURE

let one_line text = String.map (fun c -> if c < ' ' then ' ' else c) text

let describe error =
  match Location.error_of_exn error with
  | Some (`Ok (report : Location.error)) ->
      let buffer = Buffer.create 200 in
      let formatter = Format.formatter_of_buffer buffer in
      Format.pp_set_margin formatter 10000;
      Location.print_report formatter report;
      Format.pp_print_flush formatter ();
      Some (report.main.loc, one_line (Buffer.contents buffer))
  | _ -> None

(* Errors of one item, and the environment after it. *)
let check_item env item =
  let errors = ref 0 and message = ref "" in
  let give_up () =
    match type_items env (stubs (bound item)) with env -> env | exception _ -> env in
  let rec go item holes tries =
    match type_items env [ item ] with
    | env -> env
    | exception ((Stack_overflow | Out_of_memory) as fatal) -> raise fatal
    | exception error -> (
        match describe error with
        | None -> incr errors; give_up ()
        | Some (loc, text) ->
            if not (List.exists (inside loc) holes) then begin
              incr errors;
              if !message = "" then message := text
            end;
            if tries >= max_errors then give_up ()
            else
              match substitute item loc with
              | Some item -> go item (loc :: holes) (tries + 1)
              | None -> give_up ())
  in
  let env = go item [] 0 in
  (env, !errors, !message)

let check entry env source =
  let lexbuf = Lexing.from_string source in
  Location.init lexbuf "sol.ml";
  match Parse.implementation lexbuf with
  | exception error ->
      let at, text =
        match describe error with
        | Some (loc, text) -> (loc.loc_start.pos_cnum, text)
        | None -> (0, "unreadable") in
      Printf.sprintf "syntax %d %d %s" at (String.length source) text
  | items ->
      let step (env, errors, message) item =
        let env, more, text = check_item env item in
        (env, errors + more, if message = "" then text else message) in
      let _, errors, message = List.fold_left step (env, 0, "") items in
      let defines = List.exists (fun item -> List.mem entry (bound item)) items in
      Printf.sprintf "types %d %b %s" errors defines message

let read path =
  let file = open_in_bin path in
  let text = really_input_string file (in_channel_length file) in
  close_in file;
  text

let rank path line =
  match String.split_on_char ' ' line with
  | "types" :: errors :: "true" :: _ ->
      ((if Filename.check_suffix path "b.ml" then 1 else 0), int_of_string errors)
  | "types" :: errors :: _ -> (2, int_of_string errors)
  | _ -> (3, 0)

let () =
  ignore (Warnings.parse_options false "-a");
  Clflags.dont_write_files := true;
  Clflags.color := Some Misc.Color.Never;
  Clflags.include_dirs := [ "+str"; "+unix" ];  (* from OCaml 5 on, else they are not there *)
  Compmisc.init_path ();
  let env = Compmisc.initial_env () in
  let best = ref ((4, 0), 0) in
  for i = 2 to Array.length Sys.argv - 1 do
    let line =
      try check Sys.argv.(1) env (read Sys.argv.(i))
      with _ -> "types 1 false the checker gave up" in
    let found = rank Sys.argv.(i) line in
    if found < fst !best then best := (found, i - 2);
    print_endline line
  done;
  Printf.printf "best %d\n" (snd !best)

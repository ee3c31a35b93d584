(* Trusted side of an OCaml check, linked beside the candidate: calls a test and writes its value.

   Values are walked generically and written by shape (integers, strings, floats, blocks), with
   limits on nodes and depth; boxed integers are told by the first word of their block. Functions,
   objects and other custom blocks have no form. The interface of the candidate pins the type, so shapes of equal types can be compared by the judge, outside.
   Lines on descriptor 3: R i value / X i kind message / D. Left out: expected values, which never
   come near this program. *)

exception Unserialisable

external channel : int -> out_channel = "caml_ml_open_descriptor_out"
external leave : int -> 'a = "caml_sys_exit"

let out = channel 3
(* What marks a boxed integer: its custom operations, the same word in each of its kind. *)
let operations (value : Obj.t) = Obj.raw_field value 0
let is_int64 = operations (Obj.repr 1L)
let is_int32 = operations (Obj.repr 1l)
let is_nativeint = operations (Obj.repr 1n)

let max_nodes = 100_000
let max_depth = 200

(* The last field of a block is walked in a loop, so that a long list is not deep. *)
let rec dump buffer depth left (value : Obj.t) =
  decr left;
  if !left < 0 || depth > max_depth then raise Unserialisable;
  if Obj.is_int value then begin
    Buffer.add_char buffer 'i';
    Buffer.add_string buffer (string_of_int (Obj.obj value : int))
  end
  else
    let tag = Obj.tag value in
    if tag = Obj.string_tag then begin
      let text : string = Obj.obj value in
      left := !left - (String.length text / 64);
      if !left < 0 then raise Unserialisable;
      Buffer.add_string buffer (Printf.sprintf "s%S" text)
    end
    else if tag = Obj.double_tag then dump_float buffer (Obj.obj value : float)
    else if tag = Obj.double_array_tag then begin
      Buffer.add_char buffer '[';
      let floats : float array = Obj.obj value in
      left := !left - Array.length floats;
      if !left < 0 then raise Unserialisable;
      Array.iter (fun x -> Buffer.add_char buffer ' '; dump_float buffer x) floats;
      Buffer.add_char buffer ']'
    end
    else if tag = Obj.custom_tag && Obj.size value = 2 then dump_boxed buffer value
    else if tag >= Obj.no_scan_tag || tag = Obj.closure_tag || tag = Obj.object_tag
            || tag = Obj.lazy_tag || tag = Obj.infix_tag || tag = Obj.forward_tag
    then raise Unserialisable
    else dump_block buffer depth left value 0

and dump_block buffer depth left first opened =
  let value = ref first and closers = ref opened and more = ref true in
  while !more do
    let size = Obj.size !value in
    Buffer.add_string buffer (Printf.sprintf "(%d" (Obj.tag !value));
    incr closers;
    for i = 0 to size - 2 do
      Buffer.add_char buffer ' ';
      dump buffer (depth + 1) left (Obj.field !value i)
    done;
    if size = 0 then more := false
    else begin
      Buffer.add_char buffer ' ';
      let last = Obj.field !value (size - 1) in
      if Obj.is_block last && Obj.tag last < Obj.lazy_tag then begin
        decr left;
        if !left < 0 then raise Unserialisable;
        value := last
      end
      else begin
        dump buffer (depth + 1) left last;
        more := false
      end
    end
  done;
  for _ = 1 to !closers do Buffer.add_char buffer ')' done

and dump_boxed buffer value =
  let kind = operations value in
  let write letter text = Buffer.add_char buffer letter; Buffer.add_string buffer text in
  if kind = is_int64 then write 'L' (Int64.to_string (Obj.obj value))
  else if kind = is_int32 then write 'l' (Int32.to_string (Obj.obj value))
  else if kind = is_nativeint then write 'n' (Nativeint.to_string (Obj.obj value))
  else raise Unserialisable

and dump_float buffer x =
  (* = does not tell -0. from 0., nor one nan from another *)
  let x = if x = 0. then 0. else x in
  Buffer.add_string buffer (if x <> x then "fnan" else Printf.sprintf "f%h" x)

let put text = output_string out text; flush out

let one_line text =
  let text = if String.length text > 300 then String.sub text 0 300 else text in
  String.map (fun c -> if c < ' ' then ' ' else c) text

let run i call =
  match call () with
  | value -> (
      let buffer = Buffer.create 64 in
      match dump buffer 0 (ref max_nodes) (Obj.repr value) with
      | () -> put (Printf.sprintf "R %d %s\n" i (Buffer.contents buffer))
      | exception _ -> put (Printf.sprintf "X %d unserialisable\n" i))
  | exception Out_of_memory -> put (Printf.sprintf "X %d memory Out_of_memory\n" i)
  | exception error ->
      let text = try Printexc.to_string error with _ -> "?" in
      put (Printf.sprintf "X %d exception %s\n" i (one_line text))

(* at_exit functions are the candidate's: leave without them *)
let finish () = put "D\n"; leave 0

;; Gives the host pointers that leave its memory, and traps unless each is refused as such.
(module
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $value (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_current_time_nanoseconds" (func $time (param i32) (result i32)))
  (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_shared_data" (func $set_shared (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_define_metric" (func $metric (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 65536))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "malloc") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.add (global.get $free) (i32.add (local.get $size) (i32.const 8))))
    (local.get $at))
  (data (i32.const 16) ":path")
  (func $want (param $status i32)
    ;; 6 is InvalidMemoryAccess: the guest traps where the host answers anything else.
    (if (i32.ne (local.get $status) (i32.const 6)) (then unreachable)))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    ;; A text behind the end.
    (call $want (call $log (i32.const 2) (i32.const 0x7fffffff) (i32.const 16)))
    ;; A text that wraps around.
    (call $want (call $log (i32.const 2) (i32.const -8) (i32.const 16)))
    ;; A text of 4 GiB.
    (call $want (call $log (i32.const 2) (i32.const 0) (i32.const -1)))
    ;; A key that wraps around.
    (call $want (call $value (i32.const 0) (i32.const -4) (i32.const 5) (i32.const 32) (i32.const 36)))
    ;; A result behind the end.
    (call $want (call $value (i32.const 0) (i32.const 16) (i32.const 5) (i32.const -2) (i32.const 36)))
    ;; A size that crosses the end.
    (call $want (call $value (i32.const 0) (i32.const 16) (i32.const 5) (i32.const 32) (i32.const 131070)))
    ;; A time that crosses the end.
    (call $want (call $time (i32.const 131065)))
    ;; A path that crosses the end.
    (call $want (call $property (i32.const 131000) (i32.const 4096) (i32.const 32) (i32.const 36)))
    ;; A value that crosses the end.
    (call $want (call $add (i32.const 0) (i32.const 16) (i32.const 5) (i32.const 131071) (i32.const 2)))
    ;; A key that wraps around.
    (call $want (call $set_shared (i32.const -1) (i32.const 2) (i32.const 16) (i32.const 1) (i32.const 0)))
    ;; A id behind the end.
    (call $want (call $metric (i32.const 0) (i32.const 16) (i32.const 5) (i32.const -1)))
    (i32.const 0))
)

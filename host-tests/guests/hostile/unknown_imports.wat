;; Imports functions that no Proxy-Wasm host has.
(module
  (import "env" "proxy_make_coffee" (func (param i32) (result i32)))
  (import "kitchen" "boil" (func))
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 65536))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "malloc") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.add (global.get $free) (i32.add (local.get $size) (i32.const 8))))
    (local.get $at))
)

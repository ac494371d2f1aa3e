;; Its allocator gives an address so high that address plus size wraps around.
(module
  (import "env" "proxy_get_header_map_value" (func $value (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 65536))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "malloc") (param i32) (result i32)
    (i32.const -1))
  (data (i32.const 16) ":path")
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $value (i32.const 0) (i32.const 16) (i32.const 5) (i32.const 32) (i32.const 36)))
    (i32.const 0))
)

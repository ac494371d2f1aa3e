//! Calls any host function with any arguments in any callback, as a script says, and logs what came
//! of it: one line per callback and per call. The same module with the same script runs in a real
//! proxy and in the runner, and the two logs are compared.
//!
//! No SDK and nothing of ours stands between the script and the host. The script is the plugin's
//! configuration (`script.rs` says how it is written). On other targets than WebAssembly nothing is here.

#![cfg(target_family = "wasm")]

mod abi;
mod cells;
mod run;
mod script;

/// The callbacks, as a host finds them.
#[expect(unsafe_code, reason = "a host finds the callbacks by their symbols")]
mod exports {
    use super::run;

    macro_rules! callbacks {
        ($($symbol:ident $phase:literal ($($argument:ident),*) $(-> $default:literal)?;)*) => {
            $(callbacks!(@ $symbol $phase ($($argument),*) $($default)?);)*
        };
        (@ $symbol:ident $phase:literal ($($argument:ident),*) $default:literal) => {
            #[unsafe(no_mangle)]
            extern "C" fn $symbol(context: u32, $($argument: u32),*) -> i32 {
                run::callback(context, $phase, &[$(i64::from($argument)),*], $default)
            }
        };
        (@ $symbol:ident $phase:literal ($($argument:ident),*)) => {
            #[unsafe(no_mangle)]
            extern "C" fn $symbol(context: u32, $($argument: u32),*) {
                run::callback(context, $phase, &[$(i64::from($argument)),*], 0);
            }
        };
    }

    callbacks! {
        proxy_on_vm_start "vm_start" (size) -> 1;
        proxy_on_tick "tick" ();
        proxy_on_done "done" () -> 1;
        proxy_on_log "log" ();
        proxy_on_new_connection "new_connection" () -> 0;
        proxy_on_downstream_data "downstream_data" (size, end) -> 0;
        proxy_on_downstream_connection_close "downstream_close" (peer);
        proxy_on_upstream_data "upstream_data" (size, end) -> 0;
        proxy_on_upstream_connection_close "upstream_close" (peer);
        proxy_on_request_headers "request_headers" (count, end) -> 0;
        proxy_on_request_body "request_body" (size, end) -> 0;
        proxy_on_request_trailers "request_trailers" (count) -> 0;
        proxy_on_response_headers "response_headers" (count, end) -> 0;
        proxy_on_response_body "response_body" (size, end) -> 0;
        proxy_on_response_trailers "response_trailers" (count) -> 0;
        proxy_on_http_call_response "http_call_response" (call, headers, size, trailers);
        proxy_on_grpc_receive_initial_metadata "grpc_initial_metadata" (call, count);
        proxy_on_grpc_receive "grpc_receive" (call, size);
        proxy_on_grpc_receive_trailing_metadata "grpc_trailing_metadata" (call, count);
        proxy_on_grpc_close "grpc_close" (call, status);
        proxy_on_queue_ready "queue_ready" (queue);
        proxy_on_foreign_function "foreign_function" (function, size);
    }

    #[unsafe(no_mangle)]
    extern "C" fn proxy_abi_version_0_2_1() {}

    #[unsafe(no_mangle)]
    extern "C" fn _initialize() {
        run::initialize();
    }

    #[unsafe(no_mangle)]
    extern "C" fn malloc(size: usize) -> *mut u8 {
        run::allocating(size);
        super::abi::allocate(size)
    }

    #[unsafe(no_mangle)]
    extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
        run::create(context, parent);
    }

    #[unsafe(no_mangle)]
    extern "C" fn proxy_on_configure(context: u32, size: u32) -> i32 {
        run::configure(context);
        run::callback(context, "configure", &[i64::from(size)], 1)
    }

    #[unsafe(no_mangle)]
    extern "C" fn proxy_on_delete(context: u32) {
        run::delete(context);
    }
}

//! The exports of a module.

/// Makes a module of a plugin: `main!(MyPlugin: request_headers, response_headers);`.
///
/// The host calls only what a module exports, so list exactly the callbacks that the plugin
/// implements: one that is not listed never comes, one that is listed for nothing costs a crossing
/// into the VM every time. There are `tick`, `call_response`, `queue_ready`, `request_headers`,
/// `request_body`, `request_trailers`, `response_headers`, `response_body`, `response_trailers` and
/// `log`. On other targets than WebAssembly it expands to nothing.
#[macro_export]
macro_rules! main {
    ($plugin:ident: $($callback:ident),+ $(,)?) => {
        #[cfg(target_family = "wasm")]
        #[expect(unsafe_code, reason = "a host finds the callbacks by their symbols")]
        mod tidegate_module {
            ::std::thread_local! {
                static DISPATCHER: $crate::private::Dispatcher<super::$plugin> =
                    const { $crate::private::Dispatcher::new() };
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_abi_version_0_2_1() {}

            #[unsafe(no_mangle)]
            extern "C" fn _initialize() {
                $crate::private::start();
            }

            #[unsafe(no_mangle)]
            extern "C" fn malloc(size: usize) -> *mut u8 {
                $crate::private::allocate(size)
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_context_create(id: u32, parent: u32) {
                DISPATCHER.with(|dispatcher| dispatcher.create(id, parent));
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_configure(id: u32, size: usize) -> u32 {
                DISPATCHER.with(|dispatcher| dispatcher.configure(id, size))
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_delete(id: u32) {
                DISPATCHER.with(|dispatcher| dispatcher.delete(id));
            }

            $($crate::callback!($callback);)+
        }
    };
}

/// Exports one callback.
#[doc(hidden)]
#[macro_export]
macro_rules! callback {
    (tick) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_tick(id: u32) {
            DISPATCHER.with(|dispatcher| dispatcher.tick(id));
        }
    };
    (call_response) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_http_call_response(
            id: u32,
            call: u32,
            headers: usize,
            body_size: usize,
            trailers: usize,
        ) {
            DISPATCHER.with(|dispatcher| {
                dispatcher.call_response(id, call, headers, body_size, trailers);
            });
        }
    };
    (queue_ready) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_queue_ready(id: u32, queue: u32) {
            DISPATCHER.with(|dispatcher| dispatcher.queue_ready(id, queue));
        }
    };
    (request_headers) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_request_headers(id: u32, count: usize, end: u32) -> u32 {
            DISPATCHER.with(|dispatcher| dispatcher.request_headers(id, count, end))
        }
    };
    (request_body) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_request_body(id: u32, size: usize, end: u32) -> u32 {
            DISPATCHER.with(|dispatcher| dispatcher.request_body(id, size, end))
        }
    };
    (request_trailers) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_request_trailers(id: u32, count: usize) -> u32 {
            DISPATCHER.with(|dispatcher| dispatcher.request_trailers(id, count))
        }
    };
    (response_headers) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_response_headers(id: u32, count: usize, end: u32) -> u32 {
            DISPATCHER.with(|dispatcher| dispatcher.response_headers(id, count, end))
        }
    };
    (response_body) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_response_body(id: u32, size: usize, end: u32) -> u32 {
            DISPATCHER.with(|dispatcher| dispatcher.response_body(id, size, end))
        }
    };
    (response_trailers) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_response_trailers(id: u32, count: usize) -> u32 {
            DISPATCHER.with(|dispatcher| dispatcher.response_trailers(id, count))
        }
    };
    (log) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_log(id: u32) {
            DISPATCHER.with(|dispatcher| dispatcher.log(id));
        }
    };
}

//! The callbacks of one instance, looked up once.

use wasmtime::{AsContextMut, Instance, TypedFunc, WasmParams, WasmResults};

/// A callback that modules may leave out.
type Optional<P, R> = Option<TypedFunc<P, R>>;

/// The callbacks that the host calls.
#[derive(Default)]
pub(crate) struct Exports {
    pub(crate) initialize: Optional<(), ()>,
    pub(crate) main: Optional<(i32, i32), i32>,
    pub(crate) main_void: Optional<(), i32>,
    pub(crate) start: Optional<(), ()>,
    /// `malloc`, else `proxy_on_memory_allocate`: in the order in which Envoy looks for them.
    pub(crate) allocate: Optional<i32, i32>,
    pub(crate) context_create: Optional<(i32, i32), ()>,
    pub(crate) vm_start: Optional<(i32, i32), i32>,
    pub(crate) configure: Optional<(i32, i32), i32>,
    pub(crate) tick: Optional<i32, ()>,
    pub(crate) request_headers: Optional<(i32, i32, i32), i32>,
    pub(crate) request_body: Optional<(i32, i32, i32), i32>,
    pub(crate) request_trailers: Optional<(i32, i32), i32>,
    pub(crate) response_headers: Optional<(i32, i32, i32), i32>,
    pub(crate) response_body: Optional<(i32, i32, i32), i32>,
    pub(crate) response_trailers: Optional<(i32, i32), i32>,
    pub(crate) http_call_response: Optional<(i32, i32, i32, i32, i32), ()>,
    pub(crate) queue_ready: Optional<(i32, i32), ()>,
    pub(crate) done: Optional<i32, i32>,
    pub(crate) log: Optional<i32, ()>,
    pub(crate) delete: Optional<i32, ()>,
}

impl Exports {
    /// Looks the callbacks up. Signatures were checked when the module was compiled.
    pub(crate) fn of(instance: &Instance, mut store: impl AsContextMut) -> Self {
        fn find<P: WasmParams, R: WasmResults>(
            instance: &Instance,
            store: &mut impl AsContextMut,
            name: &str,
        ) -> Optional<P, R> {
            instance.get_typed_func(store.as_context_mut(), name).ok()
        }
        let store = &mut store;
        Self {
            initialize: find(instance, store, "_initialize"),
            main: find(instance, store, "main"),
            main_void: find(instance, store, "__main_void"),
            start: find(instance, store, "_start"),
            allocate: find(instance, store, "malloc")
                .or_else(|| find(instance, store, "proxy_on_memory_allocate")),
            context_create: find(instance, store, "proxy_on_context_create"),
            vm_start: find(instance, store, "proxy_on_vm_start"),
            configure: find(instance, store, "proxy_on_configure"),
            tick: find(instance, store, "proxy_on_tick"),
            request_headers: find(instance, store, "proxy_on_request_headers"),
            request_body: find(instance, store, "proxy_on_request_body"),
            request_trailers: find(instance, store, "proxy_on_request_trailers"),
            response_headers: find(instance, store, "proxy_on_response_headers"),
            response_body: find(instance, store, "proxy_on_response_body"),
            response_trailers: find(instance, store, "proxy_on_response_trailers"),
            http_call_response: find(instance, store, "proxy_on_http_call_response"),
            queue_ready: find(instance, store, "proxy_on_queue_ready"),
            done: find(instance, store, "proxy_on_done"),
            log: find(instance, store, "proxy_on_log"),
            delete: find(instance, store, "proxy_on_delete"),
        }
    }
}

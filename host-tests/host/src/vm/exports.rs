//! The callbacks of one instance, looked up once.

use wasmtime::{AsContextMut, Instance, TypedFunc, WasmParams, WasmResults};

use crate::module::AbiVersion;

/// A callback that modules may leave out.
type Optional<P, R> = Option<TypedFunc<P, R>>;

/// A callback for headers. ABI 0.1.0 does not tell the end of the stream.
#[derive(Default)]
pub(crate) struct Headers {
    pub(crate) of_0_1_0: Optional<(i32, i32), i32>,
    pub(crate) of_0_2_0: Optional<(i32, i32, i32), i32>,
}

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
    pub(crate) new_connection: Optional<i32, i32>,
    pub(crate) downstream_data: Optional<(i32, i32, i32), i32>,
    pub(crate) downstream_close: Optional<(i32, i32), ()>,
    pub(crate) upstream_data: Optional<(i32, i32, i32), i32>,
    pub(crate) upstream_close: Optional<(i32, i32), ()>,
    pub(crate) request_headers: Headers,
    pub(crate) request_body: Optional<(i32, i32, i32), i32>,
    pub(crate) request_trailers: Optional<(i32, i32), i32>,
    pub(crate) response_headers: Headers,
    pub(crate) response_body: Optional<(i32, i32, i32), i32>,
    pub(crate) response_trailers: Optional<(i32, i32), i32>,
    pub(crate) http_call_response: Optional<(i32, i32, i32, i32, i32), ()>,
    pub(crate) grpc_initial_metadata: Optional<(i32, i32, i32), ()>,
    pub(crate) grpc_receive: Optional<(i32, i32, i32), ()>,
    pub(crate) grpc_trailing_metadata: Optional<(i32, i32, i32), ()>,
    pub(crate) grpc_close: Optional<(i32, i32, i32), ()>,
    pub(crate) queue_ready: Optional<(i32, i32), ()>,
    pub(crate) foreign_function: Optional<(i32, i32, i32), ()>,
    pub(crate) resolve_dns: Optional<(i32, i32, i32), ()>,
    pub(crate) done: Optional<i32, i32>,
    pub(crate) log: Optional<i32, ()>,
    pub(crate) delete: Optional<i32, ()>,
}

impl Exports {
    /// Looks the callbacks up, but for those that the plugin is not allowed. Signatures were checked
    /// when the module was compiled.
    pub(crate) fn of(
        instance: &Instance,
        mut store: impl AsContextMut,
        abi: AbiVersion,
        is_allowed: impl Fn(&str) -> bool,
    ) -> Self {
        fn find<P: WasmParams, R: WasmResults>(
            instance: &Instance,
            store: &mut impl AsContextMut,
            name: &str,
        ) -> Optional<P, R> {
            instance.get_typed_func(store.as_context_mut(), name).ok()
        }
        let store = &mut store;
        macro_rules! callback {
            ($name:literal) => {
                if is_allowed($name) {
                    find(instance, store, $name)
                } else {
                    None
                }
            };
        }
        macro_rules! headers {
            ($name:literal) => {
                if abi == AbiVersion::V0_1_0 {
                    Headers {
                        of_0_1_0: callback!($name),
                        of_0_2_0: None,
                    }
                } else {
                    Headers {
                        of_0_1_0: None,
                        of_0_2_0: callback!($name),
                    }
                }
            };
        }
        Self {
            initialize: find(instance, store, "_initialize"),
            main: find(instance, store, "main"),
            main_void: find(instance, store, "__main_void"),
            start: find(instance, store, "_start"),
            allocate: find(instance, store, "malloc")
                .or_else(|| find(instance, store, "proxy_on_memory_allocate")),
            context_create: callback!("proxy_on_context_create"),
            vm_start: callback!("proxy_on_vm_start"),
            configure: callback!("proxy_on_configure"),
            tick: callback!("proxy_on_tick"),
            new_connection: callback!("proxy_on_new_connection"),
            downstream_data: callback!("proxy_on_downstream_data"),
            downstream_close: callback!("proxy_on_downstream_connection_close"),
            upstream_data: callback!("proxy_on_upstream_data"),
            upstream_close: callback!("proxy_on_upstream_connection_close"),
            request_headers: headers!("proxy_on_request_headers"),
            request_body: callback!("proxy_on_request_body"),
            request_trailers: callback!("proxy_on_request_trailers"),
            response_headers: headers!("proxy_on_response_headers"),
            response_body: callback!("proxy_on_response_body"),
            response_trailers: callback!("proxy_on_response_trailers"),
            http_call_response: callback!("proxy_on_http_call_response"),
            grpc_initial_metadata: callback!("proxy_on_grpc_receive_initial_metadata"),
            grpc_receive: callback!("proxy_on_grpc_receive"),
            grpc_trailing_metadata: callback!("proxy_on_grpc_receive_trailing_metadata"),
            grpc_close: callback!("proxy_on_grpc_close"),
            queue_ready: callback!("proxy_on_queue_ready"),
            foreign_function: if abi == AbiVersion::V0_1_0 {
                None
            } else {
                callback!("proxy_on_foreign_function")
            },
            // Envoy's own: no capability restricts it.
            resolve_dns: find(instance, store, "envoy_on_resolve_dns"),
            done: callback!("proxy_on_done"),
            log: callback!("proxy_on_log"),
            delete: callback!("proxy_on_delete"),
        }
    }
}

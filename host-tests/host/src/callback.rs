//! The functions that a host calls in a module.

macro_rules! callbacks {
    ($($variant:ident $name:literal ($($parameter:ident),*) -> ($($result:ident),*);)*) => {
        /// A function that the host calls.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        #[expect(
            dead_code,
            reason = "the list is checked whole; Envoy calls not all of it, and neither does this host"
        )]
        pub(crate) enum CallbackKind { $($variant),* }

        impl CallbackKind {
            pub(crate) const COUNT: usize = [$($name),*].len();

            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }

        /// Names with the types of parameters and results: the specification's in its order, then what
        /// Envoy looks up besides.
        pub(crate) const CALLBACKS: &[(&str, &[&str], &[&str])] = &[
            $(($name, &[$(stringify!($parameter)),*], &[$(stringify!($result)),*])),*
        ];
    };
}

callbacks! {
    Initialize "_initialize" () -> ();
    Main "main" (i32, i32) -> (i32);
    MainVoid "__main_void" () -> (i32);
    Start "_start" () -> ();
    MemoryAllocate "proxy_on_memory_allocate" (i32) -> (i32);
    Malloc "malloc" (i32) -> (i32);
    ContextCreate "proxy_on_context_create" (i32, i32) -> ();
    Done "proxy_on_done" (i32) -> (i32);
    Log "proxy_on_log" (i32) -> ();
    Delete "proxy_on_delete" (i32) -> ();
    VmStart "proxy_on_vm_start" (i32, i32) -> (i32);
    Configure "proxy_on_configure" (i32, i32) -> (i32);
    Tick "proxy_on_tick" (i32) -> ();
    NewConnection "proxy_on_new_connection" (i32) -> (i32);
    DownstreamData "proxy_on_downstream_data" (i32, i32, i32) -> (i32);
    DownstreamClose "proxy_on_downstream_connection_close" (i32, i32) -> ();
    UpstreamData "proxy_on_upstream_data" (i32, i32, i32) -> (i32);
    UpstreamClose "proxy_on_upstream_connection_close" (i32, i32) -> ();
    RequestHeaders "proxy_on_request_headers" (i32, i32, i32) -> (i32);
    RequestBody "proxy_on_request_body" (i32, i32, i32) -> (i32);
    RequestTrailers "proxy_on_request_trailers" (i32, i32) -> (i32);
    ResponseHeaders "proxy_on_response_headers" (i32, i32, i32) -> (i32);
    ResponseBody "proxy_on_response_body" (i32, i32, i32) -> (i32);
    ResponseTrailers "proxy_on_response_trailers" (i32, i32) -> (i32);
    HttpCallResponse "proxy_on_http_call_response" (i32, i32, i32, i32, i32) -> ();
    GrpcReceiveInitialMetadata "proxy_on_grpc_receive_initial_metadata" (i32, i32, i32) -> ();
    GrpcReceive "proxy_on_grpc_receive" (i32, i32, i32) -> ();
    GrpcReceiveTrailingMetadata "proxy_on_grpc_receive_trailing_metadata" (i32, i32, i32) -> ();
    GrpcClose "proxy_on_grpc_close" (i32, i32, i32) -> ();
    QueueReady "proxy_on_queue_ready" (i32, i32) -> ();
    ForeignFunction "proxy_on_foreign_function" (i32, i32, i32) -> ();
    ValidateConfiguration "proxy_validate_configuration" (i32, i32) -> (i32);
    RequestMetadata "proxy_on_request_metadata" (i32, i32) -> (i32);
    ResponseMetadata "proxy_on_response_metadata" (i32, i32) -> (i32);
    ResolveDns "envoy_on_resolve_dns" (i32, i32, i32) -> ();
    StatsUpdate "envoy_on_stats_update" (i32, i32) -> ();
}

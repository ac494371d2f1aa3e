//! The functions that guests call.
//!
//! Each is written against [`call::Call`], which knows the guest's memory and what the guest may
//! still spend. `Ok` is status 0; everything else leaves through [`call::Stop`].

mod buffers;
pub(crate) mod call;
mod calls;
mod dns;
mod foreign;
mod general;
mod grpc;
pub(crate) mod maps;
mod metrics;
pub(crate) mod properties;
mod protobuf;
pub(crate) mod shared;
mod streams;
mod wasi;

use std::collections::BTreeMap;

use wasmtime::{Caller, Engine, Linker};

use crate::module::Function;
use crate::status::Status;
use crate::vm::guest::Guest;
use call::{Call, Stop};

/// How a function of the `env` module ends: a status.
fn run_env(
    caller: Caller<'_, Guest>,
    function: HostFunction,
    body: impl FnOnce(&mut Call<'_>) -> Result<(), Stop>,
) -> wasmtime::Result<i32> {
    let mut call = Call::begin(caller, function)?;
    if call.is_denied() {
        return Ok(call.end_denied(Status::InternalFailure.raw()));
    }
    let raw = match call
        .fault()
        .map_or_else(|| body(&mut call), |status| Err(Stop::Status(status)))
    {
        Ok(()) => 0,
        Err(Stop::Status(status)) => status.raw(),
        Err(Stop::Trap(error)) => return Err(error),
    };
    call.end(raw);
    Ok(raw)
}

/// How a WASI function ends: an error number.
fn run_wasi(
    caller: Caller<'_, Guest>,
    function: HostFunction,
    body: impl FnOnce(&mut Call<'_>) -> Result<i32, Stop>,
) -> wasmtime::Result<i32> {
    let mut call = Call::begin(caller, function)?;
    if call.is_denied() {
        return Ok(call.end_denied(wasi::NOT_CAPABLE));
    }
    let raw = match body(&mut call) {
        Ok(errno) => errno,
        Err(Stop::Status(_)) => wasi::FAULT,
        Err(Stop::Trap(error)) => return Err(error),
    };
    call.end(raw);
    Ok(raw)
}

macro_rules! host_functions {
    (
        env { $($variant:ident $name:literal ($($parameter:ident: $kind:ident),*) $path:path;)* }
        wasi { $($wasi:ident $wasi_name:literal ($($wasi_parameter:ident: $wasi_kind:ident),*) $wasi_path:path;)* }
    ) => {
        /// A function that guests call.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum HostFunction { $($variant,)* $($wasi,)* ProcExit }

        impl HostFunction {
            pub(crate) const NAMES: &'static [&'static str] =
                &[$($name,)* $($wasi_name,)* "proc_exit"];
            pub(crate) const COUNT: usize = Self::NAMES.len();

            /// The function of that name, if the `env` module has it.
            pub(crate) fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }

            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    $(Self::$wasi => $wasi_name,)*
                    Self::ProcExit => "proc_exit",
                }
            }
        }

        /// Links all functions and lists their signatures by `module.name`.
        pub(crate) fn link(
            engine: &Engine,
        ) -> wasmtime::Result<(Linker<Guest>, BTreeMap<String, Function>)> {
            let mut linker = Linker::new(engine);
            let mut functions = BTreeMap::new();
            let mut list = |module: &str, name: &str, parameters: &[&str], results: &[&str]| {
                let owned = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect();
                functions.insert(
                    format!("{module}.{name}"),
                    Function { parameters: owned(parameters), results: owned(results) },
                );
            };
            $(
                linker.func_wrap("env", $name, |caller: Caller<'_, Guest>, $($parameter: $kind),*| {
                    run_env(caller, HostFunction::$variant, |call| $path(call, $($parameter),*))
                })?;
                list("env", $name, &[$(stringify!($kind)),*], &["i32"]);
            )*
            for module in ["wasi_snapshot_preview1", "wasi_unstable"] {
                $(
                    linker.func_wrap(
                        module,
                        $wasi_name,
                        |caller: Caller<'_, Guest>, $($wasi_parameter: $wasi_kind),*| {
                            run_wasi(caller, HostFunction::$wasi, |call| $wasi_path(call, $($wasi_parameter),*))
                        },
                    )?;
                    list(module, $wasi_name, &[$(stringify!($wasi_kind)),*], &["i32"]);
                )*
                linker.func_wrap(module, "proc_exit", |caller: Caller<'_, Guest>, code: i32| {
                    run_wasi(caller, HostFunction::ProcExit, |call| wasi::proc_exit(call, code)).map(|_| ())
                })?;
                list(module, "proc_exit", &["i32"], &[]);
            }
            linker.func_wrap("env", "pthread_equal", |left: i32, right: i32| i32::from(left == right))?;
            list("env", "pthread_equal", &["i32", "i32"], &["i32"]);
            linker.func_wrap("env", "emscripten_notify_memory_growth", |_memory: i32| {})?;
            list("env", "emscripten_notify_memory_growth", &["i32"], &[]);
            Ok((linker, functions))
        }
    };
}

host_functions! {
    env {
        Done "proxy_done" () general::done;
        SetEffectiveContext "proxy_set_effective_context" (context: i32) general::set_effective_context;
        Log "proxy_log" (level: i32, data: i32, size: i32) general::log;
        GetLogLevel "proxy_get_log_level" (level: i32) general::get_log_level;
        GetCurrentTime "proxy_get_current_time_nanoseconds" (time: i32) general::get_current_time;
        SetTickPeriod "proxy_set_tick_period_milliseconds" (period: i32) general::set_tick_period;
        SetBufferBytes "proxy_set_buffer_bytes" (buffer: i32, start: i32, length: i32, data: i32, size: i32) buffers::set_bytes;
        GetBufferBytes "proxy_get_buffer_bytes" (buffer: i32, start: i32, length: i32, data: i32, size: i32) buffers::get_bytes;
        GetBufferStatus "proxy_get_buffer_status" (buffer: i32, size: i32, unused: i32) buffers::get_status;
        GetHeaderMapSize "proxy_get_header_map_size" (map: i32, size: i32) maps::get_size;
        GetHeaderMapPairs "proxy_get_header_map_pairs" (map: i32, data: i32, size: i32) maps::get_pairs;
        SetHeaderMapPairs "proxy_set_header_map_pairs" (map: i32, data: i32, size: i32) maps::set_pairs;
        GetHeaderMapValue "proxy_get_header_map_value" (map: i32, key: i32, key_size: i32, value: i32, value_size: i32) maps::get_value;
        AddHeaderMapValue "proxy_add_header_map_value" (map: i32, key: i32, key_size: i32, value: i32, value_size: i32) maps::add_value;
        ReplaceHeaderMapValue "proxy_replace_header_map_value" (map: i32, key: i32, key_size: i32, value: i32, value_size: i32) maps::replace_value;
        RemoveHeaderMapValue "proxy_remove_header_map_value" (map: i32, key: i32, key_size: i32) maps::remove_value;
        ContinueStream "proxy_continue_stream" (stream: i32) streams::continue_stream;
        CloseStream "proxy_close_stream" (stream: i32) streams::close_stream;
        GetStatus "proxy_get_status" (code: i32, data: i32, size: i32) general::get_status;
        SendLocalResponse "proxy_send_local_response" (status: i32, details: i32, details_size: i32, body: i32, body_size: i32, headers: i32, headers_size: i32, grpc_status: i32) streams::send_local_response;
        HttpCall "proxy_http_call" (upstream: i32, upstream_size: i32, headers: i32, headers_size: i32, body: i32, body_size: i32, trailers: i32, trailers_size: i32, timeout: i32, id: i32) calls::http_call;
        GrpcCall "proxy_grpc_call" (upstream: i32, upstream_size: i32, service: i32, service_size: i32, method: i32, method_size: i32, metadata: i32, metadata_size: i32, message: i32, message_size: i32, timeout: i32, id: i32) grpc::call;
        GrpcStream "proxy_grpc_stream" (upstream: i32, upstream_size: i32, service: i32, service_size: i32, method: i32, method_size: i32, metadata: i32, metadata_size: i32, id: i32) grpc::stream;
        GrpcSend "proxy_grpc_send" (id: i32, message: i32, message_size: i32, end_stream: i32) grpc::send;
        GrpcCancel "proxy_grpc_cancel" (id: i32) grpc::cancel;
        GrpcClose "proxy_grpc_close" (id: i32) grpc::close;
        SetSharedData "proxy_set_shared_data" (key: i32, key_size: i32, value: i32, value_size: i32, cas: i32) shared::set_data;
        GetSharedData "proxy_get_shared_data" (key: i32, key_size: i32, value: i32, value_size: i32, cas: i32) shared::get_data;
        RegisterSharedQueue "proxy_register_shared_queue" (name: i32, name_size: i32, id: i32) shared::register_queue;
        ResolveSharedQueue "proxy_resolve_shared_queue" (vm_id: i32, vm_id_size: i32, name: i32, name_size: i32, id: i32) shared::resolve_queue;
        EnqueueSharedQueue "proxy_enqueue_shared_queue" (id: i32, value: i32, value_size: i32) shared::enqueue;
        DequeueSharedQueue "proxy_dequeue_shared_queue" (id: i32, value: i32, value_size: i32) shared::dequeue;
        DefineMetric "proxy_define_metric" (kind: i32, name: i32, name_size: i32, id: i32) metrics::define;
        RecordMetric "proxy_record_metric" (id: i32, value: i64) metrics::record;
        IncrementMetric "proxy_increment_metric" (id: i32, delta: i64) metrics::increment;
        GetMetric "proxy_get_metric" (id: i32, value: i32) metrics::get;
        GetProperty "proxy_get_property" (path: i32, path_size: i32, value: i32, value_size: i32) properties::get;
        SetProperty "proxy_set_property" (path: i32, path_size: i32, value: i32, value_size: i32) properties::set;
        CallForeignFunction "proxy_call_foreign_function" (name: i32, name_size: i32, arguments: i32, arguments_size: i32, results: i32, results_size: i32) foreign::call;
        GetConfiguration "proxy_get_configuration" (data: i32, size: i32) buffers::get_configuration;
        ContinueRequest "proxy_continue_request" () streams::continue_request;
        ContinueResponse "proxy_continue_response" () streams::continue_response;
        ClearRouteCache "proxy_clear_route_cache" () streams::clear_route_cache;
        ResolveDns "envoy_resolve_dns" (address: i32, address_size: i32, token: i32) dns::resolve;
    }
    wasi {
        FdWrite "fd_write" (fd: i32, vectors: i32, count: i32, written: i32) wasi::fd_write;
        ClockTimeGet "clock_time_get" (clock: i32, precision: i64, time: i32) wasi::clock_time_get;
        ClockResGet "clock_res_get" (clock: i32, resolution: i32) wasi::clock_res_get;
        RandomGet "random_get" (buffer: i32, size: i32) wasi::random_get;
        EnvironSizesGet "environ_sizes_get" (count: i32, size: i32) wasi::environ_sizes_get;
        EnvironGet "environ_get" (array: i32, buffer: i32) wasi::environ_get;
        ArgsSizesGet "args_sizes_get" (count: i32, size: i32) wasi::args_sizes_get;
        ArgsGet "args_get" (array: i32, buffer: i32) wasi::args_get;
        FdRead "fd_read" (fd: i32, vectors: i32, count: i32, read: i32) wasi::four_unsupported;
        FdSeek "fd_seek" (fd: i32, offset: i64, whence: i32, position: i32) wasi::fd_seek;
        FdClose "fd_close" (fd: i32) wasi::fd_close;
        FdFdstatGet "fd_fdstat_get" (fd: i32, stat: i32) wasi::fd_fdstat_get;
        FdFdstatSetFlags "fd_fdstat_set_flags" (fd: i32, flags: i32) wasi::two_unsupported;
        FdFdstatSetRights "fd_fdstat_set_rights" (fd: i32, base: i64, inheriting: i64) wasi::output_rights;
        FdAdvise "fd_advise" (fd: i32, offset: i64, length: i64, advice: i32) wasi::fd_advise;
        FdAllocate "fd_allocate" (fd: i32, offset: i64, length: i64) wasi::output_rights;
        FdDatasync "fd_datasync" (fd: i32) wasi::output_only;
        FdSync "fd_sync" (fd: i32) wasi::output_only;
        FdFilestatGet "fd_filestat_get" (fd: i32, stat: i32) wasi::two_bad_descriptor;
        FdFilestatSetSize "fd_filestat_set_size" (fd: i32, size: i64) wasi::output_size;
        FdFilestatSetTimes "fd_filestat_set_times" (fd: i32, access: i64, modification: i64, flags: i32) wasi::output_times;
        FdPread "fd_pread" (fd: i32, vectors: i32, count: i32, offset: i64, read: i32) wasi::fd_pread;
        FdPwrite "fd_pwrite" (fd: i32, vectors: i32, count: i32, offset: i64, written: i32) wasi::fd_pwrite;
        FdPrestatGet "fd_prestat_get" (fd: i32, stat: i32) wasi::two_bad_descriptor;
        FdPrestatDirName "fd_prestat_dir_name" (fd: i32, path: i32, size: i32) wasi::three_unsupported;
        FdReaddir "fd_readdir" (fd: i32, buffer: i32, size: i32, cookie: i64, used: i32) wasi::fd_readdir;
        FdRenumber "fd_renumber" (from: i32, to: i32) wasi::fd_renumber;
        FdTell "fd_tell" (fd: i32, position: i32) wasi::fd_tell;
        PathOpen "path_open" (fd: i32, lookup: i32, path: i32, size: i32, open: i32, base: i64, inheriting: i64, flags: i32, opened: i32) wasi::path_open;
        PathCreateDirectory "path_create_directory" (fd: i32, path: i32, size: i32) wasi::three_no_files;
        PathFilestatGet "path_filestat_get" (fd: i32, flags: i32, path: i32, size: i32, stat: i32) wasi::five_no_files;
        PathFilestatSetTimes "path_filestat_set_times" (fd: i32, lookup: i32, path: i32, size: i32, access: i64, modification: i64, flags: i32) wasi::path_filestat_set_times;
        PathLink "path_link" (from: i32, lookup: i32, path: i32, size: i32, to: i32, new_path: i32) wasi::six_no_files;
        PathReadlink "path_readlink" (fd: i32, path: i32, size: i32, buffer: i32, buffer_size: i32, used: i32) wasi::path_readlink;
        PathRemoveDirectory "path_remove_directory" (fd: i32, path: i32, size: i32) wasi::three_no_files;
        PathRename "path_rename" (from: i32, path: i32, size: i32, to: i32, new_path: i32, new_size: i32) wasi::six_no_files;
        PathSymlink "path_symlink" (path: i32, size: i32, fd: i32, new_path: i32) wasi::four_no_files;
        PathUnlinkFile "path_unlink_file" (fd: i32, path: i32, size: i32) wasi::three_no_files;
        SockAccept "sock_accept" (fd: i32, flags: i32, opened: i32) wasi::sock_accept;
        SockRecv "sock_recv" (fd: i32, vectors: i32, count: i32, flags: i32, size: i32, out_flags: i32) wasi::sock_recv;
        SockSend "sock_send" (fd: i32, vectors: i32, count: i32, flags: i32, size: i32) wasi::sock_send;
        SockShutdown "sock_shutdown" (fd: i32, how: i32) wasi::two_no_files;
        SchedYield "sched_yield" () wasi::sched_yield;
        PollOneoff "poll_oneoff" (subscriptions: i32, events: i32, count: i32, happened: i32) wasi::poll_oneoff;
    }
}

//! Every host function by its name, with any arguments: nothing between the script and the host.

#![expect(unsafe_code, reason = "the host's functions are foreign functions")]

/// Why a call of the script was not made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mistake {
    /// No function has that name.
    Name,
    /// The function takes another number of arguments.
    Arguments,
}

/// What kind of number a function returns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Returned {
    /// A status of the ABI.
    Status(i32),
    /// An error number of WASI.
    Errno(i32),
}

/// Makes an argument of a number: the low bytes, whatever the script wrote.
trait Argument {
    fn of(value: i64) -> Self;
}

impl Argument for i64 {
    fn of(value: i64) -> Self {
        value
    }
}

impl Argument for i32 {
    fn of(value: i64) -> Self {
        let [a, b, c, d, ..] = value.to_le_bytes();
        Self::from_le_bytes([a, b, c, d])
    }
}

macro_rules! host {
    ($($file:ident $module:literal $kind:ident {
        $($name:ident $prefix:literal ($($argument:ident: $type:ident),*);)*
    })*) => {
        $(
            mod $file {
                #[link(wasm_import_module = $module)]
                unsafe extern "C" {
                    $(
                        #[link_name = concat!($prefix, stringify!($name))]
                        pub(super) fn $name($($argument: $type),*) -> i32;
                    )*
                }
            }
        )*

        /// Calls a function. Names are those of the ABI without `proxy_`.
        pub(crate) fn call(name: &str, arguments: &[i64]) -> Result<Returned, Mistake> {
            let mut arguments = arguments.iter().copied();
            match name {
                $($(
                    stringify!($name) => {
                        $(let $argument = <$type>::of(arguments.next().ok_or(Mistake::Arguments)?);)*
                        if arguments.next().is_some() {
                            return Err(Mistake::Arguments);
                        }
                        // SAFETY: the host checks whatever it is given; where it is told to write,
                        // the script's cells are.
                        Ok(Returned::$kind(unsafe { $file::$name($($argument),*) }))
                    }
                )*)*
                _ => Err(Mistake::Name),
            }
        }
    };
}

host! {
    env "env" Status {
        done "proxy_" ();
        set_effective_context "proxy_" (context: i32);
        log "proxy_" (level: i32, data: i32, size: i32);
        get_log_level "proxy_" (level: i32);
        get_current_time_nanoseconds "proxy_" (time: i32);
        set_tick_period_milliseconds "proxy_" (period: i32);
        set_buffer_bytes "proxy_" (buffer: i32, start: i32, length: i32, data: i32, size: i32);
        get_buffer_bytes "proxy_" (buffer: i32, start: i32, length: i32, data: i32, size: i32);
        get_buffer_status "proxy_" (buffer: i32, size: i32, unused: i32);
        get_header_map_size "proxy_" (map: i32, size: i32);
        get_header_map_pairs "proxy_" (map: i32, data: i32, size: i32);
        set_header_map_pairs "proxy_" (map: i32, data: i32, size: i32);
        get_header_map_value "proxy_" (map: i32, key: i32, key_size: i32, value: i32, value_size: i32);
        add_header_map_value "proxy_" (map: i32, key: i32, key_size: i32, value: i32, value_size: i32);
        replace_header_map_value "proxy_" (map: i32, key: i32, key_size: i32, value: i32, value_size: i32);
        remove_header_map_value "proxy_" (map: i32, key: i32, key_size: i32);
        continue_stream "proxy_" (stream: i32);
        close_stream "proxy_" (stream: i32);
        get_status "proxy_" (code: i32, data: i32, size: i32);
        send_local_response "proxy_" (
            status: i32, details: i32, details_size: i32, body: i32, body_size: i32, headers: i32,
            headers_size: i32, grpc_status: i32
        );
        http_call "proxy_" (
            upstream: i32, upstream_size: i32, headers: i32, headers_size: i32, body: i32,
            body_size: i32, trailers: i32, trailers_size: i32, timeout: i32, id: i32
        );
        grpc_call "proxy_" (
            upstream: i32, upstream_size: i32, service: i32, service_size: i32, method: i32,
            method_size: i32, metadata: i32, metadata_size: i32, message: i32, message_size: i32,
            timeout: i32, id: i32
        );
        grpc_stream "proxy_" (
            upstream: i32, upstream_size: i32, service: i32, service_size: i32, method: i32,
            method_size: i32, metadata: i32, metadata_size: i32, id: i32
        );
        grpc_send "proxy_" (id: i32, message: i32, message_size: i32, end_stream: i32);
        grpc_cancel "proxy_" (id: i32);
        grpc_close "proxy_" (id: i32);
        set_shared_data "proxy_" (key: i32, key_size: i32, value: i32, value_size: i32, cas: i32);
        get_shared_data "proxy_" (key: i32, key_size: i32, value: i32, value_size: i32, cas: i32);
        register_shared_queue "proxy_" (name: i32, name_size: i32, id: i32);
        resolve_shared_queue "proxy_" (vm: i32, vm_size: i32, name: i32, name_size: i32, id: i32);
        enqueue_shared_queue "proxy_" (id: i32, value: i32, value_size: i32);
        dequeue_shared_queue "proxy_" (id: i32, value: i32, value_size: i32);
        define_metric "proxy_" (kind: i32, name: i32, name_size: i32, id: i32);
        record_metric "proxy_" (id: i32, value: i64);
        increment_metric "proxy_" (id: i32, delta: i64);
        get_metric "proxy_" (id: i32, value: i32);
        get_property "proxy_" (path: i32, path_size: i32, value: i32, value_size: i32);
        set_property "proxy_" (path: i32, path_size: i32, value: i32, value_size: i32);
        call_foreign_function "proxy_" (
            name: i32, name_size: i32, arguments: i32, arguments_size: i32, results: i32,
            results_size: i32
        );
        envoy_resolve_dns "" (address: i32, address_size: i32, token: i32);
    }
    wasi "wasi_snapshot_preview1" Errno {
        fd_write "" (fd: i32, vectors: i32, count: i32, written: i32);
        clock_time_get "" (clock: i32, precision: i64, time: i32);
        clock_res_get "" (clock: i32, resolution: i32);
        random_get "" (buffer: i32, size: i32);
        environ_sizes_get "" (count: i32, size: i32);
        environ_get "" (array: i32, buffer: i32);
        args_sizes_get "" (count: i32, size: i32);
        args_get "" (array: i32, buffer: i32);
        fd_read "" (fd: i32, vectors: i32, count: i32, read: i32);
        fd_seek "" (fd: i32, offset: i64, whence: i32, position: i32);
        fd_close "" (fd: i32);
        fd_fdstat_get "" (fd: i32, stat: i32);
        fd_fdstat_set_flags "" (fd: i32, flags: i32);
        fd_fdstat_set_rights "" (fd: i32, base: i64, inheriting: i64);
        fd_advise "" (fd: i32, offset: i64, length: i64, advice: i32);
        fd_allocate "" (fd: i32, offset: i64, length: i64);
        fd_datasync "" (fd: i32);
        fd_sync "" (fd: i32);
        fd_filestat_get "" (fd: i32, stat: i32);
        fd_filestat_set_size "" (fd: i32, size: i64);
        fd_filestat_set_times "" (fd: i32, access: i64, modification: i64, flags: i32);
        fd_pread "" (fd: i32, vectors: i32, count: i32, offset: i64, read: i32);
        fd_pwrite "" (fd: i32, vectors: i32, count: i32, offset: i64, written: i32);
        fd_prestat_get "" (fd: i32, stat: i32);
        fd_prestat_dir_name "" (fd: i32, path: i32, size: i32);
        fd_readdir "" (fd: i32, buffer: i32, size: i32, cookie: i64, used: i32);
        fd_renumber "" (from: i32, to: i32);
        fd_tell "" (fd: i32, position: i32);
        path_open "" (
            fd: i32, lookup: i32, path: i32, size: i32, open: i32, base: i64, inheriting: i64,
            flags: i32, opened: i32
        );
        path_create_directory "" (fd: i32, path: i32, size: i32);
        path_filestat_get "" (fd: i32, flags: i32, path: i32, size: i32, stat: i32);
        path_filestat_set_times "" (
            fd: i32, lookup: i32, path: i32, size: i32, access: i64, modification: i64, flags: i32
        );
        path_link "" (from: i32, lookup: i32, path: i32, size: i32, to: i32, new_path: i32);
        path_symlink "" (path: i32, size: i32, fd: i32, new_path: i32);
        path_readlink "" (fd: i32, path: i32, size: i32, buffer: i32, buffer_size: i32, used: i32);
        path_remove_directory "" (fd: i32, path: i32, size: i32);
        path_rename "" (from: i32, path: i32, size: i32, to: i32, new_path: i32, new_size: i32);
        path_unlink_file "" (fd: i32, path: i32, size: i32);
        sock_accept "" (fd: i32, flags: i32, opened: i32);
        sock_recv "" (fd: i32, vectors: i32, count: i32, flags: i32, size: i32, out_flags: i32);
        sock_send "" (fd: i32, vectors: i32, count: i32, flags: i32, size: i32);
        sock_shutdown "" (fd: i32, how: i32);
        sched_yield "" ();
        poll_oneoff "" (subscriptions: i32, events: i32, count: i32, happened: i32);
    }
}

/// Calls `proc_exit`, the one function that returns nothing.
pub(crate) fn exit(code: i32) {
    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    unsafe extern "C" {
        fn proc_exit(code: i32);
    }
    // SAFETY: takes a number.
    unsafe { proc_exit(code) }
}

/// Traps.
pub(crate) fn trap() {
    core::arch::wasm32::unreachable();
}

/// Copies bytes that a host put somewhere into this module's memory; `None` where they cannot be.
pub(crate) fn bytes_at(address: u32, size: u32) -> Option<Vec<u8>> {
    let end = u64::from(address).checked_add(u64::from(size))?;
    if end > (core::arch::wasm32::memory_size(0) as u64).checked_mul(0x1_0000)? {
        return None;
    }
    let start = core::ptr::with_exposed_provenance(address as usize);
    // SAFETY: the range is inside the memory, and nothing else runs.
    let found = unsafe { core::slice::from_raw_parts(start, size as usize) };
    Some(found.to_vec())
}

/// Gives the host memory for an answer. It is never freed: a VM of a test lives for moments.
pub(crate) fn allocate(size: usize) -> *mut u8 {
    Vec::leak(Vec::<u8>::with_capacity(size.max(1))).as_mut_ptr()
}

//! The host's functions as ABI 0.2.1 declares them, each wrapped once so that the rest of the crate
//! is safe code.
//!
//! What a module does not call is not imported: the linker drops it. On other targets than
//! WebAssembly every function answers that it is not implemented, so that everything above is built
//! and tested there too.

#![expect(unsafe_code, reason = "the host's functions are foreign functions")]
#![cfg_attr(
    not(target_family = "wasm"),
    expect(
        clippy::too_many_arguments,
        reason = "the ABI has functions with ten of them"
    )
)]

use std::{
    alloc::{Layout, alloc},
    ptr::null_mut,
};

/// Is a `proxy_status_t`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Status(pub(crate) u32);

impl Status {
    pub(crate) const OK: Self = Self(0);
    pub(crate) const NOT_FOUND: Self = Self(1);
    pub(crate) const BAD_ARGUMENT: Self = Self(2);
    pub(crate) const EMPTY: Self = Self(7);
    pub(crate) const CAS_MISMATCH: Self = Self(8);

    fn result(self) -> Result<(), Self> {
        if self == Self::OK { Ok(()) } else { Err(self) }
    }
}

/// Declares host functions, and stand-ins for targets without a host.
macro_rules! host {
    ($module:literal, $missing:literal; $(fn $name:ident($($argument:ident: $type:ty),*);)*) => {
        #[cfg(target_family = "wasm")]
        #[link(wasm_import_module = $module)]
        unsafe extern "C" {
            $(fn $name($($argument: $type),*) -> u32;)*
        }
        $(
            #[cfg(not(target_family = "wasm"))]
            unsafe fn $name($(_: $type),*) -> u32 {
                $missing
            }
        )*
    };
}

host! { "env", 12;
    fn proxy_log(level: u32, data: *const u8, size: usize);
    fn proxy_get_log_level(level: *mut u32);
    fn proxy_get_current_time_nanoseconds(time: *mut u64);
    fn proxy_set_tick_period_milliseconds(period: u32);
    fn proxy_set_effective_context(context: u32);
    fn proxy_get_buffer_bytes(
        kind: u32, start: usize, max: usize, data: *mut *mut u8, size: *mut usize
    );
    fn proxy_set_buffer_bytes(
        kind: u32, start: usize, size: usize, data: *const u8, data_size: usize
    );
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize);
    fn proxy_set_header_map_pairs(map: u32, data: *const u8, size: usize);
    fn proxy_get_header_map_value(
        map: u32, key: *const u8, key_size: usize, data: *mut *mut u8, size: *mut usize
    );
    fn proxy_add_header_map_value(
        map: u32, key: *const u8, key_size: usize, value: *const u8, size: usize
    );
    fn proxy_replace_header_map_value(
        map: u32, key: *const u8, key_size: usize, value: *const u8, size: usize
    );
    fn proxy_remove_header_map_value(map: u32, key: *const u8, key_size: usize);
    fn proxy_continue_stream(stream: u32);
    fn proxy_close_stream(stream: u32);
    fn proxy_send_local_response(
        status: u32, details: *const u8, details_size: usize, body: *const u8, body_size: usize,
        headers: *const u8, headers_size: usize, grpc_status: i32
    );
    fn proxy_http_call(
        upstream: *const u8, upstream_size: usize, headers: *const u8, headers_size: usize,
        body: *const u8, body_size: usize, trailers: *const u8, trailers_size: usize, timeout:
        u32, call: *mut u32
    );
    fn proxy_set_shared_data(
        key: *const u8, key_size: usize, value: *const u8, size: usize, cas: u32
    );
    fn proxy_get_shared_data(
        key: *const u8, key_size: usize, data: *mut *mut u8, size: *mut usize, cas: *mut u32
    );
    fn proxy_register_shared_queue(name: *const u8, size: usize, queue: *mut u32);
    fn proxy_resolve_shared_queue(
        vm: *const u8, vm_size: usize, name: *const u8, size: usize, queue: *mut u32
    );
    fn proxy_enqueue_shared_queue(queue: u32, data: *const u8, size: usize);
    fn proxy_dequeue_shared_queue(queue: u32, data: *mut *mut u8, size: *mut usize);
    fn proxy_define_metric(kind: u32, name: *const u8, size: usize, metric: *mut u32);
    fn proxy_record_metric(metric: u32, value: u64);
    fn proxy_increment_metric(metric: u32, delta: i64);
    fn proxy_get_metric(metric: u32, value: *mut u64);
    fn proxy_get_property(path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize);
    fn proxy_set_property(path: *const u8, path_size: usize, data: *const u8, size: usize);
}

// `ENOSYS` is 52.
host! { "wasi_snapshot_preview1", 52;
    fn random_get(buffer: *mut u8, size: usize);
    fn environ_sizes_get(count: *mut usize, size: *mut usize);
    fn environ_get(entries: *mut *mut u8, buffer: *mut u8);
}

/// Gives the host memory to put an answer into: what `malloc` is for. Null where there is none.
///
/// [`take`] gives it to a `Vec`, so size and alignment are those that a `Vec<u8>` frees with.
#[must_use]
pub fn allocate(size: usize) -> *mut u8 {
    match Layout::array::<u8>(size) {
        // SAFETY: the layout's size is not zero.
        Ok(layout) if size > 0 => unsafe { alloc(layout) },
        _ => null_mut(),
    }
}

/// Takes over what the host put into memory of ours.
fn take(data: *mut u8, size: usize) -> Vec<u8> {
    if data.is_null() || size == 0 {
        return Vec::new();
    }
    // SAFETY: the host got `data` from `allocate(size)`, filled all of it and gives it away; the
    // global allocator is the same, and a `Vec<u8>` frees with the layout that `allocate` used.
    unsafe { Vec::from_raw_parts(data, size, size) }
}

/// Calls a function that answers with bytes.
fn bytes(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>, Status> {
    let (mut data, mut size) = (null_mut(), 0);
    Status(call(&raw mut data, &raw mut size)).result()?;
    Ok(take(data, size))
}

/// Calls a function that answers with a number.
fn number<T: Default>(call: impl FnOnce(*mut T) -> u32) -> Result<T, Status> {
    let mut number = T::default();
    Status(call(&raw mut number)).result()?;
    Ok(number)
}

// SAFETY: (for every call below) all pointers are to live memory of the stated size, for reading
// where they are `const` and for writing where they are `mut`; the host keeps none of them after it
// returned.

pub(crate) fn log(level: u32, message: &[u8]) -> Result<(), Status> {
    // SAFETY: see above.
    Status(unsafe { proxy_log(level, message.as_ptr(), message.len()) }).result()
}

pub(crate) fn log_level() -> Result<u32, Status> {
    // SAFETY: see above.
    number(|level| unsafe { proxy_get_log_level(level) })
}

pub(crate) fn current_time_ns() -> Result<u64, Status> {
    // SAFETY: see above.
    number(|time| unsafe { proxy_get_current_time_nanoseconds(time) })
}

pub(crate) fn set_tick_period_ms(period: u32) -> Result<(), Status> {
    // SAFETY: no pointers.
    Status(unsafe { proxy_set_tick_period_milliseconds(period) }).result()
}

pub(crate) fn set_effective_context(context: u32) -> Result<(), Status> {
    // SAFETY: no pointers.
    Status(unsafe { proxy_set_effective_context(context) }).result()
}

pub(crate) fn buffer_bytes(kind: u32, start: usize, max: usize) -> Result<Vec<u8>, Status> {
    // SAFETY: see above.
    bytes(|data, size| unsafe { proxy_get_buffer_bytes(kind, start, max, data, size) })
}

pub(crate) fn set_buffer_bytes(
    kind: u32,
    start: usize,
    size: usize,
    value: &[u8],
) -> Result<(), Status> {
    // SAFETY: see above.
    Status(unsafe { proxy_set_buffer_bytes(kind, start, size, value.as_ptr(), value.len()) })
        .result()
}

pub(crate) fn header_pairs(map: u32) -> Result<Vec<u8>, Status> {
    // SAFETY: see above.
    bytes(|data, size| unsafe { proxy_get_header_map_pairs(map, data, size) })
}

pub(crate) fn set_header_pairs(map: u32, pairs: &[u8]) -> Result<(), Status> {
    // SAFETY: see above.
    Status(unsafe { proxy_set_header_map_pairs(map, pairs.as_ptr(), pairs.len()) }).result()
}

pub(crate) fn header_value(map: u32, name: &[u8]) -> Result<Vec<u8>, Status> {
    // SAFETY: see above.
    bytes(|data, size| unsafe {
        proxy_get_header_map_value(map, name.as_ptr(), name.len(), data, size)
    })
}

pub(crate) fn add_header(map: u32, name: &[u8], value: &[u8]) -> Result<(), Status> {
    // SAFETY: see above.
    Status(unsafe {
        proxy_add_header_map_value(map, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
    .result()
}

pub(crate) fn replace_header(map: u32, name: &[u8], value: &[u8]) -> Result<(), Status> {
    // SAFETY: see above.
    Status(unsafe {
        proxy_replace_header_map_value(map, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
    .result()
}

pub(crate) fn remove_header(map: u32, name: &[u8]) -> Result<(), Status> {
    // SAFETY: see above.
    Status(unsafe { proxy_remove_header_map_value(map, name.as_ptr(), name.len()) }).result()
}

pub(crate) fn continue_stream(stream: u32) -> Result<(), Status> {
    // SAFETY: no pointers.
    Status(unsafe { proxy_continue_stream(stream) }).result()
}

pub(crate) fn close_stream(stream: u32) -> Result<(), Status> {
    // SAFETY: no pointers.
    Status(unsafe { proxy_close_stream(stream) }).result()
}

pub(crate) fn send_local_response(
    status: u32,
    details: &[u8],
    body: &[u8],
    headers: &[u8],
    grpc_status: i32,
) -> Result<(), Status> {
    // SAFETY: see above.
    Status(unsafe {
        proxy_send_local_response(
            status,
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            grpc_status,
        )
    })
    .result()
}

pub(crate) fn http_call(
    upstream: &[u8],
    headers: &[u8],
    body: &[u8],
    trailers: &[u8],
    timeout_ms: u32,
) -> Result<u32, Status> {
    // SAFETY: see above.
    number(|call| unsafe {
        proxy_http_call(
            upstream.as_ptr(),
            upstream.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            trailers.as_ptr(),
            trailers.len(),
            timeout_ms,
            call,
        )
    })
}

pub(crate) fn shared_data(key: &[u8]) -> Result<(Vec<u8>, u32), Status> {
    let mut cas = 0;
    // SAFETY: see above.
    let value = bytes(|data, size| unsafe {
        proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &raw mut cas)
    })?;
    Ok((value, cas))
}

pub(crate) fn set_shared_data(key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
    // SAFETY: see above.
    Status(unsafe {
        proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas)
    })
    .result()
}

pub(crate) fn register_queue(name: &[u8]) -> Result<u32, Status> {
    // SAFETY: see above.
    number(|queue| unsafe { proxy_register_shared_queue(name.as_ptr(), name.len(), queue) })
}

pub(crate) fn resolve_queue(vm: &[u8], name: &[u8]) -> Result<u32, Status> {
    // SAFETY: see above.
    number(|queue| unsafe {
        proxy_resolve_shared_queue(vm.as_ptr(), vm.len(), name.as_ptr(), name.len(), queue)
    })
}

pub(crate) fn enqueue(queue: u32, value: &[u8]) -> Result<(), Status> {
    // SAFETY: see above.
    Status(unsafe { proxy_enqueue_shared_queue(queue, value.as_ptr(), value.len()) }).result()
}

pub(crate) fn dequeue(queue: u32) -> Result<Vec<u8>, Status> {
    // SAFETY: see above.
    bytes(|data, size| unsafe { proxy_dequeue_shared_queue(queue, data, size) })
}

pub(crate) fn define_metric(kind: u32, name: &[u8]) -> Result<u32, Status> {
    // SAFETY: see above.
    number(|metric| unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), metric) })
}

pub(crate) fn record_metric(metric: u32, value: u64) -> Result<(), Status> {
    // SAFETY: no pointers.
    Status(unsafe { proxy_record_metric(metric, value) }).result()
}

pub(crate) fn increment_metric(metric: u32, delta: i64) -> Result<(), Status> {
    // SAFETY: no pointers.
    Status(unsafe { proxy_increment_metric(metric, delta) }).result()
}

pub(crate) fn metric(metric: u32) -> Result<u64, Status> {
    // SAFETY: see above.
    number(|value| unsafe { proxy_get_metric(metric, value) })
}

pub(crate) fn property(path: &[u8]) -> Result<Vec<u8>, Status> {
    // SAFETY: see above.
    bytes(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

pub(crate) fn set_property(path: &[u8], value: &[u8]) -> Result<(), Status> {
    // SAFETY: see above.
    Status(unsafe { proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) })
        .result()
}

/// Fills `buffer` with random bytes; the error is a WASI `errno`.
pub(crate) fn random(buffer: &mut [u8]) -> Result<(), Status> {
    // SAFETY: see above.
    Status(unsafe { random_get(buffer.as_mut_ptr(), buffer.len()) }).result()
}

/// Reads the environment: `NAME=value` entries, each ended by a zero byte.
pub(crate) fn environment() -> Result<Vec<u8>, Status> {
    let (mut count, mut size) = (0, 0);
    // SAFETY: see above.
    Status(unsafe { environ_sizes_get(&raw mut count, &raw mut size) }).result()?;
    // One more pointer than asked for, so that neither is empty.
    let mut entries = vec![null_mut::<u8>(); count.saturating_add(1)];
    let mut buffer = vec![0_u8; size];
    // SAFETY: both have the sizes that the host asked for; `entries` is only written to.
    Status(unsafe { environ_get(entries.as_mut_ptr(), buffer.as_mut_ptr()) }).result()?;
    Ok(buffer)
}

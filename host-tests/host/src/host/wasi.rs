//! What modules import from WASI. There are no files, sockets or arguments; the outputs are the log.

use rand_chacha::rand_core::Rng as _;

use super::call::{Call, Stop, bytes, write};
use crate::observer::LogLevel;

const SUCCESS: i32 = 0;
const BAD_DESCRIPTOR: i32 = 8;
const NOT_A_DIRECTORY: i32 = 20;
pub(super) const FAULT: i32 = 21;
const INVALID: i32 = 28;
const NO_ENTRY: i32 = 44;
const NO_SYSTEM_CALL: i32 = 52;
const NOT_SUPPORTED: i32 = 58;

const STDOUT: i32 = 1;
const STDERR: i32 = 2;

const REALTIME: i32 = 0;
const MONOTONIC: i32 = 1;

/// SOURCE: proxy-wasm-cpp-host, after the limit of `Crypto.getRandomValues`.
const RANDOM_BYTES: usize = 64 * 1024;

const fn is_output(fd: i32) -> bool {
    fd == STDOUT || fd == STDERR
}

const fn for_output(fd: i32) -> i32 {
    if is_output(fd) {
        SUCCESS
    } else {
        BAD_DESCRIPTOR
    }
}

type Errno = Result<i32, Stop>;

pub(super) fn fd_write(
    call: &mut Call<'_>,
    fd: i32,
    vectors: i32,
    count: i32,
    written: i32,
) -> Errno {
    const VECTOR: u32 = 8;
    let level = match fd {
        STDOUT => LogLevel::Info,
        STDERR => LogLevel::Error,
        _ => return Ok(BAD_DESCRIPTOR),
    };
    let context = call.context();
    let (memory, guest) = call.parts();
    let mut line = Vec::new();
    for index in 0..count.cast_unsigned() {
        guest.work(u64::from(VECTOR))?;
        let at = index
            .checked_mul(VECTOR)
            .and_then(|offset| vectors.cast_unsigned().checked_add(offset));
        let Some(at) = at else {
            return Ok(FAULT);
        };
        let vector = bytes(memory, at.cast_signed(), VECTOR.cast_signed())?;
        let word = |range: std::ops::Range<usize>| -> i32 {
            vector
                .get(range)
                .and_then(|word| <[u8; 4]>::try_from(word).ok())
                .map_or(0, i32::from_le_bytes)
        };
        let part = bytes(memory, word(0..4), word(4..8))?;
        guest.keep(part.len())?;
        line.extend_from_slice(part);
    }
    let size = u32::try_from(line.len()).unwrap_or(u32::MAX);
    if size > 0 {
        let message = line.strip_suffix(b"\n").unwrap_or(&line);
        let instance = guest.instance;
        guest.world.log(instance, context, level, message);
    }
    call.write_u32(written, size)?;
    Ok(SUCCESS)
}

pub(super) fn clock_time_get(call: &mut Call<'_>, clock: i32, _: i64, time: i32) -> Errno {
    let world = &call.guest().world;
    let value = match clock {
        REALTIME => world.now_ns,
        MONOTONIC => world.now_ns.saturating_sub(world.start_ns),
        _ => return Ok(NOT_SUPPORTED),
    };
    call.write_u64(time, value)?;
    Ok(SUCCESS)
}

pub(super) fn clock_res_get(call: &mut Call<'_>, clock: i32, resolution: i32) -> Errno {
    if clock != REALTIME && clock != MONOTONIC {
        return Ok(NOT_SUPPORTED);
    }
    call.write_u64(resolution, 1)?;
    Ok(SUCCESS)
}

pub(super) fn random_get(call: &mut Call<'_>, buffer: i32, size: i32) -> Errno {
    if size.cast_unsigned() as usize > RANDOM_BYTES {
        return Ok(INVALID);
    }
    let (memory, guest) = call.parts();
    guest.work(u64::from(size.cast_unsigned()))?;
    let start = buffer.cast_unsigned() as usize;
    let end = start.saturating_add(size.cast_unsigned() as usize);
    let Some(target) = memory.get_mut(start..end) else {
        return Ok(FAULT);
    };
    guest
        .world
        .instances
        .at_mut(guest.instance)
        .rng
        .fill_bytes(target);
    Ok(SUCCESS)
}

fn environment(call: &mut Call<'_>) -> Vec<(String, String)> {
    let plugin = call.context().plugin;
    call.guest()
        .world
        .plugins
        .get(plugin)
        .map(|plugin| plugin.config.environment.clone())
        .unwrap_or_default()
}

pub(super) fn environ_sizes_get(call: &mut Call<'_>, count: i32, size: i32) -> Errno {
    let variables = environment(call);
    // An equals sign and a NUL.
    let bytes: usize = variables
        .iter()
        .map(|(name, value)| name.len().saturating_add(value.len()).saturating_add(2))
        .sum();
    call.write_u32(count, u32::try_from(variables.len()).unwrap_or(u32::MAX))?;
    call.write_u32(size, u32::try_from(bytes).unwrap_or(u32::MAX))?;
    Ok(SUCCESS)
}

pub(super) fn environ_get(call: &mut Call<'_>, array: i32, buffer: i32) -> Errno {
    let (mut slot, mut at) = (array.cast_unsigned(), buffer.cast_unsigned());
    for (name, value) in environment(call) {
        let text = format!("{name}={value}\0");
        call.guest().work(text.len() as u64)?;
        call.write_u32(slot.cast_signed(), at)?;
        let (memory, _) = call.parts();
        write(memory, at.cast_signed(), text.as_bytes())?;
        let size = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let (Some(next_slot), Some(next)) = (slot.checked_add(4), at.checked_add(size)) else {
            return Ok(FAULT);
        };
        (slot, at) = (next_slot, next);
    }
    Ok(SUCCESS)
}

pub(super) fn args_sizes_get(call: &mut Call<'_>, count: i32, size: i32) -> Errno {
    call.write_u32(count, 0)?;
    call.write_u32(size, 0)?;
    Ok(SUCCESS)
}

pub(super) const fn args_get(_: &mut Call<'_>, _: i32, _: i32) -> Errno {
    Ok(SUCCESS)
}

/// In Envoy this returns, and the guest runs into whatever follows, mostly a trap.
pub(super) const fn proc_exit(_: &mut Call<'_>, _: i32) -> Errno {
    Ok(SUCCESS)
}

pub(super) const fn fd_seek(_: &mut Call<'_>, _: i32, _: i64, _: i32, _: i32) -> Errno {
    Ok(SUCCESS)
}

pub(super) const fn fd_close(_: &mut Call<'_>, _: i32) -> Errno {
    Ok(SUCCESS)
}

pub(super) fn fd_fdstat_get(call: &mut Call<'_>, fd: i32, stat: i32) -> Errno {
    /// The right to write, in the second of three words.
    const WRITABLE: [u64; 3] = [0, 64, 0];
    if !is_output(fd) {
        return Ok(BAD_DESCRIPTOR);
    }
    let mut encoded = Vec::with_capacity(24);
    for word in WRITABLE {
        encoded.extend_from_slice(&word.to_le_bytes());
    }
    let (memory, _) = call.parts();
    // Envoy does not look whether it could write.
    let _ = write(memory, stat, &encoded);
    Ok(SUCCESS)
}

pub(super) const fn fd_advise(_: &mut Call<'_>, _: i32, _: i64, _: i64, _: i32) -> Errno {
    Ok(SUCCESS)
}

pub(super) const fn output_only(_: &mut Call<'_>, fd: i32) -> Errno {
    Ok(for_output(fd))
}

pub(super) const fn output_size(_: &mut Call<'_>, fd: i32, _: i64) -> Errno {
    Ok(for_output(fd))
}

pub(super) const fn output_rights(_: &mut Call<'_>, fd: i32, _: i64, _: i64) -> Errno {
    Ok(for_output(fd))
}

pub(super) const fn output_times(_: &mut Call<'_>, fd: i32, _: i64, _: i64, _: i32) -> Errno {
    Ok(for_output(fd))
}

pub(super) const fn fd_pread(_: &mut Call<'_>, _: i32, _: i32, _: i32, _: i64, _: i32) -> Errno {
    Ok(NO_SYSTEM_CALL)
}

pub(super) fn fd_pwrite(
    call: &mut Call<'_>,
    fd: i32,
    vectors: i32,
    count: i32,
    _: i64,
    written: i32,
) -> Errno {
    fd_write(call, fd, vectors, count, written)
}

pub(super) fn fd_readdir(call: &mut Call<'_>, _: i32, _: i32, _: i32, _: i64, used: i32) -> Errno {
    call.write_u32(used, 0)?;
    Ok(NOT_A_DIRECTORY)
}

pub(super) const fn fd_renumber(_: &mut Call<'_>, from: i32, to: i32) -> Errno {
    Ok(if is_output(from) && is_output(to) {
        NOT_SUPPORTED
    } else {
        BAD_DESCRIPTOR
    })
}

pub(super) fn fd_tell(call: &mut Call<'_>, fd: i32, position: i32) -> Errno {
    if is_output(fd) {
        call.write_u64(position, 0)?;
    }
    Ok(for_output(fd))
}

#[expect(
    clippy::too_many_arguments,
    reason = "the parameters are the interface's"
)]
pub(super) const fn path_open(
    _: &mut Call<'_>,
    _: i32,
    _: i32,
    _: i32,
    _: i32,
    _: i32,
    _: i64,
    _: i64,
    _: i32,
    _: i32,
) -> Errno {
    Ok(NO_ENTRY)
}

#[expect(
    clippy::too_many_arguments,
    reason = "the parameters are the interface's"
)]
pub(super) const fn path_filestat_set_times(
    _: &mut Call<'_>,
    _: i32,
    _: i32,
    _: i32,
    _: i32,
    _: i64,
    _: i64,
    _: i32,
) -> Errno {
    Ok(NOT_SUPPORTED)
}

/// Envoy writes a result also for what it does not support.
pub(super) fn path_readlink(
    call: &mut Call<'_>,
    _: i32,
    _: i32,
    _: i32,
    _: i32,
    _: i32,
    used: i32,
) -> Errno {
    call.write_u32(used, 0)?;
    Ok(NOT_SUPPORTED)
}

pub(super) fn sock_accept(call: &mut Call<'_>, _: i32, _: i32, opened: i32) -> Errno {
    call.write_u32(opened, 0)?;
    Ok(NOT_SUPPORTED)
}

pub(super) fn sock_recv(
    call: &mut Call<'_>,
    _: i32,
    _: i32,
    _: i32,
    _: i32,
    size: i32,
    flags: i32,
) -> Errno {
    call.write_u32(size, 0)?;
    let (memory, _) = call.parts();
    write(memory, flags, &0_u16.to_le_bytes())?;
    Ok(NOT_SUPPORTED)
}

pub(super) fn sock_send(call: &mut Call<'_>, _: i32, _: i32, _: i32, _: i32, size: i32) -> Errno {
    call.write_u32(size, 0)?;
    Ok(NOT_SUPPORTED)
}

pub(super) const fn sched_yield(_: &mut Call<'_>) -> Errno {
    Ok(SUCCESS)
}

pub(super) fn poll_oneoff(call: &mut Call<'_>, _: i32, _: i32, _: i32, happened: i32) -> Errno {
    call.write_u32(happened, 0)?;
    Ok(SUCCESS)
}

pub(super) const fn two_unsupported(_: &mut Call<'_>, _: i32, _: i32) -> Errno {
    Ok(NO_SYSTEM_CALL)
}

pub(super) const fn three_unsupported(_: &mut Call<'_>, _: i32, _: i32, _: i32) -> Errno {
    Ok(NO_SYSTEM_CALL)
}

pub(super) const fn four_unsupported(_: &mut Call<'_>, _: i32, _: i32, _: i32, _: i32) -> Errno {
    Ok(NO_SYSTEM_CALL)
}

pub(super) const fn two_bad_descriptor(_: &mut Call<'_>, _: i32, _: i32) -> Errno {
    Ok(BAD_DESCRIPTOR)
}

pub(super) const fn two_no_files(_: &mut Call<'_>, _: i32, _: i32) -> Errno {
    Ok(NOT_SUPPORTED)
}

pub(super) const fn three_no_files(_: &mut Call<'_>, _: i32, _: i32, _: i32) -> Errno {
    Ok(NOT_SUPPORTED)
}

pub(super) const fn five_no_files(
    _: &mut Call<'_>,
    _: i32,
    _: i32,
    _: i32,
    _: i32,
    _: i32,
) -> Errno {
    Ok(NOT_SUPPORTED)
}

pub(super) const fn six_no_files(
    _: &mut Call<'_>,
    _: i32,
    _: i32,
    _: i32,
    _: i32,
    _: i32,
    _: i32,
) -> Errno {
    Ok(NOT_SUPPORTED)
}

/// Envoy's functions for links lack the size of the second path: a module that declares them as WASI does is refused there.
pub(super) const fn four_no_files(_: &mut Call<'_>, _: i32, _: i32, _: i32, _: i32) -> Errno {
    Ok(NOT_SUPPORTED)
}

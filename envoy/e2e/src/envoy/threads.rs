//! What the threads of a process cost, by their names. Linux only.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// What Envoy's threads are told apart by: the main one, all workers together, and what is left.
pub const KINDS: [&str; 3] = ["main", "workers", "others"];

/// Is how long a tick of the kernel's accounting is: `USER_HZ` is 100 on every architecture that Envoy is built for.
const TICK: Duration = Duration::from_millis(10);

/// Returns the processor time of each thread so far. Threads of one name are summed up.
///
/// # Errors
/// The process is gone, or this is not Linux.
pub(super) fn processor_time(process: u32) -> Result<BTreeMap<String, Duration>> {
    let mut times: BTreeMap<String, Duration> = BTreeMap::new();
    let tasks = format!("/proc/{process}/task");
    let tasks = std::fs::read_dir(&tasks).with_context(|| format!("cannot read `{tasks}`"))?;
    for task in tasks {
        let task = task?.path();
        // A thread may end between two looks.
        if let Ok(Some((name, time))) = thread(&task) {
            *times.entry(name).or_default() += time;
        }
    }
    Ok(times)
}

/// Sums up by [`KINDS`] what [`processor_time`] says of an Envoy.
///
/// # Errors
/// No worker is among the threads.
pub(super) fn by_kind(
    times: BTreeMap<String, Duration>,
) -> Result<BTreeMap<&'static str, Duration>> {
    let mut sums: BTreeMap<&'static str, Duration> = BTreeMap::new();
    for (name, time) in times {
        let kind = match name.as_str() {
            "envoy" => "main",
            name if name.starts_with("wrk:") => "workers",
            _ => "others",
        };
        *sums.entry(kind).or_default() += time;
    }
    ensure!(
        sums.contains_key("workers"),
        "Envoy has no workers by the names that are known"
    );
    Ok(sums)
}

/// Returns the memory that a process has resident, in bytes.
///
/// # Errors
/// As [`processor_time`].
pub(super) fn resident_bytes(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse::<u64>().ok())
        .context("no resident size")?;
    Ok(kib * 1024)
}

/// Returns name and processor time of a thread; `None` where the kernel says something else than expected.
fn thread(task: &Path) -> std::io::Result<Option<(String, Duration)>> {
    let stat = std::fs::read_to_string(task.join("stat"))?;
    // The name stands in brackets and may hold anything, brackets too.
    let named = stat
        .split_once('(')
        .and_then(|(_, rest)| rest.rsplit_once(')'));
    let Some((name, rest)) = named else {
        return Ok(None);
    };
    // To the nanosecond, where the kernel counts like that.
    let exact = std::fs::read_to_string(task.join("schedstat")).ok();
    let exact = exact.and_then(|text| text.split(' ').next()?.parse().ok());
    let coarse = || {
        // Fields 14 and 15 are time in user and in kernel mode; the first one here is the third.
        let ticks = rest.split_whitespace().skip(11).take(2);
        let ticks = ticks.map(str::parse::<u32>).collect::<Result<Vec<_>, _>>();
        ticks.ok().map(|ticks| TICK * ticks.iter().sum::<u32>())
    };
    let time = exact.map(Duration::from_nanos).or_else(coarse);
    Ok(time.map(|time| (name.to_owned(), time)))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_has_processor_time_under_its_name() {
        let spinning = std::thread::Builder::new().name("spinning thing".to_owned());
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let handle = spinning
            .spawn(move || while ended.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {})
            .unwrap();
        let time = || {
            processor_time(std::process::id())
                .unwrap()
                .remove("spinning thing")
        };
        while time().is_none_or(|time| time < Duration::from_millis(30)) {}
        end.send(()).unwrap();
        handle.join().unwrap();
        assert!(resident_bytes(std::process::id()).unwrap() > 1 << 20);
    }
}

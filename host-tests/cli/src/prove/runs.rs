//! Runs of scenarios in the closed loop: one for each seed, on all processors.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use tidegate_model::report::Sink;

use super::Options;
use crate::closed_loop;
use crate::scenario::LoadedScenario;

/// Lists the seeds of a proof that has so many, ten times as many if it is a long one. Those of neighbouring proofs don't
/// overlap.
pub(super) fn seeds(count: u64, options: Options) -> impl Iterator<Item = u64> + Clone {
    let count = if options.long { count * 10 } else { count };
    let first = options.seed.wrapping_mul(1_000);
    (0..count).map(move |seed| first.wrapping_add(seed))
}

/// Runs each scenario with so many seeds, and measures what each run's sink took. The measures are in the order of the
/// seeds.
pub(super) fn of<Key, Taken, Measured>(
    scenarios: &BTreeMap<Key, LoadedScenario>,
    count: u64,
    options: Options,
    measure: impl Fn(&Key, Taken) -> Measured + Sync,
) -> anyhow::Result<BTreeMap<Key, Vec<Measured>>>
where
    Key: Ord + Clone + Sync,
    Taken: Sink + Default,
    Measured: Send,
{
    let jobs: Vec<(&Key, &LoadedScenario, u64)> = scenarios
        .iter()
        .flat_map(|(key, scenario)| seeds(count, options).map(move |seed| (key, scenario, seed)))
        .collect();
    let measured = spread(&jobs, |(key, scenario, seed)| {
        let mut taken = Taken::default();
        closed_loop::run(scenario, *seed, &mut taken)?;
        Ok(measure(key, taken))
    })?;
    let mut runs = BTreeMap::new();
    for ((key, ..), measured) in jobs.into_iter().zip(measured) {
        runs.entry(key.clone())
            .or_insert_with(Vec::new)
            .push(measured);
    }
    Ok(runs)
}

/// Does every job, on all processors. What came of them is in their order.
pub(super) fn spread<Job: Sync, Done: Send>(
    jobs: &[Job],
    work: impl Fn(&Job) -> anyhow::Result<Done> + Sync,
) -> anyhow::Result<Vec<Done>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(BTreeMap::new());
    let work = || -> anyhow::Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(number) else {
                return Ok(());
            };
            let result = work(job)?;
            let mut done = done.lock().ok().context("another run panicked")?;
            done.insert(number, result);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .ok()
                .context("a run panicked")
                .and_then(|result| result)
        })
    })?;
    let done = done.into_inner().ok().context("a run panicked")?;
    Ok(done.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_the_jobs_is_in_their_order() {
        let jobs: Vec<u64> = (0..100).collect();
        let doubled: Vec<u64> = spread(&jobs, |job| Ok(job * 2)).unwrap();
        assert!(
            doubled
                .iter()
                .zip(&jobs)
                .all(|(doubled, job)| *doubled == job * 2)
        );
        assert_eq!(doubled.len(), jobs.len());
    }

    #[test]
    fn job_that_fails_fails_them_all() {
        let jobs: Vec<u64> = (0..100).collect();
        let result = spread(&jobs, |job| {
            anyhow::ensure!(*job != 50, "fifty");
            Ok(())
        });
        assert!(result.is_err());
    }

    #[test]
    fn long_proof_has_ten_times_as_many_seeds_and_begins_with_the_same() {
        let options = |long| Options { seed: 3, long };
        let short: Vec<u64> = seeds(5, options(false)).collect();
        assert_eq!(short, [3_000, 3_001, 3_002, 3_003, 3_004]);
        let long = seeds(5, options(true));
        assert_eq!(long.clone().count(), 50);
        assert!(long.take(5).eq(short));
    }
}

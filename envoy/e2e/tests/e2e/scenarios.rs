//! The model of the closed loop against the real Envoy: every scenario of `host-tests/scenarios/envoy`, in both.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tidegate_cli::engine::engine;
use tidegate_cli::output::{Colour, Format, Output};
use tidegate_cli::scenario::LoadedScenario;
use tidegate_e2e::paths;
use tidegate_e2e::scenario::{self, Comparison, Known};
use tidegate_model::scenario::Source;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How often a scenario may be played until it goes as in the model. Real time is not the model's: on a busy machine an
/// answer that should be first may come second. What differs for another reason does so every time.
const TRIES: u32 = 3;

/// How many are played side by side: they wait most of the time.
const AT_A_TIME: usize = 4;

fn files() -> Result<Vec<PathBuf>> {
    let folder = paths::scenarios().join("envoy");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn load(path: &Path) -> Result<LoadedScenario> {
    let output = Output::new(Format::Human, Colour::Never, true);
    LoadedScenario::load(&engine()?, path, &output)
        .with_context(|| format!("cannot load `{}`", path.display()))
}

fn seed(loaded: &LoadedScenario) -> u64 {
    loaded.scenario.seeds.first().copied().unwrap_or(1)
}

/// Plays a scenario until it agrees, or often enough.
async fn played(loaded: &LoadedScenario, known: &[Known]) -> Result<Comparison> {
    let mut last = None;
    for _ in 0..TRIES {
        let played = scenario::run(loaded, seed(loaded)).await?;
        let comparison = scenario::compare(loaded, seed(loaded), &played, known)?;
        if comparison.holds() {
            return Ok(comparison);
        }
        last = Some(comparison);
    }
    last.context("a scenario was not played")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_and_the_real_envoy_agree_on_every_scenario() -> Result<()> {
    let known = Arc::new(scenario::known()?);
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut playing = JoinSet::new();
    let mut names = Vec::new();
    for path in files()? {
        let loaded = load(&path)?;
        names.push(loaded.name.clone());
        let (known, places) = (Arc::clone(&known), Arc::clone(&places));
        let runtime = Handle::current();
        // A thread each: what waits for Envoy can't move between threads.
        playing.spawn_blocking(move || {
            runtime.block_on(async {
                let _place = places.acquire().await?;
                let outcome = played(&loaded, &known).await;
                outcome.with_context(|| format!("scenario `{}`", loaded.name))
            })
        });
    }
    // A list that names what isn't there explains nothing.
    for known in known.iter() {
        ensure!(
            names.contains(&known.scenario),
            "there is no scenario `{}`",
            known.scenario
        );
    }
    let (mut rows, mut shares, mut wrong) = (0, 0, String::new());
    while let Some(comparison) = playing.join_next().await {
        match comparison? {
            Ok(comparison) => {
                rows += comparison.rows;
                shares += comparison.shares;
                if !comparison.holds() {
                    wrong.push_str(&comparison.to_string());
                }
            }
            Err(error) => wrong.push_str(&format!("{error:#}\n")),
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(names.len() >= 25, "only {} scenarios", names.len());
    assert!(
        rows >= 200 && shares >= 20,
        "only {rows} requests and {shares} shares"
    );
    Ok(())
}

/// Plays a scenario once and compares it with a model that was told something else.
async fn compared_with_another(
    name: &str,
    change: impl Fn(&mut LoadedScenario),
) -> Result<Comparison> {
    let loaded = load(&paths::scenarios().join(format!("envoy/{name}.yaml")))?;
    let played = scenario::run(&loaded, seed(&loaded)).await?;
    let mut other = loaded.clone();
    change(&mut other);
    scenario::compare(&other, seed(&other), &played, &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_with_one_retry_more_is_told_from_the_real_envoy() -> Result<()> {
    let comparison = compared_with_another("override-list", |loaded| {
        for route in &mut loaded.scenario.routes {
            if let Some(retry) = &mut route.retry {
                retry.num_retries += 1;
            }
        }
    })
    .await?;
    let fields: Vec<&str> = comparison
        .differences
        .iter()
        .map(|found| found.field)
        .collect();
    assert!(
        fields.contains(&"attempts") && fields.contains(&"endpoints"),
        "{comparison}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_with_another_ring_is_told_from_the_real_envoy() -> Result<()> {
    let comparison = compared_with_another("hash-picks", |loaded| {
        for source in &mut loaded.scenario.traffic {
            if let Source::Requests(scripted) = source {
                for one in &mut scripted.list {
                    one.request
                        .headers
                        .insert("x-key".to_owned(), "another".to_owned());
                }
            }
        }
    })
    .await?;
    assert!(comparison.differences.len() >= 10, "{comparison}");
    assert!(
        comparison
            .differences
            .iter()
            .all(|found| found.field == "endpoints"),
        "{comparison}"
    );
    Ok(())
}

//! Makes the files of `host-tests/recordings` again: all, or those of the one folder that is named. Those of `browser` need
//! Chromium and are made only when they are named.
#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value that has no such field is null when it is read, and gets one when it is written"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidegate_e2e::bootstrap::{Bootstrap, STICKY_SESSION};
use tidegate_e2e::envoy::{Envoy, Scenario};
use tidegate_e2e::fetch::ENVOY_VERSION;
use tidegate_e2e::recordings::census;
use tidegate_e2e::recordings::har_census;
use tidegate_e2e::recordings::{application, browsers, files, page, plan, run};
use tidegate_e2e::upstream::{Upstream, addresses};
use tidegate_e2e::{paths, sticky, wait};

const PLAIN: Traffic = Traffic {
    seed: 1,
    sessions: 24,
    requests: 17,
};
const STICKY: Traffic = Traffic {
    seed: 2,
    sessions: 12,
    requests: 10,
};

const PLAIN_NAME: &str = "round-robin";
const STICKY_NAME: &str = "sticky-session";
const BROWSER_NAME: &str = "browser";

struct Traffic {
    seed: u64,
    sessions: u32,
    requests: u32,
}

#[tokio::main]
async fn main() -> Result<()> {
    let only = std::env::args().nth(1);
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let by_browser = only.as_deref() == Some(BROWSER_NAME);
    ensure!(
        wanted(PLAIN_NAME) || wanted(STICKY_NAME) || by_browser,
        "there are `{PLAIN_NAME}`, `{STICKY_NAME}` and `{BROWSER_NAME}`; without a name the first two are made"
    );
    let folder = paths::recordings();
    if by_browser {
        return browser(&folder.join(BROWSER_NAME))
            .await
            .context("the run with browsers");
    }
    let (plain_folder, sticky_folder) = (folder.join(PLAIN_NAME), folder.join(STICKY_NAME));
    if wanted(PLAIN_NAME) {
        round_robin(&plain_folder)
            .await
            .context("the run without a plugin")?;
    }
    if wanted(STICKY_NAME) {
        sticky_session(&sticky_folder)
            .await
            .context("the run with sticky-session")?;
    }
    let (plain, sticky) = (census::of(&plain_folder)?, census::of(&sticky_folder)?);
    let provenance = include_str!("../recordings/provenance.md.in")
        .replace("{envoy}", ENVOY_VERSION)
        .replace("{plain_seed}", &PLAIN.seed.to_string())
        .replace("{plain_sessions}", &PLAIN.sessions.to_string())
        .replace("{plain_rows}", &plain.rows())
        .replace("{sticky_seed}", &STICKY.seed.to_string())
        .replace("{sticky_sessions}", &STICKY.sessions.to_string())
        .replace("{sticky_rows}", &sticky.rows());
    fs::write(folder.join("PROVENANCE.md"), provenance)?;
    Ok(())
}

async fn shop() -> Result<Vec<Upstream>> {
    let mut upstreams = Vec::new();
    for _ in 0..4 {
        upstreams.push(Upstream::scripted(Arc::new(application::answer)).await?);
    }
    Ok(upstreams)
}

async fn round_robin(folder: &Path) -> Result<()> {
    let upstreams = shop().await?;
    let mut bootstrap = Bootstrap::shipped("record-traffic")?;
    bootstrap.endpoints(sticky::CLUSTER, &addresses(&upstreams))?;
    let envoy = Envoy::start(Scenario::new(bootstrap)).await?;
    let sessions = plan::plan(PLAIN.seed, PLAIN.sessions, PLAIN.requests);
    let sent = run::run(envoy.listener("edge")?, &sessions, async |_| Ok(())).await?;
    keep(envoy, sent, folder).await
}

async fn sticky_session(folder: &Path) -> Result<()> {
    let mut upstreams = shop().await?;
    let (mut bootstrap, configuration) = trial(&upstreams)?;
    bootstrap.with_taps()?;
    let envoy = Envoy::start(Scenario::new(bootstrap)).await?;
    let sessions = plan::plan(STICKY.seed, STICKY.sessions, STICKY.requests);
    let address = upstreams.last().context("no endpoint")?.address();
    let sent = run::run(envoy.listener("edge")?, &sessions, async |act| {
        if act == 1 {
            upstreams.pop();
            return wait::until(
                "Envoy has no connection to the endpoint that is gone",
                async || {
                    let clusters = envoy.admin("/clusters").await?;
                    Ok(clusters
                        .contains(&format!("::{address}::cx_active::0"))
                        .then_some(()))
                },
            )
            .await;
        }
        upstreams.push(Upstream::at(address, Arc::new(application::answer)).await?);
        Ok(())
    })
    .await?;
    keep(envoy, sent, folder).await?;
    fs::write(
        folder.join("trial-config.json"),
        format!("{configuration:#}\n"),
    )?;
    Ok(())
}

/// The shipped configuration with keys that are published, and with the plugin's reasons in the answers.
fn trial(upstreams: &[Upstream]) -> Result<(Bootstrap, Value)> {
    let mut bootstrap = sticky::bootstrap(upstreams)?;
    let mut configuration = bootstrap.plugin_configuration(STICKY_SESSION)?;
    configuration["keys"] = json!({ "inline": sticky::TRIAL_KEYS });
    configuration["reason_header"] = json!(true);
    bootstrap.configure(STICKY_SESSION, &configuration)?;
    Ok((bootstrap, configuration))
}

/// Lets browsers record themselves, and writes a page of its own: the others' counts stay.
async fn browser(folder: &Path) -> Result<()> {
    let mut upstreams = Vec::new();
    for _ in 0..4 {
        upstreams.push(Upstream::scripted(Arc::new(page::answer)).await?);
    }
    let (bootstrap, _) = trial(&upstreams)?;
    let mut envoy = Envoy::start(Scenario::new(bootstrap)).await?;
    let recorded = browsers::run(envoy.listener("edge")?).await?;
    envoy.stop().await?;
    fs::create_dir_all(folder)?;
    for har in &recorded.hars {
        fs::write(folder.join(format!("{}.har", har.name)), &har.text)?;
    }
    fs::copy(
        envoy.folder().join("access.log"),
        folder.join("access-log.jsonl"),
    )?;
    let census = har_census::of(folder)?;
    let provenance = include_str!("../recordings/browser.md.in")
        .replace("{browser}", &recorded.browser)
        .replace("{envoy}", ENVOY_VERSION)
        .replace("{rows}", &census.rows());
    fs::write(folder.join("PROVENANCE.md"), provenance)?;
    println!("{}:\n{}", folder.display(), census.rows());
    Ok(())
}

/// Stops Envoy, joins what it wrote, and counts it.
async fn keep(mut envoy: Envoy, sent: run::Sent, folder: &Path) -> Result<()> {
    envoy.stop().await?;
    fs::create_dir_all(folder)?;
    let access_log = fs::read_to_string(envoy.folder().join("access.log"))?;
    let times = files::start_times(&access_log)?;
    for filter in ["tap-buffered", "tap-streamed"] {
        let joined = files::join_taps(&envoy.folder().join(filter), &times)?;
        fs::write(folder.join(format!("{filter}.json")), joined)?;
    }
    fs::write(folder.join("access-log.jsonl"), access_log)?;
    let census = census::of(folder)?;
    ensure!(
        census.count("exchanges") as u64 == sent.exchanges,
        "sent {sent:?}, recorded {census:?}"
    );
    ensure!(
        census.count("WebSockets") as u64 == sent.websockets,
        "sent {sent:?}, recorded {census:?}"
    );
    println!(
        "{}: {} exchanges, {} WebSockets",
        folder.display(),
        sent.exchanges,
        sent.websockets
    );
    Ok(())
}

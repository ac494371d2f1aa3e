//! Makes the files of `host-tests/recordings` again.

use std::fs;
use std::path::Path;

use anyhow::Result;
use tidegate_e2e::bootstrap::Bootstrap;
use tidegate_e2e::envoy::{Envoy, Scenario};
use tidegate_e2e::recordings::{application, files, plan, run};
use tidegate_e2e::upstream::{Upstream, addresses};
use tidegate_e2e::paths;

#[tokio::main]
async fn main() -> Result<()> {
    plain(&paths::recordings().join("round-robin")).await
}

async fn plain(folder: &Path) -> Result<()> {
    let mut upstreams = Vec::new();
    for _ in 0..4 {
        upstreams.push(Upstream::scripted(std::sync::Arc::new(application::answer)).await?);
    }
    let mut bootstrap = Bootstrap::shipped("record-traffic")?;
    bootstrap.endpoints("echo", &addresses(&upstreams))?;
    let mut envoy = Envoy::start(Scenario::new(bootstrap)).await?;
    let sent = run::run(envoy.listener("edge")?, &plan::plan(1, 24, 17)).await?;
    envoy.stop().await?;
    fs::create_dir_all(folder)?;
    let access_log = fs::read_to_string(envoy.folder().join("access.log"))?;
    let times = files::start_times(&access_log)?;
    for filter in ["tap-buffered", "tap-streamed"] {
        let joined = files::join_taps(&envoy.folder().join(filter), &times)?;
        fs::write(folder.join(format!("{filter}.json")), joined)?;
    }
    fs::write(folder.join("access-log.jsonl"), access_log)?;
    println!("{}: {sent:?}", folder.display());
    Ok(())
}

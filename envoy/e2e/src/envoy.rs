//! A running Envoy.

mod admin;
pub(crate) mod process;
mod threads;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::bootstrap::Bootstrap;
use crate::{fetch, paths, wait};
use admin::Admin;
use process::Process;

pub use threads::KINDS;

/// What to run.
#[derive(Clone, Debug)]
pub struct Scenario {
    bootstrap: Bootstrap,
    concurrency: u32,
    environment: Vec<(String, String)>,
    log_level: String,
    component_log_level: Option<String>,
}

impl Scenario {
    /// Runs this configuration with two workers, logging at `info`.
    #[must_use]
    pub fn new(bootstrap: Bootstrap) -> Self {
        Self {
            bootstrap,
            concurrency: 2,
            environment: Vec::new(),
            log_level: "info".to_owned(),
            component_log_level: None,
        }
    }

    /// Sets the number of worker threads.
    #[must_use]
    pub fn concurrency(mut self, workers: u32) -> Self {
        self.concurrency = workers;
        self
    }

    /// Sets a variable of Envoy's environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets Envoy's log level (`debug`, `info`, …).
    #[must_use]
    pub fn log_level(mut self, level: &str) -> Self {
        level.clone_into(&mut self.log_level);
        self
    }

    /// Sets the log level of single components of Envoy (`wasm:debug,router:trace`).
    #[must_use]
    pub fn component_log_level(mut self, levels: &str) -> Self {
        self.component_log_level = Some(levels.to_owned());
        self
    }

    /// Gives access to the configuration.
    pub fn bootstrap(&mut self) -> &mut Bootstrap {
        &mut self.bootstrap
    }
}

/// A running Envoy, its folder and its ports. It is killed when this is dropped, and when the thread that started it
/// dies. Dropped without [`Envoy::stop`], it prints what it logged: the test that owned it has failed.
#[derive(Debug)]
pub struct Envoy {
    scenario: Scenario,
    binary: PathBuf,
    folder: TempDir,
    process: Option<Process>,
    admin: Admin,
    listeners: BTreeMap<String, SocketAddr>,
    starts: u32,
}

impl Envoy {
    /// Starts Envoy and waits until it is ready. Every port of the configuration becomes 0, access logs and tap files
    /// go to a folder of its own; nothing else is changed.
    ///
    /// # Errors
    /// Envoy cannot be had, refuses the configuration, or is not ready in time; the text holds what it logged.
    pub async fn start(scenario: Scenario) -> Result<Self> {
        let binary = fetch::envoy()?;
        let folder = tempfile::Builder::new().prefix("tidegate-e2e-").tempdir()?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut envoy = Self {
            scenario,
            binary,
            folder,
            process: None,
            admin: Admin::new(nowhere),
            listeners: BTreeMap::new(),
            starts: 0,
        };
        envoy.launch().await?;
        Ok(envoy)
    }

    /// Stops Envoy as an operator does, with SIGTERM, and waits for its end: its files are then complete.
    ///
    /// # Errors
    /// It cannot be signalled, or does not end in time.
    pub async fn stop(&mut self) -> Result<()> {
        match &mut self.process {
            None => return Ok(()),
            Some(process) => {
                process.terminate()?;
                wait::until("Envoy ends after SIGTERM", async || process.exit_code()).await?;
            }
        }
        self.process = None;
        Ok(())
    }

    /// Stops Envoy and starts it again, with the same scenario. Its ports are new ones.
    ///
    /// # Errors
    /// As [`Envoy::start`] and [`Envoy::stop`].
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.launch().await
    }

    /// Stops Envoy and starts it again with another scenario.
    ///
    /// # Errors
    /// As [`Envoy::restart`].
    pub async fn restart_with(&mut self, scenario: Scenario) -> Result<()> {
        self.scenario = scenario;
        self.restart().await
    }

    /// Returns the scenario, to be edited for [`Envoy::restart_with`].
    #[must_use]
    pub fn scenario(&self) -> Scenario {
        self.scenario.clone()
    }

    /// Returns the address of a listener.
    ///
    /// # Errors
    /// There is no listener of that name.
    pub fn listener(&self, name: &str) -> Result<SocketAddr> {
        self.listeners
            .get(name)
            .copied()
            .with_context(|| format!("Envoy has no listener `{name}`"))
    }

    /// Returns the admin's address.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.address()
    }

    /// Returns what a path of the admin answers with status 200.
    ///
    /// # Errors
    /// The admin cannot be reached or answers another status.
    pub async fn admin(&self, path: &str) -> Result<String> {
        let (status, body) = self.admin_answer(path).await?;
        if status != 200 {
            bail!("the admin answers {status} to {path}: {body}");
        }
        Ok(body)
    }

    /// Returns status and body of what a path of the admin answers.
    ///
    /// # Errors
    /// The admin cannot be reached.
    pub async fn admin_answer(&self, path: &str) -> Result<(u16, String)> {
        self.admin.get(path).await
    }

    /// Returns Envoy's counters and gauges by name, without histograms.
    ///
    /// # Errors
    /// The admin cannot be reached.
    pub async fn stats(&self) -> Result<BTreeMap<String, u64>> {
        let text = self.admin("/stats").await?;
        let mut stats = BTreeMap::new();
        for line in text.lines() {
            if let Some((name, value)) = line.rsplit_once(": ")
                && let Ok(value) = value.parse()
            {
                stats.insert(name.to_owned(), value);
            }
        }
        Ok(stats)
    }

    /// Waits until the sum of the counters whose names end with `suffix` is at least `at_least`, and returns it:
    /// workers hand their counts over, so that a look right after a request may come too early.
    ///
    /// # Errors
    /// It does not get there in time.
    pub async fn stat_reaches(&self, suffix: &str, at_least: u64) -> Result<u64> {
        let what = format!("the counter `{suffix}` reaches {at_least}");
        wait::until(what, async || {
            let stats = self.stats().await?;
            let sum: u64 = stats
                .iter()
                .filter(|(name, _)| name.ends_with(suffix))
                .map(|(_, value)| value)
                .sum();
            Ok((sum >= at_least).then_some(sum))
        })
        .await
    }

    /// Returns the processor time of Envoy's threads so far, by name: `envoy` is the main one, `wrk:worker_0` the first
    /// worker.
    ///
    /// # Errors
    /// Envoy does not run, or this is not Linux.
    pub fn processor_time(&self) -> Result<BTreeMap<String, Duration>> {
        threads::processor_time(self.id()?)
    }

    /// Returns the same by [`KINDS`].
    ///
    /// # Errors
    /// As [`Envoy::processor_time`]; or no worker is among the threads.
    pub fn time_by_kind(&self) -> Result<BTreeMap<&'static str, Duration>> {
        threads::by_kind(self.processor_time()?)
    }

    /// Returns the memory that Envoy has resident, in bytes.
    ///
    /// # Errors
    /// As [`Envoy::processor_time`].
    pub fn resident_bytes(&self) -> Result<u64> {
        threads::resident_bytes(self.id()?)
    }

    fn id(&self) -> Result<u32> {
        let process = self.process.as_ref();
        Ok(process.context("Envoy does not run")?.id())
    }

    /// Returns what Envoy has logged since the first start.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the folder with Envoy's files: `access.log` and one folder per tap filter.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("envoy.log")
    }

    async fn launch(&mut self) -> Result<()> {
        self.starts += 1;
        let folder = self.folder.path().to_path_buf();
        let mut bootstrap = self.scenario.bootstrap.clone();
        bootstrap
            .ephemeral_ports()?
            .access_log(&folder.join("access.log"));
        // A listener of connections has no HTTP filters.
        for filter in bootstrap.http_filters().into_iter().flatten() {
            if let Some(name) = filter["name"].as_str() {
                std::fs::create_dir_all(folder.join(name))?;
            }
        }
        bootstrap.tap_prefix(&folder);
        let config = folder.join("envoy.json");
        std::fs::write(&config, bootstrap.to_json())?;
        let admin_file = folder.join(format!("admin-{}", self.starts));
        let mut command = Command::new(&self.binary);
        command
            .arg("--config-path")
            .arg(&config)
            .arg("--admin-address-path")
            .arg(&admin_file);
        command
            .arg("--concurrency")
            .arg(self.scenario.concurrency.to_string());
        command.arg("--log-level").arg(&self.scenario.log_level);
        if let Some(levels) = &self.scenario.component_log_level {
            command.arg("--component-log-level").arg(levels);
        }
        // No hot restart: it is what needs a base id that no other Envoy of the machine has.
        command.args([
            "--disable-hot-restart",
            "--file-flush-interval-msec",
            "50",
            "--drain-time-s",
            "0",
        ]);
        command
            .current_dir(paths::root())
            .envs(self.scenario.environment.iter().cloned());
        let process = self
            .process
            .insert(Process::spawn(command, &self.log_path())?);
        let address = wait::until("Envoy writes its admin address", async || {
            if let Some(code) = process.exit_code()? {
                bail!("Envoy ended with {code} instead of starting");
            }
            // The file may be there before its content is.
            Ok(std::fs::read_to_string(&admin_file)
                .ok()
                .and_then(|text| text.parse::<SocketAddr>().ok()))
        })
        .await?;
        self.admin = Admin::new(address);
        let process = self.process.as_mut().context("Envoy was started")?;
        wait::until("Envoy is ready", async || {
            if let Some(code) = process.exit_code()? {
                bail!("Envoy ended with {code} instead of getting ready");
            }
            Ok(matches!(self.admin.get("/ready").await, Ok((200, _))).then_some(()))
        })
        .await?;
        self.listeners = self.admin.listeners().await?;
        Ok(())
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        if self.process.take().is_some() {
            eprintln!(
                "Envoy was not stopped by its owner, so this failed; it logged:\n{}",
                tail(&self.log())
            );
        }
    }
}

/// What `envoy --mode validate` said.
#[derive(Debug)]
pub struct Verdict {
    /// The exit code: 0 accepted, 1 refused.
    pub code: i32,
    /// Everything printed.
    pub output: String,
}

/// Lets Envoy judge a configuration without serving traffic: it loads the modules and configures the plugins.
///
/// # Errors
/// Envoy cannot be had or run. A refused configuration is an answer, not an error.
pub fn validate(bootstrap: &Bootstrap, environment: &[(&str, &str)]) -> Result<Verdict> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("envoy.json");
    std::fs::write(&config, bootstrap.to_json())?;
    validate_file(&config, environment)
}

/// As [`validate`], for a file, with relative paths in it taken from the repository's root.
///
/// # Errors
/// As [`validate`].
pub fn validate_file(config: &Path, environment: &[(&str, &str)]) -> Result<Verdict> {
    let mut command = Command::new(fetch::envoy()?);
    command
        .args([
            "--mode",
            "validate",
            "--disable-hot-restart",
            "--config-path",
        ])
        .arg(config);
    command
        .current_dir(paths::root())
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    let output = command.output().context("cannot run Envoy")?;
    let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stdout));
    let code = output
        .status
        .code()
        .with_context(|| format!("Envoy died while validating: {text}"))?;
    Ok(Verdict { code, output: text })
}

/// Returns the end of a log: from the last start, without the list of every extension that Envoy begins with.
fn tail(log: &str) -> String {
    const LINES: usize = 60;
    let lines: Vec<&str> = log.lines().collect();
    let start = lines
        .iter()
        .rposition(|line| line.contains("response trailer map"))
        .map_or(0, |index| index + 1);
    let own = lines.get(start..).unwrap_or_default();
    own.get(own.len().saturating_sub(LINES)..)
        .unwrap_or_default()
        .join("\n")
}

//! Starts Chromium with a profile of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::json;
use tempfile::TempDir;

use super::devtools::Devtools;
use super::tab::Tab;
use crate::envoy::process::Process;
use crate::wait;

/// Names another browser than the first one that is installed.
pub const VARIABLE: &str = "TIDEGATE_CHROMIUM";

/// What the program is called on the systems that we know.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Nothing that leaves the machine or asks a person. Without a sandbox, since containers have none: it loads nothing but what
/// a test serves.
const SWITCHES: [&str; 12] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--lang=en-US",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
];

/// A running browser with a fresh profile, which is one user.
#[derive(Debug)]
pub struct Chromium {
    devtools: Devtools,
    port: u16,
    version: String,
    process: Process,
    // After the process: it writes there until it has ended.
    _profile: TempDir,
}

impl Chromium {
    /// Starts the browser and waits until it can be driven.
    ///
    /// # Errors
    /// No browser is installed, or it does not start in time.
    pub async fn start() -> Result<Self> {
        let profile = tempfile::Builder::new().prefix("tidegate-").tempdir()?;
        let log = profile.path().join("chromium.log");
        let mut command = Command::new(find()?);
        command
            .args(SWITCHES)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank");
        let mut process = Process::spawn(command, &log)?;
        let file = profile.path().join("DevToolsActivePort");
        let (port, path) = wait::until("Chromium says how to drive it", async || {
            if let Some(code) = process.exit_code()? {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                bail!("Chromium ended with {code} instead of starting: {said}");
            }
            // The file may be there before its content is.
            Ok(std::fs::read_to_string(&file)
                .ok()
                .and_then(|text| ready(&text)))
        })
        .await?;
        let mut devtools = Devtools::connect(port, &path).await?;
        let version = devtools.call(None, "Browser.getVersion", json!({})).await?;
        let product = version.get("product").and_then(|product| product.as_str());
        Ok(Self {
            devtools,
            port,
            version: product.unwrap_or_default().to_owned(),
            process,
            _profile: profile,
        })
    }

    /// Returns product and version, as `Chrome/156.0.8078.79`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Opens a tab with the developer tools on it.
    ///
    /// # Errors
    /// The tools do not open in time.
    pub async fn tab(&mut self) -> Result<Tab> {
        Tab::open(&mut self.devtools, self.port).await
    }

    /// Gives access to the connection for what a tab does.
    pub(super) fn devtools(&mut self) -> &mut Devtools {
        &mut self.devtools
    }

    /// Closes the browser and waits for its end.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn close(mut self) -> Result<()> {
        // The answer may be lost: the browser is closing.
        let _ = self.devtools.call(None, "Browser.close", json!({})).await;
        let process = &mut self.process;
        wait::until("Chromium ends", async || process.exit_code()).await?;
        Ok(())
    }
}

fn ready(text: &str) -> Option<(u16, String)> {
    let (port, path) = text.split_once('\n')?;
    let path = path.trim();
    Some((port.parse().ok()?, path.to_owned())).filter(|_| path.starts_with("/devtools/"))
}

/// Returns the browser that [`VARIABLE`] names, or the first one that is installed.
///
/// # Errors
/// There is none.
pub fn find() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return Ok(named.into());
    }
    let installed = NAMES.into_iter().find(|name| {
        let version = Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        version.is_ok_and(|status| status.success())
    });
    installed
        .map(|name| Path::new(name).to_path_buf())
        .with_context(|| {
            format!(
                "no Chromium: install it (`apt-get install chromium`), or name one in `{VARIABLE}`"
            )
        })
}

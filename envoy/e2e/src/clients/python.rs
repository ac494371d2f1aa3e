//! A second WebSocket client, written by other people in another language: Python's `websockets`.

use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::fetch;
use crate::wait::DEADLINE;

/// The program; it says itself what its steps are.
const PROGRAM: &str = include_str!("../../python/websocket_client.py");

/// Runs the steps over a WebSocket to `address` and returns what the program reports: `status`, `set_cookie` (a list)
/// and `events` (a list; of a message it holds the sizes of the fragments in which it came).
///
/// # Errors
/// Python or the package is missing, the upgrade is refused, or a step fails.
pub async fn websocket(
    address: SocketAddr,
    path: &str,
    cookies: Option<&str>,
    from: Option<&str>,
    steps: &Value,
) -> Result<Value> {
    // With an Envoy that was named rather than fetched, the package may be missing still.
    let packages = fetch::websockets()?;
    let plan = json!({ "uri": format!("ws://{address}{path}"), "cookies": cookies, "from": from, "steps": steps });
    let mut command = Command::new("python3");
    command.args(["-c", PROGRAM]).arg(plan.to_string());
    if let Some(folder) = packages {
        command.env("PYTHONPATH", folder);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, command.output());
    let Ok(output) = output.await else {
        bail!("the Python client does not come to an end")
    };
    let output = output.context("cannot run python3")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "the Python client failed: {said}");
    serde_json::from_slice(&output.stdout).context("the Python client reports no JSON")
}

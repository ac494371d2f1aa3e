//! Finds and reads the case files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::case::{Case, Step};
use super::script::{self, What};
use crate::workspace;

/// Returns the folder of the cases.
#[must_use]
pub fn folder() -> PathBuf {
    workspace::root().join("host-tests/fidelity")
}

/// Reads every case, by name.
///
/// # Errors
/// There is none, or one is not what a case has to be; the text names the file and the place in it.
pub fn cases() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for path in files(&folder().join("cases"), "yaml")? {
        cases.push(read_case(&path)?);
    }
    ensure!(!cases.is_empty(), "there is no case");
    Ok(cases)
}

/// Reads a case.
///
/// # Errors
/// As [`cases`].
pub fn read_case(path: &Path) -> Result<Case> {
    let shown = path.display();
    let mut case: Case = read(path)?;
    path.file_stem()
        .context("a file without a name")?
        .to_str()
        .context("a name that is no text")?
        .clone_into(&mut case.name);
    let name_fits = case
        .name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    ensure!(
        name_fits,
        "{shown}: a case's name has small letters, digits and hyphens"
    );
    let mut names = BTreeSet::new();
    for (index, plugin) in case.plugins.iter_mut().enumerate() {
        let place = format!("{shown}: plugins[{index}]");
        ensure!(
            names.insert(plugin.name.clone()),
            "{place}: a second plugin `{}`",
            plugin.name
        );
        plugin.script = with_name(&plugin.name, &expand(&plugin.script, &place)?);
        for (field, text) in [
            ("script", &plugin.script),
            ("early_script", &plugin.early_script),
            ("vm_script", &plugin.vm_script),
        ] {
            check(text).with_context(|| format!("{place}.{field}"))?;
        }
    }
    check_steps(&case).with_context(|| shown.to_string())?;
    Ok(case)
}

/// The probe learns its name from its script.
fn with_name(name: &str, script: &str) -> String {
    format!("name {name}\n{script}")
}

/// Puts the named lists of calls in the place of `include NAME`.
fn expand(script: &str, place: &str) -> Result<String> {
    let mut expanded = String::new();
    for line in script.lines() {
        match line.trim().strip_prefix("include ") {
            Some(name) => {
                let path = folder().join("batteries").join(format!("{name}.probe"));
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("{place}.script: cannot read `{}`", path.display()))?;
                expanded.push_str(text.trim_end());
            }
            None => expanded.push_str(line),
        }
        expanded.push('\n');
    }
    Ok(expanded)
}

/// Refuses a script with a line that the probe could not read.
fn check(text: &str) -> Result<()> {
    for line in script::parse(text).iter().flat_map(|block| &block.lines) {
        if let What::Mistake(why) = line.what {
            bail!("`{}`: {why}", line.text);
        }
    }
    Ok(())
}

fn check_steps(case: &Case) -> Result<()> {
    let clusters: BTreeSet<&str> = case.clusters.iter().map(|it| it.name.as_str()).collect();
    for (index, route) in case.routes.iter().enumerate() {
        ensure!(
            route.cluster.is_some() != route.direct.is_some(),
            "routes[{index}]: either `cluster` or `direct`"
        );
        if let Some(cluster) = &route.cluster {
            ensure!(
                cluster == "upstream"
                    || cluster == "nowhere"
                    || clusters.contains(cluster.as_str()),
                "routes[{index}]: there is no cluster `{cluster}`"
            );
        }
    }
    let mut requested = false;
    for (index, step) in case.steps.iter().enumerate() {
        match step {
            Step::Request(_) => requested = true,
            Step::Await(_) => {}
            _ => ensure!(requested, "steps[{index}]: before any request"),
        }
    }
    Ok(())
}

/// A difference between the runner and Envoy that is known, as the table has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainedRow {
    /// Its name, which cases refer to.
    pub id: String,
    /// What it is about.
    pub what: String,
    /// What Envoy does.
    pub envoy: String,
    /// What the runner does.
    pub runner: String,
    /// Why it stays so.
    pub reason: String,
}

/// Reads the table of known differences.
///
/// # Errors
/// It is not there or not what it has to be.
pub fn rows() -> Result<Vec<ExplainedRow>> {
    read(&folder().join("differences.yaml"))
}

/// Reads YAML strictly, and says where it is wrong.
fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read `{shown}`"))?;
    let value: serde_json::Value =
        serde_norway::from_str(&text).with_context(|| format!("{shown}: no YAML"))?;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let place = error.path().to_string();
        anyhow::anyhow!("{shown}: {place}: {}", error.into_inner())
    })
}

/// The files of a folder with an ending, by name.
fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == ending) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

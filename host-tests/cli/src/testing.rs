//! Runs every test of the checkout, the cheapest first, and says briefly what came out.
//!
//! Why not one `cargo test`: the stages need modules that have to be built first, a failure of a cheap stage should show
//! before a dear one begins, and a run that found no test must not look like a success.

use std::time::Duration;

use anyhow::Context;
use cargo_metadata::Metadata;
use serde::{Serialize, Serializer};

use crate::build;
use crate::exit::{ExitCode, Failure};
use crate::output::{Output, Progress, bold, dim, green, red, yellow};
use crate::workspace;

mod compile;
mod libtest;
mod run;
mod stage;

pub use stage::Stage;

use compile::{Compiled, DocTests, TestBinary};
use libtest::Outcome;

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Run these stages; none means all.
    pub only: Vec<Stage>,
    /// Run tests whose name contains one of these; none means all.
    pub filters: Vec<String>,
    /// Install system packages without asking.
    pub yes: bool,
}

/// How a run of all stages ended.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed; a stage that doesn't compile, breaks off or holds no test counts as one.
    pub failed: u64,
    /// Tests that were left out, by their own word.
    pub skipped: u64,
    /// The stages, in the order they ran in.
    pub stages: Vec<StageSummary>,
}

/// How one stage ended.
#[derive(Debug, Clone, Serialize)]
pub struct StageSummary {
    /// Which.
    pub stage: Stage,
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that were left out, by their own word.
    pub skipped: u64,
    /// How long it took, compiling included.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
    /// What failed, and what it said.
    pub failures: Vec<TestFailure>,
}

/// A test that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestFailure {
    /// The test, as `package target::path::of::it`.
    pub name: String,
    /// Everything it said.
    pub output: String,
}

fn seconds<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(elapsed.as_secs_f64())
}

impl Summary {
    /// Writes the last line of a run.
    #[must_use]
    pub fn verdict(&self) -> String {
        let skipped = if self.skipped > 0 {
            format!(", {} skipped", self.skipped)
        } else {
            String::new()
        };
        format!("{} passed, {} failed{skipped}", self.passed, self.failed)
    }

    fn add(&mut self, stage: StageSummary) {
        self.passed += stage.passed;
        self.failed += stage.failed;
        self.skipped += stage.skipped;
        self.stages.push(stage);
    }
}

/// Runs the stages and prints each when it ends.
///
/// # Errors
/// Cargo can't be asked about the workspace. Failing tests are no error: the summary counts them.
pub fn run(request: &Request, output: &Output) -> anyhow::Result<Summary> {
    let root = workspace::root();
    let metadata = compile::workspace(&root)?;
    stage::check_complete(&metadata)?;
    let mut runner = Runner {
        request,
        output,
        metadata: &metadata,
        runner_tests: None,
    };
    let mut summary = Summary::default();
    for stage in Stage::ALL {
        if !request.only.is_empty() && !request.only.contains(&stage) {
            continue;
        }
        let ended = runner.stage(stage);
        print(&ended, output);
        summary.add(ended);
    }
    if !request.filters.is_empty() && summary.passed + summary.failed == 0 {
        return Err(Failure::usage(format_args!(
            "no test is called `{}`",
            request.filters.join("` or `")
        ))
        .into());
    }
    Ok(summary)
}

fn print(stage: &StageSummary, output: &Output) {
    if output.is_json() {
        return;
    }
    for failure in &stage.failures {
        output.complain(format_args!(
            "\n{} {}",
            red().bold().for_stderr().apply_to("failed:"),
            failure.name
        ));
        output.complain(&failure.output);
    }
    let counted = |count: u64, what: &str, style: console::Style| {
        if count == 0 {
            String::new()
        } else {
            format!(
                ", {}",
                style.for_stderr().apply_to(format!("{count} {what}"))
            )
        }
    };
    output.complain(format_args!(
        "{:<11} {}{}{}  {}",
        bold().for_stderr().apply_to(stage.stage.name()),
        green()
            .for_stderr()
            .apply_to(format!("{} passed", stage.passed)),
        counted(stage.failed, "failed", red()),
        counted(stage.skipped, "skipped", yellow()),
        dim()
            .for_stderr()
            .apply_to(format!("{:.1} s", stage.elapsed.as_secs_f64())),
    ));
}

struct Runner<'a> {
    request: &'a Request,
    output: &'a Output,
    metadata: &'a Metadata,
    /// What the stages after the first are made of; compiled by the first of them that runs.
    runner_tests: Option<Result<Compiled, String>>,
}

impl Runner<'_> {
    fn stage(&mut self, stage: Stage) -> StageSummary {
        let begin = std::time::Instant::now();
        let mut total = Outcome::default();
        let progress = self.output.progress(stage.name(), None);
        if let Err(error) = self.attempt(stage, &progress, &mut total) {
            total.fail(stage.name().to_owned(), format!("{error:#}"));
        }
        progress.finish();
        if self.request.filters.is_empty() && total.passed + total.failed == 0 {
            total.fail(stage.name().to_owned(), "this stage ran no test".to_owned());
        }
        StageSummary {
            stage,
            passed: total.passed,
            failed: total.failed,
            skipped: total.skipped,
            elapsed: begin.elapsed(),
            failures: total.failures,
        }
    }

    fn attempt(
        &mut self,
        stage: Stage,
        progress: &Progress,
        total: &mut Outcome,
    ) -> anyhow::Result<()> {
        progress.message(stage.what());
        let filters = &self.request.filters;
        if stage == Stage::Pure {
            let packages = Stage::Pure.packages(self.metadata);
            let compiled = compile::tests(self.metadata, &packages, progress)?;
            for binary in &compiled.binaries {
                run::binary(binary, filters, progress, total)?;
            }
            return DocTests {
                metadata: self.metadata,
                packages: &packages,
            }
            .run(filters, progress, total);
        }
        if stage.needs_modules() {
            let request = build::Request {
                guests: true,
                yes: self.request.yes,
                ..build::Request::default()
            };
            build::build(&request, self.output).context("failed to build the modules")?;
        }
        // One selection of packages for all of these stages, whichever is asked for: cargo unites the features of what is
        // selected together, and with another selection it would compile the WebAssembly engine again.
        let selection = Stage::runner_packages(self.metadata);
        let compiled = match &self.runner_tests {
            Some(compiled) => compiled,
            None => {
                let compiled = compile::tests(self.metadata, &selection, progress)
                    .map_err(|error| format!("{error:#}"));
                self.runner_tests.insert(compiled)
            }
        };
        let compiled = compiled
            .as_ref()
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        for binary in compiled
            .binaries
            .iter()
            .filter(|binary| stage.holds(binary))
        {
            run::binary(binary, filters, progress, total)?;
        }
        if stage == Stage::Cli {
            return DocTests {
                metadata: self.metadata,
                packages: &selection,
            }
            .run(filters, progress, total);
        }
        Ok(())
    }
}

/// Returns how a run ends the command.
#[must_use]
pub const fn exit_code(summary: &Summary) -> ExitCode {
    if summary.failed > 0 {
        ExitCode::CaseFailed
    } else {
        ExitCode::Passed
    }
}

/// Says whether a binary belongs to a package.
fn is_of(binary: &TestBinary, packages: &[String]) -> bool {
    packages.contains(&binary.package)
}

//! The documents are held against the code: commands run, paths exist, links lead somewhere, the picture is current.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test file: a failure to read the checkout is a failed test"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidegate_cli::workspace::root;

/// A command of a `console` block, with the output that the page shows below it.
#[derive(Debug)]
struct Example {
    page: PathBuf,
    line: usize,
    command: String,
    shown: String,
}

/// Commands that a page may show and that this test does not run, each with the reason.
const NOT_RUN_HERE: &[(&str, &str)] = &[
    (
        "cargo tidegate test",
        "runs this very test; `.ci/run` runs the command",
    ),
    ("git clone", "needs the place that the checkout came from"),
    (
        "envoy -c envoy/bootstrap/",
        "stays in the foreground; the end-to-end tests start the same file",
    ),
];

#[test]
fn commands_in_the_pages_print_what_the_pages_show() {
    let examples: Vec<Example> = pages().iter().flat_map(|page| examples_of(page)).collect();
    assert!(
        examples
            .iter()
            .any(|example| example.page.ends_with("README.md")),
        "no README shows a command"
    );
    let mut wrong = Vec::new();
    for example in &examples {
        if NOT_RUN_HERE
            .iter()
            .any(|(prefix, _)| example.command.starts_with(prefix))
        {
            continue;
        }
        let ran = Command::new("bash")
            .args(["-c", &example.command])
            .current_dir(root())
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        let place = format!("{}:{}", example.page.display(), example.line);
        let printed = String::from_utf8_lossy(&ran.stdout).into_owned();
        if !ran.status.success() {
            wrong.push(format!(
                "{place}: `{}` ended with {}\n{}",
                example.command,
                ran.status,
                String::from_utf8_lossy(&ran.stderr)
            ));
            continue;
        }
        if !matches_shown(&printed, &example.shown) {
            wrong.push(format!(
                "{place}: `{}` printed\n{printed}\nbut the page shows\n{}",
                example.command, example.shown
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn readme_shows_the_two_commands_that_set_everything_up() {
    let commands: BTreeSet<String> = examples_of(&root().join("README.md"))
        .into_iter()
        .map(|example| example.command)
        .collect();
    for command in ["cargo tidegate demo", "cargo tidegate test"] {
        assert!(
            commands.contains(command),
            "README.md does not show {command}"
        );
    }
    let ci = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    assert!(
        ci.contains("cargo tidegate test"),
        ".ci/run does not run the README's test command"
    );
}

#[test]
fn paths_and_links_in_the_pages_lead_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let here = page.parent().unwrap();
        for (number, line) in text.lines().enumerate() {
            for target in links(line) {
                let path = target.split('#').next().unwrap_or_default();
                if !path.is_empty() && !here.join(path).exists() {
                    broken.push(format!(
                        "{}:{}: link to {target}",
                        page.display(),
                        number + 1
                    ));
                }
            }
            for path in quoted_paths(line) {
                if !root().join(path).exists() && !here.join(path).exists() {
                    broken.push(format!("{}:{}: `{path}`", page.display(), number + 1));
                }
            }
        }
    }
    assert!(
        broken.is_empty(),
        "these lead nowhere:\n{}",
        broken.join("\n")
    );
}

#[test]
fn picture_in_the_readme_is_what_the_demo_prints() {
    let picture = root().join("host-tests/cli/demo.svg");
    let ran = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["--color", "always", "demo"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let printed = String::from_utf8(ran.stdout).unwrap();
    let drawn = anstyle_svg::Term::new().render_svg(&format!("$ cargo tidegate demo\n{printed}"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&picture, &drawn).unwrap();
    }
    let committed = std::fs::read_to_string(&picture).unwrap_or_default();
    assert!(
        committed == drawn,
        "{} is not what the demo prints; BLESS=1 draws it again",
        picture.display()
    );
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains("host-tests/cli/demo.svg"));
}

/// All Markdown pages that git knows or would take in.
fn pages() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "--",
            "*.md",
        ])
        .current_dir(root())
        .output()
        .expect("git lists the pages");
    let pages: Vec<PathBuf> = String::from_utf8(listed.stdout)
        .unwrap()
        .lines()
        .map(|line| root().join(line))
        .filter(|page| page.is_file())
        .collect();
    assert!(pages.len() >= 4, "only {} pages found", pages.len());
    pages
}

/// The commands of a page's `console` blocks: a line that begins with `$ `, then what it prints.
fn examples_of(page: &Path) -> Vec<Example> {
    let text = std::fs::read_to_string(page).unwrap();
    let mut examples: Vec<Example> = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            inside = line == "```console";
            continue;
        }
        if !inside {
            continue;
        }
        if let Some(command) = line.strip_prefix("$ ") {
            examples.push(Example {
                page: page.to_path_buf(),
                line: number + 1,
                command: command.to_owned(),
                shown: String::new(),
            });
        } else if let Some(example) = examples.last_mut() {
            example.shown.push_str(line);
            example.shown.push('\n');
        }
    }
    examples
}

/// Whether the output is the shown one: `[..]` stands for any text in a line, `...` alone in a line for any lines. A
/// command that is shown without output may print anything.
fn matches_shown(printed: &str, shown: &str) -> bool {
    shown.trim().is_empty()
        || snapbox::Assert::new()
            .try_eq(
                None,
                trimmed(printed).into(),
                snapbox::Data::text(trimmed(shown)),
            )
            .is_ok()
}

fn trimmed(text: &str) -> String {
    text.lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
        .trim()
        .to_owned()
}

/// Targets of Markdown links that stay inside the checkout.
fn links(line: &str) -> Vec<&str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| {
            !target.contains("://") && !target.starts_with('#') && !target.starts_with("mailto:")
        })
        .collect()
}

/// Text in back-ticks that is a path of the checkout: it begins with one of our folders and has no placeholder in it.
fn quoted_paths(line: &str) -> Vec<&str> {
    line.split('`')
        .skip(1)
        .step_by(2)
        .filter(|text| {
            [
                "plugins/",
                "host-tests/",
                "envoy/",
                "gateway/",
                ".ci/",
                ".cargo/",
            ]
            .iter()
            .any(|folder| text.starts_with(folder))
                && !text.contains(['<', '*', ' ', '{', '…', '$'])
        })
        .collect()
}

#[test]
fn elisions_match_and_differences_do_not() {
    assert!(matches_shown("a 12 b\nx\ny\nend\n", "a [..] b\n...\nend\n"));
    assert!(!matches_shown("a 12 c\n", "a [..] b\n"));
    assert!(matches_shown("anything", ""));
}

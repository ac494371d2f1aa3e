//! The tables of the README: every host function is in them, and every test that they name exists.

use std::collections::BTreeSet;
use std::path::Path;

const README: &str = include_str!("../../README.md");
const LINKED: &str = include_str!("../../src/host.rs");
const RULES: &str = include_str!("../../src/profile.rs");

/// The rows below a heading, without the table's own head.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let section = README.split_once(heading).unwrap().1;
    let section = section.split_once("\n## ").unwrap().0;
    section
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let inner = line.trim_matches('|');
            inner.split(" | ").map(str::trim).collect()
        })
        .collect()
}

/// What stands between backquotes.
fn quoted(text: &'static str) -> Vec<&'static str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn functions_of(folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .flat_map(|text| {
            text.lines()
                .filter_map(|line| line.strip_prefix("fn "))
                .filter_map(|line| Some(line.split_once('(')?.0.to_owned()))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn tests_that_the_tables_name_exist() {
    let tests = functions_of("tests/host");
    for heading in ["\n## Host functions", "\n## Profiles"] {
        let rows = rows(heading);
        assert!(rows.len() > 10, "{heading}");
        for row in rows {
            let [.., named] = row.as_slice() else {
                panic!("{row:?}");
            };
            let [test] = quoted(named)[..] else {
                panic!("one test per row: {row:?}");
            };
            assert!(tests.contains(test), "{test} is no test");
        }
    }
}

#[test]
fn every_host_function_is_in_the_table() {
    let listed: BTreeSet<&str> = rows("\n## Host functions")
        .iter()
        .flat_map(|row| quoted(row[0]))
        .collect();
    let linked: BTreeSet<&str> = LINKED
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|name| name.starts_with("proxy_") || name.starts_with("envoy_"))
        .collect();
    assert!(linked.len() >= 44, "{linked:?}");
    let missing: Vec<_> = linked.difference(&listed).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_difference_between_the_profiles_is_in_the_table() {
    let fields = RULES
        .lines()
        .filter(|line| line.starts_with("    pub(crate) ") && line.ends_with(','))
        .count();
    assert_eq!(rows("\n## Profiles").len(), fields);
}

//! The runner's host answers as the real Envoy did when the logs beside the cases were written.
//!
//! The end-to-end tests hold the same logs against the real Envoy; here no Envoy is needed.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    reason = "a test that can't go on should say where"
)]

use std::collections::BTreeSet;
use std::fs;

use tidegate_cli::build::module_path;
use tidegate_cli::engine::engine;
use tidegate_cli::fidelity::{
    Case, Coverage, Line, cases, compare, folder, golden, parse_golden, rows, run,
};
use tidegate_host::Module;

fn kept(case: &Case) -> Vec<Line> {
    let path = golden(&case.name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; `fidelity --bless` writes it", path.display())
    });
    parse_golden(&text).unwrap()
}

fn probe() -> Module {
    let bytes = fs::read(module_path("probe").unwrap()).unwrap();
    Module::compile(&engine().unwrap(), "probe", &bytes).unwrap()
}

#[test]
fn every_case_is_answered_as_the_real_envoy_answered_it() {
    let (engine, probe) = (engine().unwrap(), probe());
    let mut wrong = String::new();
    for case in cases().unwrap() {
        let compared = compare(&case, &kept(&case), &run(&engine, &probe, &case).unwrap());
        assert!(compared.lines > 0, "{}: nothing is kept", case.name);
        if !compared.holds() {
            wrong.push_str(&compared.to_string());
        }
    }
    assert!(wrong.is_empty(), "without an explanation:\n{wrong}");
}

/// What is compared can differ: each single line that changes is found, with its case.
#[test]
fn a_changed_line_is_found_and_named() {
    let (engine, probe) = (engine().unwrap(), probe());
    let all = cases().unwrap();
    let case = all
        .iter()
        .find(|case| case.name == "content-length")
        .unwrap();
    let runner = run(&engine, &probe, case).unwrap();
    let envoy = kept(case);
    for index in 0..envoy.len() {
        let mut changed = envoy.clone();
        changed[index].text.push('x');
        let compared = compare(case, &changed, &runner);
        assert!(!compared.holds(), "line {index} can be anything");
        let shown = compared.to_string();
        let line = changed[index].to_string();
        assert!(
            shown.contains("content-length: Envoy") && shown.contains(&line),
            "{shown}"
        );
        assert!(shown.contains(&envoy[index].to_string()), "{shown}");
    }
}

#[test]
fn at_least_forty_cases_call_every_function_in_every_callback() {
    let all = cases().unwrap();
    assert!(all.len() >= 40, "only {} cases", all.len());
    let mut coverage = Coverage::default();
    for case in &all {
        coverage.add(&kept(case));
    }
    let missing = coverage.missing_functions(&engine().unwrap());
    assert!(missing.is_empty(), "no case calls {missing:?}");
    assert!(
        coverage.missing_phases().is_empty(),
        "no case has {:?}",
        coverage.missing_phases()
    );
    assert_eq!(coverage.specified(), 46);
}

#[test]
fn nothing_lies_beside_the_cases_that_belongs_to_none() {
    let all = cases().unwrap();
    let known: BTreeSet<String> = all
        .iter()
        .flat_map(|case| {
            [
                format!("{}.yaml", case.name),
                format!("{}.envoy.log", case.name),
            ]
        })
        .collect();
    let found: BTreeSet<String> = fs::read_dir(folder().join("cases"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, known);
    let scripts: String = all
        .iter()
        .map(|case| {
            fs::read_to_string(folder().join("cases").join(format!("{}.yaml", case.name))).unwrap()
        })
        .collect();
    for entry in fs::read_dir(folder().join("batteries")).unwrap() {
        let name = entry
            .unwrap()
            .path()
            .file_stem()
            .unwrap()
            .display()
            .to_string();
        assert!(
            scripts.contains(&format!("include {name}\n")),
            "no case includes `{name}`"
        );
    }
}

#[test]
fn the_table_of_differences_has_exactly_what_cases_refer_to_and_stands_in_the_readme() {
    let rows = rows().unwrap();
    let used: BTreeSet<String> = cases()
        .unwrap()
        .into_iter()
        .flat_map(|case| case.differences)
        .map(|difference| difference.row)
        .collect();
    let known: BTreeSet<String> = rows.iter().map(|row| row.id.clone()).collect();
    assert_eq!(used, known);
    let table: String = rows
        .iter()
        .map(|row| {
            format!(
                "| {} | {} | {} | {} | {} |\n",
                row.id, row.what, row.envoy, row.runner, row.reason
            )
        })
        .collect();
    let page = folder().join("README.md");
    let text = fs::read_to_string(&page).unwrap();
    const BEGIN: &str =
        "| row | what | in Envoy | in the runner | why |\n| --- | --- | --- | --- | --- |\n";
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let end = rest.find("\n\n").map_or(rest.len(), |end| end + 1);
    let after = &rest[end..];
    if std::env::var_os("BLESS").is_some() {
        fs::write(&page, format!("{before}{BEGIN}{table}{after}")).unwrap();
    }
    let text = fs::read_to_string(&page).unwrap();
    assert!(
        text.contains(&format!("{BEGIN}{table}")),
        "BLESS=1 writes the table into {}:\n{table}",
        page.display()
    );
}

#[test]
fn a_case_with_a_mistake_is_refused_with_its_place() {
    for (text, expected) in [
        ("what: x\nplugins: []\nsteps: []\nextra: 1", "extra"),
        ("what: x\nplugins: [{scrip: y}]\nsteps: []", "plugins[0]"),
        (
            "what: x\nplugins: []\nsteps: [{request: {}}, {respond: {statu: 1}}]",
            "steps[1]",
        ),
        (
            "what: x\nplugins: [{script: \"tick:\\n f nonsense\"}]\nsteps: []",
            "plugins[0].script",
        ),
        (
            "what: x\nplugins: [{script: include none}]\nsteps: []",
            "none.probe",
        ),
        (
            "what: x\nplugins: []\nsteps: [receive]",
            "steps[0]: before any request",
        ),
        (
            "what: x\nplugins: []\nroutes: [{name: r, cluster: none}]\nsteps: []",
            "routes[0]",
        ),
        ("what: x\nplugins: [{}, {}]\nsteps: []", "a second plugin"),
        ("plugins: []", "what"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.yaml");
        fs::write(&path, text).unwrap();
        let error = format!(
            "{:#}",
            tidegate_cli::fidelity::read_case(&path).unwrap_err()
        );
        assert!(
            error.contains("bad.yaml") && error.contains(expected),
            "{error}"
        );
    }
}

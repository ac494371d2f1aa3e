//! The committed recordings hold what their page says.

use std::fs;

use anyhow::Result;
use tidegate_e2e::paths;
use tidegate_e2e::recordings::census;
use tidegate_e2e::recordings::har_census;
use tidegate_e2e::recordings::{files, plan};

#[test]
fn the_recordings_hold_what_their_provenance_says() -> Result<()> {
    let page = fs::read_to_string(paths::recordings().join("PROVENANCE.md"))?;
    let mut exchanges = 0;
    for run in ["round-robin", "sticky-session"] {
        let census = census::of(&paths::recordings().join(run))?;
        assert!(
            page.contains(&census.rows()),
            "{run} holds:\n{}",
            census.rows()
        );
        exchanges += census.count("exchanges");
        for what in [
            "WebSocket pings",
            "WebSocket messages in fragments",
            "WebSocket binary messages",
            "HEAD requests",
        ] {
            assert!(census.count(what) > 0, "{run} has no {what}");
        }
        for what in [
            "answers 5xx",
            "exchanges broken off",
            "exchanges without an answer",
            "chunked requests",
            "bodies",
        ] {
            assert!(census.count(what) > 0, "{run} has no {what}");
        }
    }
    let plain = census::of(&paths::recordings().join("round-robin"))?;
    assert!(plain.count("exchanges") >= 500 && exchanges >= 500);
    assert!(plain.count("sessions with cookies of the application's own") >= 20);
    assert!(plain.count("WebSockets") >= 10);
    assert!(plain.count("connections kept alive") > 0);
    Ok(())
}

#[test]
fn the_recordings_of_the_browser_hold_what_their_provenance_says() -> Result<()> {
    let folder = paths::recordings().join("browser");
    let page = fs::read_to_string(folder.join("PROVENANCE.md"))?;
    let census = har_census::of(&folder)?;
    assert!(page.contains(&census.rows()), "{}", census.rows());
    for what in [
        "WebSocket binary messages",
        "answers 304",
        "entries from the browser's cache",
        "entries without an answer",
        "redirects",
    ] {
        assert!(census.count(what) > 0, "there is no {what}");
    }
    assert_eq!(census.count("tabs"), 4);
    assert_eq!(census.count("sessions of sticky-session"), 3);
    assert_eq!(census.count("WebSockets"), 4);
    Ok(())
}

#[test]
fn the_recordings_are_small_and_say_nothing_about_the_machine() -> Result<()> {
    let mut total = 0;
    for run in ["browser", "round-robin", "sticky-session"] {
        for entry in fs::read_dir(paths::recordings().join(run))? {
            let path = entry?.path();
            let text = fs::read_to_string(&path)?;
            assert!(
                text.len() < 1_400_000,
                "{} has {} bytes",
                path.display(),
                text.len()
            );
            total += text.len();
            for word in ["/home/", "/root/", "/tmp/", "/target/", "localhost"] {
                assert!(!text.contains(word), "{} contains `{word}`", path.display());
            }
        }
    }
    assert!(total < 4_500_000, "{total} bytes");
    Ok(())
}

#[test]
fn a_plan_depends_on_its_seed_alone() {
    assert_eq!(plan::plan(1, 24, 17), plan::plan(1, 24, 17));
    assert_ne!(plan::plan(1, 24, 17), plan::plan(2, 24, 17));
}

#[test]
fn joining_removes_white_space_between_tokens_only() {
    let envoy =
        "{\n \"a b\": \"c \\\" { d\\\\\",\n \"e\": [\n  1,\n  -2.5\n ]\n}\n{\n \"f\": {}\n}\n";
    assert_eq!(
        files::one_value_per_line(envoy),
        "{\"a b\":\"c \\\" { d\\\\\",\"e\":[1,-2.5]}\n{\"f\":{}}\n"
    );
}

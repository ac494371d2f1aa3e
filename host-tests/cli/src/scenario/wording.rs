//! Says what a deserializer says in the words of a scenario.

/// What is meant by the types that a message may name.
const TYPES: [(&str, &str); 12] = [
    ("f64", "a number"),
    ("u8", "a whole number from 0 to 255"),
    ("u16", "a whole number from 0 to 65535"),
    ("u32", "a whole number from 0 to 4294967295"),
    ("u64", "a whole number, at least 0"),
    ("i64", "a whole number"),
    ("a boolean", "`true` or `false`"),
    ("a string", "a text"),
    ("path string", "the path of a file"),
    ("a map", "names with values"),
    ("a sequence", "a list"),
    ("socket address", "an address such as `10.0.0.1:8080`"),
];

/// Returns a message without names of types and with an advice.
pub(super) fn plain(message: &str) -> String {
    let among = |rest: &str| -> Option<(String, Vec<String>)> {
        let (name, rest) = rest.strip_prefix('`')?.split_once('`')?;
        let known = rest
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        Some((name.to_owned(), known))
    };
    if let Some((name, known)) = message.strip_prefix("unknown field ").and_then(among) {
        return format!("there is no field `{name}` here; {}", advice(&name, &known));
    }
    if let Some((name, known)) = message.strip_prefix("unknown variant ").and_then(among) {
        return format!("`{name}` can't stand here; {}", advice(&name, &known));
    }
    if let Some((name, _)) = message.strip_prefix("missing field ").and_then(among) {
        return format!("`{name}` is missing");
    }
    let wrong = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "));
    if let Some((found, expected)) = wrong.and_then(|rest| rest.split_once(", expected ")) {
        return format!("expected {}, got {}", type_of(expected), got(found));
    }
    match message {
        "invalid socket address syntax" => {
            "is no address; write one with its port, such as `10.0.0.1:8080`".to_owned()
        }
        "invalid IPv4 address syntax" => {
            "is no address; write one such as `10.128.0.1`, without a port".to_owned()
        }
        _ => message.to_owned(),
    }
}

fn advice(name: &str, known: &[String]) -> String {
    if let Some(near) = nearest(name, known.iter().map(String::as_str)) {
        return format!("write `{near}`");
    }
    if known.is_empty() {
        return "leave it out".to_owned();
    }
    format!("there are `{}`", known.join("`, `"))
}

/// Returns the name that was probably meant.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut found: Option<(f64, &str)> = None;
    for candidate in known {
        let likeness = strsim::jaro_winkler(name, candidate);
        // Below that, names of a few letters all look alike.
        if likeness >= 0.85 && found.is_none_or(|(best, _)| likeness > best) {
            found = Some((likeness, candidate));
        }
    }
    found.map(|(_, name)| name)
}

fn type_of(expected: &str) -> String {
    let known = TYPES.iter().find(|(name, _)| *name == expected);
    match known {
        Some((_, words)) => (*words).to_owned(),
        None if expected.starts_with("struct ") => "its fields, as `name: value`".to_owned(),
        None if expected.starts_with("enum ") => "one of its names".to_owned(),
        None => expected.to_owned(),
    }
}

fn got(found: &str) -> &str {
    match found {
        "map" => "fields",
        "sequence" => "a list",
        "unit value" => "nothing",
        other => other,
    }
}

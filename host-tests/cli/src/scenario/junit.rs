//! Outcomes as JUnit's XML, which CI systems read.
//!
//! A suite is a scenario, a case is an expectation in the run of one seed.

use std::fmt::{self, Write};

use tidegate_model::report::Verdict;

use super::outcome::Outcome;

/// Writes outcomes as one document.
#[must_use]
pub fn junit(outcomes: &[Outcome]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for outcome in outcomes {
        // Writing to a string never fails.
        let _ = suite(&mut xml, outcome);
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn suite(xml: &mut String, outcome: &Outcome) -> fmt::Result {
    let cases: usize = outcome.runs.iter().map(|run| run.expectations.len()).sum();
    let traps = outcome.unexpected_traps();
    let trapped = usize::from(traps > 0.0);
    writeln!(
        xml,
        r#"  <testsuite name="{}" tests="{}" failures="{}" errors="{trapped}">"#,
        Escaped(&outcome.scenario),
        cases + trapped,
        outcome.missed().count(),
    )?;
    for verdict in outcome.runs.iter().flat_map(|run| &run.expectations) {
        case(xml, &outcome.scenario, verdict)?;
    }
    if trapped > 0 {
        writeln!(
            xml,
            r#"    <testcase classname="{}" name="no guest traps"><error message="{traps} traps"/></testcase>"#,
            Escaped(&outcome.scenario),
        )?;
    }
    writeln!(xml, "  </testsuite>")
}

fn case(xml: &mut String, scenario: &str, verdict: &Verdict) -> fmt::Result {
    write!(
        xml,
        r#"    <testcase classname="{}" name="{} (seed {})""#,
        Escaped(scenario),
        Escaped(&verdict.expectation),
        verdict.seed,
    )?;
    if verdict.holds {
        return writeln!(xml, "/>");
    }
    writeln!(
        xml,
        r#"><failure message="{}"/></testcase>"#,
        Escaped(&missed(verdict)),
    )
}

/// Says how an expectation is missed.
#[must_use]
pub fn missed(verdict: &Verdict) -> String {
    let during = verdict
        .during
        .as_ref()
        .map_or_else(String::new, |window| format!(" during {window}"));
    let expected = &verdict.expectation;
    match (verdict.figure, verdict.bound) {
        (Some(figure), Some(bound)) => {
            format!(
                "the figure is {} and the bound {}{during}",
                short(figure),
                short(bound)
            )
        }
        (None, _) => format!("there is no such figure{during}: nothing that it could be told of"),
        (Some(figure), None) => {
            format!(
                "the figure is {}, but `{expected}` has no bound{during}",
                short(figure)
            )
        }
    }
}

/// Writes a number with at most six digits behind the point, and no more than it has.
#[must_use]
pub fn short(number: f64) -> String {
    let text = format!("{number:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Text in an attribute. What XML can't hold at all is replaced.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => formatter.write_str("&amp;")?,
                '<' => formatter.write_str("&lt;")?,
                '>' => formatter.write_str("&gt;")?,
                '"' => formatter.write_str("&quot;")?,
                '\t' | '\n' | '\r' => write!(formatter, "&#{};", u32::from(letter))?,
                '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                    formatter.write_char(char::REPLACEMENT_CHARACTER)?;
                }
                _ => formatter.write_char(letter)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_gives_a_meaning_is_escaped_and_what_it_can_not_hold_replaced() {
        assert_eq!(
            Escaped("a<b> \"&\" \u{1} ü\n").to_string(),
            "a&lt;b&gt; &quot;&amp;&quot; \u{fffd} ü&#10;"
        );
    }

    #[test]
    fn numbers_are_written_with_the_digits_that_they_have() {
        for (number, expected) in [
            (0.0, "0"),
            (50.0, "50"),
            (1.21, "1.21"),
            (0.000_793_4, "0.000793"),
            (1_000_000.0, "1000000"),
        ] {
            assert_eq!(short(number), expected);
        }
    }
}

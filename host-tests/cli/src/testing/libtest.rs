//! Understands what Rust's test programs print.

use super::TestFailure;

/// What test programs did so far.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
    pub(super) failures: Vec<TestFailure>,
}

impl Outcome {
    /// Counts a failure that no test program counted.
    pub(super) fn fail(&mut self, name: String, output: String) {
        self.failed += 1;
        self.failures.push(TestFailure { name, output });
    }
}

/// Reads the lines of one test program, or of several in a row.
#[derive(Debug, Default)]
pub(super) struct Reader {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Whether the program said how it ended; one that crashed doesn't.
    finished: bool,
    place: Place,
    failures: Vec<TestFailure>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Place {
    /// Where tests run, one line each.
    #[default]
    Running,
    /// Below the first `failures:`, where each failed test says what it printed.
    Outputs,
    /// Below the second `failures:`, where their names are listed once more.
    Names,
}

/// What a line said, for whoever watches.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// This test ended.
    Ended(String),
    /// Nothing worth showing.
    Nothing,
}

impl Reader {
    /// Takes the next line.
    pub(super) fn line(&mut self, line: &str) -> Event {
        // What a failed test printed may look like a result, and is none.
        if let Some(result) = line
            .strip_prefix("test result: ")
            .filter(|_| self.place != Place::Outputs)
        {
            self.result(result);
            return Event::Nothing;
        }
        if line == "failures:" {
            self.place = if self.place == Place::Running {
                Place::Outputs
            } else {
                Place::Names
            };
            return Event::Nothing;
        }
        match self.place {
            Place::Running => {
                let ended = line
                    .strip_prefix("test ")
                    .and_then(|rest| rest.rsplit_once(" ... "));
                ended.map_or(Event::Nothing, |(name, _)| Event::Ended(name.to_owned()))
            }
            Place::Outputs => {
                let name = line
                    .strip_prefix("---- ")
                    .and_then(|rest| rest.strip_suffix(" stdout ----"));
                if let Some(name) = name {
                    self.failures.push(TestFailure {
                        name: name.to_owned(),
                        output: String::new(),
                    });
                } else if let Some(failure) = self.failures.last_mut() {
                    failure.output.push_str(line);
                    failure.output.push('\n');
                }
                Event::Nothing
            }
            Place::Names => {
                // A test that failed without a word is only named here.
                let name = line.trim();
                if !name.is_empty() && self.failures.iter().all(|failure| failure.name != name) {
                    self.failures.push(TestFailure {
                        name: name.to_owned(),
                        output: String::new(),
                    });
                }
                Event::Nothing
            }
        }
    }

    /// Reads `ok. 5 passed; 0 failed; 1 ignored; …`.
    fn result(&mut self, result: &str) {
        let count = |what: &str| {
            result
                .split(['.', ';'])
                .find_map(|part| part.trim().strip_suffix(what)?.trim().parse::<u64>().ok())
        };
        self.passed += count("passed").unwrap_or_default();
        self.failed += count("failed").unwrap_or_default();
        self.skipped += count("ignored").unwrap_or_default();
        self.finished = true;
        self.place = Place::Running;
    }

    /// Adds what was read to the total. `program` names the test program, `succeeded` is its own verdict, `said` what
    /// it printed besides.
    pub(super) fn end(self, program: &str, succeeded: bool, said: &str, total: &mut Outcome) {
        total.passed += self.passed;
        total.failed += self.failed;
        total.skipped += self.skipped;
        total
            .failures
            .extend(self.failures.into_iter().map(|failure| TestFailure {
                name: format!("{program} {}", failure.name),
                output: failure.output.trim().to_owned(),
            }));
        if !succeeded && (self.failed == 0 || !self.finished) {
            total.fail(
                program.to_owned(),
                format!("the test program broke off\n{}", said.trim()),
            );
        } else if succeeded && !self.finished {
            total.fail(
                program.to_owned(),
                "the test program ended without a result".to_owned(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, succeeded: bool) -> Outcome {
        let mut reader = Reader::default();
        for line in text.lines() {
            reader.line(line);
        }
        let mut total = Outcome::default();
        reader.end("crate target", succeeded, "thread panicked", &mut total);
        total
    }

    const MIXED: &str = "
running 4 tests
test quick ... ok
test left_out ... ignored, needs a reason
test broken ... FAILED
test a::silent ... FAILED

failures:

---- broken stdout ----

thread 'broken' panicked at src/lib.rs:1:1:
test result: ok. 9 passed; 0 failed

failures:
    broken
    a::silent

test result: FAILED. 1 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.01s
";

    #[test]
    fn counts_come_from_the_result_line() {
        let total = read(MIXED, false);
        assert_eq!((total.passed, total.failed, total.skipped), (1, 2, 1));
    }

    #[test]
    fn only_failed_tests_are_shown_and_each_with_what_it_said() {
        let total = read(MIXED, false);
        let shown: Vec<(&str, &str)> = total
            .failures
            .iter()
            .map(|failure| (failure.name.as_str(), failure.output.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                (
                    "crate target broken",
                    "thread 'broken' panicked at src/lib.rs:1:1:\ntest result: ok. 9 passed; 0 failed"
                ),
                ("crate target a::silent", "")
            ]
        );
    }

    #[test]
    fn every_ended_test_is_an_event() {
        let mut reader = Reader::default();
        assert_eq!(
            reader.line("test src/lib.rs - f (line 3) ... ok"),
            Event::Ended("src/lib.rs - f (line 3)".into())
        );
        assert_eq!(reader.line("running 4 tests"), Event::Nothing);
    }

    #[test]
    fn a_program_that_breaks_off_is_a_failure() {
        let total = read("running 2 tests\ntest quick ... ok\n", false);
        assert_eq!(total.failed, 1);
        assert!(
            total
                .failures
                .iter()
                .any(|failure| failure.output.contains("thread panicked"))
        );
    }

    #[test]
    fn a_program_that_says_nothing_is_a_failure_even_if_it_succeeds() {
        assert_eq!(read("hello\n", true).failed, 1);
    }

    #[test]
    fn several_results_are_added() {
        let once = "running 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(read(&once.repeat(3), true).passed, 3);
    }
}

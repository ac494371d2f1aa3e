//! Whatever becomes of a file on its way, an importer neither panics nor loses itself: it reads on, or says where it stopped.
//!
//! `TIDEGATE_FUZZ_CASES` sets how many mutants of each file are read; the seed is fixed, so that more cases are the same ones
//! and more.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tidegate_cli::recording::{
    ReadOptions, RecordingProblem, RecordingReader, RecordingWriter, Redactor, Secret,
};

use super::{data, events_of};

/// Mutants of each file in an ordinary run: some seconds in all.
const CASES: u32 = 256;

/// One change of the bytes.
#[derive(Debug, Clone)]
enum Mutation {
    Flip(Index, u8),
    Truncate(Index),
    Insert(Index, Vec<u8>),
    Delete(Index, usize),
    /// Copies a part over another place.
    Splice(Index, Index, usize),
    /// Copies a part behind itself.
    Repeat(Index, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let likely = prop_oneof![
        Just(b"{".to_vec()),
        Just(b"}".to_vec()),
        Just(b"[".to_vec()),
        Just(b"]".to_vec()),
        Just(b"\"".to_vec()),
        Just(b"\\".to_vec()),
        Just(b",".to_vec()),
        Just(b":".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r\n\r\n".to_vec()),
        Just(b"null".to_vec()),
        Just(b"-1".to_vec()),
        Just(b"1e400".to_vec()),
        Just(b"18446744073709551616".to_vec()),
        Just(b"\\ud800".to_vec()),
        Just("\n🐵🙈🙉\n".as_bytes().to_vec()),
        Just(b"\xff\xfe".to_vec()),
        proptest::collection::vec(any::<u8>(), 1..8),
    ];
    prop_oneof![
        4 => (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        1 => any::<Index>().prop_map(Mutation::Truncate),
        4 => (any::<Index>(), likely).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        3 => (any::<Index>(), 1..200_usize).prop_map(|(at, length)| Mutation::Delete(at, length)),
        2 => (any::<Index>(), any::<Index>(), 1..400_usize)
            .prop_map(|(from, to, length)| Mutation::Splice(from, to, length)),
        1 => (any::<Index>(), 1..2_000_usize)
            .prop_map(|(at, length)| Mutation::Repeat(at, length)),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    if bytes.is_empty() {
        return;
    }
    let length = bytes.len();
    let part = |at: usize, count: usize| at..(at + count).min(length);
    match mutation {
        Mutation::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
        Mutation::Truncate(at) => bytes.truncate(at.index(length)),
        Mutation::Insert(at, new) => {
            let at = at.index(length);
            bytes.splice(at..at, new.iter().copied());
        }
        Mutation::Delete(at, count) => {
            bytes.drain(part(at.index(length), *count));
        }
        Mutation::Splice(from, to, count) => {
            let copy = bytes[part(from.index(length), *count)].to_vec();
            bytes.splice(part(to.index(length), *count), copy);
        }
        Mutation::Repeat(at, count) => {
            let at = at.index(length);
            let copy = bytes[part(at, *count)].to_vec();
            bytes.splice(at..at, copy);
        }
    }
}

/// Reads a mutant and checks all that holds of any input.
fn check(bytes: &[u8], options: &ReadOptions) -> Result<(), TestCaseError> {
    let input = std::io::Cursor::new(bytes.to_vec());
    let mut read = Vec::new();
    let mut failed = None;
    match RecordingReader::from_reader("mutant", input, options) {
        Ok(mut reader) => {
            let secrets: Vec<Secret> = Secret::ALL.iter().map(|(secret, _)| *secret).collect();
            let mut redactor = Redactor::new(&secrets, b"a key of sixteen bytes").unwrap();
            let mut writer = RecordingWriter::new(Vec::new(), reader.header()).unwrap();
            let mut last_ns = 0;
            let mut count = 0;
            loop {
                match reader.next() {
                    Ok(None) => break,
                    Ok(Some(mut event)) => {
                        prop_assert!(event.time_ns >= last_ns, "time goes back");
                        last_ns = event.time_ns;
                        redactor.redact(&mut event);
                        writer.write(&event).unwrap();
                        count += 1;
                    }
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
            let statistics = reader.statistics();
            // Some hundred bytes for the file's own, and the buffers for reading and looking ahead.
            prop_assert!(
                statistics.peak_buffered_bytes < 40 * bytes.len() + (1 << 20),
                "held {} bytes for {}",
                statistics.peak_buffered_bytes,
                bytes.len()
            );
            prop_assert!(count <= bytes.len() as u64, "more events than bytes");
            read = writer.finish().unwrap();
        }
        Err(error) => failed = Some(error),
    }
    if let Some(error) = failed {
        let is_whole = matches!(
            error.problem(),
            RecordingProblem::Empty | RecordingProblem::Io(_)
        );
        prop_assert!(is_whole || error.place().is_some(), "no place: {error}");
        prop_assert!(!error.render(false).is_empty());
    }
    if !read.is_empty() {
        // What an importer makes is a recording: our own reader finds nothing wrong with the order.
        let again = RecordingReader::from_reader(
            "again",
            std::io::Cursor::new(read),
            &ReadOptions::default(),
        );
        let again = again.and_then(events_of);
        prop_assert!(again.is_ok(), "{}", again.err().unwrap());
    }
    Ok(())
}

/// Reads mutants of one file: strict, and such that goes on behind mistakes.
fn fuzz(name: &str, bytes: &[u8], options: ReadOptions) {
    let cases = std::env::var("TIDEGATE_FUZZ_CASES").map_or(CASES, |cases| {
        cases.parse().expect("TIDEGATE_FUZZ_CASES is a number")
    });
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]));
    let mutations = proptest::collection::vec(mutation(), 1..6);
    let strategy = (
        mutations,
        any::<bool>(),
        prop_oneof![Just(1 << 20), 50..5_000_usize],
    );
    let outcome = runner.run(&strategy, |(mutations, keep_going, max_entry_bytes)| {
        let mut mutant = bytes.to_vec();
        for mutation in &mutations {
            mutate(&mut mutant, mutation);
        }
        let options = ReadOptions {
            keep_going,
            max_entry_bytes,
            ..options.clone()
        };
        check(&mutant, &options)
    });
    if let Err(error) = outcome {
        panic!("{name}: {error}");
    }
}

fn fuzz_file(name: &str, options: ReadOptions) {
    fuzz(name, &std::fs::read(data(name)).unwrap(), options);
}

/// Real taps, one after the other.
fn tap(kind: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/taps")
        .join(kind);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| std::fs::read(file).unwrap())
        .collect()
}

#[test]
fn mutants_of_a_har_are_read_or_refused_with_a_place() {
    fuzz_file("chromium.har", ReadOptions::default());
}

#[test]
fn mutants_of_a_log_are_read_or_refused_with_a_place() {
    fuzz_file("istio.jsonl", ReadOptions::default());
}

#[test]
fn mutants_of_a_log_with_a_field_map_are_read_or_refused_with_a_place() {
    let options = ReadOptions {
        fields: Some(data("nested.fields.json")),
        ..ReadOptions::default()
    };
    fuzz_file("nested.jsonl", options);
}

#[test]
fn mutants_of_a_capture_of_goreplay_are_read_or_refused_with_a_place() {
    fuzz_file("capture.gor", ReadOptions::default());
}

#[test]
fn mutants_of_a_buffered_tap_are_read_or_refused_with_a_place() {
    fuzz(
        "buffered tap",
        &tap("buffered-bytes"),
        ReadOptions::default(),
    );
}

#[test]
fn mutants_of_a_streamed_tap_are_read_or_refused_with_a_place() {
    fuzz(
        "streamed tap",
        &tap("streamed-bytes"),
        ReadOptions::default(),
    );
}

#[test]
fn mutants_of_a_recording_of_ours_are_read_or_refused_with_a_place() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("out.tidegate.jsonl");
    let mut reader =
        RecordingReader::open(&[data("chromium.har")], &ReadOptions::default()).unwrap();
    tidegate_cli::recording::convert(&mut reader, &output, None, None).unwrap();
    let bytes = std::fs::read(&output).unwrap();
    fuzz("recording", &bytes, ReadOptions::default());
}

//! Secrets are taken out of a recording, and it replays as it did.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use tidegate_cli::recording::{
    Event, EventKind, ReadOptions, RecordingReader, Redactor, Secret, SessionKey, convert,
};

use super::{FILES, data, events_of};

/// Everything in the files of `data/` that nobody else should see.
const SECRETS: [&str; 14] = [
    "s3cr3t-session-of-ann",
    "s3cr3t-session-of-bob",
    "c4rt-of-ann",
    "t0ken-in-the-query",
    "b3arer-of-ann",
    "auth-t0ken-of-ann",
    "pa55word-of-ann",
    "Grüße, ann",
    "s3cr3t-m3ssage",
    "w3lcome-back",
    "YW5uOnBhNTV3b3Jk",
    "{\"user\":\"ann\"}",
    "hello, world",
    "broken of",
];

const KEY: &[u8] = b"a key of more than 16 bytes";

fn all() -> Vec<Secret> {
    Secret::ALL.iter().map(|(secret, _)| *secret).collect()
}

fn options(name: &str) -> ReadOptions {
    ReadOptions {
        fields: name
            .starts_with("nested")
            .then(|| data("nested.fields.json")),
        session: SessionKey::Cookie("sid".to_owned()),
        ..ReadOptions::default()
    }
}

/// Converts recordings; returns the text of what came of them.
fn converted(
    paths: &[PathBuf],
    options: &ReadOptions,
    redactor: Option<Redactor>,
    directory: &Path,
) -> Vec<u8> {
    let output = directory.join("out.tidegate.jsonl");
    let mut reader = RecordingReader::open(paths, options).unwrap();
    let mut redactor = redactor;
    convert(&mut reader, &output, None, redactor.as_mut()).unwrap();
    std::fs::read(&output).unwrap()
}

fn events(text: &[u8]) -> Vec<Event<'static>> {
    let input = std::io::Cursor::new(text.to_vec());
    let reader = RecordingReader::from_reader("out", input, &ReadOptions::default()).unwrap();
    events_of(reader).unwrap().0
}

/// A way in which a secret may be written: as it is, in base64 at each place of a group, with every byte as `%XX`.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.to_vec()];
    for shift in 0..3 {
        let padded = [&b"\0\0"[..shift], secret].concat();
        let text = STANDARD_NO_PAD.encode(padded);
        // What depends on the bytes before and behind isn't compared.
        let begin = [0, 2, 3][shift];
        forms.push(text.as_bytes()[begin..text.len() - 2].to_vec());
    }
    let percent: String = secret.iter().map(|byte| format!("%{byte:02X}")).collect();
    forms.push(percent.to_lowercase().into_bytes());
    forms.push(percent.into_bytes());
    forms
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

/// Returns all bytes of bodies, frames unmasked, and all fields: what a reader of the recording can get at.
fn unpacked(events: &[Event<'_>]) -> Vec<u8> {
    let mut all = Vec::new();
    for event in events {
        match &event.kind {
            EventKind::RequestHeaders(headers) | EventKind::ResponseHeaders(headers) => {
                for (name, value) in &headers.fields {
                    all.extend([name.as_ref(), b": ", value, b"\n"].concat());
                }
            }
            EventKind::RequestTrailers(trailers) | EventKind::ResponseTrailers(trailers) => {
                for (_, value) in &trailers.fields {
                    all.extend(value.iter());
                }
            }
            EventKind::RequestBody(body) => {
                all.extend(body.bytes.iter());
                // Short frames of a client, and such with two bytes of length.
                for header in [2, 4] {
                    if let Some(mask) = body.bytes.get(header..header + 4) {
                        let payload = body.bytes[header + 4..].iter().zip(mask.iter().cycle());
                        all.extend(payload.map(|(byte, key)| byte ^ key));
                    }
                }
            }
            EventKind::ResponseBody(body) => all.extend(body.bytes.iter()),
            _ => {}
        }
    }
    all
}

#[test]
fn no_secret_is_left_in_any_form() {
    let directory = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for name in FILES {
        let before = converted(&[data(name)], &options(name), None, directory.path());
        let redactor = Redactor::with_random_key(&all()).unwrap();
        let after = converted(
            &[data(name)],
            &options(name),
            Some(redactor),
            directory.path(),
        );
        let plain = unpacked(&events(&before));
        let redacted = [after.clone(), unpacked(&events(&after))].concat();
        for secret in SECRETS {
            let secret = secret.as_bytes();
            if contains(&plain, secret) {
                seen.push(secret);
            }
            for form in forms(secret) {
                let shown = String::from_utf8_lossy(&form).into_owned();
                assert!(!contains(&redacted, &form), "{name} still holds {shown}");
            }
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(
        seen.len(),
        SECRETS.len(),
        "every secret is in a file, else the test proves nothing"
    );
}

#[test]
fn everything_that_is_no_secret_stays() {
    let directory = tempfile::tempdir().unwrap();
    for name in FILES {
        let before = events(&converted(
            &[data(name)],
            &options(name),
            None,
            directory.path(),
        ));
        let redactor = Redactor::new(&all(), KEY).unwrap();
        let text = converted(
            &[data(name)],
            &options(name),
            Some(redactor),
            directory.path(),
        );
        let after = events(&text);
        assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(
                (before.time_ns, before.stream),
                (after.time_ns, after.stream)
            );
            match (&before.kind, &after.kind) {
                (EventKind::RequestBody(before), EventKind::RequestBody(after))
                | (EventKind::ResponseBody(before), EventKind::ResponseBody(after)) => {
                    assert_eq!(before.bytes.len(), after.bytes.len());
                    assert_eq!(
                        (before.end_stream, before.truncated),
                        (after.end_stream, after.truncated)
                    );
                }
                (EventKind::RequestHeaders(before), EventKind::RequestHeaders(after))
                | (EventKind::ResponseHeaders(before), EventKind::ResponseHeaders(after)) => {
                    let names = |headers: &tidegate_cli::recording::Headers<'_>| -> Vec<Vec<u8>> {
                        headers
                            .fields
                            .iter()
                            .map(|(name, _)| name.to_vec())
                            .collect()
                    };
                    assert_eq!(names(before), names(after));
                    assert_eq!(before.value(":method"), after.value(":method"));
                    assert_eq!(
                        before.value("content-length"),
                        after.value("content-length")
                    );
                    assert_eq!(
                        before.value("sec-websocket-key"),
                        after.value("sec-websocket-key")
                    );
                }
                (EventKind::Open(_), EventKind::Open(_)) => {}
                (before, after) => assert_eq!(before, after),
            }
        }
        let reader = RecordingReader::from_reader(
            "out",
            std::io::Cursor::new(text),
            &ReadOptions::default(),
        )
        .unwrap();
        assert_eq!(
            reader.header().redacted,
            ["cookies", "authorization", "query", "bodies"]
        );
    }
}

/// Numbers the sessions of the requests in the order in which they appear.
fn sessions(events: &[Event<'_>], key: &SessionKey) -> Vec<usize> {
    let mut opens = HashMap::new();
    let mut numbers: HashMap<Option<String>, usize> = HashMap::new();
    let mut all = Vec::new();
    for event in events {
        match &event.kind {
            EventKind::Open(open) => drop(opens.insert(event.stream, open.clone())),
            EventKind::RequestHeaders(headers) => {
                let name = key.of(&opens[&event.stream], headers);
                let next = numbers.len();
                all.push(*numbers.entry(name).or_insert(next));
            }
            _ => {}
        }
    }
    all
}

#[test]
fn the_requests_of_a_session_are_still_one_session() {
    let root = tidegate_cli::workspace::root().join("host-tests/recordings/round-robin");
    let directory = tempfile::tempdir().unwrap();
    let tap = [root.join("tap-buffered.json")];
    let key: SessionKey = "cookie:shop-session,source-ip+header:user-agent"
        .parse()
        .unwrap();
    for session in [SessionKey::Auto, key.clone()] {
        let options = ReadOptions {
            access_logs: vec![root.join("access-log.jsonl")],
            session: session.clone(),
            ..ReadOptions::default()
        };
        let before = events(&converted(&tap, &options, None, directory.path()));
        let redactor = Redactor::with_random_key(&all()).unwrap();
        let after = events(&converted(&tap, &options, Some(redactor), directory.path()));
        let by_cookie = sessions(&before, &key);
        assert_eq!(sessions(&after, &key), by_cookie);
        assert!(by_cookie.iter().max().is_some_and(|&last| last > 10));
        // By the names in the recording, which are pseudonyms of the same.
        assert_eq!(
            sessions(&after, &SessionKey::Auto),
            sessions(&before, &SessionKey::Auto)
        );
    }
}

#[test]
fn frames_stay_frames_of_the_same_kind_and_length() {
    let root = tidegate_cli::workspace::root().join("host-tests/recordings/round-robin");
    let directory = tempfile::tempdir().unwrap();
    let tap = [root.join("tap-streamed.json")];
    let options = ReadOptions::default();
    let before = events(&converted(&tap, &options, None, directory.path()));
    let redactor = Redactor::new(&all(), KEY).unwrap();
    let after = events(&converted(&tap, &options, Some(redactor), directory.path()));
    let (mut frames, mut closes) = (0, 0);
    for from_client in [true, false] {
        let bytes = |events: &[Event<'_>]| {
            let mut streams: HashMap<u64, Vec<u8>> = HashMap::new();
            let mut upgraded = Vec::new();
            for event in events {
                match &event.kind {
                    EventKind::ResponseHeaders(headers)
                        if headers.value(":status") == Some(b"101") =>
                    {
                        upgraded.push(event.stream);
                    }
                    EventKind::RequestBody(body) if from_client => {
                        streams
                            .entry(event.stream)
                            .or_default()
                            .extend(body.bytes.iter());
                    }
                    EventKind::ResponseBody(body) if !from_client => {
                        streams
                            .entry(event.stream)
                            .or_default()
                            .extend(body.bytes.iter());
                    }
                    _ => {}
                }
            }
            streams.retain(|stream, _| upgraded.contains(stream));
            streams
        };
        let (before, after) = (bytes(&before), bytes(&after));
        assert_eq!(before.len(), after.len());
        for (stream, before) in &before {
            let (before, after) = (frames_of(before), frames_of(&after[stream]));
            assert_eq!(before.len(), after.len());
            for ((head, payload), (head_after, payload_after)) in before.iter().zip(&after) {
                frames += 1;
                assert_eq!((head, payload.len()), (head_after, payload_after.len()));
                if head[0] & 0x0f == 8 {
                    closes += 1;
                    assert_eq!(
                        payload.get(..2),
                        payload_after.get(..2),
                        "the code of a Close stays"
                    );
                } else {
                    assert!(payload_after.iter().all(|&byte| byte == b'x'));
                }
            }
        }
    }
    assert!(
        frames > 100 && closes > 10,
        "{frames} frames, {closes} of them Close"
    );
}

/// Cuts whole frames: head with mask, and payload unmasked.
fn frames_of(mut bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut frames = Vec::new();
    while bytes.len() >= 2 {
        let (extended, length) = match bytes[1] & 0x7f {
            126 if bytes.len() >= 4 => (2, usize::from(bytes[2]) << 8 | usize::from(bytes[3])),
            127 => panic!("no frame of the recording is that long"),
            length => (0, usize::from(length)),
        };
        let masked = if bytes[1] & 0x80 == 0 { 0 } else { 4 };
        let head = 2 + extended + masked;
        if bytes.len() < head + length {
            break;
        }
        let mask = if masked == 0 {
            [0; 4]
        } else {
            *bytes[head - 4..].first_chunk().unwrap()
        };
        let payload = bytes[head..head + length].iter().zip(mask.iter().cycle());
        frames.push((
            bytes[..head].to_vec(),
            payload.map(|(byte, key)| byte ^ key).collect(),
        ));
        bytes = &bytes[head + length..];
    }
    frames
}

#[test]
fn the_same_key_gives_the_same_recording_and_another_one_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let with = |redactor: Redactor| {
        let name = "chromium.har";
        converted(
            &[data(name)],
            &options(name),
            Some(redactor),
            directory.path(),
        )
    };
    let first = with(Redactor::new(&all(), KEY).unwrap());
    assert_eq!(with(Redactor::new(&all(), KEY).unwrap()), first);
    assert_ne!(
        with(Redactor::new(&all(), b"another key of 16 bytes").unwrap()),
        first
    );
    assert_ne!(
        with(Redactor::with_random_key(&all()).unwrap()),
        with(Redactor::with_random_key(&all()).unwrap())
    );
    assert!(Redactor::new(&all(), b"15 bytes of key").is_err());
}

#[test]
fn only_what_was_asked_for_is_taken_out() {
    let directory = tempfile::tempdir().unwrap();
    let left = |secrets: &[Secret]| -> Vec<&str> {
        let redactor = Redactor::new(secrets, KEY).unwrap();
        let name = "chromium.har";
        let text = converted(
            &[data(name)],
            &options(name),
            Some(redactor),
            directory.path(),
        );
        let text = unpacked(&events(&text));
        let secrets = [
            "s3cr3t-session-of-ann",
            "b3arer-of-ann",
            "t0ken-in-the-query",
            "pa55word-of-ann",
        ];
        secrets
            .into_iter()
            .filter(|secret| contains(&text, secret.as_bytes()))
            .collect()
    };
    assert_eq!(left(&[]).len(), 4);
    for (index, (secret, _)) in Secret::ALL.iter().enumerate() {
        let mut expected = left(&[]);
        expected.remove(index);
        assert_eq!(left(&[*secret]), expected, "{secret:?}");
    }
}

//! `tidegate record --admin` in front of what is no healthy Envoy. The real one is in `envoy/e2e`; it writes no nonsense, so
//! that here a few lines of a server stand in for what does.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should say where"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

/// A whole trace, as small as one can be.
const TRACE: &str = r#"{"http_buffered_trace":{"request":{"headers":[{"key":":method","value":"GET"},{"key":":path","value":"/a"}],"headers_received_time":"2026-01-01T00:00:00Z"},"response":{"headers":[{"key":":status","value":"200"}]},"upstream_connection":{"remote_address":{"socket_address":{"address":"10.0.0.1","port_value":80}}}}}"#;

/// Two clusters that share the endpoint 10.0.0.9.
const CLUSTERS: &str = r#"{"cluster_statuses":[{"name":"a","host_statuses":[{"address":{"socket_address":{"address":"10.0.0.1","port_value":80}}},{"address":{"socket_address":{"address":"10.0.0.2","port_value":80}}},{"address":{"socket_address":{"address":"10.0.0.9","port_value":80}}}]},{"name":"b","host_statuses":[{"address":{"socket_address":{"address":"10.0.0.9","port_value":80}}},{"address":{"socket_address":{"address":"10.0.0.3","port_value":80}}}]}]}"#;

/// Starts a server that answers `/tap` with these bytes and then closes, and `/clusters` with a list.
fn admin(tap: impl Into<Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let tap = tap.into();
    thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &tap);
        }
    });
    address
}

fn answer(mut stream: TcpStream, tap: &[u8]) {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    // The body of the one request that has one comes with the blank line before it, or right after it.
    let is_whole = |request: &[u8]| {
        request.ends_with(b"}") || request.starts_with(b"GET") && request.ends_with(b"\r\n\r\n")
    };
    while !is_whole(&request) {
        let size = stream.read(&mut piece).unwrap();
        assert!(size > 0, "the request ends early");
        request.extend_from_slice(piece.get(..size).unwrap());
    }
    let answer = if request.starts_with(b"POST /tap ") {
        tap.to_vec()
    } else if request.starts_with(b"GET /clusters") {
        whole("200 OK", CLUSTERS)
    } else {
        whole("403 Forbidden", "not allowed")
    };
    // A recorder that has seen enough may be gone.
    let _ = stream.write_all(&answer);
}

fn whole(status: &str, text: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    )
    .into_bytes()
}

/// An answer in chunks, with or without its end.
fn chunked(texts: &[&str], ends: bool) -> Vec<u8> {
    let mut answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    for text in texts {
        answer.push_str(&format!("{:x}\r\n{text}\r\n", text.len()));
    }
    answer.push_str(if ends { "0\r\n\r\n" } else { "" });
    answer.into_bytes()
}

fn record(admin: SocketAddr, recording: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["record", "--admin", &admin.to_string(), "--output"])
        .arg(recording)
        .args(more)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn an_answer_that_ends_ends_the_recording_well() {
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("a.tidegate.jsonl");
    let output = record(
        admin(chunked(&[TRACE, "\n", TRACE], true)),
        &recording,
        &["--json"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["end"], "closed");
    assert_eq!(document["recording"]["exchanges"], 2);
    // The endpoint says which cluster it was; the cluster that nobody asked for stays out.
    let text = std::fs::read_to_string(&recording).unwrap();
    assert!(
        text.contains(
            r#""clusters":[{"name":"a","endpoints":["10.0.0.1:80","10.0.0.2:80","10.0.0.9:80"]}]"#
        ),
        "{text}"
    );
    assert!(text.contains(r#""cluster":"a""#), "{text}");
}

#[test]
fn an_endpoint_of_two_clusters_tells_no_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("a.tidegate.jsonl");
    let shared = TRACE.replace("10.0.0.1", "10.0.0.9");
    for (rule, expected) in [(&[][..], None), (&["--cluster", "b"], Some("b"))] {
        let output = record(admin(chunked(&[&shared], true)), &recording, rule);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let text = std::fs::read_to_string(&recording).unwrap();
        let open = text.lines().nth(1).unwrap();
        let open: serde_json::Value = serde_json::from_str(open).unwrap();
        let cluster = open["open"]["cluster"].as_str();
        assert_eq!(cluster, expected, "{text}");
    }
}

#[test]
fn a_connection_cut_in_the_middle_of_a_trace_keeps_the_traces_before() {
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("a.tidegate.jsonl");
    let half = TRACE.get(..40).unwrap();
    let output = record(admin(chunked(&[TRACE, half], false)), &recording, &[]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output).contains("the connection to Envoy broke"),
        "{}",
        said(&output)
    );
    let text = std::fs::read_to_string(&recording).unwrap();
    assert_eq!(text.matches("request_headers").count(), 1, "{text}");
}

#[test]
fn an_answer_that_turns_into_something_else_keeps_the_traces_before() {
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("a.tidegate.jsonl");
    let output = record(
        admin(chunked(&[TRACE, "\n<html>\n"], false)),
        &recording,
        &[],
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("malformed: expected an object, got `<html>`"),
        "{}",
        said(&output)
    );
    assert!(recording.exists());
}

#[test]
fn what_is_no_envoy_is_refused_and_nothing_is_written() {
    let cases: [(Vec<u8>, &str); 6] = [
        (
            whole("200 OK", "<html>Welcome</html>"),
            "malformed: expected an object, got `<html>Welcome</html>`",
        ),
        (chunked(&[], true), "nothing is written"),
        (
            chunked(&["{\"status\":\"fine\"}"], true),
            "http_buffered_trace",
        ),
        (
            whole("500 Internal Server Error", "on\nfire"),
            "answers 500: on fire",
        ),
        (b"SSH-2.0-OpenSSH\r\n".to_vec(), "is no Envoy admin"),
        (Vec::new(), "is no Envoy admin"),
    ];
    for (answer, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        let output = record(admin(answer), &folder.path().join("a.tidegate.jsonl"), &[]);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(expected), "{}", said(&output));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn flags_of_a_live_recording_are_refused_with_inputs() {
    for flags in [
        &["--exchanges", "3"][..],
        &["--duration", "3"],
        &["--tap-id", "x"],
        &["--streamed"],
        &["--path", "/"],
        &["--header", "a"],
        &["--admin", "127.0.0.1:9901"],
        &["--max-body-bytes", "1"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["record", "in.json", "--output", "out.jsonl"])
            .args(flags)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(
            said(&output).contains("cannot be used with"),
            "{flags:?}: {}",
            said(&output)
        );
    }
}

//! The list of clusters that requests go to.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use proptest::prelude::*;
use tidegate_policy::{
    config::{Problems, from_json},
    endpoints::{Config, MAX_SEEN, Seen, SeenError, decode_seen, encode_seen},
};

fn block(json: &str) -> Config {
    Config::check(&from_json(json, "").unwrap(), "$", &mut Problems::new()).unwrap()
}

fn names(bytes: &[u8]) -> Vec<String> {
    decode_seen(bytes).unwrap().into_iter().collect()
}

#[test]
fn two_workers_fill_one_list() {
    let config = block(r#"{"clusters": [{"prefix": "app-"}, {"name": "shop"}]}"#);
    let (mut one, mut two) = (Seen::new(), Seen::new());
    for cluster in ["app-1", "shop", "other", "app-1", ""] {
        one.on_stream(cluster.as_bytes(), &config);
    }
    two.on_stream(b"app-2", &config);
    two.on_stream(b"app-\xff", &config);
    assert_eq!(one.met().collect::<Vec<_>>(), ["app-1"]);
    assert!(one.has_news() && two.has_news());
    let first = one.on_read(None).unwrap();
    one.on_written();
    assert!(!one.has_news());
    // The other one lost the race, and finds the list at its next tick.
    assert!(two.on_read(None).is_some());
    assert!(two.has_news());
    let second = two.on_read(Some(&first)).unwrap();
    two.on_written();
    assert_eq!(names(&second), ["app-1", "app-2"]);
    // Who meets what is listed already writes nothing.
    one.on_stream(b"app-2", &config);
    assert_eq!(one.on_read(Some(&second)), None);
    assert!(!one.has_news());
}

#[test]
fn full_list_takes_no_more_and_asks_nobody_again() {
    let config = block("{}");
    let full: BTreeSet<String> = (0..MAX_SEEN).map(|index| format!("c{index}")).collect();
    let list = encode_seen(&full);
    let mut seen = Seen::new();
    seen.on_stream(b"one-more", &config);
    assert_eq!(seen.on_read(Some(&list)), None);
    assert!(!seen.has_news());
    for index in 0..1_000 {
        seen.on_stream(format!("d{index}").as_bytes(), &config);
    }
    assert_eq!(seen.met().count(), MAX_SEEN);
}

#[test]
fn nonsense_under_the_key_is_overwritten_with_all_that_is_known() {
    let config = block("{}");
    let mut seen = Seen::new();
    seen.on_stream(b"a", &config);
    seen.on_read(None).unwrap();
    seen.on_written();
    seen.on_stream(b"b", &config);
    let list = seen.on_read(Some(b"nonsense")).unwrap();
    assert_eq!(names(&list), ["a", "b"]);
}

#[test]
fn bytes_that_are_no_list_are_refused_with_their_reason() {
    let good = encode_seen(&BTreeSet::from(["a".to_owned(), "bc".to_owned()]));
    assert_eq!(names(&good), ["a", "bc"]);
    for length in 0..good.len() {
        assert!(decode_seen(&good[..length]).is_err(), "{length}");
    }
    for place in 0..good.len() {
        let mut other = good.clone();
        other[place] ^= 1;
        assert!(decode_seen(&other).is_err(), "{place}");
    }
    assert_eq!(
        decode_seen(b"nonsense, and longer"),
        Err(SeenError::Foreign)
    );
    let mut newer = good.clone();
    newer[3] = 9;
    assert_eq!(decode_seen(&newer), Err(SeenError::Format(9)));
    let mut damaged = good;
    damaged[7] ^= 1;
    assert_eq!(decode_seen(&damaged), Err(SeenError::Checksum));
}

proptest! {
    #[test]
    fn any_list_is_read_as_it_was_written_and_any_bytes_do_not_panic(
        names in prop::collection::btree_set("[a-zé|.:]{1,40}", 0..64),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        prop_assert_eq!(decode_seen(&encode_seen(&names)), Ok(names));
        let _ = decode_seen(&bytes);
    }
}

//! What a session cookie's value promises: it opens as it was sealed, and nothing else opens.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::string_slice, reason = "the texts are ASCII")]

use std::net::SocketAddr;

use proptest::prelude::*;
use tidegate_policy::{
    affinity::{
        Address, Binding, KeyRing, KeyRingError, MAX_INSTANCE_BYTES, MAX_VALUE_BYTES, OpenError,
        Session, SessionCookie,
    },
    units::WallTime,
};

/// Is bytes 0 to 31 in base64.
const KEY_A: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// Is bytes 31 to 0 in base64.
const KEY_B: &str = "Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=";

const ECHO: Binding<'static> = Binding {
    cluster: b"echo",
    cookie_name: "tidegate-echo",
};

fn ring(ids_and_keys: &[(u8, &str)]) -> KeyRing {
    let entries: Vec<String> = ids_and_keys
        .iter()
        .map(|(id, key)| format!("{id}:{key}"))
        .collect();
    KeyRing::parse(&entries.join(",")).unwrap()
}

fn session(address: &str, instance: &str) -> Session {
    Session {
        issued: WallTime::from_seconds(1_700_000_000),
        last_seen: WallTime::from_seconds(1_700_000_600),
        nonce: [1, 2, 3, 4, 5, 6, 7, 8],
        address: Address::parse(address.as_bytes()).unwrap(),
        instance: instance.as_bytes().to_vec(),
    }
}

/// SOURCE: the values were made by libsodium's `crypto_aead_xchacha20poly1305_ietf_encrypt`, from
/// the layout that the module header states; `tests/session_cookie.py` makes them again.
#[test]
fn value_is_what_another_implementation_seals() {
    let nonce: [u8; 24] = core::array::from_fn(|index| 100 + u8::try_from(index).unwrap());
    let keys = ring(&[(7, KEY_A)]);
    let cases = [
        (
            session("10.0.0.9:8080", ""),
            "AQdkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ent8c_mwmn14gocwnT_DPE6RWrlRdeEqzbiBZFSJG3BIPpI8e04U\
             hhvFQJpKLgiwJEV-XaSRlhY",
        ),
        (
            session("[2001:db8::1]:443", "pod-1"),
            "AQdkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ent8c_mwmn14gocwnT_DPE6RWrlRdeEqzbidDlaXG29CdMk-eUQd\
             683z3jUVczB7OeLqMa40MT8Mgrfi8jx8ruM",
        ),
    ];
    for (session, value) in cases {
        let sealed = SessionCookie::seal(&session, &keys, ECHO, nonce).unwrap();
        assert_eq!(sealed, value);
        assert_eq!(
            SessionCookie::open(value.as_bytes(), &keys, ECHO),
            Ok(session)
        );
    }
}

#[test]
fn longest_value_is_within_its_bound() {
    let address = "[1111:1111:1111:1111:1111:1111:255.255.255.255]:65535";
    let longest = session(address, &"x".repeat(MAX_INSTANCE_BYTES));
    let keys = ring(&[(0, KEY_A)]);
    let value = SessionCookie::seal(&longest, &keys, ECHO, [0; 24]).unwrap();
    assert_eq!(value.len(), 224);
    assert!(value.len() <= MAX_VALUE_BYTES);
    let too_long = session("10.0.0.1:1", &"x".repeat(MAX_INSTANCE_BYTES + 1));
    assert_eq!(SessionCookie::seal(&too_long, &keys, ECHO, [0; 24]), None);
}

#[test]
fn value_for_another_cluster_name_or_key_is_refused_with_its_reason() {
    let (a, b) = (ring(&[(1, KEY_A)]), ring(&[(2, KEY_B)]));
    let value = SessionCookie::seal(&session("10.0.0.1:80", ""), &a, ECHO, [9; 24]).unwrap();
    let open = |keys: &KeyRing, binding| SessionCookie::open(value.as_bytes(), keys, binding);
    let other_cluster = Binding {
        cluster: b"ech",
        cookie_name: "otidegate-echo",
    };
    let other_name = Binding {
        cookie_name: "tidegate-other",
        ..ECHO
    };
    assert!(open(&a, ECHO).is_ok());
    assert_eq!(open(&a, other_cluster), Err(OpenError::Unauthentic));
    assert_eq!(open(&a, other_name), Err(OpenError::Unauthentic));
    assert_eq!(open(&b, ECHO), Err(OpenError::UnknownKey));
    assert_eq!(
        open(&ring(&[(1, KEY_B)]), ECHO),
        Err(OpenError::Unauthentic)
    );
}

#[test]
fn rotation_opens_both_keys_and_seals_with_the_first() {
    let (old, new) = (ring(&[(1, KEY_A)]), ring(&[(2, KEY_B)]));
    let (early, late) = (
        ring(&[(1, KEY_A), (2, KEY_B)]),
        ring(&[(2, KEY_B), (1, KEY_A)]),
    );
    let session = session("10.0.0.1:80", "");
    let seal = |keys: &KeyRing| SessionCookie::seal(&session, keys, ECHO, [7; 24]).unwrap();
    let opens = |value: &str, keys: &KeyRing| SessionCookie::open(value.as_bytes(), keys, ECHO);
    assert_eq!(seal(&old), seal(&early));
    assert_eq!(seal(&late), seal(&new));
    for keys in [&early, &late] {
        assert_eq!(opens(&seal(&old), keys).as_ref(), Ok(&session));
        assert_eq!(opens(&seal(&new), keys).as_ref(), Ok(&session));
    }
    assert_eq!(opens(&seal(&old), &new), Err(OpenError::UnknownKey));
}

#[test]
fn value_that_is_no_cookie_is_refused_by_what_is_wrong_first() {
    let keys = ring(&[(1, KEY_A)]);
    let value = SessionCookie::seal(&session("10.0.0.1:80", ""), &keys, ECHO, [9; 24]).unwrap();
    let cases = [
        (String::new(), OpenError::Malformed),
        ("A".into(), OpenError::Malformed),
        ("=".into(), OpenError::Malformed),
        (value[..34].into(), OpenError::Malformed),
        (value[..56].into(), OpenError::Unauthentic),
        (value[..value.len() - 4].into(), OpenError::Unauthentic),
        (format!("{value}AAAA"), OpenError::Unauthentic),
        (format!("{value}="), OpenError::Malformed),
        (format!("\"{value}\""), OpenError::Malformed),
        (value.replacen('A', "+", 1), OpenError::Malformed),
        (format!("Ag{}", &value[2..]), OpenError::Version),
        (format!("AQI{}", &value[3..]), OpenError::UnknownKey),
        ("A".repeat(MAX_VALUE_BYTES), OpenError::Version),
        ("A".repeat(MAX_VALUE_BYTES + 1), OpenError::TooLong),
        (value.repeat(40), OpenError::TooLong),
    ];
    for (value, expected) in cases {
        let opened = SessionCookie::open(value.as_bytes(), &keys, ECHO);
        assert_eq!(opened, Err(expected), "{value}");
    }
}

#[test]
fn key_list_that_is_wrong_is_refused_by_its_kind() {
    let short = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==";
    let position = 1;
    let cases = [
        (String::new(), KeyRingError::Empty),
        (" \n".into(), KeyRingError::Empty),
        (KEY_A.into(), KeyRingError::Malformed { position }),
        (
            format!("1:{}!", &KEY_A[..43]),
            KeyRingError::Malformed { position },
        ),
        (
            format!("1:{KEY_A},"),
            KeyRingError::Malformed { position: 2 },
        ),
        (format!("256:{KEY_A}"), KeyRingError::Id { position }),
        (format!("-1:{KEY_A}"), KeyRingError::Id { position }),
        (format!("+1:{KEY_A}"), KeyRingError::Id { position }),
        (format!(":{KEY_A}"), KeyRingError::Id { position }),
        (
            format!("1:{short}"),
            KeyRingError::Length {
                position,
                bytes: 31,
            },
        ),
        ("1:".into(), KeyRingError::Length { position, bytes: 0 }),
        (
            format!("1:{KEY_A},1:{KEY_B}"),
            KeyRingError::DuplicateId { id: 1 },
        ),
        (
            format!("1:{KEY_A},2:{KEY_B},3:{KEY_B}"),
            KeyRingError::TooMany { count: 3 },
        ),
    ];
    for (text, expected) in cases {
        let error = KeyRing::parse(&text).unwrap_err();
        assert_eq!(error, expected, "{text}");
        let problem = error.at("$.keys.inline").to_string();
        assert!(!problem.contains(&KEY_A[..10]), "{problem}");
    }
    let unpadded = format!(" 0:{} ,\n255:{KEY_B}\n", KEY_A.trim_end_matches('='));
    assert_eq!(
        KeyRing::parse(&unpadded).unwrap().ids().collect::<Vec<_>>(),
        [0, 255]
    );
}

#[test]
fn nothing_secret_is_in_any_debug_output() {
    let keys = ring(&[(1, KEY_A), (2, KEY_B)]);
    assert_eq!(format!("{keys:?}"), "KeyRing([1, 2])");
    let session = session("10.0.0.1:80", "pod");
    assert_eq!(format!("{session:?}"), "Session([redacted])");
}

#[test]
fn address_without_an_ip_and_a_port_is_none() {
    for text in ["10.0.0.1:80", "[::1]:80", "[::ffff:10.0.0.1]:1"] {
        assert_eq!(Address::parse(text.as_bytes()).unwrap().as_str(), text);
    }
    for text in [
        "",
        "10.0.0.1",
        "localhost:80",
        "/run/socket",
        "10.0.0.1:80,10.0.0.2:80",
        "::1:80",
    ] {
        assert_eq!(Address::parse(text.as_bytes()), None, "{text}");
    }
    assert_eq!(Address::parse(b"\xff"), None);
}

prop_compose! {
    fn any_session()(
        (issued, last_seen) in (0..1_u64 << 34, 0..1_u64 << 34),
        nonce: [u8; 8],
        (ip, port) in (any::<std::net::IpAddr>(), any::<u16>()),
        instance in prop::collection::vec(any::<u8>(), 0..=MAX_INSTANCE_BYTES),
    ) -> Session {
        Session {
            issued: WallTime::from_seconds(issued),
            last_seen: WallTime::from_seconds(last_seen),
            nonce,
            address: Address::parse(SocketAddr::new(ip, port).to_string().as_bytes()).unwrap(),
            instance,
        }
    }
}

proptest! {
    #[test]
    fn sealed_session_opens_as_it_was(
        session in any_session(),
        nonce: [u8; 24],
        cluster in prop::collection::vec(any::<u8>(), 0..64),
        cookie_name in "[a-z|~-]{1,32}",
    ) {
        let binding = Binding { cluster: &cluster, cookie_name: &cookie_name };
        let keys = ring(&[(3, KEY_A)]);
        let value = SessionCookie::seal(&session, &keys, binding, nonce).unwrap();
        prop_assert!(value.len() <= MAX_VALUE_BYTES);
        prop_assert_eq!(SessionCookie::open(value.as_bytes(), &keys, binding), Ok(session));
    }

    #[test]
    fn value_with_any_byte_changed_is_refused(session in any_session(), nonce: [u8; 24], by: u8) {
        let keys = ring(&[(1, KEY_A), (0, KEY_B)]);
        let value = SessionCookie::seal(&session, &keys, ECHO, nonce).unwrap().into_bytes();
        for position in 0..value.len() {
            let mut changed = value.clone();
            changed[position] = changed[position].wrapping_add(by.max(1));
            prop_assert!(SessionCookie::open(&changed, &keys, ECHO).is_err(), "byte {position}");
            prop_assert!(SessionCookie::open(&value[..position], &keys, ECHO).is_err());
        }
    }

    #[test]
    fn value_of_any_bytes_is_refused_and_never_panics(
        value in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        prop_assert!(SessionCookie::open(&value, &ring(&[(1, KEY_A)]), ECHO).is_err());
    }

    #[test]
    fn key_list_of_any_text_never_panics(text in "\\PC{0,80}") {
        let _ = KeyRing::parse(&text);
    }
}

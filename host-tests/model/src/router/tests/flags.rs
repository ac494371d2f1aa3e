use crate::router::Flags;

#[test]
fn flags_have_the_bits_that_envoy_gives_them() {
    let cases = [
        ("-", 0),
        ("LH", 1),
        ("UC", 0x40),
        ("DC", 0x4000),
        ("UF,URX", 0x8020),
        ("URX, UF", 0x8020),
        ("UPE", 0x80_0000),
        ("NC", 0x100_0000),
        ("UDO", 0x2000_0000),
        ("?", 0),
        ("", 0),
        ("uc", 0),
    ];
    let read = cases.map(|(text, _)| (text, Flags::parse(text).0));
    assert_eq!(read, cases);
}

#[test]
fn flags_are_written_as_envoy_writes_those_of_the_router() {
    let cases = [
        (Flags::NONE, "-"),
        (Flags::NO_ROUTE_FOUND, "NR"),
        (Flags::parse("UF,URX"), "URX,UF"),
        (Flags::parse("UC,UO"), "UO,UC"),
        (Flags::parse("UT,URX"), "URX,UT"),
        (Flags(1 << 63), "-"),
    ];
    let written = cases
        .iter()
        .map(|(flags, _)| flags.names())
        .collect::<Vec<_>>();
    assert_eq!(written, cases.map(|(_, text)| text));
}

#[test]
fn every_flag_is_read_as_it_is_written() {
    for bit in 0..30 {
        let flags = Flags(1 << bit);
        assert_ne!(flags.names(), "-", "{bit}");
        assert_eq!(Flags::parse(&flags.names()), flags);
    }
    let named = [
        (Flags::NO_HEALTHY_UPSTREAM, "UH"),
        (Flags::UPSTREAM_REQUEST_TIMEOUT, "UT"),
        (Flags::LOCAL_RESET, "LR"),
        (Flags::UPSTREAM_REMOTE_RESET, "UR"),
        (Flags::UPSTREAM_CONNECTION_FAILURE, "UF"),
        (Flags::UPSTREAM_CONNECTION_TERMINATION, "UC"),
        (Flags::UPSTREAM_OVERFLOW, "UO"),
        (Flags::NO_ROUTE_FOUND, "NR"),
        (Flags::DOWNSTREAM_CONNECTION_TERMINATION, "DC"),
        (Flags::UPSTREAM_RETRY_LIMIT_EXCEEDED, "URX"),
        (Flags::UPSTREAM_PROTOCOL_ERROR, "UPE"),
        (Flags::NO_CLUSTER_FOUND, "NC"),
    ];
    for (flags, name) in named {
        assert_eq!(flags.names(), name);
    }
}

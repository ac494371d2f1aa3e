//! An endpoint's address as a value that sorts.

use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// Is the length of an address in a record: family, 16 bytes of IP, port.
pub(super) const ADDRESS_BYTES: usize = 19;

/// Says in a record that the first four bytes are an IPv4 address.
const FAMILY_V4: u8 = 4;
/// Says in a record that all sixteen bytes are an IPv6 address.
const FAMILY_V6: u8 = 6;

/// Is an endpoint's IP and port. The order is that of the records: IPv4 first, then by IP and port.
///
/// Its text is what the proxy writes: `10.0.0.1:80`, `[2001:db8::1]:80`. An IPv4 address and the
/// same one mapped into IPv6 are two addresses, because `override_host` compares texts.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct EndpointAddress {
    /// Is the IP.
    pub ip: IpAddr,
    /// Is the port.
    pub port: u16,
}

impl EndpointAddress {
    /// Reads the proxy's text; `None` for anything else: a name, a Unix socket, an address with a
    /// scope, which a record could not keep.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        if let Some(address) = Self::parse_v4(text) {
            return Some(address);
        }
        match str::from_utf8(text).ok()?.parse::<SocketAddr>().ok()? {
            SocketAddr::V6(address) if address.scope_id() != 0 => None,
            address => Some(Self {
                ip: address.ip(),
                port: address.port(),
            }),
        }
    }

    /// Reads an IPv4 address and its port as they are written, in a third of the time that the
    /// general reader takes: every response has one. `None` for anything else.
    fn parse_v4(text: &[u8]) -> Option<Self> {
        let mut numbers = [0_u16; 5];
        let mut rest = text;
        for (place, number) in numbers.iter_mut().enumerate() {
            let (largest, end) = match place {
                0..=2 => (255, Some(b'.')),
                3 => (255, Some(b':')),
                _ => (u32::from(u16::MAX), None),
            };
            let mut value = 0_u32;
            let mut digits = 0_u32;
            while let Some((digit @ b'0'..=b'9', after)) = rest.split_first() {
                // A zero in front is not how numbers are written; neither are six digits.
                if digits > 4 || (digits > 0 && value == 0) {
                    return None;
                }
                value = value
                    .saturating_mul(10)
                    .saturating_add(u32::from(digit & 0xf));
                digits = digits.saturating_add(1);
                rest = after;
            }
            if digits == 0 || value > largest {
                return None;
            }
            *number = u16::try_from(value).ok()?;
            match (end, rest.split_first()) {
                (Some(end), Some((byte, after))) if *byte == end => rest = after,
                (None, None) => {}
                _ => return None,
            }
        }
        let [a, b, c, d, port] = numbers;
        let octets = [a, b, c, d].map(|octet| u8::try_from(octet).unwrap_or(u8::MAX));
        Some(Self {
            ip: IpAddr::V4(Ipv4Addr::from_octets(octets)),
            port,
        })
    }

    /// Reads the bytes that stand for an address in a snapshot, which are its name wherever
    /// endpoints are hashed; `None` where they are none.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::from_key(name.try_into().ok()?)
    }

    /// Is the address in a record. Bytes sort as addresses do.
    pub(crate) fn to_key(self) -> [u8; ADDRESS_BYTES] {
        let (family, ip) = match self.ip {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                (FAMILY_V4, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            }
            IpAddr::V6(ip) => (FAMILY_V6, ip.octets()),
        };
        let mut key = [0; ADDRESS_BYTES];
        let port = self.port.to_be_bytes();
        let parts = core::iter::once(family).chain(ip).chain(port);
        for (place, byte) in key.iter_mut().zip(parts) {
            *place = byte;
        }
        key
    }

    /// Reads the address of a record; `None` where it is none that [`Self::to_key`] writes.
    pub(crate) fn from_key(key: &[u8; ADDRESS_BYTES]) -> Option<Self> {
        let (family, rest) = key.split_first()?;
        let (ip, port) = rest.split_first_chunk::<16>()?;
        let port = u16::from_be_bytes(*port.first_chunk::<2>()?);
        let ip = match *family {
            FAMILY_V4 => {
                let (ip, unused) = ip.split_first_chunk::<4>()?;
                if unused.iter().any(|byte| *byte != 0) {
                    return None;
                }
                IpAddr::V4(Ipv4Addr::from_octets(*ip))
            }
            FAMILY_V6 => IpAddr::V6(Ipv6Addr::from_octets(*ip)),
            _ => return None,
        };
        Some(Self { ip, port })
    }
}

impl From<SocketAddr> for EndpointAddress {
    /// Leaves out a scope, which a record could not keep.
    fn from(address: SocketAddr) -> Self {
        Self {
            ip: address.ip(),
            port: address.port(),
        }
    }
}

impl From<EndpointAddress> for SocketAddr {
    fn from(address: EndpointAddress) -> Self {
        Self::new(address.ip, address.port)
    }
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.ip, self.port).fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use std::{string::ToString, vec::Vec};

    use super::*;

    #[test]
    fn address_keeps_its_text_and_sorts_as_its_bytes_do() {
        let sorted = [
            "0.0.0.0:0",
            "9.255.255.255:65535",
            "10.0.0.1:80",
            "10.0.0.1:256",
            "255.255.255.255:1",
            "[::]:0",
            "[::ffff:10.0.0.1]:80",
            "[2001:db8::1]:443",
        ];
        let addresses: Vec<EndpointAddress> = sorted
            .iter()
            .map(|text| EndpointAddress::parse(text.as_bytes()).unwrap())
            .collect();
        for (address, text) in addresses.iter().zip(sorted) {
            assert_eq!(address.to_string(), text);
            assert_eq!(EndpointAddress::from_key(&address.to_key()), Some(*address));
        }
        assert!(addresses.is_sorted());
        assert!(addresses.iter().map(|address| address.to_key()).is_sorted());
    }

    #[test]
    fn quick_reader_reads_as_the_general_one_does() {
        let parts = [
            "", "0", "00", "1", "01", "9", "10", "255", "256", "65535", "65536", "99999", "100000",
            "x", " 1", "1 ",
        ];
        let ends = [".", ":", "", ".."];
        let mut quick = 0;
        for ip in parts {
            for port in parts {
                for end in ends {
                    for text in [
                        std::format!("{ip}.0.20.255{end}{port}"),
                        std::format!("10.0{end}{ip}.3:{port}"),
                    ] {
                        let general = text.parse::<SocketAddr>().ok();
                        let found = EndpointAddress::parse_v4(text.as_bytes());
                        if let Some(found) = found {
                            quick += 1;
                            let found = SocketAddr::new(found.ip, found.port);
                            assert_eq!(Some(found), general, "{text}");
                        }
                        let is_usual = general.is_some_and(|address| address.to_string() == text);
                        assert_eq!(found.is_some(), is_usual, "{text}");
                    }
                }
            }
        }
        assert!(quick > 50, "{quick}");
    }

    #[test]
    fn text_that_no_record_could_keep_is_none() {
        for text in [
            "",
            "a:80",
            "10.0.0.1",
            "/run/app.sock",
            "[fe80::1%2]:80",
            "10.0.0.1:65536",
        ] {
            assert_eq!(EndpointAddress::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(EndpointAddress::parse(b"\xff"), None);
        let mut key = EndpointAddress::parse(b"10.0.0.1:80").unwrap().to_key();
        key[10] = 1;
        assert_eq!(EndpointAddress::from_key(&key), None);
        key[0] = 5;
        assert_eq!(EndpointAddress::from_key(&key), None);
    }
}

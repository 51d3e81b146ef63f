//! Which addresses are on the public internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The network that embeds IPv4 addresses for machines with IPv6 alone.
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// Whether an address is one that anybody on the internet could ask.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// By the registry of special addresses (RFC 6890 and what came later).
fn is_public_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // This host, private, loopback.
        [0 | 10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] => false,
        // Carriers' NAT.
        [100, 64..=127, ..] => false,
        // Link-local, where clouds keep their metadata.
        [169, 254, ..] => false,
        // Protocols; relays of 6to4.
        [192, 0, 0, _] | [192, 88, 99, _] => false,
        // Documentation, benchmarks.
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [198, 18 | 19, ..] => false,
        // Multicast, reserved, broadcast.
        [224..=255, ..] => false,
        _ => true,
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded_v4 =
        |high: u16, low: u16| Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low));
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    match segments {
        [a, b, c, d, e, f, high, low] if [a, b, c, d, e, f] == NAT64 => {
            is_public_v4(embedded_v4(high, low))
        }
        // 6to4
        [0x2002, high, low, ..] => is_public_v4(embedded_v4(high, low)),
        // Protocols, among them Teredo, which embeds IPv4 addresses too; documentation, twice.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // All that is given out is in here; outside are loopback, `::a.b.c.d`,
        // unique-local, link-local, site-local and multicast.
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_public_or_not() {
        for address in "1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 \
             128.0.0.0 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 \
             192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 \
             2001:4860:4860::8888 2a00:1450::1 2001:200:: 3fff:1000:: ::ffff:1.1.1.1 \
             64:ff9b::1.1.1.1 2002:101:101::"
            .split_ascii_whitespace()
        {
            assert!(is_public(address.parse().expect(address)), "{address}");
        }
        for address in "0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 \
             127.0.0.1 127.255.255.255 169.254.169.254 172.16.0.0 172.31.255.255 192.0.0.1 \
             192.0.2.1 192.88.99.1 192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 \
             198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.0 255.255.255.255 \
             :: ::1 ::10.0.0.1 ::ffff:10.0.0.1 ::ffff:0:10.0.0.1 64:ff9b::169.254.169.254 \
             64:ff9b:1::1 100::1 2001::1 2001:2::1 2001:20::1 2001:db8::1 2002:7f00:1:: \
             2002:a00:1:: 3fff::1 4000::1 5f00::1 fc00::1 fdff::1 fe80::1 febf::1 fec0::1 \
             ff02::1"
            .split_ascii_whitespace()
        {
            assert!(!is_public(address.parse().expect(address)), "{address}");
        }
    }
}
